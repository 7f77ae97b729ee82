//! Values made of files: parsed at each change, the last good one kept.
//!
//! A [`Source`] follows a set of files ([`crate::files`]) and parses each consistent reading of
//! them. What parses becomes a [`Snapshot`] with the next generation number; what does not leaves
//! the last good snapshot in force and is told by [`Source::last_error`], a log line, and
//! [`Source::changed`]. Applications hold a clone of the source and ask for the snapshot each
//! time they need it, for instance once per handshake.
//!
//! The last good value also stays when a file vanishes or is emptied: an accident on the way to
//! the disk must not stop a service. To withdraw trust from a CA, publish a bundle without it.
//!
//! [`CredentialSource`] and [`AnchorSource`] are the two sources of TLS; anything else that lives
//! in files the kubelet swaps (a CA pool, say) is a `Source` with another parser.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::credential::{Anchors, Credential, CredentialError};
use crate::files::{self, Contents, Options, Reading};

/// A value that follows its files. Clones share it.
#[derive(Debug)]
pub struct Source<T> {
    paths: Arc<[PathBuf]>,
    state: watch::Receiver<State<T>>,
}

/// The credential a workload presents: key and chain.
pub type CredentialSource = Source<Credential>;

/// The trust anchors a workload accepts peers under.
pub type AnchorSource = Source<Anchors>;

/// One good parse of a source's files; never changes.
#[derive(Debug)]
pub struct Snapshot<T> {
    generation: u64,
    value: T,
}

/// Why the files of a source give no value now.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The files were read and are not what they should be.
    #[error("{} is not usable", display_paths(.paths))]
    Invalid {
        /// The files of the set.
        paths: Arc<[PathBuf]>,
        /// What is wrong with them.
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// A file is not there.
    #[error("{} does not exist", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file is there and cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, in words.
        why: String,
    },
}

impl<T: Send + Sync + 'static> Source<T> {
    /// Follows `paths` as one set and parses it with `parse` at each change.
    ///
    /// The first reading has been parsed when this returns, whether or not it was good. The task
    /// behind it ends with `shutdown`, or when every clone of the source is dropped.
    pub async fn follow<E>(
        paths: impl IntoIterator<Item = PathBuf>,
        options: Options,
        shutdown: CancellationToken,
        mut parse: impl FnMut(&Contents) -> Result<T, E> + Send + 'static,
    ) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        let paths: Arc<[PathBuf]> = paths.into_iter().collect();
        let mut readings = files::follow(paths.iter().cloned(), options, shutdown).await;
        let mut next = {
            let paths = Arc::clone(&paths);
            move |state: &mut State<T>, reading: &Reading| {
                state.advance(&paths, reading, &mut parse);
            }
        };
        let mut first = State {
            snapshot: None,
            last_error: None,
        };
        next(&mut first, &readings.borrow_and_update());
        let (sender, state) = watch::channel(first);
        tokio::spawn(async move {
            loop {
                // Cancel safe: `changed` marks nothing as seen before it is ready.
                tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    changed = readings.changed() => if changed.is_err() { return },
                }
                let reading = readings.borrow_and_update().clone();
                sender.send_modify(|state| next(state, &reading));
            }
        });
        Self { paths, state }
    }
}

impl<T> Source<T> {
    /// The last good snapshot; none while the files were never good.
    pub fn current(&self) -> Option<Arc<Snapshot<T>>> {
        self.state.borrow().snapshot.clone()
    }

    /// What is wrong with the files now; nothing when [`Source::current`] is what they hold.
    pub fn last_error(&self) -> Option<SourceError> {
        self.state.borrow().last_error.clone()
    }

    /// How often the files gave a good value; 0 while never.
    pub fn generation(&self) -> u64 {
        self.state
            .borrow()
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.generation)
    }

    /// The files it follows.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Waits for the next change of the snapshot or of the error; `false` when none will come,
    /// because the source was shut down.
    ///
    /// # Cancel safety
    /// A change that happens while nobody waits is told to the next call on this clone.
    pub async fn changed(&mut self) -> bool {
        self.state.changed().await.is_ok()
    }

    /// Waits until there is a snapshot; `None` when the source was shut down before.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn ready(&mut self) -> Option<Arc<Snapshot<T>>> {
        let state = self
            .state
            .wait_for(|state| state.snapshot.is_some())
            .await
            .ok()?;
        state.snapshot.clone()
    }
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        Self {
            paths: Arc::clone(&self.paths),
            state: self.state.clone(),
        }
    }
}

