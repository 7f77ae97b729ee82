use serde_json::{Value, json};

use super::*;
use crate::{Answer, Told};
use podcert_pki::KeyType;
use podcert_pki::inspect::describe;

use crate::testing::{at, bundle, condition, event, issued, now, read, request, with_key};

/// A cluster around pod shop/web, which asks for a certificate of service-dns and its anchors.
struct World {
    pod: Value,
    requests: Vec<Request>,
    events: Vec<Value>,
    bundles: Vec<Value>,
    expected: Result<Expectation, String>,
    answered: Option<bool>,
}

fn world() -> World {
    World {
        pod: json!({
            "metadata": {
                "namespace": "shop", "name": "web", "uid": "p", "creationTimestamp": at(-10),
            },
            "spec": {
                "nodeName": "n1", "serviceAccountName": "default", "containers": [],
                "volumes": [
                    {"name": "scratch", "emptyDir": {}},
                    {"name": "tls", "projected": {"sources": [
                        {"podCertificate": {
                            "signerName": "row-major.net/service-dns", "keyType": "ECDSAP256",
                            "credentialBundlePath": "creds.pem",
                        }},
                        {"clusterTrustBundle": {
                            "signerName": "row-major.net/service-dns", "path": "trust.pem",
                            "labelSelector": {"matchLabels": {"canarying": "live"}},
                        }},
                    ]}},
                ],
            },
            "status": {"phase": "Pending"},
        }),
        requests: Vec::new(),
        events: Vec::new(),
        bundles: vec![bundle(&json!({"canarying": "live"}))],
        expected: Err("not looked into".into()),
        answered: None,
    }
}

impl World {
    fn report(&self) -> PodReport {
        let pod: Pod = read(self.pod.clone());
        let events: Vec<Event> = read(Value::Array(self.events.clone()));
        let bundles: Vec<ClusterTrustBundle> = read(Value::Array(self.bundles.clone()));
        explain(&View {
            pod: &pod,
            requests: Ok(&self.requests),
            events: Ok(&events),
            bundles: Ok(&bundles),
            expected: &|_| self.expected.clone(),
            answered: &|_| self.answered,
            hidden: &[],
            now: now(),
        })
    }

    fn certificate(&self) -> SourceReport {
        self.report().sources.swap_remove(0)
    }

    fn anchors(&self) -> SourceReport {
        self.report().sources.swap_remove(1)
    }
}

fn told(reason: &str) -> Told {
    Told {
        reason: reason.into(),
        message: format!("message of {reason}"),
    }
}

#[test]
fn a_certificate_that_was_issued_is_there() {
    let mut world = world();
    world.requests = vec![request("a", -30, &issued(-30, 1410, 690))];
    let report = world.report();
    assert_eq!(report.worst(), Some(State::Present));
    let certificate = &report.sources[0];
    assert_eq!(certificate.paths, ["creds.pem"]);
    assert_eq!(certificate.request.as_deref(), Some("a"));
    assert_eq!(
        certificate.summary,
        "issued 30 min ago for web.shop.svc, expires in 23 h"
    );
    assert_eq!(certificate.details, ["the kubelet replaces it in 11 h"]);
    let told = serde_json::to_value(&report).unwrap();
    let told = &told["sources"][0]["certificate"];
    let Answer::Issued { chain, .. } = world.requests[0].answer() else {
        panic!("it was issued");
    };
    let serial = describe::hex(chain.unwrap().leaf().serial());
    assert_eq!(
        told,
        &json!({
            "serial": serial, "names": ["web.shop.svc"],
            "notBefore": at(-30), "notAfter": at(1410),
        })
    );
}

#[test]
fn one_that_nobody_replaces_wants_attention_and_then_is_missing() {
    let mut world = world();
    world.requests = vec![request("a", -900, &issued(-900, 540, -60))];
    let certificate = world.certificate();
    assert_eq!(certificate.state, State::Attention);
    assert!(
        certificate.details[0].contains("should have replaced it"),
        "{certificate:?}"
    );
    assert!(certificate.cure.unwrap().contains("kubelet"));

    world.requests = vec![request("a", -900, &issued(-900, -10, -400))];
    let certificate = world.certificate();
    assert_eq!(certificate.state, State::Missing);
    assert!(
        certificate.summary.starts_with("it expired 10 min ago"),
        "{certificate:?}"
    );
}

#[test]
fn an_event_says_why_it_waits_and_the_operators_page_what_cures_it() {
    let mut world = world();
    world.requests = vec![request("a", -4, &json!({}))];
    let mut elsewhere = event("a", -1, "CaExpired");
    elsewhere["metadata"]["namespace"] = json!("evil");
    world.events = vec![
        event("a", -4, "PodNotFound"),
        event("a", -3, "NoMatchingService"),
        event("other", -1, "CaExpired"),
        // Whose writer may write nothing about this request.
        elsewhere,
    ];
    let certificate = world.certificate();
    assert_eq!(certificate.state, State::Waiting);
    assert_eq!(
        certificate.summary,
        "asked 4 min ago, not answered: NoMatchingService"
    );
    assert_eq!(certificate.details[0], "note of NoMatchingService");
    assert!(
        certificate.details[1].contains("in 11 min"),
        "{certificate:?}"
    );
    assert_eq!(
        certificate.cure.as_deref(),
        Some("a Service whose selector matches its labels (pod owner)")
    );
}

