//! Authorities, leaves and projected volumes for the tests of this crate.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use podcert_pki::ca::{self, CaSpec, SubjectName};
use podcert_pki::{
    Certificate, Chain, CredentialBundle, ExtKeyUsages, IssuerContext, KeyType, LeafNames,
    LeafSpec, PrivateKey, Serial, TrustBundle, Validity,
};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::files::Options;
use crate::{AnchorSource, Clock, CredentialSource, Source};

/// The time at which the tests begin.
pub(crate) fn start() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

/// A clock that the test sets.
#[derive(Clone)]
pub(crate) struct SetClock(Arc<AtomicI64>);

impl SetClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(start().as_second())))
    }

    pub(crate) fn set(&self, to: Timestamp) {
        self.0.store(to.as_second(), Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Clock::new(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).unwrap())
    }
}

/// A root that issues.
pub(crate) struct Ca {
    key: PrivateKey,
    pub(crate) root: Certificate,
    issuer: IssuerContext,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let spec = CaSpec {
            subject: SubjectName::new(name, None).unwrap(),
            validity: Validity::new(start() - hours(1), start() + hours(24 * 365)).unwrap(),
            serial: Serial::random().unwrap(),
        };
        let root = ca::new_root(&key, &spec).unwrap();
        let issuer = IssuerContext::new(&root, key.signature_algorithm()).unwrap();
        Self { key, root, issuer }
    }

    pub(crate) fn leaf(
        &self,
        key_type: KeyType,
        names: LeafNames,
        usages: ExtKeyUsages,
        not_after: Timestamp,
    ) -> CredentialBundle {
        let key = PrivateKey::generate(key_type).unwrap();
        let validity = Validity::new(start() - hours(1), not_after).unwrap();
        let spec = LeafSpec::new(key.public_key().clone(), names, usages, validity).unwrap();
        let tbs = self
            .issuer
            .leaf_tbs(&spec, &Serial::random().unwrap())
            .unwrap();
        let signature = self.key.sign(tbs.to_be_signed()).unwrap();
        let leaf = Certificate::from_der(tbs.assemble(&signature).unwrap()).unwrap();
        CredentialBundle::new(key, Chain::new(leaf, Vec::new())).unwrap()
    }

    /// A server's credential for `server.demo.svc`, for a day.
    pub(crate) fn server(&self) -> CredentialBundle {
        self.server_until(start() + hours(24))
    }

    pub(crate) fn server_until(&self, not_after: Timestamp) -> CredentialBundle {
        let names = LeafNames::Dns(vec![SERVER.parse().unwrap()]);
        self.leaf(KeyType::EcdsaP256, names, ExtKeyUsages::SERVER, not_after)
    }

    /// An X509-SVID of `spiffe://demo.test/ns/demo/sa/client`, for a day.
    pub(crate) fn client(&self) -> CredentialBundle {
        let names = LeafNames::Spiffe(CLIENT.parse().unwrap());
        let usages = ExtKeyUsages::SERVER_AND_CLIENT;
        self.leaf(KeyType::Ed25519, names, usages, start() + hours(24))
    }
}

pub(crate) fn bundle(cas: &[&Ca]) -> String {
    TrustBundle::new(cas.iter().map(|ca| ca.root.clone()).collect())
        .unwrap()
        .to_pem()
}

pub(crate) fn pem(credential: &CredentialBundle) -> String {
    credential.to_pem().unwrap().to_string()
}

pub(crate) fn serial(credential: &CredentialBundle) -> Vec<u8> {
    credential.chain().leaf().serial().to_vec()
}

/// A folder that is written as the kubelet writes a projected volume.
pub(crate) struct Volume {
    folder: TempDir,
    swaps: usize,
}

impl Volume {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            swaps: 0,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces all files at one instant, as the kubelet's atomic writer does.
    pub(crate) fn swap(&mut self, files: &[(&str, &str)]) {
        let root = self.folder.path();
        let data = root.join("..data");
        let old = fs::read_link(&data).ok();
        self.swaps += 1;
        let generation = format!("..2026_06_01_{:010}", self.swaps);
        fs::create_dir(root.join(&generation)).unwrap();
        for (name, text) in files {
            fs::write(root.join(&generation).join(name), text).unwrap();
        }
        let temporary = root.join("..data_tmp");
        symlink(&generation, &temporary).unwrap();
        fs::rename(&temporary, &data).unwrap();
        for (name, _) in files {
            let visible = root.join(name);
            if fs::symlink_metadata(&visible).is_err() {
                symlink(Path::new("..data").join(name), &visible).unwrap();
            }
        }
        if let Some(old) = old {
            for name in fs::read_dir(root.join(&old)).unwrap() {
                let name = name.unwrap().file_name();
                if !files.iter().any(|(kept, _)| **kept == *name) {
                    fs::remove_file(root.join(name)).unwrap();
                }
            }
            fs::remove_dir_all(root.join(old)).unwrap();
        }
    }
}

/// A credential source over one file, and the file.
pub(crate) struct CredentialFile {
    volume: Volume,
    pub(crate) source: CredentialSource,
}

impl CredentialFile {
    pub(crate) async fn new(credential: &CredentialBundle) -> Self {
        let mut volume = Volume::new();
        volume.swap(&[("creds.pem", &pem(credential))]);
        let (path, token) = (volume.path("creds.pem"), CancellationToken::new());
        let source = CredentialSource::from_bundle_file(path, quick(), token).await;
        Self { volume, source }
    }

    pub(crate) async fn replace(&mut self, credential: &CredentialBundle) {
        let old = self.source.generation();
        self.volume.swap(&[("creds.pem", &pem(credential))]);
        newer(&mut self.source, old).await;
    }
}

/// An anchor source over one file, and the file.
pub(crate) struct AnchorFile {
    volume: Volume,
    pub(crate) source: AnchorSource,
}

impl AnchorFile {
    pub(crate) async fn new(cas: &[&Ca]) -> Self {
        let mut volume = Volume::new();
        volume.swap(&[("trust.pem", &bundle(cas))]);
        let (path, token) = (volume.path("trust.pem"), CancellationToken::new());
        let source = AnchorSource::from_anchor_files([path], quick(), token).await;
        Self { volume, source }
    }

    pub(crate) async fn replace(&mut self, cas: &[&Ca]) {
        let old = self.source.generation();
        self.volume.swap(&[("trust.pem", &bundle(cas))]);
        newer(&mut self.source, old).await;
    }
}

async fn newer<T: Send + Sync + 'static>(source: &mut Source<T>, than: u64) {
    within(async {
        while source.generation() == than {
            assert!(source.changed().await, "the source ended");
        }
    })
    .await;
}

/// Real time, but never for ever: far below the slow poll, so it is the events that woke.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("it takes no 20 s")
}

pub(crate) const SERVER: &str = "server.demo.svc";
pub(crate) const CLIENT: &str = "spiffe://demo.test/ns/demo/sa/client";

/// Events as in production, sooner.
fn quick() -> Options {
    Options {
        debounce: Duration::from_millis(5),
        ..Options::default()
    }
}
