//! The picking of work: which request is answered next, and with what.

use std::sync::Arc;

use jiff::Timestamp;
use podcert_authority::Authority;
use podcert_issuance::{Decision, Denial, Plan, Request, RequestedKey, decide};
use tokio::time::Instant;

use super::{
    Queue, Signer, Uid,
    entry::{Cure, Pending, State, Tracked},
};
use crate::{reasons::POOL_NOT_LOADED, sharing::Owners};

/// An answer to be given: signed if need be, and written once.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) uid: Uid,
    /// Index of the signer in the configuration.
    pub(crate) signer: usize,
    pub(crate) authority: Arc<Authority>,
    pub(crate) request: Arc<Request>,
    /// The resource version the write is conditional on.
    pub(crate) version: String,
    pub(crate) answer: Answer,
}

/// A request whose key v1 does not show, to be read at v1beta1.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) uid: Uid,
    /// Index of the signer in the configuration.
    pub(crate) signer: usize,
    pub(crate) request: Arc<Request>,
}

/// What to answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Deny(Denial),
    Issue(Plan),
}

impl Queue {
    /// The next answer to give. `date` is the API server's time.
    ///
    /// It looks at no more than [`AT_A_TIME`] requests: one pod may have thousands that wait, each change of which
    /// has all of them decided again, and other things are done on the same thread. Then it answers with nothing and
    /// is [paused](Self::paused).
    pub(crate) fn next(&mut self, date: Timestamp, now: Instant) -> Option<Work> {
        self.paused = false;
        if !self.world.is_listed() {
            return None;
        }
        let mut looked_at = 0;
        while let Some(uid) = self.ready.pop_front() {
            if looked_at == AT_A_TIME {
                self.ready.push_front(uid);
                self.paused = true;
                return None;
            }
            looked_at += 1;
            let Some(entry) = self.tracked.get_mut(&uid) else {
                continue;
            };
            // What is known from before a gap is queued again when a list shows it.
            if !matches!(entry.state, State::Queued) || entry.stale {
                continue;
            }
            if !entry.is_of(&self.owners) {
                self.leave_to_others(&uid, now);
                continue;
            }
            if entry.hides_its_key() && self.versions.requests_at_v1beta1 {
                self.unread.push_back(uid);
                continue;
            }
            let (signer, passed) = (entry.signer, entry.passed);
            let (decision, authority) = match self.signers.get(signer) {
                Some(Signer {
                    policy,
                    authority: Some(authority),
                    pool,
                    ..
                }) => {
                    entry.pool = *pool;
                    let chain = authority.chain_validity();
                    (
                        decide(policy, &entry.request, &self.world, chain, date),
                        authority,
                    )
                }
                _ if passed > 0 => {
                    self.leave_to_others(&uid, now);
                    continue;
                }
                _ => {
                    let pending = Pending {
                        reason: POOL_NOT_LOADED,
                        message: format!(
                            "no CA pool of signer {} is loaded yet",
                            entry.request.signer
                        ),
                        cure: Cure::Pool,
                    };
                    self.wait(&uid, pending, now);
                    continue;
                }
            };
            let answer = match decision {
                Decision::Issue(plan) => Answer::Issue(plan),
                Decision::Deny(denial) => Answer::Deny(denial),
                // That it waits is its owner's to say.
                Decision::Wait(_) if passed > 0 => {
                    self.leave_to_others(&uid, now);
                    continue;
                }
                Decision::Wait(wait) => {
                    self.wait_for(&uid, wait, date, now);
                    continue;
                }
            };
            let (request, version) = (Arc::clone(&entry.request), entry.version.clone());
            let authority = Arc::clone(authority);
            self.set_state(&uid, State::InFlight);
            return Some(Work {
                uid,
                signer,
                authority,
                request,
                version,
                answer,
            });
        }
        None
    }

    /// Whether [`Self::next`] has more to look at, for which it wants to be called again soon.
    pub(crate) fn paused(&self) -> bool {
        self.paused
    }

    /// The next request to read.
    pub(crate) fn next_unread(&mut self, now: Instant) -> Option<Unread> {
        while let Some(uid) = self.unread.pop_front() {
            let Some(entry) = self.tracked.get_mut(&uid) else {
                continue;
            };
            let unread = matches!(entry.state, State::Queued) && entry.hides_its_key();
            if !unread || entry.stale {
                continue;
            }
            if !entry.is_of(&self.owners) {
                self.leave_to_others(&uid, now);
                continue;
            }
            let (signer, request) = (entry.signer, Arc::clone(&entry.request));
            self.set_state(&uid, State::InFlight);
            return Some(Unread {
                uid,
                signer,
                request,
            });
        }
        None
    }
}

/// Some milliseconds.
const AT_A_TIME: usize = 64;

impl Tracked {
    /// Whether it is this replica's to answer.
    pub(super) fn is_of(&self, owners: &Owners) -> bool {
        let Request {
            namespace, name, ..
        } = self.request.as_ref();
        owners.own_request(namespace, name, self.passed)
    }

    /// Whether v1beta1 may show a key that was not seen yet.
    pub(super) fn hides_its_key(&self) -> bool {
        self.request.key == RequestedKey::NotShown && !self.read_again
    }
}
