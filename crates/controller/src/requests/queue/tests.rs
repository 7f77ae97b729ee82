use std::{sync::OnceLock, time::Duration};

use jiff::Timestamp;
use podcert_authority::{CaId, CaOptions, Pool};
use podcert_issuance::{NamePolicy, Wait, WaitReason, Wake, service_dns, spiffe};
use podcert_pki::{KeyType, PrivateKey, empty_csr};
use podcert_resources::ApiVersion;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::metrics::Outcome as Counted;
use crate::reasons::{CONFLICT, POOL_NOT_LOADED};

const DNS: usize = 0;
const SPIFFE: usize = 1;
const SIGNERS: [&str; 2] = ["row-major.net/service-dns", "row-major.net/spiffe"];

fn date() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn authority() -> Arc<Authority> {
    static AUTHORITY: OnceLock<Arc<Authority>> = OnceLock::new();
    Arc::clone(AUTHORITY.get_or_init(|| {
        let pool = Pool::generate(&CaOptions::new(CaId::new("1")), date()).unwrap();
        Arc::new(Authority::from_pool(pool))
    }))
}

fn csr() -> &'static str {
    static CSR: OnceLock<String> = OnceLock::new();
    CSR.get_or_init(|| {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let der = k8s_openapi::ByteString(empty_csr(&key).unwrap());
        serde_json::to_value(der)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    })
}

/// A queue that knows nothing.
fn empty() -> Queue {
    let template = spiffe::IdTemplate::default();
    let names = spiffe::Policy::new("td".parse().unwrap(), template).unwrap();
    let policies = vec![
        Policy::new(
            SIGNERS[DNS].parse().unwrap(),
            NamePolicy::ServiceDns(service_dns::Policy::default()),
        ),
        Policy::new(SIGNERS[SPIFFE].parse().unwrap(), NamePolicy::Spiffe(names)),
    ];
    let metrics = Metrics::new(
        policies
            .iter()
            .map(|policy| policy.signer.clone())
            .collect(),
    );
    Queue::new(policies, Patience::default(), Jitter::seeded(1), metrics)
}

/// A queue whose watches have listed nothing, and are shown no nodes and service accounts, with a
/// pool for each signer.
fn started() -> Queue {
    let mut queue = empty();
    list(&mut queue, &[], &[]);
    queue.observe_node(refused());
    queue.observe_service_account(refused());
    queue.sign_with(DNS, authority());
    queue.sign_with(SPIFFE, authority());
    queue
}

fn list(queue: &mut Queue, pods: &[Pod], services: &[Service]) {
    queue.observe_pod(Event::Init);
    pods.iter()
        .for_each(|pod| queue.observe_pod(Event::InitApply(pod.clone())));
    queue.observe_pod(Event::InitDone);
    queue.observe_service(Event::Init);
    services
        .iter()
        .for_each(|service| queue.observe_service(Event::InitApply(service.clone())));
    queue.observe_service(Event::InitDone);
}

fn refused<K>() -> Seen<K> {
    Seen::Refused("cannot list".into())
}

fn identity<K: serde::de::DeserializeOwned>(name: &str, uid: &str) -> Identity<K> {
    let metadata = json!({"namespace": "shop", "name": name, "uid": uid});
    serde_json::from_value(json!({"metadata": metadata})).unwrap()
}

/// The watch of a kind begins with a list of one object.
fn shown<K: serde::de::DeserializeOwned>(name: &str, uid: &str) -> [Seen<Identity<K>>; 3] {
    let listed = Event::InitApply(identity(name, uid));
    [Event::Init, listed, Event::InitDone].map(Seen::Event)
}

fn pod(name: &str) -> Pod {
    let sources = SIGNERS.map(|signer| json!({"podCertificate": {"signerName": signer}}));
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": name, "uid": name, "labels": {"app": name}},
        "spec": {"nodeName": "n", "serviceAccountName": "default", "volumes": [
            {"projected": {"sources": sources}},
        ]},
    }))
    .unwrap()
}

fn service(name: &str, app: &str) -> Service {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"type": "ClusterIP", "selector": {"app": app}},
    }))
    .unwrap()
}

