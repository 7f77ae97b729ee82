//! How long to wait before the next try.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Exponential backoff: doubles from `base`, never above `max`, and the second half of each wait
/// is random, so that what failed together does not return together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits around `base` after the first failure, at most `max` after many.
    pub const fn new(base: Duration, max: Duration) -> Self {
        Self { base, max }
    }

    /// The wait after `failures` failures in a row; the first failure is 1.
    pub fn delay(&self, failures: u32, jitter: &Jitter) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.base.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(0.5 + jitter.next() / 2.0)
    }
}

/// A source of numbers that spread waits. Clones draw from one sequence.
///
/// Nothing secret depends on it: it is seeded from the process in production and by the test in
/// tests, where the same seed gives the same run.
#[derive(Clone, Debug)]
pub struct Jitter(Arc<AtomicU64>);

impl Jitter {
    /// The sequence that belongs to `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// A sequence of this process's own.
    pub fn from_process() -> Self {
        Self::seeded(RandomState::new().hash_one(std::process::id()))
    }

    /// The next number, in 0.0..1.0.
    pub fn next(&self) -> f64 {
        // SplitMix64 (Steele, Lea, Flood 2014): one add and three mixes.
        let mut z = self
            .0
            .fetch_add(GOLDEN_GAMMA, Ordering::Relaxed)
            .wrapping_add(GOLDEN_GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The upper 53 bits are what an f64 holds exactly.
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_bound_and_is_spread() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let jitter = Jitter::seeded(7);
        for (failures, whole) in [(1, 100), (2, 200), (3, 400), (7, 5000), (1000, 5000)] {
            let delay = backoff.delay(failures, &jitter);
            assert!(
                delay >= Duration::from_millis(whole / 2),
                "{failures}: {delay:?}"
            );
            assert!(
                delay <= Duration::from_millis(whole),
                "{failures}: {delay:?}"
            );
        }
    }

    #[test]
    fn the_same_seed_replays() {
        let draw = |seed| {
            let jitter = Jitter::seeded(seed);
            [jitter.next(), jitter.clone().next(), jitter.next()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let jitter = Jitter::seeded(3);
        let mean = (0..10_000).map(|_| jitter.next()).sum::<f64>() / 10_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
