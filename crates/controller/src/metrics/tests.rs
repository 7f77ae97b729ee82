mod monitoring;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use http::{Request, Response};
use podcert_runtime::{Jitter, TokioClock, api};
use prometheus_client::encoding::text::encode;
use serde_json::Value;
use tower::service_fn;

use super::*;

const SIGNER: &str = "row-major.net/spiffe";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Metrics of one signer, where they are shown, and the readiness they show.
fn metrics() -> (Metrics, Registry, Health) {
    let health = Health::new();
    let metrics = Metrics::new(vec![SIGNER.parse().unwrap()]);
    let mut registry = Registry::default();
    metrics.register(&mut registry, &health);
    (metrics, registry, health)
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

/// The values that each label of each sample has, by the sample's name.
type Shown = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a scrape shows once everything has happened.
async fn everything() -> Shown {
    let (metrics, mut registry, _) = metrics();
    let second = Duration::from_secs(1);
    metrics.answered(0, Outcome::Issued, ISSUED, second);
    metrics.waiting(0, "PoolNotLoaded", 1);
    metrics.oldest_waiting(0, "PoolNotLoaded", Some(at(1)));
    metrics.signed(0, second);
    let pool = LoadedPool {
        at: at(1),
        chain_not_after: at(2),
        anchor_not_after: Some(at(3)),
    };
    metrics.pool_loaded(0, pool);
    metrics.uids_compared("nodes", true);
    metrics.speaks("podcertificaterequests", None, Some("v1"));
    metrics.read_again(0, "shown");
    metrics.clock_offset(0.5);
    metrics.shares(2, 0.5);
    metrics.lease_renewal("released");
    metrics.unknown_anchors(0, 1);

    // One try for each kind of answer, whatever is tried again.
    let server = service_fn(|request: Request<kube::client::Body>| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        let body = http_body_util::Full::<bytes::Bytes>::from("{}");
        if status == 0 {
            return Err(io::Error::other("no answer"));
        }
        Ok(Response::builder().status(status).body(body).unwrap())
    });
    let options = api::Options {
        jitter: Jitter::seeded(1),
        ..api::Options::new(Arc::new(TokioClock::starting_at(at(0))))
    };
    let connection = api::Connection::from_service(server, "default", options);
    connection.metrics().register(&mut registry);
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        for status in [0, 200, 401, 403, 404, 409, 410, 422, 429, 500] {
            let request = Request::builder().method(method).uri(format!("/{status}"));
            let request = request.body(Vec::new()).unwrap();
            // What is made of the answer is not the question here.
            let _ = connection.client().request::<Value>(request).await;
        }
    }
    shown(&text(&registry))
}

fn shown(text: &str) -> Shown {
    let mut shown = Shown::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let seen = shown.entry(name.to_owned()).or_default();
        for label in labels.trim_end_matches('}').split_terminator("\",") {
            let (label, value) = label.split_once("=\"").unwrap();
            let value = value.trim_end_matches('"').to_owned();
            seen.entry(label.to_owned()).or_default().insert(value);
        }
    }
    shown
}

#[test]
fn counters_that_alerts_ask_about_begin_at_zero() {
    let (_, registry, _) = metrics();
    let text = text(&registry);
    for line in [
        r#"podcert_requests_total{signer="row-major.net/spiffe",outcome="denied",reason="UnsupportedKeyType"} 0"#,
        r#"podcert_pool_loads_total{signer="row-major.net/spiffe",outcome="missing"} 0"#,
        r#"podcert_bundle_writes_total{signer="row-major.net/spiffe",outcome="refused"} 0"#,
        r#"podcert_double_writes_total{signer="row-major.net/spiffe"} 0"#,
        r#"podcert_events_total{outcome="dropped"} 0"#,
        r#"podcert_lease_renewals_total{outcome="gone"} 0"#,
        r#"podcert_watch_failures_total{resource="leases"} 0"#,
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    // What nobody knows yet is not shown as 0, which would be 1970.
    assert!(!text.contains("_timestamp_seconds{"), "{text}");
}

#[test]
fn the_version_and_the_readiness_are_shown() {
    let (_, registry, health) = metrics();
    let version = env!("CARGO_PKG_VERSION");
    let line = format!("podcert_build_info{{version=\"{version}\"}} 1\n");
    assert!(text(&registry).contains(&line));
    let check = health.check("pool");
    assert!(text(&registry).contains("\npodcert_ready 0\n"));
    check.pass();
    assert!(text(&registry).contains("\npodcert_ready 1\n"));
}

#[test]
fn a_pool_says_until_when_it_serves_and_that_it_went_bad() {
    let (metrics, registry, _) = metrics();
    let pool = LoadedPool {
        at: at(100),
        chain_not_after: at(200),
        anchor_not_after: Some(at(300)),
    };
    metrics.pool_loaded(0, pool);
    metrics.pool_unusable(0, "refused");
    let text = text(&registry);
    for (name, value) in [
        ("podcert_pool_last_load_successful", 0),
        ("podcert_pool_last_load_success_timestamp_seconds", 100),
        ("podcert_signing_chain_expiry_timestamp_seconds", 200),
        ("podcert_anchor_expiry_timestamp_seconds", 300),
    ] {
        let line = format!("{name}{{signer=\"{SIGNER}\"}} {value}\n");
        assert!(text.contains(&line), "no {line} in\n{text}");
    }
    let no_anchor = LoadedPool {
        anchor_not_after: None,
        ..pool
    };
    metrics.pool_loaded(0, no_anchor);
    let again = self::text(&registry);
    assert!(!again.contains("podcert_anchor_expiry_timestamp_seconds{"));
    assert!(again.contains(&format!("_last_load_successful{{signer=\"{SIGNER}\"}} 1\n")));
}

#[test]
fn the_oldest_is_shown_while_something_waits() {
    let (metrics, registry, _) = metrics();
    let line = format!(
        "podcert_requests_oldest_waiting_timestamp_seconds{{signer=\"{SIGNER}\",reason=\"Late\"}} 7\n"
    );
    metrics.oldest_waiting(0, "Late", Some(at(7)));
    assert!(text(&registry).contains(&line));
    metrics.oldest_waiting(0, "Late", None);
    assert!(!text(&registry).contains("oldest_waiting_timestamp_seconds{"));
}
