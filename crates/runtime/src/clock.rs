//! Where dates come from.
//!
//! Production reads the system clock, which follows NTP steps and suspend; tests read tokio's
//! clock, which stands still until every task sleeps, so that a year passes in milliseconds and
//! each decision replays. Both sides use tokio's timers; [`sleep_until`] looks at the date again
//! each minute, because a timer counts neither a clock that was set nor a laptop that slept.

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
