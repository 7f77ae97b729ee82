//! Announcements: what the owner of a pod is told, once for each request and reason, and not
//! before the wait has lasted.

use std::sync::Arc;

use podcert_issuance::Request;
use podcert_resources::event::Severity;

use super::{Queue, Uid, entry::State};

/// Something the owner of a pod should know.
#[derive(Debug)]
pub(crate) struct Announcement {
    pub(crate) request: Arc<Request>,
    pub(crate) severity: Severity,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Queue {
    /// What has been to announce since the last call.
    pub(crate) fn announcements(&mut self) -> Vec<Announcement> {
        std::mem::take(&mut self.announcements)
    }

    /// Says once per request and reason that it waits, if it still does.
    pub(super) fn announce(&mut self, uid: &Uid, reason: &'static str) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        if entry.announcing == Some(reason) {
            entry.announcing = None;
        }
        let State::Pending(pending) = &entry.state else {
            return;
        };
        if pending.reason != reason || entry.announced.contains(&reason) {
            return;
        }
        entry.announced.push(reason);
        self.announcements.push(Announcement {
            request: Arc::clone(&entry.request),
            severity: Severity::Warning,
            reason,
            message: pending.message.clone(),
        });
    }
}
