//! What a pod's process must know about the pod it plays: where the files of its mounts really are, where to listen,
//! and how the cluster's Service names resolve.
//!
//! A container sees `/var/run/...`, listens on `0.0.0.0:443` and calls `https://server.<ns>.svc`. A process without
//! root on a laptop can do none of these, so the sandbox writes one [`PodMap`] per pod as JSON (mode 0600, in the pod's
//! 0700 folder) and starts `<program> sandbox exec-pod --map FILE -- <the container's command>`. The program reads the
//! map and translates: paths below a mount to host paths, a listening address with port P to the UNIX socket
//! `<listen_dir>/P.sock`, a Service name and port to the sockets that [`Services`] lists at that moment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The view one pod's processes have of the sandbox. Written by the sandbox's kubelet, read by `sandbox exec-pod`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PodMap {
    /// Which pod this is.
    pub pod: PodName,
    /// The pod's address: `status.podIP`.
    pub address: Ipv4Addr,
    /// Whom a program in namespaces takes itself for.
    pub run_as: RunAs,
    /// The container's volume mounts. The longest matching `mount_path` wins.
    pub mounts: Vec<Mount>,
    /// The folder in which listening on port P creates the UNIX socket `P.sock`; see [`PodMap::socket`].
    pub listen_dir: PathBuf,
    /// The file that holds [`Services`], replaced atomically whenever endpoints change: read it per connection.
    pub services_file: PathBuf,
}

/// A pod by its names.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PodName {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// The user and group that a container was promised. Outside its namespaces a program keeps those of whoever started the
/// sandbox, and inside too where none is promised.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunAs {
    /// `runAsUser`.
    pub user: Option<u32>,
    /// `runAsGroup`.
    pub group: Option<u32>,
}

/// One volume mount of the container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mount {
    /// The absolute path the container was promised.
    pub mount_path: PathBuf,
    /// The folder on this machine that holds its files.
    pub host_path: PathBuf,
    /// Whether the container may only read there. Only namespaces can keep it from writing.
    pub read_only: bool,
}

/// What names and addresses lead to: the cluster's DNS and its network.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Services {
    /// Which sockets answer for each host and port: `{"server.demo.svc": {"443": ["/…/443.sock", …]}}`. A host is a
    /// Service's name, its cluster IP or a pod's IP.
    ///
    /// A host that is no key is not there; a port with an empty list refuses connections, as a ClusterIP Service
    /// without endpoints does. Of names, the forms `<svc>.<ns>`, `<svc>.<ns>.svc` and `<svc>.<ns>.svc.cluster.local`
    /// are all listed.
    pub sockets: BTreeMap<String, BTreeMap<u16, Vec<PathBuf>>>,
    /// The addresses of each `<svc>.<ns>`: its cluster IP, or without one those of its pods.
    pub addresses: BTreeMap<String, Vec<Ipv4Addr>>,
}

/// Why a map or the list of Services could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PodMapError {
    /// The file is no map.
    #[error("{path} is not a sandbox file of this version")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the JSON parser says.
        #[source]
        source: serde_json::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl PodMap {
    /// Reads the map that `sandbox exec-pod --map` names.
    ///
    /// # Errors
    /// The file cannot be read or is no map.
    pub fn read(path: &Path) -> Result<Self, PodMapError> {
        read_json(path)
    }

    /// Where the file that the container calls `path` really is; `None` when no mount holds it.
    ///
    /// `path` is compared lexically, after `.` and `..` are resolved, so a path cannot climb out of its mount.
    #[must_use]
    pub fn host_path(&self, path: &Path) -> Option<PathBuf> {
        let path = normalized(path)?;
        self.mounts
            .iter()
            .filter_map(|mount| {
                let rest = path.strip_prefix(normalized(&mount.mount_path)?).ok()?;
                Some((
                    mount.mount_path.as_os_str().len(),
                    mount.host_path.join(rest),
                ))
            })
            .max_by_key(|(length, _)| *length)
            .map(|(_, host_path)| host_path)
    }

    /// The UNIX socket that stands for listening on `port`.
    #[must_use]
    pub fn socket(&self, port: u16) -> PathBuf {
        self.listen_dir.join(format!("{port}.sock"))
    }

    /// What the cluster's Services resolve to right now.
    ///
    /// # Errors
    /// The file cannot be read or is no list of Services.
    pub fn services(&self) -> Result<Services, PodMapError> {
        read_json(&self.services_file)
    }
}

