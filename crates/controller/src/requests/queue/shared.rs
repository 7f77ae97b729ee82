//! Sharing: which requests are this replica's, and what is believed of them after a gap.

use std::sync::Arc;

use super::{Queue, Uid, entry::State};
use crate::sharing::Owners;

impl Queue {
    /// Answers what is this replica's by `owners` from now on. What is under way stays under way.
    pub(crate) fn share(&mut self, owners: Owners) {
        if self.owners == owners {
            return;
        }
        self.owners = owners;
        let moved: Vec<(Uid, bool)> = self
            .tracked
            .iter()
            .filter_map(|(uid, entry)| {
                let ours = entry.is_of(&self.owners);
                let moves = match &entry.state {
                    State::Elsewhere => ours,
                    // Whose it is now says why it waits.
                    State::Pending(_) => !ours,
                    // Looked at when its turn comes, or when it is over.
                    State::Answered | State::InFlight | State::Queued => false,
                };
                moves.then(|| (Arc::clone(uid), ours))
            })
            .collect();
        for (uid, ours) in moved {
            if ours {
                self.set_state(&uid, State::Queued);
                self.ready.push_back(uid);
            } else {
                self.set_state(&uid, State::Elsewhere);
            }
        }
    }

    /// Believes nothing of what it knows until lists have shown it again: this replica stood still,
    /// or others did its work for a while.
    pub(crate) fn distrust(&mut self) {
        self.world.distrust();
        let mut undecided = Vec::new();
        for (uid, entry) in &mut self.tracked {
            entry.stale = true;
            if matches!(entry.state, State::Pending(_)) {
                undecided.push(Arc::clone(uid));
            }
        }
        // Queued in fact when they are shown.
        for uid in undecided {
            self.set_state(&uid, State::Queued);
        }
    }
}