fn request_with(
    name: &str,
    pod: &str,
    signer: &str,
    change: impl Fn(&mut Value),
) -> PodCertificateRequest {
    let mut request = json!({
        "metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "1"},
        "spec": {
            "signerName": signer, "podName": pod, "podUID": pod,
            "serviceAccountName": "default", "serviceAccountUID": "s",
            "nodeName": "n", "nodeUID": "n",
            "stubPKCS10Request": csr(),
        },
    });
    change(&mut request);
    serde_json::from_value(request).unwrap()
}

fn request(name: &str, pod: &str, signer: usize) -> PodCertificateRequest {
    request_with(name, pod, SIGNERS[signer], |_| {})
}

fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

fn ask(queue: &mut Queue, signer: usize, request: PodCertificateRequest) {
    queue.observe_request(signer, Event::Apply(request), now());
}

fn done(work: &Work, outcome: Outcome) -> Done {
    Done {
        uid: Arc::clone(&work.uid),
        version: work.version.clone(),
        outcome,
    }
}

fn written() -> Outcome {
    Outcome::Written {
        counted: Counted::Issued,
        reason: "Issued",
        tell: Vec::new(),
    }
}

/// Answers all there is to answer; the UIDs, in order.
fn drain(queue: &mut Queue) -> Vec<String> {
    let mut answered = Vec::new();
    while let Some(work) = queue.next(date(), now()) {
        answered.push(work.uid.to_string());
        queue.finish(done(&work, written()), date(), now());
    }
    answered
}

fn waiting(queue: &Queue) -> i64 {
    let reasons = [
        "PodNotFound",
        "NoMatchingService",
        "NodeNotFound",
        "NodeReplaced",
        "ServiceAccountNotFound",
        "ServiceAccountReplaced",
        "UnreadableRequest",
        POOL_NOT_LOADED,
        CONFLICT,
    ];
    [DNS, SPIFFE]
        .into_iter()
        .flat_map(|signer| reasons.map(|reason| queue.metrics.waiting_count(signer, reason)))
        .sum()
}

#[test]
fn nothing_is_decided_before_all_is_listed_or_refused() {
    let mut queue = empty();
    queue.sign_with(SPIFFE, authority());
    ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
    assert!(queue.next(date(), now()).is_none());
    queue.observe_pod(Event::Init);
    queue.observe_pod(Event::InitApply(pod("web")));
    queue.observe_pod(Event::InitDone);
    assert!(queue.next(date(), now()).is_none());
    queue.observe_service(Event::Init);
    queue.observe_service(Event::InitDone);
    assert!(queue.next(date(), now()).is_none());
    queue.observe_node(refused());
    assert!(queue.next(date(), now()).is_none());
    shown("default", "s")
        .into_iter()
        .for_each(|seen| queue.observe_service_account(seen));
    assert_eq!(drain(&mut queue), ["r"]);
}

#[test]
fn what_waits_for_a_node_is_woken_by_that_node_alone() {
    let asked = || request("r", "web", SPIFFE);
    let waits = |seen: [Seen<Identity<Node>>; 3], reason| {
        let mut queue = started();
        queue.observe_pod(Event::Apply(pod("web")));
        seen.into_iter().for_each(|seen| queue.observe_node(seen));
        ask(&mut queue, SPIFFE, asked());
        assert!(drain(&mut queue).is_empty());
        assert_eq!(queue.metrics.waiting_count(SPIFFE, reason), 1);
        queue
    };
    let wake = |queue: &mut Queue, event, expected: &[&str]| {
        queue.observe_node(Seen::Event(event));
        assert_eq!(queue.ready.len(), expected.len());
        assert_eq!(drain(queue), expected);
    };

    // The node is another one: it says that it is well, others come, then the one meant does.
    let mut queue = waits(shown("n", "old"), "NodeReplaced");
    wake(&mut queue, Event::Apply(identity("n", "old")), &[]);
    wake(&mut queue, Event::Apply(identity("m", "n")), &[]);
    wake(&mut queue, Event::Apply(identity("n", "n")), &["r"]);
    assert_eq!(waiting(&queue), 0);
    let mut queue = waits(shown("m", "m"), "NodeNotFound");
    wake(&mut queue, Event::Apply(identity("n", "n")), &["r"]);

    // Or a new list shows it, or nothing is shown any more.
    for cure in [shown("n", "n").to_vec(), vec![refused()]] {
        let mut queue = waits(shown("n", "old"), "NodeReplaced");
        cure.into_iter().for_each(|seen| queue.observe_node(seen));
        assert_eq!(drain(&mut queue), ["r"]);
    }

    // Taken back while it waits, it is forgotten everywhere.
    let mut queue = waits(shown("n", "old"), "NodeReplaced");
    queue.observe_request(SPIFFE, Event::Delete(asked()), now());
    assert!(queue.cures.all_nodes().is_empty() && queue.tracked.is_empty());
    assert_eq!(waiting(&queue), 0);
}