impl Source<Credential> {
    /// Follows a credential bundle: one file with the PKCS#8 key and then the chain, as the
    /// kubelet writes it for `credentialBundlePath`.
    pub async fn from_bundle_file(
        path: PathBuf,
        options: Options,
        shutdown: CancellationToken,
    ) -> Self {
        Self::follow([path], options, shutdown, |contents| {
            let mut files = contents.iter().map(|(_path, pem)| pem);
            Credential::from_bundle_pem(files.next().ok_or(CredentialError::NoPrivateKey)?)
        })
        .await
    }

    /// Follows key and chain in two files, as the kubelet writes them for `keyPath` and
    /// `certificateChainPath`. Until they match each other, the last matching pair stays.
    pub async fn from_key_and_chain_files(
        key: PathBuf,
        chain: PathBuf,
        options: Options,
        shutdown: CancellationToken,
    ) -> Self {
        Self::follow([key, chain], options, shutdown, |contents| {
            let mut files = contents.iter().map(|(_path, pem)| pem);
            let key = files.next().ok_or(CredentialError::NoPrivateKey)?;
            let chain = files.next().ok_or(CredentialError::NoCertificates)?;
            Credential::from_key_and_chain_pem(key, chain)
        })
        .await
    }

    /// When the credential in force ends: the earliest notAfter of its chain.
    pub fn expires_at(&self) -> Option<Timestamp> {
        Some(self.current()?.value.not_after())
    }

    /// Whether there is a credential and it has not expired at `now`.
    ///
    /// An expired one is still presented (a peer may know better what time it is), so this is
    /// what readiness should follow.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|end| now < end)
    }
}

impl Source<Anchors> {
    /// Follows PEM bundles of trust anchors; with several files their anchors are one bundle.
    pub async fn from_anchor_files(
        paths: impl IntoIterator<Item = PathBuf>,
        options: Options,
        shutdown: CancellationToken,
    ) -> Self {
        Self::follow(paths, options, shutdown, Anchors::from_files).await
    }

    /// When the last anchor in force ends: the latest notAfter.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.current()?.value.not_after()
    }

    /// Whether there is an anchor that has not expired at `now`.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|end| now < end)
    }
}

impl<T> Snapshot<T> {
    /// Counts the good values of its source, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What the files held.
    pub fn value(&self) -> &T {
        &self.value
    }
}

impl<T> std::ops::Deref for Snapshot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[derive(Debug)]
struct State<T> {
    snapshot: Option<Arc<Snapshot<T>>>,
    last_error: Option<SourceError>,
}

impl<T> State<T> {
    fn generation(&self) -> u64 {
        self.snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.generation)
    }

    /// What one reading makes of it.
    fn advance<E: StdError + Send + Sync + 'static>(
        &mut self,
        paths: &Arc<[PathBuf]>,
        reading: &Reading,
        parse: &mut impl FnMut(&Contents) -> Result<T, E>,
    ) {
        let parsed = match reading {
            Reading::Present(contents) => parse(contents).map_err(|source| SourceError::Invalid {
                paths: Arc::clone(paths),
                source: Arc::new(source),
            }),
            Reading::Missing { path } => Err(SourceError::Missing { path: path.clone() }),
            Reading::Unreadable { path, why } => Err(SourceError::Unreadable {
                path: path.clone(),
                why: why.clone(),
            }),
        };
        match parsed {
            Ok(value) => {
                let generation = self.generation() + 1;
                tracing::info!(files = %display_paths(paths), generation, "loaded");
                self.snapshot = Some(Arc::new(Snapshot { generation, value }));
                self.last_error = None;
            }
            Err(error) => {
                tracing::warn!(
                    error = %in_words(&error),
                    kept_generation = self.generation(),
                    "files not loaded"
                );
                self.last_error = Some(error);
            }
        }
    }
}

/// An error and what caused it, in one line: for logs and people.
pub fn in_words(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

fn display_paths(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests;
