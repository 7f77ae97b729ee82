//! The write of a bundle, what is made of its answer, and what is told of others who write.

use std::time::Duration;

use kube::api::PostParams;
use kube::core::{Request, Resource as _};
use podcert_pki::{BundleError, Certificate};
use podcert_resources::{ApiVersion, ClusterTrustBundle};
use podcert_runtime::api::Withdrawn;
use tokio::time::Instant;

use super::plan::{Desired, Step};
use super::{BACKOFF, KeptBundle, Observation};
use crate::reasons::{BUNDLE_CONTESTED, UNKNOWN_ANCHORS};
use crate::versions::{Spoken, is_unserved};
use crate::{UnknownAnchors, watching};

/// How often somebody else undid what was written. The first time it is put right at once, then
/// ever later: two who disagree must not spend the API server on it.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// When this pool's anchors were last written.
    written: Option<Instant>,
    times: u32,
    /// Nothing is written before.
    pub(super) rest_until: Option<Instant>,
}

impl KeptBundle<'_> {
    /// Takes `step`.
    pub(super) async fn write(&mut self, desired: &Desired, step: Step) {
        // Known, as the bundle was observed.
        let Some(version) = self.context.versions.now().bundles else {
            return;
        };
        let (outcome, written) = match step {
            Step::Nothing => return,
            Step::Create(bundle) => ("created", self.send(version, *bundle, false).await),
            Step::Update(bundle) => ("updated", self.send(version, *bundle, true).await),
        };
        match written {
            Ok(bundle) => {
                self.context.metrics.bundle_outcome(self.index, outcome);
                tracing::info!(
                    bundle = self.name,
                    anchors = desired.anchors.anchors().len(),
                    "ClusterTrustBundle {outcome}"
                );
                self.observed = Observation::Known(Some(Box::new(bundle)));
                let unknown = self.look_at_unknown_anchors();
                self.published(unknown);
                self.note_write();
            }
            Err(error) => self.refused(version, &error),
        }
    }

    /// Sends `bundle` while this replica's term lasts.
    async fn send(
        &self,
        version: ApiVersion,
        bundle: ClusterTrustBundle,
        replaces: bool,
    ) -> kube::Result<ClusterTrustBundle> {
        let body = serde_json::to_vec(&bundle.at(version)).map_err(kube::Error::SerdeError)?;
        let to = Request::new(ClusterTrustBundle::url_path(&version, None));
        let params = PostParams::default();
        let request = if replaces {
            to.replace(&self.name, &params, body)
        } else {
            to.create(&params, body)
        };
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        let permit = self.context.sharing.permit(self.term);
        permit.bind(&mut request);
        self.context.connection.client().request(request).await
    }

    fn refused(&mut self, version: ApiVersion, error: &kube::Error) {
        if Withdrawn::is(error) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let after = BACKOFF.delay(self.failures, &self.context.jitter);
        self.not_before = Some(Instant::now() + after);
        if matches!(error, kube::Error::Api(status) if is_unserved(status)) {
            self.context.versions.unserved(Spoken::Bundles, version);
            tracing::info!(bundle = self.name, %version, "this version is not served any more");
            return;
        }
        if matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409)) {
            // Somebody else wrote it: what stands there now comes over the watch, and is compared
            // at once.
            self.context.metrics.bundle_outcome(self.index, "conflict");
            return;
        }
        self.context.metrics.bundle_outcome(self.index, "refused");
        let why = format!(
            "ClusterTrustBundle {} cannot be written: {error}",
            self.name
        );
        let forbidden =
            matches!(error, kube::Error::Api(status) if status.code == watching::FORBIDDEN);
        let rights = &self.context.rights;
        if forbidden && rights.tells_of(&["clustertrustbundles", "signers"]) {
            tracing::debug!(retry_in = ?after, "{why}");
        } else {
            tracing::warn!(retry_in = ?after, "{why}");
        }
        self.check.fail(why);
    }

    /// Keeps count of writes that put right what was right before.
    fn note_write(&mut self) {
        let now = Instant::now();
        let again = self
            .undone
            .written
            .is_some_and(|last| now - last < FORGOTTEN_AFTER);
        self.undone.written = Some(now);
        if !again {
            self.undone.times = 0;
            return;
        }
        self.undone.times = self.undone.times.saturating_add(1);
        let rest = BACKOFF.delay(self.undone.times, &self.context.jitter);
        self.undone.rest_until = Some(now + rest);
        if self.undone.times != TOLD_AFTER {
            return;
        }
        let note = format!(
            "somebody else keeps writing ClusterTrustBundle {}: two controllers with different CA \
             pools for one signer? Clients trust now the one, now the other",
            self.name
        );
        tracing::error!(bundle = self.name, reason = BUNDLE_CONTESTED, "{note}");
        self.tell(BUNDLE_CONTESTED, note);
    }

    /// Tells of anchors that are in no pool, each once.
    pub(super) fn tell_of(&mut self, unknown: Vec<Certificate>) {
        let new: Vec<_> = unknown
            .into_iter()
            .filter(|anchor| !self.told.contains(anchor))
            .collect();
        if new.is_empty() {
            return;
        }
        let names: Vec<_> = new.iter().map(describe).collect();
        let names = names.join(", ");
        self.told.extend(new);
        let bundle = &self.name;
        if self.unknown == UnknownAnchors::Remove {
            tracing::warn!(bundle, "anchors that are in no pool are removed: {names}");
            return;
        }
        let note = format!(
            "ClusterTrustBundle {bundle} holds anchors that are in no CA pool of this controller, and \
             clients trust them: {names}. They stay: another controller's, or of a CA that left the \
             pool while no controller ran. To have them removed, start it with \
             --remove-unknown-anchors"
        );
        tracing::warn!(bundle, reason = UNKNOWN_ANCHORS, "{note}");
        self.tell(UNKNOWN_ANCHORS, note);
    }

    /// Tells that the bundle cannot be read to the end, once for each reason.
    pub(super) fn tell_of_unread(&mut self, unread: Option<BundleError>) {
        if self.told_unread == unread {
            return;
        }
        self.told_unread = unread;
        let Some(error) = &self.told_unread else {
            return;
        };
        let bundle = &self.name;
        let why = crate::pools::with_sources(error);
        let note = format!(
            "ClusterTrustBundle {bundle} holds something that cannot be read, and perhaps clients \
             trust it: {why}. All of it stays, anchors that left the pool too. To have the pool's \
             anchors and nothing else, start the controller with --remove-unknown-anchors"
        );
        tracing::warn!(bundle, reason = UNKNOWN_ANCHORS, "{note}");
        self.tell(UNKNOWN_ANCHORS, note);
    }

    /// An Event on the controller's own pod.
    fn tell(&self, reason: &'static str, note: String) {
        self.context.warn_own_pod(reason, "PublishAnchors", note);
    }
}

/// An anchor in a few words; meshtool's have no subject.
fn describe(anchor: &Certificate) -> String {
    use std::fmt::Write as _;
    let serial = anchor
        .serial()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let written = write!(text, "{byte:02x}");
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
            text
        });
    let subject = match anchor.subject() {
        subject if subject.is_empty() => "no subject".to_owned(),
        subject => subject.to_string(),
    };
    format!("{subject} (serial {serial}, until {})", anchor.not_after())
}

const TOLD_AFTER: u32 = 3;
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