#[test]
fn what_waits_for_a_service_account_is_woken_by_that_one_alone() {
    let asked = || request("r", "web", SPIFFE);
    let waits = |seen: [Seen<Identity<ServiceAccount>>; 3], reason| {
        let mut queue = started();
        queue.observe_pod(Event::Apply(pod("web")));
        seen.into_iter()
            .for_each(|seen| queue.observe_service_account(seen));
        ask(&mut queue, SPIFFE, asked());
        assert!(drain(&mut queue).is_empty());
        assert_eq!(queue.metrics.waiting_count(SPIFFE, reason), 1);
        queue
    };
    let wake = |queue: &mut Queue, event, expected: &[&str]| {
        queue.observe_service_account(Seen::Event(event));
        assert_eq!(queue.ready.len(), expected.len());
        assert_eq!(drain(queue), expected);
    };
    let elsewhere = || {
        let mut account: Identity<ServiceAccount> = identity("default", "s");
        account.metadata.namespace = Some("other".to_owned());
        account
    };

    let mut queue = waits(shown("default", "old"), "ServiceAccountReplaced");
    wake(&mut queue, Event::Apply(identity("default", "old")), &[]);
    wake(&mut queue, Event::Apply(identity("other", "s")), &[]);
    wake(&mut queue, Event::Apply(elsewhere()), &[]);
    wake(&mut queue, Event::Apply(identity("default", "s")), &["r"]);
    let mut queue = waits(shown("other", "s"), "ServiceAccountNotFound");
    wake(&mut queue, Event::Apply(identity("default", "s")), &["r"]);

    for cure in [shown("default", "s").to_vec(), vec![refused()]] {
        let mut queue = waits(shown("default", "old"), "ServiceAccountReplaced");
        cure.into_iter()
            .for_each(|seen| queue.observe_service_account(seen));
        assert_eq!(drain(&mut queue), ["r"]);
    }

    let mut queue = waits(shown("default", "old"), "ServiceAccountReplaced");
    queue.observe_request(SPIFFE, Event::Delete(asked()), now());
    assert!(queue.cures.all_service_accounts().is_empty() && queue.tracked.is_empty());
    assert_eq!(waiting(&queue), 0);
}

#[test]
fn among_ten_thousand_services_few_wake_anybody() {
    let mut queue = started();
    queue.observe_pod(Event::Apply(pod("web")));
    ask(&mut queue, DNS, request("r", "web", DNS));
    assert!(drain(&mut queue).is_empty());
    for index in 0..10_000 {
        queue.observe_service(Event::Apply(service(
            &format!("s-{index}"),
            &format!("a-{index}"),
        )));
        assert!(queue.ready.is_empty(), "service {index} woke it");
    }
    queue.observe_service(Event::Apply(service("web", "web")));
    let work = queue.next(date(), now()).unwrap();
    let Answer::Issue(plan) = &work.answer else {
        panic!("{:?}", work.answer)
    };
    let names = format!("{:?}", plan.spec.names());
    assert!(
        names.contains("web.shop.svc") && !names.contains("s-1"),
        "{names}"
    );
}

#[test]
fn a_request_that_cannot_be_read_stops_no_other() {
    let mut queue = started();
    queue.observe_pod(Event::Apply(pod("web")));
    for (index, csr) in ["AAAA", "%", "MAA="].into_iter().enumerate() {
        let bad = request_with(&format!("bad-{index}"), "web", SIGNERS[SPIFFE], |request| {
            request["spec"]["stubPKCS10Request"] = json!(csr);
        });
        ask(&mut queue, SPIFFE, bad);
    }
    ask(&mut queue, SPIFFE, request("good", "web", SPIFFE));
    assert_eq!(drain(&mut queue), ["good"]);
    assert_eq!(waiting(&queue), 3);
}

