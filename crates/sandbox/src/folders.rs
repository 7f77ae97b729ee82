//! The folders of pods: `<state>/p/<number>/` with a `<container>.map.json` each, `l/` for sockets and `v/<volume>/` for volumes.
//!
//! They are numbered, not named after UIDs, so that the paths of sockets stay short. A pod keeps its number for life,
//! also over a restart of the kubelet.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::state_dir::{make_private, remove_closed};

/// All pods' folders.
#[derive(Debug)]
pub(crate) struct PodFolders {
    root: PathBuf,
    services_file: PathBuf,
    numbers: Mutex<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    by_pod: HashMap<String, u32>,
    next: u32,
}

/// One pod's folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PodFolder {
    path: PathBuf,
    number: u32,
}

impl PodFolders {
    /// Prepares the folder below the sandbox's own.
    pub(crate) fn create(state: &Path) -> io::Result<Self> {
        let root = state.join("p");
        make_private(&root)?;
        let services_file = state.join("services.json");
        Ok(Self {
            root,
            services_file,
            numbers: Mutex::default(),
        })
    }

    /// The pod's folder, made if it is not there.
    pub(crate) fn open(&self, uid: &str) -> io::Result<PodFolder> {
        let mut numbers = self.numbers();
        let known = numbers.by_pod.get(uid).copied();
        let number = known.unwrap_or(numbers.next);
        let folder = self.folder(number);
        if known.is_none() {
            // Before anything is made: what is left of a try that failed is in nobody's way.
            numbers.next = numbers.next.wrapping_add(1);
            make_private(&folder.path)?;
            make_private(&folder.listen_dir())?;
            make_private(&folder.path.join("v"))?;
            numbers.by_pod.insert(uid.to_owned(), number);
        }
        Ok(folder)
    }

    /// The pod's folder if it has one.
    pub(crate) fn find(&self, uid: &str) -> Option<PodFolder> {
        self.numbers()
            .by_pod
            .get(uid)
            .map(|number| self.folder(*number))
    }

    /// Removes the pod's folder with everything in it, also what the pod has closed. What cannot be removed goes with the
    /// sandbox.
    pub(crate) fn remove(&self, uid: &str) -> io::Result<()> {
        let Some(number) = self.numbers().by_pod.remove(uid) else {
            return Ok(());
        };
        remove_closed(&self.folder(number).path)
    }

    /// Where the sandbox lists what Services resolve to.
    pub(crate) fn services_file(&self) -> &Path {
        &self.services_file
    }

    fn folder(&self, number: u32) -> PodFolder {
        PodFolder {
            path: self.root.join(number.to_string()),
            number,
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodFolder {
    /// Where listening on a port leaves a socket.
    pub(crate) fn listen_dir(&self) -> PathBuf {
        self.path.join("l")
    }

    /// A container's view of the sandbox.
    pub(crate) fn map_file(&self, container: &str) -> PathBuf {
        self.path.join(format!("{container}.map.json"))
    }

    /// The volume's files; made if it is not there. A symlink that the pod has put in its place is refused.
    pub(crate) fn volume(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join("v").join(name);
        match make_private(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Err(_there) if !std::fs::symlink_metadata(&path)?.is_dir() => {
                Err(io::ErrorKind::NotADirectory.into())
            }
            _ => Ok(path),
        }
    }

    /// The pod's address, which tells it from the others. Only other pods reach it; nothing listens on the machine.
    pub(crate) fn address(&self) -> Ipv4Addr {
        let [_, high, middle, low] = self.number.wrapping_add(1).to_be_bytes();
        Ipv4Addr::new(10, high, middle, low)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_is_in_the_way_stops_one_try_and_no_more() {
        let state = tempfile::tempdir().unwrap();
        let folders = PodFolders::create(state.path()).unwrap();
        std::fs::create_dir(state.path().join("p/0")).unwrap();
        assert!(folders.open("a").is_err());
        folders.open("a").unwrap();
    }

    #[test]
    fn a_pod_keeps_its_folder_until_it_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let folders = PodFolders::create(state.path()).unwrap();
        let first = folders.open("a").unwrap();
        let second = folders.open("b").unwrap();
        assert_ne!(first, second);
        assert_ne!(first.address(), second.address());
        assert_eq!(folders.open("a").unwrap(), first);
        assert_eq!(folders.find("a"), Some(first.clone()));
        assert!(first.volume("tls").unwrap().is_dir());
        assert!(first.volume("tls").unwrap().is_dir());
        let aside = state.path().join("aside");
        std::fs::create_dir(&aside).unwrap();
        std::os::unix::fs::symlink(&aside, first.path.join("v/bent")).unwrap();
        assert!(
            first.volume("bent").is_err(),
            "files would be written elsewhere"
        );
        let closed = first.path.join("v/tls/mod/cache");
        std::fs::create_dir_all(&closed).unwrap();
        for folder in [closed.as_path(), closed.parent().unwrap()] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o555)).unwrap();
        }
        folders.remove("a").unwrap();
        assert!(!first.path.exists());
        assert_eq!(folders.find("a"), None);
        assert_ne!(
            folders.open("a").unwrap(),
            first,
            "a number is not used again"
        );
    }
}
