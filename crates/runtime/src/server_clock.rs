//! The API server's clock, as its `Date` headers show it.
//!
//! kube-apiserver refuses a certificate whose notBefore is five minutes from *its* time, so a
//! controller on a skewed machine must follow the server, not itself. A `Date` header is cut to
//! whole seconds and was written at some moment between our sending the request and our reading
//! the answer. If we sent at `s`, received at `r` and the header says `d`, then
//!
//! ```text
//! d - r  <=  server - local  <  d + 1 s - s
//! ```
//!
//! The offset we keep starts at zero and each answer moves it by the least that makes it agree
//! with that interval. So clocks that agree are left alone, slow answers (a wide interval) teach
//! little, quick ones sharpen the estimate, and it does not jitter; and when either clock is set,
//! the next answer corrects it at once. One stray answer can pull it away, and the next
//! one pulls it back: a wrong guess costs a refused write that carries the right `Date` itself.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

use crate::{Clock, SharedClock};

/// The API server's time: our clock plus the offset learned from its answers.
#[derive(Debug)]
pub struct ServerClock {
    local: SharedClock,
    // Milliseconds, server minus local.
    offset: AtomicI64,
}

impl ServerClock {
    /// Agrees with `local` until an answer says otherwise.
    pub fn new(local: SharedClock) -> Self {
        Self {
            local,
            offset: AtomicI64::new(0),
        }
    }

    /// How far the server's clock is ahead of ours.
    pub fn offset(&self) -> SignedDuration {
        SignedDuration::from_millis(self.offset.load(Ordering::Relaxed))
    }

    /// The clock of this machine.
    pub fn local(&self) -> &SharedClock {
        &self.local
    }

    /// Learns from an answer: the date it carries, and when by our clock its request was sent
    /// and it was received.
    pub fn observe(&self, date: Timestamp, sent: Timestamp, received: Timestamp) {
        let date = date.as_second().saturating_mul(1000);
        let earliest = date.saturating_sub(received.as_millisecond());
        let latest = date
            .saturating_add(1000)
            .saturating_sub(sent.as_millisecond());
        if earliest > latest {
            // Our clock was set back while the request was under way: it says nothing.
            return;
        }
        // A lost update between two answers is corrected by the next one.
        let offset = self.offset.load(Ordering::Relaxed);
        self.offset
            .store(offset.clamp(earliest, latest), Ordering::Relaxed);
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        let now = self.local.now();
        now.checked_add(self.offset()).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::TokioClock;

    const START: i64 = 1_800_000_000;

    /// A server whose clock is `skew` ahead of ours; an answer takes `rtt`.
    async fn exchange(clock: &ServerClock, skew: SignedDuration, rtt: Duration) {
        let sent = clock.local().now();
        tokio::time::sleep(rtt / 2).await;
        let date = (clock.local().now() + skew).as_second();
        tokio::time::sleep(rtt / 2).await;
        clock.observe(
            Timestamp::from_second(date).unwrap(),
            sent,
            clock.local().now(),
        );
    }

    fn clock() -> ServerClock {
        let start = Timestamp::from_second(START).unwrap();
        ServerClock::new(Arc::new(TokioClock::starting_at(start)))
    }

    #[tokio::test(start_paused = true)]
    async fn clocks_that_agree_are_left_alone() {
        let clock = clock();
        for step in 0..50 {
            exchange(&clock, SignedDuration::ZERO, Duration::from_millis(2)).await;
            tokio::time::sleep(Duration::from_millis(137 * step)).await;
        }
        assert_eq!(clock.offset(), SignedDuration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_skewed_server_is_followed_to_the_second_and_closer() {
        for skew in [-7200, -301, 45, 86_400] {
            let skew = SignedDuration::from_secs(skew);
            let clock = clock();
            exchange(&clock, skew, Duration::from_millis(4)).await;
            let error = (clock.offset() - skew).abs();
            assert!(error <= SignedDuration::from_millis(1004), "{error:?}");
            for step in 0..100 {
                exchange(&clock, skew, Duration::from_millis(4)).await;
                tokio::time::sleep(Duration::from_millis(37 * step)).await;
            }
            let error = (clock.offset() - skew).abs();
            assert!(error <= SignedDuration::from_millis(60), "{error:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_teaches_little() {
        let clock = clock();
        let skew = SignedDuration::from_secs(10);
        exchange(&clock, skew, Duration::from_secs(60)).await;
        assert_eq!(clock.offset(), SignedDuration::ZERO);
        exchange(&clock, skew, Duration::from_millis(10)).await;
        assert!((clock.offset() - skew).abs() <= SignedDuration::from_millis(1010));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_is_followed_at_once() {
        let clock = clock();
        exchange(
            &clock,
            SignedDuration::from_secs(600),
            Duration::from_millis(4),
        )
        .await;
        exchange(&clock, SignedDuration::ZERO, Duration::from_millis(4)).await;
        assert!(clock.offset().abs() <= SignedDuration::from_millis(1004));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_received_before_it_was_asked_for_says_nothing() {
        let clock = clock();
        let now = clock.local().now();
        clock.observe(now, now, now - SignedDuration::from_secs(5));
        assert_eq!(clock.offset(), SignedDuration::ZERO);
    }
}
