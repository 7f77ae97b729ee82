use std::time::Duration;

use podcert_resources::lease::Held;
use serde_json::{Value, json};

use super::*;
use crate::Told;
use crate::testing::{
    another_root, at, bundle, condition, event, issued, now, read, request, root,
};

const SIGNER: &str = "row-major.net/service-dns";

/// A cluster with two replicas that answer for service-dns.
struct World {
    version: Option<ApiVersion>,
    leases: Vec<Lease>,
    pods: Vec<Value>,
    /// Namespaces whose accounts may sign.
    signing: Vec<&'static str>,
    requests: Vec<Request>,
    events: Vec<Value>,
    bundles: Vec<Value>,
    expected: Result<Expectation, String>,
    application: Option<String>,
    unread: Vec<Unread>,
    now: Timestamp,
}

fn world() -> World {
    World {
        version: Some(ApiVersion::V1),
        leases: vec![lease("one", -5), lease("two", -9)],
        pods: vec![pod("one", true), pod("two", true)],
        signing: vec!["podcert"],
        requests: Vec::new(),
        events: Vec::new(),
        bundles: vec![bundle(&json!({}))],
        expected: Ok(Expectation::Issue),
        application: Some("podcert-controller".into()),
        unread: Vec::new(),
        now: now(),
    }
}

fn lease(name: &str, seconds: i64) -> Lease {
    Lease {
        namespace: "podcert".into(),
        name: name.into(),
        application: "podcert-controller".into(),
        held: Some(Held {
            holder: name.into(),
            renewed: now() + jiff::SignedDuration::from_secs(seconds),
            duration: Duration::from_secs(15),
        }),
    }
}

fn pod(name: &str, ready: bool) -> Value {
    json!({
        "metadata": {"namespace": "podcert", "name": name, "uid": format!("uid-of-{name}")},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "podcert:1"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    })
}

impl World {
    fn report(&self) -> ClusterReport {
        self.report_without(&[])
    }

    /// As somebody sees it from whom these are hidden.
    fn report_without(&self, hidden: &[&str]) -> ClusterReport {
        let pods: Vec<k8s_openapi::api::core::v1::Pod> = read(Value::Array(self.pods.clone()));
        let configured = Configured {
            signers: vec![SIGNER.to_owned()],
            application: self.application.clone(),
        };
        let candidates: Vec<Candidate> = pods
            .into_iter()
            .map(|pod| Candidate {
                pod,
                configured: Some(configured.clone()),
            })
            .collect();
        let rights: Rights = questions(&candidates)
            .into_iter()
            .map(|question| {
                let may = self.signing.contains(&question.namespace.as_str());
                (question, may)
            })
            .collect();
        let events: Vec<Event> = read(Value::Array(self.events.clone()));
        let bundles: Vec<ClusterTrustBundle> = read(Value::Array(self.bundles.clone()));
        let shown = |what: &str| {
            let is_shown = !hidden.contains(&what);
            is_shown.then_some(()).ok_or_else(|| NotShown {
                what: what.into(),
                why: "forbidden".into(),
            })
        };
        assess(&View {
            version: self.version,
            found: Found {
                leases: shown("leases").map(|()| self.leases.as_slice()),
                read: now(),
                candidates: shown("pods").map(|()| candidates.as_slice()),
                rights: shown("rights").map(|()| &rights),
                left_out: &[],
            },
            requests: shown("requests").map(|()| self.requests.as_slice()),
            events: shown("events").map(|()| events.as_slice()),
            bundles: shown("bundles").map(|()| bundles.as_slice()),
            expected: &|_| self.expected.clone(),
            unread: &self.unread,
            now: self.now,
        })
    }

    fn findings(&self) -> Vec<String> {
        let findings = self.report().findings.into_iter();
        findings.map(|finding| finding.message).collect()
    }
}

#[test]
fn a_cluster_that_is_well_has_no_findings() {
    let mut world = world();
    world.requests = vec![
        request("a", -3, &issued(-3, 1437, 717)),
        request("b", -1, &issued(-1, 1439, 719)),
        request("c", 0, &json!({})),
    ];
    let report = world.report();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.controllers.len(), 1);
    assert_eq!(report.controllers[0].replicas.len(), 2);
    let signer = &report.signers[0];
    assert_eq!(
        (signer.issued, signer.waiting, signer.refused),
        (Some(2), Some(1), Some(0))
    );
    assert_eq!(signer.last_issued, Some(at(-1)));
    assert_eq!(signer.answered, Some(true));
    assert!(signer.bundle.as_ref().unwrap().anchors[0].signs);
}

