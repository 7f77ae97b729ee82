use proptest::prelude::*;

use super::*;
use crate::status_rules::{self, IssuedStatus};
use crate::testing::{at, validity};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// The policy's longest lifetime, the request's, when the CA ends, and what comes out.
const LIFETIMES: &[(&str, u64, u64, &str, &str)] = &[
    (
        "as both say",
        DAY,
        DAY,
        "2027-01-01T00:00:00Z",
        "2026-11-22T11:58:00Z",
    ),
    (
        "the policy is shorter",
        6 * HOUR,
        DAY,
        "2027-01-01T00:00:00Z",
        "2026-11-21T17:58:00Z",
    ),
    (
        "the request is shorter",
        DAY,
        HOUR,
        "2027-01-01T00:00:00Z",
        "2026-11-21T12:58:00Z",
    ),
    (
        "the CA is shorter",
        DAY,
        DAY,
        "2026-11-21T20:00:00Z",
        "2026-11-21T20:00:00Z",
    ),
    (
        "the CA just lasts",
        DAY,
        DAY,
        "2026-11-21T12:58:00Z",
        "2026-11-21T12:58:00Z",
    ),
];

#[test]
fn the_shortest_lifetime_counts_from_not_before() {
    for (story, longest, requested, ca_ends, expected) in LIFETIMES {
        let policy = LifetimePolicy::with_max_lifetime(Duration::from_secs(*longest)).unwrap();
        let chain = validity("2026-01-01T00:00:00Z", ca_ends);
        let now = at("2026-11-21T12:00:00.999Z");
        let schedule = policy
            .schedule(Duration::from_secs(*requested), "uid", chain, now)
            .unwrap();
        let expected = validity("2026-11-21T11:58:00Z", expected);
        assert_eq!(schedule.validity, expected, "{story}");
    }
}

#[test]
fn a_fleet_spreads_its_refreshes_around_half_life() {
    let policy = LifetimePolicy::default();
    let chain = validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let now = at("2026-11-21T12:00:00Z");
    let not_before = at("2026-11-21T11:58:00Z");
    let mut minutes = [0_usize; 144];
    for pod in 0..14_400_u32 {
        let uid = format!("{pod:08x}-9b1c-4f0e-8d2a-5e6f7a8b9c0d");
        let schedule = policy
            .schedule(Duration::from_secs(DAY), &uid, chain, now)
            .unwrap();
        let after = schedule
            .begin_refresh_at
            .duration_since(not_before)
            .as_secs();
        assert!(
            (38_880..=47_520).contains(&after),
            "10 h 48 min to 13 h 12 min, not {after} s"
        );
        let again = policy
            .schedule(Duration::from_secs(DAY), &uid, chain, now)
            .unwrap();
        assert_eq!(schedule, again);
        minutes[usize::try_from((after - 38_880) / 60).unwrap().min(143)] += 1;
    }
    let (fewest, most) = (minutes.iter().min().unwrap(), minutes.iter().max().unwrap());
    assert!(
        *fewest > 50 && *most < 170,
        "100 a minute on average, found {fewest} to {most}"
    );
}

#[test]
fn a_pod_keeps_its_place() {
    // Written down, so that a change of the hash is a decision.
    let policy = LifetimePolicy::default();
    let chain = validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let uid = "0b7e3f0a-9b1c-4f0e-8d2a-5e6f7a8b9c0d";
    let now = at("2026-11-21T12:00:00Z");
    let schedule = policy
        .schedule(Duration::from_secs(DAY), uid, chain, now)
        .unwrap();
    assert_eq!(schedule.begin_refresh_at, at("2026-11-22T00:56:36Z"));
}

#[test]
fn only_what_the_api_server_accepts_can_be_configured() {
    let max = |seconds| LifetimePolicy::with_max_lifetime(Duration::from_secs(seconds));
    assert!(max(HOUR - 1).is_err() && max(91 * DAY + 1).is_err());
    assert!(max(HOUR).is_ok() && max(91 * DAY).is_ok());
    let backdate = |seconds| LifetimePolicy::default().with_backdate(Duration::from_secs(seconds));
    assert!(backdate(0).is_ok() && backdate(240).is_ok());
    assert_eq!(
        backdate(241).unwrap_err().to_string(),
        "certificates can be backdated by at most 4 minutes, not 241s"
    );
}

proptest! {
    #[test]
    fn a_schedule_keeps_the_rules_or_says_why_not(
        longest in HOUR..=91 * DAY,
        backdate in 0_u64..=240,
        requested in any::<u32>(),
        uid in ".{0,40}",
        now in any::<i32>(),
        nanosecond in 0_i32..1_000_000_000,
        ca_from in any::<i16>(),
        ca_lasts in 1_i64..20_000_000,
    ) {
        let policy = LifetimePolicy::with_max_lifetime(Duration::from_secs(longest)).unwrap();
        let policy = policy.with_backdate(Duration::from_secs(backdate)).unwrap();
        prop_assert_eq!(policy.max_lifetime(), Duration::from_secs(longest));
        prop_assert_eq!(policy.backdate(), Duration::from_secs(backdate));
        let requested = Duration::from_secs(requested.into());
        let second = i64::from(now);
        let now = Timestamp::new(second.abs(), nanosecond).unwrap();
        let from = Timestamp::from_second(second.abs() + i64::from(ca_from)).unwrap();
        let to = Timestamp::from_second(second.abs() + i64::from(ca_from) + ca_lasts).unwrap();
        let Ok(chain) = Validity::new(from, to) else { return Ok(()) };
        match policy.schedule(requested, &uid, chain, now) {
            Ok(Schedule { validity, begin_refresh_at }) => {
                let times = IssuedStatus {
                    certificate_chain: "",
                    not_before: validity.not_before(),
                    begin_refresh_at,
                    not_after: validity.not_after(),
                };
                prop_assert_eq!(status_rules::check_times(&times, requested, now), Ok(()));
                prop_assert!(validity.not_after() <= chain.not_after());
                prop_assert!(begin_refresh_at.subsec_nanosecond() == 0);
            }
            Err(wait) => {
                let room = chain.not_after().as_second() - (now.as_second() - i64::try_from(backdate).unwrap());
                let possible = chain.contains(now) && room >= 3_600 && requested.as_secs() >= HOUR
                    && now.as_second() >= i64::try_from(backdate).unwrap();
                prop_assert!(!possible, "{wait:?}");
            }
        }
    }
}