#[test]
fn an_event_is_of_its_time() {
    let mut world = world();
    world.requests = vec![request("a", -4, &json!({}))];
    world.events = vec![event("a", -3, "NoMatchingService")];
    world.expected = Ok(Expectation::Wait(told("NoProjection")));
    let certificate = world.certificate();
    assert_eq!(certificate.reason.as_deref(), Some("NoProjection"));
    assert!(
        certificate.details[1].contains("an Event said before: NoMatchingService"),
        "{certificate:?}"
    );

    world.expected = Ok(Expectation::Issue);
    world.answered = Some(false);
    let certificate = world.certificate();
    assert_eq!(certificate.reason.as_deref(), Some("NoMatchingService"));
    assert!(
        certificate.details[1].contains("stands in its way now"),
        "{certificate:?}"
    );
    assert!(
        certificate.details[2].contains("no controller that lives"),
        "{certificate:?}"
    );
    assert!(certificate.cure.unwrap().contains("podcert status"));
}

#[test]
fn projections_that_differ_in_the_key_alone_have_requests_of_their_own() {
    let mut world = world();
    world.requests = vec![
        with_key("a", KeyType::EcdsaP256),
        with_key("b", KeyType::Ed25519),
    ];
    assert_eq!(world.certificate().request.as_deref(), Some("a"));
    let source = &mut world.pod["spec"]["volumes"][1]["projected"]["sources"][0];
    source["podCertificate"]["keyType"] = json!("ED25519");
    assert_eq!(world.certificate().request.as_deref(), Some("b"));
    source_is_of_no_request(&mut world);
}

fn source_is_of_no_request(world: &mut World) {
    let source = &mut world.pod["spec"]["volumes"][1]["projected"]["sources"][0];
    source["podCertificate"]["keyType"] = json!("RSA3072");
    assert_eq!(world.certificate().request, None);
}

#[test]
fn without_an_event_it_is_decided_anew() {
    let mut world = world();
    world.requests = vec![request("a", -4, &json!({}))];
    world.expected = Ok(Expectation::Wait(told("NoProjection")));
    let certificate = world.certificate();
    assert_eq!(certificate.reason.as_deref(), Some("NoProjection"));
    assert!(
        certificate.details[1].contains("no Event"),
        "{certificate:?}"
    );

    world.expected = Ok(Expectation::Issue);
    world.answered = Some(false);
    let certificate = world.certificate();
    assert_eq!(certificate.state, State::Waiting);
    assert!(
        certificate.details[1].contains("no controller that lives"),
        "{certificate:?}"
    );

    world.expected = Ok(Expectation::Deny(told("UnsupportedKeyType")));
    let certificate = world.certificate();
    assert!(
        certificate.summary.contains("it will be denied"),
        "{certificate:?}"
    );
}

#[test]
fn what_was_just_asked_is_under_way() {
    let mut world = world();
    world.requests = vec![request("a", 0, &json!({}))];
    world.expected = Ok(Expectation::Issue);
    assert_eq!(world.certificate().state, State::Underway);
    // Not if nobody is there to answer.
    world.answered = Some(false);
    assert_eq!(world.certificate().state, State::Waiting);
}

#[test]
fn a_denial_is_final_but_what_the_pod_has_is_said() {
    let mut world = world();
    let word = "InvalidUnverifiedUserAnnotations";
    let denied = json!({"conditions": [condition("Denied", word, "annotation x")]});
    world.requests = vec![
        request("old", -700, &issued(-700, 740, -5)),
        request("new", -5, &denied),
    ];
    let certificate = world.certificate();
    assert_eq!(certificate.state, State::Refused);
    assert_eq!(certificate.request.as_deref(), Some("new"));
    assert_eq!(certificate.reason.as_deref(), Some(word));
    assert_eq!(certificate.details[0], "annotation x");
    assert_eq!(certificate.certificate.as_ref().unwrap().not_after, at(740));
    assert!(
        certificate
            .details
            .last()
            .unwrap()
            .contains("earlier certificate, for another 12 h"),
        "{certificate:?}"
    );
    assert!(certificate.cure.unwrap().contains("make the pod anew"));
}

#[test]
fn requests_of_others_are_not_its_own() {
    let mut world = world();
    world.requests = vec![request("a", -1, &issued(-1, 1440, 700))];
    world.pod["spec"]["volumes"][1]["projected"]["sources"][0]["podCertificate"]["userAnnotations"] =
        json!({"a.b/c": "d"});
    assert_eq!(world.certificate().request, None);
    let mut world = self::world();
    world.requests = vec![request("a", -1, &issued(-1, 1440, 700))];
    world.pod["metadata"]["uid"] = json!("another");
    assert_eq!(world.certificate().request, None);
}

