//! Sharing: which requests are this replica's, and what is believed of them after a gap.
//!
//! A request that lies about for a minute though it could be answered is passed on, to who would own
//! it without its owner: some replica renews its Lease and does not answer (it is stuck; it is
//! meshtool's, and the API server does not serve its version, or it has no such signer).

use std::{sync::Arc, time::Duration};

use podcert_issuance::Request;
use tokio::time::Instant;

use super::{Queue, Uid, entry::State, timers::Timer};
use crate::sharing::Owners;

impl Queue {
    /// Answers what is this replica's by `owners` from now on. What is under way stays under way.
    pub(crate) fn share(&mut self, owners: Owners, now: Instant) {
        if self.owners == owners {
            return;
        }
        let before = std::mem::replace(&mut self.owners, owners);
        // What was passed on begins anew where its owner is another: of who comes and goes often,
        // others would be asked again and again in vain.
        for entry in self.tracked.values_mut().filter(|entry| entry.passed > 0) {
            let Request {
                namespace, name, ..
            } = entry.request.as_ref();
            let owner = self.owners.owner_of_request(namespace, name);
            if owner.is_none() || owner != before.owner_of_request(namespace, name) {
                entry.passed = 0;
            }
        }
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
                self.leave_to_others(&uid, now);
            }
        }
    }

    /// Another replica answers `uid`, within a minute.
    pub(super) fn leave_to_others(&mut self, uid: &Uid, now: Instant) {
        self.set_state(uid, State::Elsewhere);
        if let Some(entry) = self.tracked.get(uid) {
            let timer = Timer::PassOn {
                uid: Arc::clone(uid),
                generation: entry.generation,
            };
            self.timers.start(now + PATIENCE, timer);
        }
    }

    /// Whoever should have answered `uid` has not.
    pub(super) fn pass_on(&mut self, uid: &Uid, generation: u64, now: Instant) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        if !matches!(entry.state, State::Elsewhere) || entry.generation != generation {
            return;
        }
        entry.passed = entry.passed.saturating_add(1);
        if entry.is_of(&self.owners) {
            tracing::debug!(
                namespace = entry.request.namespace,
                request = entry.request.name,
                "another replica has not answered it within a minute; looking at it"
            );
            self.set_state(uid, State::Queued);
            self.ready.push_back(Arc::clone(uid));
        } else {
            self.leave_to_others(uid, now);
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

/// How long a request is left to whoever should answer it.
const PATIENCE: Duration = Duration::from_mins(1);
