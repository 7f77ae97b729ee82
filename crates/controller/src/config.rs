//! What a controller is told to do.

use std::{path::PathBuf, sync::Arc, time::Duration};

use podcert_issuance::{NamePolicy, Policy};
use podcert_resources::lease::{Application, Replica};
use podcert_workload::files;
use tokio::sync::watch;

/// The configuration of a controller.
#[derive(Clone, Debug)]
pub struct Config {
    /// The signers it answers for, at least one, each once.
    pub signers: Vec<Signer>,
    /// How many requests are answered at the same time; each holds a connection meanwhile.
    pub concurrency: usize,
    /// The pod it runs in, told about what concerns no single workload.
    pub own_pod: Option<OwnPod>,
    /// Tells this replica from others in Events.
    pub instance: String,
    /// The application whose replicas share the work by their Leases; alone without it. It needs
    /// [`Self::own_pod`], whose name is this replica's.
    pub application: Option<Application>,
    /// What becomes of anchors in a bundle that are in no pool.
    pub unknown_anchors: UnknownAnchors,
}

/// What becomes of anchors in a bundle that are in no pool this replica has seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownAnchors {
    /// They stay, and are reported: whoever put them there may need them.
    #[default]
    Keep,
    /// They are removed: the pool is all there is to trust.
    Remove,
}

/// One signer.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Its name, what it issues and to whom.
    pub policy: Policy,
    /// Where its CAs come from.
    pub pool: PoolSource,
}

impl Signer {
    /// The trust domain of its bundle, for a signer of SPIFFE IDs.
    pub(crate) fn trust_domain(&self) -> Option<&str> {
        match &self.policy.names {
            NamePolicy::ServiceDns(_) => None,
            NamePolicy::Spiffe(policy) => Some(policy.trust_domain().as_str()),
            NamePolicy::PodIdentity(policy) => Some(policy.trust_domain().as_str()),
        }
    }
}

/// Where a pool of CAs comes from.
#[derive(Clone, Debug)]
pub enum PoolSource {
    /// A file, followed: kubelet's swap of a mounted Secret is picked up.
    File {
        /// Its path.
        path: PathBuf,
        /// How it is followed.
        options: files::Options,
    },
    /// A value somebody in this process changes; nothing while the pool is missing.
    Memory(watch::Receiver<Option<Arc<[u8]>>>),
}

impl PoolSource {
    /// The file at `path`, followed with the usual patience.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File {
            path: path.into(),
            options: files::Options::default(),
        }
    }
}

/// The pod a controller runs in.
#[derive(Clone, Debug)]
pub struct OwnPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; may be empty.
    pub uid: String,
}

impl Config {
    /// A configuration with the usual concurrency, for a controller outside any pod.
    pub fn new(signers: Vec<Signer>) -> Self {
        Self {
            signers,
            concurrency: DEFAULT_CONCURRENCY,
            own_pod: None,
            instance: "podcert".to_owned(),
            application: None,
            unknown_anchors: UnknownAnchors::default(),
        }
    }

    /// This replica among those of its application, if it shares the work.
    pub(crate) fn replica(&self) -> Option<Replica> {
        let (application, pod) = (self.application.clone()?, self.own_pod.as_ref()?);
        Some(Replica {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            application,
        })
    }

    /// Whether a controller can be made of it, as [`Controller::new`](crate::Controller::new) asks first.
    ///
    /// # Errors
    /// When there is nothing to do, or the same thing twice.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.signers.is_empty() {
            return Err(ConfigError::NoSigner);
        }
        if self.concurrency == 0 {
            return Err(ConfigError::NoConcurrency);
        }
        if self.application.is_some() && self.own_pod.is_none() {
            return Err(ConfigError::NoPodToShareAs);
        }
        for (index, signer) in self.signers.iter().enumerate() {
            let name = &signer.policy.signer;
            if self
                .signers
                .iter()
                .skip(index + 1)
                .any(|other| other.policy.signer == *name)
            {
                return Err(ConfigError::SignerTwice {
                    signer: name.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// Why a configuration makes no sense.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Nothing may be answered at a time.
    #[error("the concurrency must be at least 1")]
    NoConcurrency,

    /// Replicas are told apart by their pods.
    #[error("sharing the work needs the namespace and name of the pod this runs in")]
    NoPodToShareAs,

    /// Nothing to sign for.
    #[error("no signer is enabled")]
    NoSigner,

    /// Two signers of one name.
    #[error("signer {signer} is configured twice")]
    SignerTwice {
        /// The name.
        signer: String,
    },
}

/// Enough to hide the latency of a status write; kube-apiserver with etcd answers some 450 a
/// second on two cores, at 6 ms each.
pub const DEFAULT_CONCURRENCY: usize = 32;

/// How long a new pool waits for its anchors to be published before it signs all the same.
pub(crate) const PUBLISH_PATIENCE: Duration = Duration::from_secs(30);
/// The same where another replica publishes them, which may see the pool a minute and a half later.
pub(crate) const FOLLOW_PATIENCE: Duration = Duration::from_mins(3);