#[test]
fn what_is_hidden_is_not_made_up() {
    let mut world = world();
    world.requests = vec![request("a", -3, &issued(-3, 1437, 717))];
    world.application = None;

    let report = world.report_without(&["requests"]);
    let signer = &report.signers[0];
    assert_eq!(
        (signer.issued, signer.waiting, signer.refused),
        (None, None, None)
    );
    assert!(signer.bundle.is_some() && report.findings.is_empty());

    let report = world.report_without(&["bundles"]);
    let signer = &report.signers[0];
    assert!(signer.bundle.is_none() && !signer.bundle_is_shown);
    assert!(report.findings.is_empty(), "{:?}", report.findings);

    let report = world.report_without(&["leases"]);
    let replica = &report.controllers[0].replicas[0];
    assert_eq!(replica.lease, LeaseState::Unknown);
    assert_eq!((replica.has_pod, replica.ready), (Some(true), Some(true)));
    assert!(report.findings.is_empty() && !report.controllers_are_shown);

    let report = world.report_without(&["pods"]);
    let replica = &report.controllers[0].replicas[0];
    assert!(matches!(replica.lease, LeaseState::Held { .. }));
    assert_eq!((replica.has_pod, replica.ready), (None, None));
    assert!(report.findings.is_empty(), "{:?}", report.findings);

    let report = world.report_without(&["leases", "pods", "requests", "events", "bundles"]);
    assert!(report.controllers.is_empty() && report.signers.is_empty());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.not_shown.len(), 5);
}

#[test]
fn replicas_that_do_not_do_their_share_are_found() {
    let mut world = world();
    world.leases = vec![lease("one", -5), lease("two", -16), lease("gone", -600)];
    world.pods = vec![pod("one", false), pod("two", true)];
    let findings = world.findings();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("one is not ready"), "{findings:?}");
    assert!(
        findings[1].contains("two renewed its Lease last 16 s ago"),
        "{findings:?}"
    );

    world.leases = vec![lease("one", -60), lease("two", -60)];
    let report = world.report();
    assert_eq!(report.findings[0].severity, Severity::Error);
    assert!(report.findings[0].message.contains("nobody answers"));
    assert_eq!(report.signers[0].answered, Some(false));
}

#[test]
fn a_pod_that_shares_no_work_is_a_controller_too() {
    let mut world = world();
    world.leases.clear();
    world.application = None;
    world.pods = vec![pod("alone", true)];
    let report = world.report();
    assert_eq!(report.controllers[0].application, None);
    assert_eq!(report.controllers[0].replicas[0].lease, LeaseState::None);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_replica_that_has_no_lease_yet_is_one_of_its_application() {
    let mut world = world();
    let mut surge = pod("three", false);
    surge["metadata"]["creationTimestamp"] = json!(now());
    world.pods.push(surge);
    let mut ended = pod("four", false);
    ended["metadata"]["deletionTimestamp"] = json!(now());
    world.pods.push(ended);
    let report = world.report();
    assert_eq!(report.controllers.len(), 1);
    assert_eq!(report.controllers[0].replicas.len(), 3);
    assert!(report.findings.is_empty(), "{:?}", report.findings);

    // It had its time.
    world.pods[2]["metadata"]["creationTimestamp"] = json!(at(-3));
    let findings = world.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains("three is not ready"), "{findings:?}");
}

#[test]
fn a_ca_that_ends_soon_is_told_of_though_nothing_was_issued() {
    let mut world = world();
    let report = world.report();
    assert_eq!(report.signers[0].signing_expires, Some(at(60 * 24 * 100)));
    world.now = at(60 * 24 * 90);
    assert!(
        world
            .findings()
            .iter()
            .any(|found| found.contains("expires in 10 d"))
    );
    world.now = at(60 * 24 * 101);
    assert!(
        world
            .findings()
            .iter()
            .any(|found| found.contains("have expired"))
    );
}

#[test]
fn the_order_of_a_bundle_does_not_say_who_signs() {
    let mut world = world();
    // Its CA is the last of the pool by now; the bundle is as it was.
    let anchors = format!("{}{}", another_root(1), root());
    world.bundles[0]["spec"]["trustBundle"] = json!(anchors);
    let report = world.report();
    assert_eq!(report.signers[0].signing_expires, None);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    world.requests = vec![request("one", -1, &issued(-1, 1439, 719))];
    let report = world.report();
    assert_eq!(report.signers[0].signing_expires, Some(at(60 * 24 * 100)));
}