#[test]
fn what_is_settled_or_for_another_signer_is_not_kept() {
    let mut queue = started();
    queue.observe_pod(Event::Apply(pod("web")));
    let other = request_with("other", "web", "example.com/other", |_| {});
    ask(&mut queue, SPIFFE, other);
    for type_ in ["Issued", "Denied", "Failed"] {
        let settled = request_with(type_, "web", SIGNERS[SPIFFE], |request| {
            request["status"] = json!({"conditions": [{"type": type_}]});
        });
        ask(&mut queue, SPIFFE, settled);
    }
    assert!(drain(&mut queue).is_empty());
    assert!(queue.tracked.is_empty());
}

#[test]
fn an_old_version_shown_late_is_not_answered_again() {
    let mut queue = started();
    queue.observe_pod(Event::Apply(pod("web")));
    ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
    assert_eq!(drain(&mut queue), ["r"]);
    ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
    assert!(drain(&mut queue).is_empty());
    let settled = request_with("r", "web", SIGNERS[SPIFFE], |request| {
        request["status"] = json!({"conditions": [{"type": "Issued"}]});
    });
    ask(&mut queue, SPIFFE, settled);
    assert!(queue.tracked.is_empty(), "nothing is kept of what is over");
}

#[test]
fn after_a_conflict_the_newer_version_is_answered() {
    let newer = || {
        request_with("r", "web", SIGNERS[SPIFFE], |request| {
            request["metadata"]["resourceVersion"] = json!("2");
        })
    };
    for newer_first in [true, false] {
        let mut queue = started();
        queue.observe_pod(Event::Apply(pod("web")));
        ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
        let work = queue.next(date(), now()).unwrap();
        if newer_first {
            ask(&mut queue, SPIFFE, newer());
            queue.finish(done(&work, Outcome::Conflict), date(), now());
        } else {
            queue.finish(done(&work, Outcome::Conflict), date(), now());
            assert!(queue.next(date(), now()).is_none());
            assert_eq!(waiting(&queue), 1);
            ask(&mut queue, SPIFFE, newer());
        }
        let work = queue.next(date(), now()).unwrap();
        assert_eq!(work.version, "2");
        queue.finish(done(&work, written()), date(), now());
        assert_eq!(waiting(&queue), 0);
    }
}

#[test]
fn a_result_after_the_end_brings_nothing_back() {
    for outcome in [written(), Outcome::Conflict, Outcome::Gone] {
        let mut queue = started();
        queue.observe_pod(Event::Apply(pod("web")));
        let asked = request("r", "web", SPIFFE);
        ask(&mut queue, SPIFFE, asked.clone());
        let work = queue.next(date(), now()).unwrap();
        queue.observe_request(SPIFFE, Event::Delete(asked), now());
        queue.finish(done(&work, outcome), date(), now());
        assert!(queue.tracked.is_empty());
        assert!(queue.next(date(), now()).is_none());
    }
}

#[test]
fn what_a_list_lacks_and_the_watch_then_shows_is_answered_all_the_same() {
    let failed = || Outcome::Retry {
        reason: "ApiUnavailable",
        message: "no".into(),
        when: RetryWhen::Soon,
    };
    for outcome in [failed(), Outcome::Conflict, Outcome::Gone] {
        let mut queue = started();
        queue.observe_pod(Event::Apply(pod("web")));
        ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
        let work = queue.next(date(), now()).unwrap();
        // A server that lags lists without it, and shows it a moment later.
        for event in [Event::Init, Event::InitDone] {
            queue.observe_request(SPIFFE, event, now());
        }
        ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
        queue.finish(done(&work, outcome), date(), now());
        let later = now() + Duration::from_secs(61);
        queue.tick(later);
        assert!(queue.next(date(), later).is_some());
    }
}

