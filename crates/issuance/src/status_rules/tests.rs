use super::*;
use crate::testing::{TestCa, World};

/// A status that keeps every rule, to be broken one rule at a time.
struct Good {
    world: World,
    pem: String,
    not_before: Timestamp,
    begin_refresh_at: Timestamp,
    not_after: Timestamp,
}

impl Good {
    fn new() -> Self {
        let ca = TestCa::new();
        let mut world = World::service_dns();
        world.service("web", &[("app", "web")]);
        let plan = world.plan();
        Self {
            pem: ca.sign(&plan).to_pem(),
            not_before: plan.spec.validity().not_before(),
            begin_refresh_at: plan.begin_refresh_at,
            not_after: plan.spec.validity().not_after(),
            world,
        }
    }

    fn check(&self) -> Result<(), StatusRuleViolation> {
        let status = IssuedStatus {
            certificate_chain: &self.pem,
            not_before: self.not_before,
            begin_refresh_at: self.begin_refresh_at,
            not_after: self.not_after,
        };
        check(&status, &self.world.request, self.world.now)
    }
}

type Break = (fn(&mut Good), &'static str);

const RULES: &[Break] = &[
    (
        |good| good.pem = good.pem.repeat(200),
        "status.certificateChain has",
    ),
    (
        |good| good.pem.clear(),
        "status.certificateChain is no chain",
    ),
    (
        |good| good.pem.push_str("-----BEGIN CERT"),
        "status.certificateChain is no chain",
    ),
    (
        |good| good.pem = good.pem.replace("CERTIFICATE", "X509 CRL"),
        "status.certificateChain is no chain",
    ),
    (
        |good| good.world.request.key = RequestedKey::NotShown,
        "the leaf's public key is not the requested one",
    ),
    (
        |good| good.not_before += SECOND,
        "status.notBefore is 2026-11-21T11:58:01Z, but the leaf's is 2026-11-21T11:58:00Z",
    ),
    (
        |good| good.not_after -= SECOND,
        "status.notAfter is 2026-11-22T11:57:59Z, but the leaf's is",
    ),
    (
        |good| good.world.now += 180 * SECOND,
        "status.notBefore 2026-11-21T11:58:00Z is not within 5 minutes",
    ),
    (
        |good| good.world.now -= 420 * SECOND,
        "status.notBefore 2026-11-21T11:58:00Z is not within 5 minutes",
    ),
    (
        |good| good.world.request.max_expiration = Duration::from_secs(86_399),
        "the lifetime of 24h is not between",
    ),
    (
        |good| good.begin_refresh_at = good.not_before + 599 * SECOND,
        "status.beginRefreshAt 2026-11-21T12:07:59Z is not at least 10 minutes after",
    ),
    (
        |good| good.begin_refresh_at = good.not_after - 599 * SECOND,
        "status.beginRefreshAt 2026-11-22T11:48:01Z is not at least 10 minutes after",
    ),
];

#[test]
fn a_good_status_passes_at_the_edge_of_every_rule() {
    let mut good = Good::new();
    assert_eq!(good.check(), Ok(()));
    good.begin_refresh_at = good.not_before + 600 * SECOND;
    assert_eq!(good.check(), Ok(()));
    good.begin_refresh_at = good.not_after - 600 * SECOND;
    assert_eq!(good.check(), Ok(()));
    good.world.now = good.not_before + 299 * SECOND;
    assert_eq!(good.check(), Ok(()));
    good.world.now = good.not_before - 299 * SECOND;
    assert_eq!(good.check(), Ok(()));
}

#[test]
fn each_broken_rule_is_named() {
    for (break_it, message) in RULES {
        let mut good = Good::new();
        break_it(&mut good);
        let violation = good.check().unwrap_err();
        assert!(
            violation.to_string().starts_with(message),
            "{violation}, expected {message}"
        );
        let wait = violation.into_wait(good.world.now);
        assert_eq!(wait.reason, WaitReason::StatusRuleViolation);
        assert!(wait.message.contains(message), "{}", wait.message);
    }
}

#[test]
fn a_lifetime_below_an_hour_is_named() {
    let mut good = Good::new();
    good.not_after = good.not_before + 3_599 * SECOND;
    let times = IssuedStatus {
        certificate_chain: "",
        not_before: good.not_before,
        begin_refresh_at: good.begin_refresh_at,
        not_after: good.not_after,
    };
    let violation = check_times(&times, good.world.request.max_expiration, good.world.now);
    assert!(
        matches!(violation, Err(StatusRuleViolation::Lifetime { .. })),
        "{violation:?}"
    );
}

#[test]
fn a_decision_that_came_too_late_is_made_again() {
    let mut good = Good::new();
    good.world.now += 180 * SECOND;
    let wait = good.check().unwrap_err().into_wait(good.world.now);
    assert_eq!(wait.wake, Wake::At(good.world.now + 30 * SECOND));
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);