#[test]
fn who_waits_is_told_with_reason_and_cure_the_oldest_first() {
    let mut world = world();
    world.requests = vec![
        request("new", -1, &json!({})),
        request("old", -5, &json!({})),
    ];
    world.events = vec![event("old", -4, "NoMatchingService")];
    world.expected = Ok(Expectation::Wait(Told {
        reason: "PodNotFound".into(),
        message: "no pod".into(),
    }));
    let report = world.report();
    // The objects say something else by now.
    let oldest = &report.waiting[0];
    assert_eq!(oldest.reason.as_deref(), Some("PodNotFound"));
    assert!(
        oldest
            .message
            .contains("an Event said before: NoMatchingService")
    );
    assert_eq!(report.waiting[1].reason.as_deref(), Some("PodNotFound"));
    assert!(oldest.cure.as_ref().unwrap().contains("the pod is gone"));
    let finding = &report.findings[0];
    assert_eq!(
        finding.message,
        "2 requests wait, the oldest of pod shop/web for 5 min"
    );
    assert!(finding.cure.contains("podcert explain pod shop/web"));
}

#[test]
fn a_refusal_is_a_finding() {
    let mut world = world();
    let denied = json!({"conditions": [condition("Denied", "UnsupportedKeyType", "no such key")]});
    world.requests = vec![request("a", -5, &denied)];
    let findings = world.findings();
    assert!(
        findings[0].contains("UnsupportedKeyType: no such key"),
        "{findings:?}"
    );
}

#[test]
fn nobody_to_answer_is_an_error_only_where_somebody_asks() {
    let mut world = world();
    world.leases.clear();
    world.pods.clear();
    assert!(world.findings().is_empty());
    world.requests = vec![request("a", -5, &json!({}))];
    let findings = world.findings();
    assert!(
        findings[0].contains("no controller shows itself"),
        "{findings:?}"
    );
    assert_eq!(world.report().signers[0].answered, None);
    // Somebody outside the cluster told why.
    world.events = vec![event("a", -4, "NoMatchingService")];
    assert_eq!(world.findings().len(), 1, "{:?}", world.findings());
}

#[test]
fn an_api_that_is_not_served_is_an_error() {
    let mut world = world();
    world.version = None;
    assert!(world.findings()[0].contains("serves no PodCertificateRequests"));
}

#[test]
fn a_signer_without_good_anchors_is_an_error() {
    let mut world = world();
    world.bundles.clear();
    let findings = world.findings();
    assert!(findings[0].contains("has no bundle"), "{findings:?}");

    world.bundles = vec![bundle(&json!({}))];
    world.bundles[0]["spec"]["trustBundle"] = json!("nothing");
    let findings = world.findings();
    assert!(
        findings[0].contains("no anchor that can be read"),
        "{findings:?}"
    );
}

/// What pod podcert/one said of itself.
fn own_event(minutes: i64, word: &str, note: &str) -> Value {
    let mut event = event("none", minutes, word);
    event["metadata"]["namespace"] = json!("podcert");
    event["regarding"]["namespace"] = json!("podcert");
    event["regarding"]["uid"] = json!("uid-of-one");
    event["related"] = Value::Null;
    event["note"] = json!(note);
    event
}

#[test]
fn what_a_controller_said_of_itself_is_repeated_once() {
    let mut world = world();
    world.events = vec![
        own_event(-2, "CaPoolRefused", "the later"),
        own_event(-9, "CaPoolRefused", "the earlier"),
        own_event(-1, "NoSuchWord", "of a later version"),
    ];
    let findings = world.report().findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(
        findings[0]
            .message
            .contains("2 min ago replica podcert/one said CaPoolRefused: the later"),
        "{findings:?}"
    );
    assert_eq!(findings[1].cure, "kubectl -n podcert logs one");
}

#[test]
fn an_event_of_another_namespace_says_nothing_of_a_controller() {
    let mut world = world();
    let mut event = own_event(-2, "CaPoolRefused", "forged");
    event["metadata"]["namespace"] = json!("shop");
    world.events = vec![event];
    assert_eq!(world.findings(), Vec::<String>::new());
}

