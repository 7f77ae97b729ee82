//! The pod's volumes: brought up to date with the pod's sync, each as a whole.

use std::path::Path;

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::PodWorker;
use super::playing::{Playing, doubled};
use crate::events::Severity;
use crate::kubelet::certificate::State;
use crate::kubelet::generation::{self, File, Outcome, Payload, RelativePath};
use crate::kubelet::plan::{CertificatePlan, ObjectPlan, Source, VolumePlan};
use crate::kubelet::{token, trust_bundle};

impl PodWorker {
    /// Brings every volume up to date when the sync is due.
    pub(super) async fn sync_volumes(&mut self, playing: &mut Playing) {
        if playing.over || Instant::now() < playing.next_sync {
            return;
        }
        let timing = self.shared.node.timing;
        let mut failed = false;
        let plan = playing.plan.clone();
        for (name, volume) in &plan.volumes {
            if let Err(message) = self.set_up(playing, name, volume).await {
                failed = true;
                let message = format!("MountVolume.SetUp failed for volume {name:?} : {message}");
                self.emit(Severity::Warning, "FailedMount", &message).await;
            }
        }
        let wait = if failed {
            playing.mount_failures = playing.mount_failures.saturating_add(1);
            doubled(
                timing.mount_retry,
                playing.mount_failures,
                timing.mount_retry_max,
            )
        } else {
            playing.mounted = true;
            playing.mount_failures = 0;
            timing.sync_frequency + self.shared.node.draw(timing.sync_frequency / 2)
        };
        playing.next_sync = Instant::now() + wait;
    }

    async fn set_up(
        &self,
        playing: &mut Playing,
        name: &str,
        volume: &VolumePlan,
    ) -> Result<(), String> {
        let path = playing
            .folder
            .volume(name)
            .map_err(|error| error.to_string())?;
        let VolumePlan::Files { mode, sources } = volume else {
            return Ok(());
        };
        let mut payload = Payload::new();
        let mut errors = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let place = (name.to_owned(), index);
            let added = self.add(playing, &mut payload, place, source, *mode).await;
            errors.extend(added.err());
        }
        match errors.as_slice() {
            [] => {}
            [one] => return Err(one.clone()),
            several => return Err(format!("[{}]", several.join(", "))),
        }
        self.write(&path, &payload)
    }

    /// Adds a source's files.
    async fn add(
        &self,
        playing: &mut Playing,
        payload: &mut Payload,
        place: (String, usize),
        source: &Source,
        mode: u32,
    ) -> Result<(), String> {
        let node = &self.shared.node;
        match source {
            Source::Certificate(source) => {
                let state = playing.certificates.get(&place);
                let state = state.ok_or("the certificate's state is missing")?;
                add_credential(payload, source, state, mode)
            }
            Source::Downward(files) => {
                let address = playing.folder.address().to_string();
                for file in files {
                    let value = file.field.value(&self.pod, &address);
                    add_text(payload, &file.path, value, file.mode.unwrap_or(mode));
                }
                Ok(())
            }
            Source::Object(source) => self.add_object(playing, payload, source, mode).await,
            Source::Token(plan) => {
                let now = node.clock.now();
                let jitter = node.draw(token::JITTER);
                let account = self.account();
                let token = playing
                    .tokens
                    .get(&node.client, &self.name, &account, plan, now, jitter)
                    .await?;
                let bytes = Zeroizing::new(token.as_bytes().to_vec());
                payload.insert(plan.path.clone(), File { bytes, mode });
                Ok(())
            }
            Source::TrustBundle {
                selection,
                presence,
                path,
            } => {
                let bundles = self.shared.bundles.state();
                let bundles = bundles.iter().map(AsRef::as_ref);
                let shuffle = self.shared.shuffle;
                let text = trust_bundle::content(bundles, selection, *presence, shuffle)?;
                add_text(payload, path, text, mode);
                Ok(())
            }
        }
    }

    async fn add_object(
        &self,
        playing: &mut Playing,
        payload: &mut Payload,
        source: &ObjectPlan,
        mode: u32,
    ) -> Result<(), String> {
        let ObjectPlan {
            kind,
            name,
            items,
            optional,
        } = source;
        let client = &self.shared.node.client;
        let content = playing
            .objects
            .read_present(client, &self.name.namespace, *kind, name, *optional)
            .await?;
        if items.is_empty() {
            for (key, bytes) in content.iter() {
                let path = RelativePath::try_from(key.as_str())?;
                let bytes = bytes.clone();
                payload.insert(path, File { bytes, mode });
            }
        }
        for item in items {
            match content.get(&item.key) {
                Some(bytes) => {
                    let (bytes, mode) = (bytes.clone(), item.mode.unwrap_or(mode));
                    payload.insert(item.path.clone(), File { bytes, mode });
                }
                None if *optional => {}
                None => {
                    let kind = kind.name().to_lowercase();
                    let key = &item.key;
                    return Err(format!("{kind} references non-existent {kind} key: {key}"));
                }
            }
        }
        Ok(())
    }

    /// Puts the files in place.
    fn write(&self, path: &Path, payload: &Payload) -> Result<(), String> {
        let now = self.shared.node.clock.now();
        // Not in a thread of its own: a few small files, and a kubelet that is stopped must not leave a writer behind
        // that could put its generation over that of the next kubelet.
        match generation::write(path, payload, now) {
            Ok(Outcome::Replaced) => {
                self.shared
                    .node
                    .ledger
                    .note(|report| report.generations += 1);
                Ok(())
            }
            Ok(Outcome::Unchanged) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn add_text(payload: &mut Payload, path: &RelativePath, text: String, mode: u32) {
    let bytes = Zeroizing::new(text.into_bytes());
    payload.insert(path.clone(), File { bytes, mode });
}

fn add_credential(
    payload: &mut Payload,
    source: &CertificatePlan,
    state: &State,
    mode: u32,
) -> Result<(), String> {
    let credential = state.credential()?;
    let key = credential
        .key
        .to_pkcs8_pem()
        .map_err(|error| error.to_string())?;
    let chain = trust_bundle::clean_chain(&credential.chain)?;
    let mut add = |path: &Option<RelativePath>, parts: &[&str]| {
        if let Some(path) = path {
            let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|p| p.len()).sum()));
            for part in parts {
                bytes.extend_from_slice(part.as_bytes());
            }
            payload.insert(path.clone(), File { bytes, mode });
        }
    };
    add(&source.paths.bundle, &[&key, &chain]);
    add(&source.paths.key, &[&key]);
    add(&source.paths.chain, &[&chain]);
    Ok(())
}
