//! Timers: what happens to a request when nothing happens.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Queue, Uid};

#[derive(Debug)]
pub(super) enum Timer {
    Announce { uid: Uid, reason: &'static str },
    PassOn { uid: Uid, generation: u64 },
    Wake { uid: Uid, generation: u64 },
}

/// Timers by their time; those of one instant fire in the order they were started.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeMap<(Instant, u64), Timer>,
    sequence: u64,
}

impl Timers {
    pub(super) fn start(&mut self, at: Instant, timer: Timer) {
        self.sequence += 1;
        self.by_time.insert((at, self.sequence), timer);
    }

    fn deadline(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    fn due(&mut self, now: Instant) -> Option<Timer> {
        let first = self.by_time.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

impl Queue {
    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }

    /// Fires the timers due at `now`.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(timer) = self.timers.due(now) {
            match timer {
                Timer::Announce { uid, reason } => self.announce(&uid, reason),
                Timer::PassOn { uid, generation } => self.pass_on(&uid, generation, now),
                Timer::Wake { uid, generation } => {
                    if self
                        .tracked
                        .get(&uid)
                        .is_some_and(|entry| entry.generation == generation)
                    {
                        self.enqueue(&uid);
                    }
                }
            }
        }
    }

    pub(super) fn wake_after(&mut self, uid: &Uid, after: Duration, now: Instant) {
        if let Some(entry) = self.tracked.get(uid) {
            let timer = Timer::Wake {
                uid: Arc::clone(uid),
                generation: entry.generation,
            };
            self.timers.start(now + after, timer);
        }
    }
}
