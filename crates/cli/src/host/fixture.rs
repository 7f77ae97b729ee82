//! A few pods and their certificates on disk, as the sandbox would lay them out, for tests.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use podcert_pki::ca::{self, CaSpec, SubjectName};
use podcert_pki::{
    Certificate, Chain, CredentialBundle, ExtKeyUsages, IssuerContext, KeyType, LeafNames,
    LeafSpec, PrivateKey, Serial, TrustBundle, Validity,
};
use podcert_runtime::{Clock, SharedClock};
use podcert_sandbox::pod_map::{Mount, PodMap, PodName, RunAs, Services};
use tempfile::TempDir;
use tokio::time::timeout;

use super::Host;

/// When the certificates of the tests begin; all end 24 hours later.
pub(crate) fn start() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

/// A clock that stands at [`start`].
pub(crate) fn clock() -> SharedClock {
    Arc::new(StoppedClock)
}

/// Real time, but never for ever.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future)
        .await
        .expect("it takes no 30 s")
}

/// A root that issues.
pub(crate) struct Ca {
    key: PrivateKey,
    root: Certificate,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let spec = CaSpec {
            subject: SubjectName::new(name, None).unwrap(),
            validity: day(),
            serial: Serial::random().unwrap(),
        };
        let root = ca::new_root(&key, &spec).unwrap();
        Self { key, root }
    }

    /// What follows the trust bundle file of this CA alone.
    pub(crate) fn trust(&self) -> String {
        TrustBundle::new(vec![self.root.clone()]).unwrap().to_pem()
    }

    /// A server's credential bundle.
    pub(crate) fn server(&self, name: &str) -> String {
        let names = LeafNames::Dns(vec![name.parse().unwrap()]);
        self.leaf(KeyType::EcdsaP256, names, ExtKeyUsages::SERVER)
    }

    /// An X509-SVID's credential bundle.
    pub(crate) fn svid(&self, id: &str) -> String {
        let names = LeafNames::Spiffe(id.parse().unwrap());
        self.leaf(KeyType::Ed25519, names, ExtKeyUsages::SERVER_AND_CLIENT)
    }

    fn leaf(&self, key_type: KeyType, names: LeafNames, usages: ExtKeyUsages) -> String {
        let key = PrivateKey::generate(key_type).unwrap();
        let spec = LeafSpec::new(key.public_key().clone(), names, usages, day()).unwrap();
        let issuer = IssuerContext::new(&self.root, self.key.signature_algorithm()).unwrap();
        let tbs = issuer.leaf_tbs(&spec, &Serial::random().unwrap()).unwrap();
        let signature = self.key.sign(tbs.to_be_signed()).unwrap();
        let leaf = Certificate::from_der(tbs.assemble(&signature).unwrap()).unwrap();
        let bundle = CredentialBundle::new(key, Chain::new(leaf, Vec::new())).unwrap();
        bundle.to_pem().unwrap().to_string()
    }
}

/// A folder with pods in it.
pub(crate) struct Pods {
    folder: TempDir,
}

impl Pods {
    pub(crate) fn new() -> Self {
        let pods = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        pods.serve("server.demo.svc", &[]);
        pods
    }

    /// The host of a pod's process, with one volume mounted at `/run/tls-config`.
    pub(crate) fn host(&self, pod: &str) -> Host {
        Host::mapped(self.map(pod))
    }

    pub(crate) fn map(&self, pod: &str) -> PodMap {
        let volume = self.volume(pod);
        let listen_dir = self.folder.path().join(pod).join("net");
        fs::create_dir_all(&volume).unwrap();
        fs::create_dir_all(&listen_dir).unwrap();
        PodMap {
            pod: PodName {
                namespace: "demo".into(),
                name: pod.into(),
                uid: pod.into(),
            },
            address: Ipv4Addr::new(10, 0, 0, 1),
            run_as: RunAs::default(),
            mounts: vec![Mount {
                mount_path: "/run/tls-config".into(),
                host_path: volume,
                read_only: true,
            }],
            listen_dir,
            services_file: self.folder.path().join("services.json"),
        }
    }

    /// Replaces a file of the pod's volume.
    pub(crate) fn write(&self, pod: &str, file: &str, text: &str) {
        let path = self.volume(pod).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        replace(&path, text.as_bytes());
    }

    /// Makes the Service at port 443 lead to these pods.
    pub(crate) fn serve(&self, service: &str, pods: &[&str]) {
        let sockets = pods.iter().map(|pod| self.socket(pod)).collect();
        let ports = BTreeMap::from([(443, sockets)]);
        let services = Services {
            sockets: BTreeMap::from([(service.to_owned(), ports)]),
            ..Services::default()
        };
        let json = serde_json::to_vec(&services).unwrap();
        replace(&self.folder.path().join("services.json"), &json);
    }

    pub(crate) fn socket(&self, pod: &str) -> PathBuf {
        self.folder.path().join(pod).join("net/443.sock")
    }

    fn volume(&self, pod: &str) -> PathBuf {
        self.folder.path().join(pod).join("volumes/tls-config")
    }
}

#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        start()
    }
}

fn day() -> Validity {
    let day = SignedDuration::from_hours(24);
    Validity::new(start() - SignedDuration::from_hours(1), start() + day).unwrap()
}

fn replace(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes).unwrap();
    fs::rename(&temporary, path).unwrap();
}