#[test]
fn what_was_to_be_read_is_decided_as_soon_as_it_cannot_be_read_any_more() {
    let at_v1 = |requests_at_v1beta1| InUse {
        requests: Some(ApiVersion::V1),
        requests_at_v1beta1,
        ..InUse::default()
    };
    let mut queue = started();
    queue.speak(at_v1(true));
    queue.observe_pod(Event::Apply(pod("web")));
    let hidden = request_with("r", "web", SIGNERS[SPIFFE], |request| {
        request["spec"]["stubPKCS10Request"] = Value::Null;
    });
    ask(&mut queue, SPIFFE, hidden);
    assert!(queue.next(date(), now()).is_none());
    let unread = |queue: &Queue| queue.metrics.waiting_count(SPIFFE, "KeyNotShown");
    assert_eq!(unread(&queue), 0, "it waits to be read");

    queue.speak(at_v1(false));
    assert!(queue.next(date(), now()).is_none());
    assert_eq!(unread(&queue), 1);
    queue.speak(at_v1(true));
    assert!(queue.next(date(), now()).is_none());
    assert!(queue.next_unread(now()).is_some());
}

#[test]
fn failures_are_spaced_and_each_reason_is_told_once() {
    let mut queue = started();
    queue.observe_pod(Event::Apply(pod("web")));
    ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
    let begin = now();
    let mut time = begin;
    let (mut tries, mut told) = (Vec::new(), Vec::new());
    while tries.len() < 14 {
        if let Some(work) = queue.next(date(), time) {
            tries.push((time - begin).as_secs());
            let outcome = Outcome::Retry {
                reason: "Forbidden",
                message: "may not".into(),
                when: RetryWhen::Refused,
            };
            queue.finish(done(&work, outcome), date(), time);
        }
        told.extend(queue.announcements().iter().map(|_| time - begin));
        time = queue.deadline().unwrap();
        queue.tick(time);
    }
    // An API server that has just started refuses for a moment: nobody need hear of it.
    assert!(tries[1] <= 1 && tries[3] <= 7, "{tries:?}");
    let late = tries.windows(2).skip(9).map(|pair| pair[1] - pair[0]);
    assert!(
        late.clone().all(|wait| (149..=301).contains(&wait)),
        "{tries:?}"
    );
    assert_eq!(told.len(), 1);
    assert!(told[0] >= Duration::from_secs(10), "{told:?}");
}

#[test]
fn a_clock_that_jumped_and_came_back_leaves_nobody_waiting() {
    for jumped in ["2999-01-01T00:00:00Z", "1950-01-01T00:00:00Z"] {
        let mut queue = started();
        queue.observe_pod(Event::Apply(pod("web")));
        ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
        let jumped = jumped.parse().unwrap();
        assert!(queue.next(jumped, now()).is_none());
        // Nothing else happens than that time passes.
        let later = now() + Duration::from_secs(61);
        queue.tick(later);
        assert!(queue.next(date(), later).is_some(), "{jumped}");
    }
}

#[test]
fn a_pool_that_comes_while_an_answer_is_under_way_is_not_missed() {
    let wait = Outcome::Wait(Wait {
        reason: WaitReason::StatusRuleViolation,
        message: "the chain is too long".into(),
        wake: Wake::Authority,
    });
    let refused = Outcome::Retry {
        reason: "SigningBackendRefused",
        message: "no".into(),
        when: RetryWhen::OnPool,
    };
    for outcome in [wait, refused] {
        let mut queue = started();
        queue.observe_pod(Event::Apply(pod("web")));
        ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
        let work = queue.next(date(), now()).unwrap();
        queue.sign_with(SPIFFE, authority());
        queue.finish(done(&work, outcome), date(), now());
        assert_eq!(drain(&mut queue), ["r"]);
    }
}

#[test]
fn a_ca_that_is_not_valid_yet_is_waited_for_no_longer_than_until_another_one_comes() {
    let early = date() - jiff::SignedDuration::from_hours(48);
    let mut queue = started();
    queue.observe_pod(Event::Apply(pod("web")));
    ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
    assert!(queue.next(early, now()).is_none());
    assert_eq!(queue.metrics.waiting_count(SPIFFE, "CaNotYetValid"), 1);
    let pool = Pool::generate(&CaOptions::new(CaId::new("2")), early).unwrap();
    queue.sign_with(SPIFFE, Arc::new(Authority::from_pool(pool)));
    assert!(queue.next(early, now()).is_some());
}

