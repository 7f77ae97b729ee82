//! The cgroups of a node's pods, which stay when their processes are gone.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{SHA256, digest};

/// The name of the cgroup that all pods of a cluster's node are below. Clusters of one name may be in the
/// folders of several people: their kubelets would remove each other's pods.
pub(crate) fn of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let hash = digest(&SHA256, folder.as_os_str().as_bytes());
    let hash = hash.as_ref().iter().take(4);
    let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{name}-{hash}")
}

/// Makes it, in every hierarchy there is (version 1 has several, version 2 has one).
pub(super) fn create(cluster: &Path) -> Result<()> {
    for hierarchy in hierarchies(Path::new(MOUNTED))? {
        let folder = hierarchy.join(of(cluster));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot create {}", folder.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes it with everything below it; nothing is left to do where there is none.
pub(crate) fn remove(cluster: &Path) -> Result<()> {
    for hierarchy in hierarchies(Path::new(MOUNTED)).unwrap_or_default() {
        let folder = hierarchy.join(of(cluster));
        let mut left = 50_u32;
        while let Err(error) = remove_below(&folder) {
            // Processes that were killed are members until they are gone.
            if left == 0 {
                return Err(error)
                    .with_context(|| format!("cannot remove the cgroup {}", folder.display()));
            }
            left -= 1;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// The names of the clusters below `clusters` that have left one, those that still run among them.
pub(crate) fn left(clusters: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for hierarchy in hierarchies(Path::new(MOUNTED)).unwrap_or_default() {
        for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            let group = entry.file_name().to_string_lossy().into_owned();
            let name = group
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.rsplit_once('-'))
                .map(|(name, _)| name.to_owned());
            // The hash says whether it is of these clusters.
            names.extend(name.filter(|name| of(&clusters.join(name)) == group));
        }
    }
    names.sort();
    names.dedup();
    names
}

fn hierarchies(mounted: &Path) -> Result<Vec<PathBuf>> {
    let unified = mounted.join("cgroup.controllers").exists();
    if unified {
        return Ok(vec![mounted.to_path_buf()]);
    }
    let mut found = Vec::new();
    let entries = fs::read_dir(mounted)
        .with_context(|| format!("no cgroups are mounted at {}", mounted.display()))?;
    for entry in entries {
        let path = entry?.path();
        // Names of several controllers are links to the folder that has them all.
        let folder = path.symlink_metadata()?.is_dir();
        if folder && path.join("cgroup.procs").exists() {
            found.push(path);
        }
    }
    Ok(found)
}

/// A cgroup's files are its own: only the folders go, the lowest first.
fn remove_below(folder: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

const MOUNTED: &str = "/sys/fs/cgroup";
const PREFIX: &str = "podcert-e2e-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups_are_known_by_their_files() {
        let there = tempfile::tempdir().unwrap();
        let there = there.path();
        for name in ["cpu", "memory", "none"] {
            fs::create_dir(there.join(name)).unwrap();
        }
        for name in ["cpu", "memory"] {
            fs::write(there.join(name).join("cgroup.procs"), "").unwrap();
        }
        std::os::unix::fs::symlink("cpu", there.join("cpuacct")).unwrap();
        let mut found = hierarchies(there).unwrap();
        found.sort();
        assert_eq!(found, [there.join("cpu"), there.join("memory")]);
        fs::write(there.join("cgroup.controllers"), "").unwrap();
        assert_eq!(hierarchies(there).unwrap(), [there]);
    }

    #[test]
    fn clusters_of_one_name_in_two_places_share_none() {
        let (one, two) = (Path::new("/a/clusters/1.37"), Path::new("/b/clusters/1.37"));
        assert!(of(one).starts_with("podcert-e2e-1.37-"), "{}", of(one));
        assert_ne!(of(one), of(two));
        assert_eq!(of(one), of(one));
    }

    #[test]
    fn the_lowest_folders_go_first_and_what_is_gone_is_no_error() {
        let there = tempfile::tempdir().unwrap();
        let root = there.path().join("root");
        fs::create_dir_all(root.join("pods/one")).unwrap();
        fs::create_dir_all(root.join("pods/two/three")).unwrap();
        remove_below(&root).unwrap();
        assert!(!root.exists());
        remove_below(&root).unwrap();
    }
}