/// A pod of a tenant's that says that it is a controller.
fn forged(name: &str) -> Value {
    let mut pod = pod(name, true);
    pod["metadata"]["namespace"] = json!("shop");
    pod["metadata"]["uid"] = json!("uid-of-forged");
    pod
}

fn forged_lease(name: &str, seconds: i64) -> Lease {
    Lease {
        namespace: "shop".into(),
        ..lease(name, seconds)
    }
}

#[test]
fn who_may_not_sign_is_no_controller() {
    let mut world = world();
    world.pods.push(forged("evil"));
    world.leases.push(forged_lease("evil", -5));
    let mut event = own_event(-2, "CaPoolRefused", "delete your pool");
    event["metadata"]["namespace"] = json!("shop");
    event["regarding"]["uid"] = json!("uid-of-forged");
    world.events = vec![event];
    let report = world.report();
    assert_eq!(report.controllers.len(), 1);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let finding = &report.findings[0];
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.message.ends_with(": shop/evil"), "{finding:?}");
    assert!(finding.cure.contains("plays a controller"), "{finding:?}");

    // Nor does it answer for the controller that died.
    world.leases = vec![lease("one", -60), forged_lease("evil", -5)];
    world.pods = vec![pod("one", false), forged("evil")];
    let report = world.report();
    assert_eq!(report.signers[0].answered, Some(false));
    let dead = &report.findings[0];
    assert_eq!(dead.severity, Severity::Error);
    assert!(dead.message.contains("nobody answers"), "{dead:?}");

    // Nor is there one where it stands alone.
    world.leases.remove(0);
    world.pods.remove(0);
    world.requests = vec![request("a", -5, &json!({}))];
    let report = world.report();
    assert!(report.controllers.is_empty());
    assert!(
        report.findings[0]
            .message
            .contains("no controller shows itself"),
        "{:?}",
        report.findings
    );
    assert_eq!(report.findings[0].severity, Severity::Error);
}

#[test]
fn where_nobody_may_ask_who_may_sign_all_are_what_they_say() {
    let mut world = world();
    world.signing.clear();
    let report = world.report_without(&["rights"]);
    assert_eq!(report.controllers.len(), 1);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let hidden: Vec<&str> = report.not_shown.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(hidden, ["rights"]);
    assert_eq!(report.signers[0].answered, Some(true));
}

#[test]
fn a_lease_without_a_pod_is_no_error_whatever_it_says() {
    let mut world = world();
    world.leases.push(forged_lease("gone", -600));
    let report = world.report();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].severity, Severity::Warning);
    assert!(
        report.findings[0]
            .message
            .contains("if it is a controller, it does not answer"),
        "{:?}",
        report.findings
    );

    // Nor does it say that nobody answers, outside the cluster perhaps.
    world.leases = vec![forged_lease("gone", -600)];
    world.pods.clear();
    assert_eq!(world.report().signers[0].answered, None);

    // Nor does one that holds hide that there is no controller.
    world.leases = vec![forged_lease("alive", -5)];
    world.pods.clear();
    world.requests = vec![request("a", -5, &json!({}))];
    let report = world.report();
    assert_eq!(report.signers[0].answered, None);
    assert!(
        report.findings.iter().any(|found| found
            .message
            .contains("but by Leases without pods, in namespace shop")),
        "{:?}",
        report.findings
    );
}

#[test]
fn a_lease_that_says_nothing_ran_out() {
    let mut world = world();
    world.leases[1].held = None;
    let report = world.report();
    assert_eq!(
        report.controllers[0].replicas[1].lease,
        LeaseState::RanOut { renewed: None }
    );
}

#[test]
fn restarts_are_counted_whatever_they_add_up_to() {
    let mut world = world();
    let container = |name: &str| {
        json!({
            "name": name, "image": "i", "imageID": "i", "ready": true, "restartCount": i32::MAX,
        })
    };
    world.pods[0]["status"]["containerStatuses"] = json!([container("a"), container("b")]);
    let report = world.report();
    assert_eq!(
        report.controllers[0].replicas[0].restarts,
        2 * i64::from(i32::MAX)
    );
}

#[test]
fn what_cannot_be_read_is_counted() {
    let mut world = world();
    world.unread = vec![Unread {
        what: "Leases".into(),
        count: 2,
        first: "shop/a".into(),
    }];
    let report = world.report();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(
        report.findings[0].message,
        "2 of Leases cannot be read and are left out, the first shop/a"
    );
}