#[test]
fn that_a_request_does_not_exist_is_believed_to_the_watch_alone() {
    for gone in [true, false] {
        let mut queue = started();
        queue.observe_pod(Event::Apply(pod("web")));
        let asked = request("r", "web", SPIFFE);
        ask(&mut queue, SPIFFE, asked.clone());
        let work = queue.next(date(), now()).unwrap();
        queue.finish(done(&work, Outcome::Gone), date(), now());
        assert!(queue.next(date(), now()).is_none());
        if gone {
            queue.observe_request(SPIFFE, Event::Delete(asked), now());
            assert!(queue.tracked.is_empty());
        }
        let later = now() + Duration::from_secs(61);
        queue.tick(later);
        assert_eq!(queue.next(date(), later).is_none(), gone);
    }
}

#[test]
fn a_signature_that_only_a_pool_can_cure_is_told() {
    let mut queue = started();
    queue.observe_pod(Event::Apply(pod("web")));
    ask(&mut queue, SPIFFE, request("r", "web", SPIFFE));
    let mut time = now();
    for _ in 0..12 {
        let work = queue.next(date(), time).unwrap();
        let outcome = Outcome::Retry {
            reason: "SigningBackendRefused",
            message: "no".into(),
            when: RetryWhen::OnPool,
        };
        queue.finish(done(&work, outcome), date(), time);
        while queue.ready.is_empty() {
            time = queue.deadline().unwrap();
            queue.tick(time);
        }
    }
    assert_eq!(queue.announcements().len(), 1);
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Account,
    Ask(usize),
    Drain,
    DropRequest(usize),
    Gap,
    HaveHalfWritten,
    ListAgain,
    Node,
    Pod(usize),
    Pool(usize),
    Service(usize),
    Share(Owners),
    Touch(usize),
}

fn owners() -> impl Strategy<Value = Owners> {
    let among = |live: &[&str]| Owners::among("a", live);
    prop_oneof![
        Just(Owners::Unknown),
        Just(Owners::Alone),
        Just(among(&["a"])),
        Just(among(&["a", "b"])),
        Just(among(&["a", "c", "d"])),
    ]
}

const PODS: usize = 3;
const REQUESTS: usize = 6;
const SERVICES: [&str; 4] = ["pod-0", "pod-1", "nobody", "pod-0"];

/// Request `index` is of this pod, for this signer.
fn asked(index: usize) -> (String, usize) {
    (format!("pod-{}", index / 2), index % 2)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let certain = (0..PODS)
        .map(Step::Pod)
        .chain((0..SERVICES.len()).map(Step::Service))
        .chain((0..REQUESTS).map(Step::Ask))
        .chain([Step::Pool(DNS), Step::Pool(SPIFFE)])
        .chain([Step::Account, Step::Node])
        .collect::<Vec<_>>();
    let noise = prop::collection::vec(
        prop_oneof![
            Just(Step::Drain),
            Just(Step::Gap),
            owners().prop_map(Step::Share),
            Just(Step::HaveHalfWritten),
            Just(Step::ListAgain),
            (0..PODS).prop_map(Step::Pod),
            (0..REQUESTS).prop_map(Step::Touch),
            (0..REQUESTS).prop_map(Step::DropRequest),
        ],
        0..20,
    );
    noise.prop_flat_map(move |noise| {
        let all: Vec<Step> = certain.iter().cloned().chain(noise).collect();
        Just(all).prop_shuffle()
    })
}

