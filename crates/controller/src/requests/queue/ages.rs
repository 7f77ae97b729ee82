//! Since when requests wait: of each signer and reason, the oldest.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

/// How many of the requests that wait were created when.
#[derive(Debug, Default)]
pub(super) struct Ages {
    waiting: HashMap<(usize, &'static str), BTreeMap<Timestamp, usize>>,
}

impl Ages {
    /// One more waits for `reason`. Returns when the oldest was created.
    pub(super) fn enter(
        &mut self,
        signer: usize,
        reason: &'static str,
        created: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let waiting = self.waiting.entry((signer, reason)).or_default();
        // An API server says of every object when it was created.
        if let Some(created) = created {
            *waiting.entry(created).or_default() += 1;
        }
        waiting.keys().next().copied()
    }

    /// One waits for it no longer. Returns when the oldest of the others was created.
    pub(super) fn leave(
        &mut self,
        signer: usize,
        reason: &'static str,
        created: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let waiting = self.waiting.get_mut(&(signer, reason))?;
        if let Some((created, count)) =
            created.and_then(|created| Some((created, waiting.get_mut(&created)?)))
        {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&created);
            }
        }
        waiting.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_those_that_wait_for_one_reason_the_oldest_counts() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut ages = Ages::default();
        assert_eq!(ages.enter(0, "Late", at(20)), at(20));
        assert_eq!(ages.enter(0, "Late", at(10)), at(10));
        assert_eq!(ages.enter(0, "Late", at(10)), at(10));
        assert_eq!(ages.enter(0, "Other", at(5)), at(5));
        assert_eq!(ages.enter(1, "Late", None), None);
        assert_eq!(ages.leave(0, "Late", at(10)), at(10));
        assert_eq!(ages.leave(0, "Late", at(10)), at(20));
        assert_eq!(ages.leave(0, "Late", at(20)), None);
        assert_eq!(ages.leave(1, "Late", None), None);
        assert_eq!(ages.leave(2, "Late", at(1)), None);
    }
}
