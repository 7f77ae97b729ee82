//! Where dates come from.
//!
//! Production reads the system clock, which follows NTP steps and suspend; tests read tokio's
//! clock, which stands still until every task sleeps, so that a year passes in milliseconds and
//! each decision replays. Both sides use tokio's timers; [`sleep_until`] looks at the date again
//! each minute, because a timer counts neither a clock that was set nor a laptop that slept.

use std::str::FromStr;
use std::{fmt, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the date. Cheap: callers ask as often as they like.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present date.
    fn now(&self) -> Timestamp;
}

/// A clock handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The system's clock: production.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the system"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A date that moves with tokio's clock: with paused time, the clock of tests.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    date: Timestamp,
    instant: Instant,
}

impl TokioClock {
    /// A clock that shows `date` now. Call inside a tokio runtime when its time is paused.
    pub fn starting_at(date: Timestamp) -> Self {
        Self {
            date,
            instant: Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.instant.elapsed());
        elapsed
            .ok()
            .and_then(|elapsed| self.date.checked_add(elapsed).ok())
            .unwrap_or(Timestamp::MAX)
    }
}

/// A clock that runs faster than the system's, by a whole factor from one date on: the clock of a
/// sandbox that shows a day in minutes, and of the processes in it.
///
/// Every process that reads the same words makes the same clock: they are its [`Display`]
/// (`2026-01-01T00:00:00Z*120`), handed on in the variable [`ScaledClock::VARIABLE`]. Timers are not
/// scaled: who sleeps by this clock divides by [`ScaledClock::factor`] or looks again often enough.
///
/// [`Display`]: fmt::Display
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScaledClock {
    origin: Timestamp,
    factor: u32,
}

/// Why words are no [`ScaledClock`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{words:?} is no clock: expected <RFC 3339 date>*<factor from 1 to {max}>", max = ScaledClock::MAX_FACTOR)]
pub struct NotAClock {
    words: String,
}

impl ScaledClock {
    /// The environment variable that tells a process its clock.
    pub const VARIABLE: &str = "PODCERT_CLOCK";
    /// The fastest clock: a day in 87 seconds.
    pub const MAX_FACTOR: u32 = 1_000;

    /// A clock that agrees with the system's at `origin` and gains from then on; `None` unless
    /// `factor` is from 1 to [`ScaledClock::MAX_FACTOR`].
    pub fn new(origin: Timestamp, factor: u32) -> Option<Self> {
        // What the words can say, so that every process has the very same.
        let origin = Timestamp::from_second(origin.as_second()).ok()?;
        (1..=Self::MAX_FACTOR)
            .contains(&factor)
            .then_some(Self { origin, factor })
    }

    /// How many of its seconds are one of the system's.
    pub fn factor(&self) -> u32 {
        self.factor
    }

    /// What it shows when the system's clock shows `system`.
    fn at(&self, system: Timestamp) -> Timestamp {
        let elapsed = system.duration_since(self.origin);
        i32::try_from(self.factor)
            .ok()
            .and_then(|factor| elapsed.checked_mul(factor))
            .and_then(|scaled| self.origin.checked_add(scaled).ok())
            .unwrap_or(Timestamp::MAX)
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        self.at(SystemClock.now())
    }
}

impl fmt::Display for ScaledClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*{}", self.origin, self.factor)
    }
}

impl FromStr for ScaledClock {
    type Err = NotAClock;

    fn from_str(words: &str) -> Result<Self, NotAClock> {
        let parse = || {
            let (origin, factor) = words.split_once('*')?;
            Self::new(origin.parse().ok()?, factor.parse().ok()?)
        };
        parse().ok_or_else(|| NotAClock {
            words: words.to_owned(),
        })
    }
}

/// Sleeps until `clock` shows `date`, looking again at least each minute.
///
/// # Cancel safety
/// Dropping it loses nothing.
pub async fn sleep_until(clock: &dyn Clock, date: Timestamp) {
    while let Some(left) = until(clock, date) {
        tokio::time::sleep(left.min(RECHECK)).await;
    }
}

/// How long until `clock` shows `date`; nothing when it already does.
pub fn until(clock: &dyn Clock, date: Timestamp) -> Option<Duration> {
    Duration::try_from(date.duration_since(clock.now()))
        .ok()
        .filter(|left| !left.is_zero())
}

/// How long a timer may run before the date is looked at again.
pub const RECHECK: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokios_clock_moves_with_its_timers() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = TokioClock::starting_at(start);
        assert_eq!(clock.now(), start);
        tokio::time::sleep(Duration::from_secs(86_400 * 365)).await;
        assert_eq!(clock.now().to_string(), "2027-01-01T00:00:00Z");
    }

    #[test]
    fn a_scaled_clock_gains_and_survives_its_words() {
        let origin: Timestamp = "2026-01-01T00:00:00.7Z".parse().unwrap();
        let clock = ScaledClock::new(origin, 120).unwrap();
        assert_eq!(clock.to_string(), "2026-01-01T00:00:00Z*120");
        assert_eq!(clock.to_string().parse(), Ok(clock));
        let minute: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(clock.at(minute).to_string(), "2026-01-01T02:00:00Z");
        let before: Timestamp = "2025-12-31T23:59:59Z".parse().unwrap();
        assert_eq!(clock.at(before).to_string(), "2025-12-31T23:58:00Z");
        assert_eq!(clock.at(Timestamp::MAX), Timestamp::MAX);
        assert!(clock.now() > SystemClock.now());
        for factor in [0, ScaledClock::MAX_FACTOR + 1] {
            assert_eq!(ScaledClock::new(origin, factor), None);
        }
        for words in [
            "",
            "*",
            "2026-01-01T00:00:00Z",
            "now*3",
            "2026-01-01T00:00:00Z*0",
            "2026-01-01T00:00:00Z*-1",
        ] {
            assert!(words.parse::<ScaledClock>().is_err(), "{words}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sleeps_until_a_date() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = TokioClock::starting_at(start);
        let date = start + SignedDuration::from_secs(3_601);
        sleep_until(&clock, date).await;
        assert_eq!(clock.now(), date);
        sleep_until(&clock, start).await;
        assert_eq!(clock.now(), date);
    }
}