/// Replicas that come and go each half minute, and two in front of this one who let it lie.
#[test]
fn what_is_passed_on_gets_there_while_others_come_and_go() {
    let all = ["a", "b", "me"];
    let name = |number: u32| format!("r-{number}");
    // One that neither belongs to this replica nor to it after its owner, with or without the fourth.
    let third = |number: &u32| {
        [&all[..], &["a", "b", "flaky", "me"]].iter().all(|live| {
            let owns =
                |passed| Owners::among("me", live).own_request("shop", &name(*number), passed);
            !owns(0) && !owns(1) && owns(2)
        })
    };
    let uid = name((0..).find(third).unwrap());
    let mut queue = started();
    list(&mut queue, &[pod("web")], &[]);
    queue.share(Owners::among("me", &all), now());
    ask(&mut queue, SPIFFE, request(&uid, "web", SPIFFE));
    let begun = now();
    let mut at = begun;
    while queue.next(date(), at).is_none() {
        at += Duration::from_secs(30);
        assert!(
            at - begun <= Duration::from_secs(150),
            "it stays where it is"
        );
        let flaky = (at - begun).as_secs() % 60 == 30;
        let live = if flaky {
            &["a", "b", "flaky", "me"][..]
        } else {
            &all[..]
        };
        queue.share(Owners::among("me", live), at);
        queue.tick(at);
    }
    assert!(at - begun >= Duration::from_secs(120));

    // Its owner is another: that one has its minute.
    let mut queue = started();
    list(&mut queue, &[pod("web")], &[]);
    queue.share(Owners::among("me", &["a", "me"]), now());
    let lost = |number: &u32| {
        let owns = |live: &[&str]| Owners::among("me", live).own_request("shop", &name(*number), 0);
        !owns(&["a", "me"]) && !owns(&["b", "me"])
    };
    let uid = name((0..).find(lost).unwrap());
    ask(&mut queue, DNS, request(&uid, "web", DNS));
    assert!(queue.next(date(), begun).is_none());
    queue.tick(begun + Duration::from_secs(60));
    assert!(
        queue
            .next(date(), begun + Duration::from_secs(60))
            .is_none()
    );
    assert_eq!(queue.tracked[uid.as_str()].passed, 1);
    queue.share(Owners::among("me", &["b", "me"]), begun);
    assert_eq!(queue.tracked[uid.as_str()].passed, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the order in which the watches tell, in the end every request is answered that
    /// can be, exactly once; the others wait; and what was deleted is forgotten. However the work is
    /// shared on the way, and whatever is read anew.
    #[test]
    fn in_any_order_the_end_is_the_same(steps in steps()) {
        let mut queue = empty();
        list(&mut queue, &[], &[]);
        for event in [Event::Init, Event::InitDone] {
            queue.observe_node(Seen::Event(event));
        }
        for event in [Event::Init, Event::InitDone] {
            queue.observe_service_account(Seen::Event(event));
        }
        let (mut pods, mut services) = (Vec::new(), Vec::new());
        let mut answered = Vec::new();
        let mut half: Vec<Work> = Vec::new();
        let mut there = [false; REQUESTS];
        let mut dropped = [false; REQUESTS];
        let (mut node, mut account) = (false, false);
        for step in steps {
            match step {
                Step::Ask(index) => {
                    let (pod, signer) = asked(index);
                    ask(&mut queue, signer, request(&format!("r-{index}"), &pod, signer));
                    there[index] = true;
                }
                // Only what is there can change or go.
                Step::Touch(index) | Step::DropRequest(index) if !there[index] || dropped[index] => {}
                Step::Touch(index) => {
                    let (pod, signer) = asked(index);
                    let uid = format!("r-{index}");
                    if !answered.contains(&uid) {
                        ask(&mut queue, signer, request(&uid, &pod, signer));
                    }
                }
                Step::DropRequest(index) => {
                    let (pod, signer) = asked(index);
                    let gone = request(&format!("r-{index}"), &pod, signer);
                    queue.observe_request(signer, Event::Delete(gone), now());
                    dropped[index] = true;
                }
                Step::Pod(index) => {
                    let pod = pod(&format!("pod-{index}"));
                    pods.push(pod.clone());
                    queue.observe_pod(Event::Apply(pod));
                }
                Step::Service(index) => {
                    let service = service(&format!("s-{index}"), SERVICES[index]);
                    services.push(service.clone());
                    queue.observe_service(Event::Apply(service));
                }
                Step::Share(owners) => queue.share(owners, now()),
                Step::Gap => {
                    queue.distrust();
                    prop_assert!(queue.next(date(), now()).is_none());
                    list(&mut queue, &pods, &services);
                    if node {
                        shown("n", "n").into_iter().for_each(|seen| queue.observe_node(seen));
                    } else {
                        for event in [Event::Init, Event::InitDone] {
                            queue.observe_node(Seen::Event(event));
                        }
                    }
                    if account {
                        shown("default", "s")
                            .into_iter()
                            .for_each(|seen| queue.observe_service_account(seen));
                    } else {
                        for event in [Event::Init, Event::InitDone] {
                            queue.observe_service_account(Seen::Event(event));
                        }
                    }
                    prop_assert!(queue.next(date(), now()).is_none());
                    for signer in [DNS, SPIFFE] {
                        queue.observe_request(signer, Event::Init, now());
                        for index in (0..REQUESTS).filter(|index| asked(*index).1 == signer) {
                            let uid = format!("r-{index}");
                            if there[index] && !dropped[index] && !answered.contains(&uid) {
                                let request = request(&uid, &asked(index).0, signer);
                                queue.observe_request(signer, Event::InitApply(request), now());
                            }
                        }
                        queue.observe_request(signer, Event::InitDone, now());
                    }
                }
                Step::Account => {
                    account = true;
                    let account = identity("default", "s");
                    queue.observe_service_account(Seen::Event(Event::Apply(account)));
                }
                Step::Node => {
                    node = true;
                    queue.observe_node(Seen::Event(Event::Apply(identity("n", "n"))));
                }
                Step::Pool(signer) => queue.sign_with(signer, authority()),
                Step::ListAgain => list(&mut queue, &pods, &services),
                Step::Drain => answered.extend(drain(&mut queue)),
                Step::HaveHalfWritten => half.extend(queue.next(date(), now())),
            }
        }
        queue.share(Owners::Alone, now());
        for work in half {
            answered.push(work.uid.to_string());
            queue.finish(done(&work, written()), date(), now());
        }
        answered.extend(drain(&mut queue));

        let mut once = answered.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), answered.len(), "answered twice: {:?}", answered);
        for (index, dropped) in dropped.into_iter().enumerate() {
            let (pod, signer) = asked(index);
            let can_be = signer == SPIFFE || SERVICES.contains(&pod.as_str());
            let is = once.contains(&format!("r-{index}"));
            if dropped {
                let kept = queue.tracked.contains_key(format!("r-{index}").as_str());
                prop_assert!(!kept, "request {} is kept", index);
            } else {
                prop_assert_eq!(is, can_be, "request {}", index);
            }
        }
        let left = (0..REQUESTS).filter(|index| !dropped[*index] && !once.contains(&format!("r-{index}")));
        prop_assert_eq!(waiting(&queue), i64::try_from(left.count()).unwrap());
        let cures = &queue.cures;
        prop_assert!(cures.pool.is_empty());
        prop_assert!(cures.all_nodes().is_empty() && cures.all_service_accounts().is_empty());
        prop_assert_eq!(cures.all_pods().len(), usize::try_from(waiting(&queue)).unwrap());
    }
}