#[test]
fn without_a_request_the_pod_says_how_far_it_got() {
    let mut world = world();
    let certificate = world.certificate();
    assert_eq!(certificate.state, State::Waiting);
    assert!(
        certificate
            .summary
            .contains("kubelet of node n1 has not asked"),
        "{certificate:?}"
    );

    world.pod["metadata"]["creationTimestamp"] = json!(now());
    assert_eq!(world.certificate().state, State::Underway);

    world.pod["spec"]["nodeName"] = Value::Null;
    world.pod["status"]["conditions"] = json!([{
        "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available",
    }]);
    let certificate = world.certificate();
    assert_eq!(certificate.state, State::Waiting);
    assert!(
        certificate.details[0].contains("0/1 nodes"),
        "{certificate:?}"
    );

    world.pod["status"]["containerStatuses"] = json!([{
        "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {}},
    }]);
    assert_eq!(world.certificate().state, State::Assumed);

    world.pod["status"]["phase"] = json!("Succeeded");
    assert!(world.certificate().summary.contains("has ended"));
}

#[test]
fn the_warnings_of_others_are_repeated_while_the_pod_does_not_start() {
    let mut world = world();
    let mount = |minutes: i64, note: &str| {
        json!({
            "metadata": {"name": note}, "type": "Warning", "reason": "FailedMount", "note": note,
            "deprecatedLastTimestamp": at(minutes),
        })
    };
    world.events = vec![mount(-1, "the later"), mount(-3, "the earlier")];
    let mut own = event("a", -1, "NoMatchingService");
    own["type"] = json!("Warning");
    world.events.push(own);
    assert_eq!(world.report().warnings, ["FailedMount: the later"]);
}

#[test]
fn anchors_are_there_if_a_bundle_is_selected() {
    let mut world = world();
    let anchors = world.anchors();
    assert_eq!(anchors.state, State::Present);
    assert_eq!(
        anchors.summary,
        "1 anchor of row-major.net:service-dns:primary-bundle, good for 100 d"
    );

    world.bundles = vec![bundle(&json!({"canarying": "dead"}))];
    let anchors = world.anchors();
    assert_eq!(anchors.state, State::Missing);
    assert!(anchors.details[0].contains("canarying=dead"), "{anchors:?}");

    world.bundles.clear();
    let anchors = world.anchors();
    assert!(
        anchors.summary.contains("no ClusterTrustBundle of signer"),
        "{anchors:?}"
    );
}

#[test]
fn selectors_are_those_of_kubernetes() {
    let picks = |selector: Value| {
        let mut world = world();
        let source = &mut world.pod["spec"]["volumes"][1]["projected"]["sources"][1];
        source["clusterTrustBundle"]["labelSelector"] = selector;
        world.anchors().state == State::Present
    };
    let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    assert!(!picks(Value::Null));
    assert!(picks(json!({})));
    assert!(picks(expression("canarying", "In", &["x", "live"])));
    assert!(!picks(expression("canarying", "In", &["x"])));
    assert!(!picks(expression("canarying", "NotIn", &["live"])));
    assert!(picks(expression("other", "NotIn", &["live"])));
    assert!(picks(expression("canarying", "Exists", &[])));
    assert!(!picks(expression("other", "Exists", &[])));
    assert!(picks(expression("other", "DoesNotExist", &[])));
    assert!(!picks(expression("canarying", "DoesNotExist", &[])));
    assert!(!picks(expression("canarying", "Unheard", &[])));
}

#[test]
fn what_is_not_shown_is_unknown_and_said() {
    let not_shown = || NotShown {
        what: "requests".into(),
        why: "forbidden".into(),
    };
    let pod: Pod = read(world().pod);
    let report = explain(&View {
        pod: &pod,
        requests: Err(not_shown()),
        events: Err(not_shown()),
        bundles: Err(not_shown()),
        expected: &|_| Err(String::new()),
        answered: &|_| None,
        hidden: &[not_shown()],
        now: now(),
    });
    assert_eq!(report.worst(), Some(State::Unknown));
    assert_eq!(report.not_shown.len(), 4);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["sources"][0]["kind"], "certificate");
    assert_eq!(json["sources"][0]["state"], "unknown");
}

#[test]
fn nothing_is_said_of_events_that_are_hidden() {
    let pod: Pod = read(world().pod);
    let explained = |events: Shown<&[Event]>| {
        let report = explain(&View {
            pod: &pod,
            requests: Ok(&[request("a", -1, &json!({}))]),
            events,
            bundles: Ok(&[]),
            expected: &|_| Ok(Expectation::Wait(told("NoMatchingService"))),
            answered: &|_| None,
            hidden: &[],
            now: now(),
        });
        let source = &report.sources[0];
        assert_eq!(source.reason.as_deref(), Some("NoMatchingService"));
        source.details.join(" ")
    };
    assert!(explained(Ok(&[])).contains("no Event says so"));
    let hidden = explained(Err(NotShown {
        what: "Events".into(),
        why: "forbidden".into(),
    }));
    assert!(
        !hidden.contains("no Event") && hidden.contains("Events say is hidden"),
        "{hidden}"
    );
}