impl Services {
    /// The sockets behind `host`, without regard to case or to the DNS root's final dot; `None` when the name, or the
    /// port of that name, is not known.
    #[must_use]
    pub fn resolve(&self, host: &str, port: u16) -> Option<&[PathBuf]> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.sockets.get(&host)?.get(&port).map(Vec::as_slice)
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, PodMapError> {
    let bytes = fs::read(path).map_err(|source| PodMapError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| PodMapError::Malformed {
        path: path.to_path_buf(),
        source,
    })
}

/// `path` without `.` and `..`; `None` unless it is absolute and stays below the root.
fn normalized(path: &Path) -> Option<PathBuf> {
    if !path.is_absolute() {
        return None;
    }
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::Prefix(_) | Component::RootDir => {}
        }
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PodMap {
        PodMap {
            pod: PodName {
                namespace: "demo".into(),
                name: "web-1".into(),
                uid: "u".into(),
            },
            address: Ipv4Addr::new(10, 0, 0, 1),
            run_as: RunAs::default(),
            mounts: vec![
                Mount {
                    mount_path: "/run/tls".into(),
                    host_path: "/s/p/1/v/tls".into(),
                    read_only: true,
                },
                Mount {
                    mount_path: "/run/tls/deep/".into(),
                    host_path: "/s/p/1/v/deep".into(),
                    read_only: true,
                },
            ],
            listen_dir: "/s/p/1/l".into(),
            services_file: "/s/services.json".into(),
        }
    }

    #[test]
    fn the_longest_mount_wins_and_nothing_climbs_out() {
        let map = map();
        let host = |path: &str| map.host_path(Path::new(path));
        assert_eq!(host("/run/tls/a.pem"), Some("/s/p/1/v/tls/a.pem".into()));
        assert_eq!(host("/run/tls"), Some("/s/p/1/v/tls".into()));
        assert_eq!(host("/run/tls/deep/b"), Some("/s/p/1/v/deep/b".into()));
        assert_eq!(host("/run/tls/deep/../b"), Some("/s/p/1/v/tls/b".into()));
        assert_eq!(host("/run/tls/../../etc/passwd"), None);
        assert_eq!(host("/run/tlsx/a"), None);
        assert_eq!(host("run/tls/a"), None);
        assert_eq!(host("/../run/tls/a"), None);
    }

    #[test]
    fn services_resolve_by_name_and_port() {
        let text = r#"{"sockets": {"server.demo.svc": {"443": ["/s/p/1/l/443.sock"], "80": []}}}"#;
        let services: Services = serde_json::from_str(text).unwrap();
        let sockets = services.resolve("Server.demo.svc.", 443).unwrap();
        assert_eq!(sockets, [PathBuf::from("/s/p/1/l/443.sock")]);
        assert_eq!(services.resolve("server.demo.svc", 80).unwrap().len(), 0);
        assert_eq!(services.resolve("server.demo.svc", 8443), None);
        assert_eq!(services.resolve("server", 443), None);
    }

    #[test]
    fn a_map_survives_the_round_trip_and_garbage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("map.json");
        fs::write(&file, serde_json::to_vec(&map()).unwrap()).unwrap();
        assert_eq!(PodMap::read(&file).unwrap(), map());
        assert_eq!(map().socket(443), PathBuf::from("/s/p/1/l/443.sock"));
        fs::write(&file, "{}").unwrap();
        assert!(matches!(
            PodMap::read(&file),
            Err(PodMapError::Malformed { .. })
        ));
        fs::remove_file(&file).unwrap();
        assert!(matches!(
            PodMap::read(&file),
            Err(PodMapError::Unreadable { .. })
        ));
    }
}
