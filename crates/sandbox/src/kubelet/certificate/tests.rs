use super::*;

use k8s_openapi::api::certificates::v1::PodCertificateRequestStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use podcert_pki::KeyType;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcdsaP256).unwrap()
}

fn none() -> Duration {
    Duration::ZERO
}

fn pending() -> PodCertificateRequest {
    PodCertificateRequest::default()
}

fn answered(condition: &str, begin_refresh_at: Timestamp) -> PodCertificateRequest {
    PodCertificateRequest {
        status: Some(PodCertificateRequestStatus {
            conditions: Some(vec![Condition {
                type_: condition.to_owned(),
                status: "True".to_owned(),
                reason: "Because".to_owned(),
                message: "of the weather".to_owned(),
                last_transition_time: Time(at(0)),
                observed_generation: None,
            }]),
            certificate_chain: Some("chain".to_owned()),
            begin_refresh_at: Some(Time(begin_refresh_at)),
            not_after: Some(Time(later(begin_refresh_at, Duration::from_secs(3600)))),
            not_before: Some(Time(at(0))),
        }),
        ..Default::default()
    }
}

fn waiting() -> State {
    let mut state = State::Initial;
    assert_eq!(state.advance(|_| None, at(0), none), Transition::Request);
    state.requested(key(), "req-a".to_owned(), at(0), Duration::from_secs(60));
    state
}

#[test]
fn a_certificate_is_kept_until_its_refresh_and_its_jitter_are_due() {
    let mut state = waiting();
    assert_eq!(
        state.advance(|_| Some(pending()), at(1), none),
        Transition::Rest
    );
    let waiting = "credential bundle is not issued yet";
    assert_eq!(state.credential().unwrap_err(), waiting);
    let jitter = || Duration::from_secs(120);
    let issued = |name: &str| {
        assert_eq!(name, "req-a");
        Some(answered("Issued", at(1000)))
    };
    assert_eq!(state.advance(issued, at(2), jitter), Transition::Issued);
    let first = state
        .credential()
        .unwrap()
        .key
        .public_key()
        .spki_der()
        .to_vec();
    assert_eq!(state.advance(|_| None, at(1119), none), Transition::Rest);
    assert_eq!(state.advance(|_| None, at(1120), none), Transition::Request);

    state.requested(key(), "req-b".to_owned(), at(1120), none());
    let held = state
        .credential()
        .unwrap()
        .key
        .public_key()
        .spki_der()
        .to_vec();
    assert_eq!(
        held, first,
        "the old key stays until the new certificate is there"
    );
    let issued = |_: &str| Some(answered("Issued", at(2000)));
    assert_eq!(state.advance(issued, at(1121), none), Transition::Issued);
    let second = state
        .credential()
        .unwrap()
        .key
        .public_key()
        .spki_der()
        .to_vec();
    assert_ne!(first, second, "every request has its own key");
}

#[test]
fn a_request_is_lost_only_when_missing_after_ten_minutes_and_jitter() {
    let mut state = waiting();
    assert_eq!(state.advance(|_| None, at(659), none), Transition::Rest);
    assert_eq!(state.advance(|_| None, at(660), none), Transition::Rest);
    assert_eq!(
        state.advance(|_| Some(pending()), at(10_000), none),
        Transition::Rest
    );
    assert_eq!(state.advance(|_| None, at(661), none), Transition::Lost);
    assert_eq!(state.advance(|_| None, at(661), none), Transition::Request);
}

#[test]
fn a_lost_refresh_keeps_the_certificate_and_asks_again() {
    let mut state = waiting();
    state.advance(|_| Some(answered("Issued", at(1000))), at(2), none);
    assert_eq!(state.advance(|_| None, at(1000), none), Transition::Request);
    state.requested(key(), "req-b".to_owned(), at(1000), none());
    assert_eq!(state.advance(|_| None, at(1601), none), Transition::Lost);
    assert!(state.credential().is_ok());
    assert_eq!(state.advance(|_| None, at(1601), none), Transition::Request);
}

#[test]
fn lateness_is_told_once_of_each_certificate_after_its_jitter() {
    let mut state = waiting();
    let jitter = || Duration::from_secs(120);
    assert_eq!(state.lateness(at(1_000_000)), [], "there is none");
    state.advance(|_| Some(answered("Issued", at(1000))), at(2), jitter);
    assert_eq!(state.lateness(at(1720)), []);
    // Whether its successor can be asked for or not.
    assert_eq!(state.lateness(at(1721)), [Lateness::Overdue]);
    state.requested(key(), "req-b".to_owned(), at(1721), none());
    assert_eq!(state.lateness(at(4600)), []);
    assert_eq!(state.lateness(at(4601)), [Lateness::Expired]);
    assert_eq!(state.advance(|_| None, at(5000), none), Transition::Lost);
    assert_eq!(state.lateness(at(5001)), [], "it was told");
    state.requested(key(), "req-c".to_owned(), at(5001), none());
    state.advance(|_| Some(answered("Issued", at(6000))), at(5002), none);
    let both = [Lateness::Overdue, Lateness::Expired];
    assert_eq!(state.lateness(at(100_000)), both, "another one");
}

#[test]
fn denied_and_failed_are_final_even_on_refresh() {
    for word in ["Denied", "Failed"] {
        let mut state = waiting();
        state.advance(|_| Some(answered("Issued", at(1000))), at(2), none);
        state.advance(|_| None, at(1000), none);
        state.requested(key(), "req-b".to_owned(), at(1000), none());
        let transition = state.advance(|_| Some(answered(word, at(0))), at(1001), none);
        let refusal = Refusal {
            reason: "Because".into(),
            message: "of the weather".into(),
        };
        let expected = match word {
            "Denied" => Transition::Denied(refusal),
            _ => Transition::Failed(refusal),
        };
        assert_eq!(transition, expected);
        assert!(
            state
                .credential()
                .unwrap_err()
                .contains(r#"reason="Because" message="of the weather""#)
        );
        assert_eq!(
            state.advance(|_| None, at(1_000_000), none),
            Transition::Rest
        );
    }
}

#[test]
fn an_issued_condition_without_its_fields_is_no_answer() {
    let mut state = waiting();
    let mut hollow = answered("Issued", at(1000));
    hollow.status.as_mut().unwrap().begin_refresh_at = None;
    assert_eq!(
        state.advance(|_| Some(hollow), at(1), none),
        Transition::Rest
    );
}

proptest! {
    /// Whatever the API shows and however time jumps: a credential once there is given up only for Denied or Failed,
    /// and a key is never used for two requests.
    #[test]
    fn no_certificate_is_ever_dropped_without_a_refusal(
        steps in proptest::collection::vec((0u8..5, 0i64..2000), 1..60),
    ) {
        let mut state = State::Initial;
        let mut now = 0;
        let mut had_credential = false;
        for (seen, pause) in steps {
            now += pause;
            let refresh = later(at(now), Duration::from_secs(600));
            let shown = match seen {
                0 => None,
                1 => Some(answered("Issued", refresh)),
                2 => Some(answered("Denied", refresh)),
                _ => Some(pending()),
            };
            let was_pending = matches!(state, State::Waiting(_) | State::Refreshing { .. });
            match state.advance(|_| shown, at(now), none) {
                Transition::Request => {
                    prop_assert!(!was_pending, "a second request while one is pending");
                    state.requested(key(), format!("req-{now}"), at(now), none());
                }
                Transition::Denied(_) => return Ok(()),
                Transition::Issued => had_credential = true,
                _ => {}
            }
            prop_assert_eq!(state.credential().is_ok(), had_credential);
        }
    }
}