#[test]
fn who_has_thousands_that_wait_holds_up_nobody_for_long() {
    let mut queue = started();
    queue.observe_pod(Event::Apply(pod("web")));
    // No Service selects the pod: all wait, and its next change has all of them decided again.
    for number in 0..200 {
        ask(&mut queue, DNS, request(&format!("r{number}"), "web", DNS));
    }
    ask(&mut queue, SPIFFE, request("last", "web", SPIFFE));
    let mut calls = 0;
    let work = loop {
        calls += 1;
        match queue.next(date(), now()) {
            Some(work) => break work,
            None => assert!(queue.paused(), "forgotten after {calls} calls"),
        }
    };
    assert_eq!(work.uid.as_ref(), "last");
    assert_eq!(calls, 4);
    assert!(queue.next(date(), now()).is_none() && !queue.paused());
}

#[test]
fn labels_and_selectors_that_nobody_means_are_none() {
    let mut queue = started();
    let mut many = json!({"app": "web"});
    for number in 0..700 {
        many[format!("example.com/{number:0>63}")] = json!("value of a label, for its length");
    }
    let sources = json!([{"podCertificate": {"signerName": SIGNERS[DNS]}}]);
    let large = json!({
        "metadata": {"namespace": "shop", "name": "large", "uid": "large", "labels": many},
        "spec": {"nodeName": "n", "serviceAccountName": "default", "volumes": [
            {"projected": {"sources": sources}},
        ]},
    });
    queue.observe_pod(Event::Apply(serde_json::from_value(large).unwrap()));
    queue.observe_pod(Event::Apply(pod("web")));
    queue.observe_service(Event::Apply(service("web", "web")));
    ask(&mut queue, DNS, request("of-large", "large", DNS));
    ask(&mut queue, DNS, request("of-web", "web", DNS));
    assert_eq!(drain(&mut queue), ["of-web"]);
}
