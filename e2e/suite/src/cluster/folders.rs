//! Where things are: the cache of built programs, and one folder for each cluster.
//!
//! Clusters live in `$PODCERT_E2E_STATE`, else `$XDG_STATE_HOME/podcert/e2e`, else
//! `~/.local/state/podcert/e2e`: `clusters/<name>` is the folder of one, `locks/<name>` is held by
//! the process that runs it for as long as it lives.

use std::env;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use podcert_cases::Release;

use super::node::cgroups;
use super::parts::Parts;
use super::process::Lock;

/// The folder of one cluster, of which only its owner can read anything.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// A cluster's folder with the right to use it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: Folder,
    locks: PathBuf,
    _lock: Lock,
}

/// The name of a cluster: the name of its folder.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Name(String);

impl Folder {
    /// A folder that a test made.
    #[cfg(test)]
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The folder of a cluster, whether it is there or not.
    pub(crate) fn of(name: &Name) -> Result<Self> {
        Ok(Self(state()?.join("clusters").join(&name.0)))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// An administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// The folder with a log for each part.
    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    /// The folder with the programs of the release under their usual names.
    pub(crate) fn programs(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// What the supervisor says of the cluster.
    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("state.json")
    }

    pub(super) fn etcd(&self) -> PathBuf {
        self.0.join("etcd")
    }

    pub(super) fn pki(&self, name: &str) -> PathBuf {
        self.0.join("pki").join(name)
    }

    /// A file of the node's.
    pub(super) fn node(&self, name: &str) -> PathBuf {
        self.0.join("node").join(name)
    }

    /// Makes the folders of a node.
    pub(super) fn create_for_node(&self) -> Result<()> {
        make(&self.node("cni"))?;
        make(&self.logs().join("pods"))
    }

    /// Makes it, empty: what an earlier cluster of the name left is removed.
    pub(super) fn create(&self) -> Result<()> {
        self.remove()?;
        for folder in [&self.0, &self.logs(), &self.0.join("pki"), &self.programs()] {
            make(folder)?;
        }
        Ok(())
    }

    /// Puts the programs into [`Self::programs`].
    pub(super) fn link(&self, parts: &Parts) -> Result<()> {
        for built in parts.all() {
            let link = self.programs().join(built.part.name());
            match fs::remove_file(&link) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => symlink(&built.program, &link)
                    .with_context(|| format!("cannot create {}", link.display()))?,
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&self) -> Result<()> {
        // Of a node whose supervisor was killed.
        cgroups::remove(&self.0)?;
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn remove_all_but_logs(&self) -> Result<()> {
        let logs = self.logs();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path == logs {
                continue;
            }
            if path.symlink_metadata()?.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Claim {
    /// A folder for a run of e2e, beside those of other runs under way.
    pub(crate) fn for_a_run(release: Release) -> Result<Self> {
        for number in 1..=MOST_RUNS {
            let name = Name(format!("{RUN}{}-{number}", release.as_str()));
            if let Some(claim) = Self::take(&name)? {
                return Ok(claim);
            }
        }
        bail!("{MOST_RUNS} clusters of e2e runs are up already")
    }

    /// The folder of that name, unless someone else has it.
    pub(crate) fn take(name: &Name) -> Result<Option<Self>> {
        let locks = state()?.join("locks");
        make(&locks)?;
        let Some(lock) = Lock::try_take(&locks.join(&name.0))? else {
            return Ok(None);
        };
        Ok(Some(Self {
            folder: Folder::of(name)?,
            locks,
            _lock: lock,
        }))
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn locks(&self) -> &Path {
        &self.locks
    }
}

impl Name {
    /// The name of a release's own cluster.
    pub(crate) fn of_release(release: Release) -> Self {
        Self(release.as_str().to_owned())
    }

    /// What somebody calls a cluster.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if text.is_empty() || text.len() > 40 {
            return Err("a name has 1 to 40 characters".to_owned());
        }
        if !text
            .bytes()
            .all(|byte| usual(byte) || byte == b'-' || byte == b'.')
            || !text.bytes().next().is_some_and(usual)
        {
            return Err(
                "a name is of lower case letters, digits, `-` and `.`, and begins with a letter \
                 or digit"
                    .to_owned(),
            );
        }
        if text.starts_with(RUN) || text.starts_with("port-") {
            return Err(format!(
                "names with `{RUN}` or `port-` are used by e2e itself"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The names of all folders there are, those of e2e runs left out.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let clusters = state()?.join("clusters");
        let entries = match fs::read_dir(&clusters) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("cannot read {}", clusters.display()))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| Self::parse(name).ok()),
            );
        }
        names.sort();
        Ok(names)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Removes what nodes left whose supervisors were killed, of whatever name.
pub(super) fn sweep() -> Result<()> {
    let clusters = state()?.join("clusters");
    for name in cgroups::left(&clusters) {
        // Who holds the claim is still at it, or ends it.
        if let Some(claim) = Claim::take(&Name(name))? {
            cgroups::remove(claim.folder().root())?;
        }
    }
    Ok(())
}

/// Where built programs are kept.
pub(super) fn cache() -> Result<PathBuf> {
    base(CACHE, "XDG_CACHE_HOME", ".cache", &|name| {
        env::var_os(name).map(PathBuf::from)
    })
}

fn state() -> Result<PathBuf> {
    base(STATE, "XDG_STATE_HOME", ".local/state", &|name| {
        env::var_os(name).map(PathBuf::from)
    })
}

/// What the supervisor says when it has nobody to say it to; beside the folder, which it removes.
pub(super) fn supervisor_log(name: &Name) -> Result<PathBuf> {
    let logs = state()?.join("supervisors");
    make(&logs)?;
    Ok(logs.join(format!("{name}.log")))
}

/// The variables that have a process elsewhere find the same folders.
pub(super) fn as_variables() -> Result<[(&'static str, PathBuf); 2]> {
    Ok([(CACHE, cache()?), (STATE, state()?)])
}

/// Writes a file that only its owner reads, in place of one that is there.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)?
            .write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a folder for its owner alone, and those above it.
fn make(folder: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot create {}", folder.display()))
}

/// A base folder as the XDG specification finds it, where a relative path counts as none.
fn base(
    own: &str,
    xdg: &str,
    default: &str,
    variable: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<PathBuf> {
    if let Some(own_path) = variable(own).filter(|path| !path.as_os_str().is_empty()) {
        return std::path::absolute(&own_path).with_context(|| format!("${own}"));
    }
    let folder = match variable(xdg).filter(|path| path.is_absolute()) {
        Some(folder) => folder,
        None => variable("HOME")
            .filter(|path| path.is_absolute())
            .with_context(|| format!("neither ${own} nor ${xdg} nor $HOME is an absolute path"))?
            .join(default),
    };
    Ok(folder.join("podcert/e2e"))
}

const CACHE: &str = "PODCERT_E2E_CACHE";
const STATE: &str = "PODCERT_E2E_STATE";

const RUN: &str = "e2e-";
const MOST_RUNS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_our_own_comes_before_xdg_and_that_before_home() {
        let find = |variables: &[(&str, &str)]| {
            base("OWN", "XDG", ".cache", &|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| PathBuf::from(value))
            })
        };
        let all = [("OWN", "/own"), ("XDG", "/xdg"), ("HOME", "/home/me")];
        assert_eq!(find(&all).unwrap(), Path::new("/own"));
        assert_eq!(find(&all[1..]).unwrap(), Path::new("/xdg/podcert/e2e"));
        assert_eq!(
            find(&all[2..]).unwrap(),
            Path::new("/home/me/.cache/podcert/e2e")
        );
        let relative = [("XDG", "xdg"), ("HOME", "/home/me")];
        assert_eq!(
            find(&relative).unwrap(),
            Path::new("/home/me/.cache/podcert/e2e")
        );
        assert!(find(&[("HOME", "")]).is_err());
    }

    #[test]
    fn a_name_is_a_folder_name_and_nothing_else() {
        for good in ["1.37", "stock", "a-b.c"] {
            assert_eq!(Name::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "A",
            "-a",
            "e2e-1.37-1",
            "port-1",
        ] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
        assert!(Name::parse(&"a".repeat(41)).is_err());
    }

    #[test]
    fn a_new_cluster_finds_nothing_of_an_old_one() {
        let there = tempfile::tempdir().unwrap();
        let folder = Folder::at(there.path().join("cluster"));
        folder.create().unwrap();
        fs::create_dir(folder.etcd()).unwrap();
        fs::write(folder.log("etcd"), "old").unwrap();
        folder.remove_all_but_logs().unwrap();
        assert!(!folder.etcd().exists() && folder.log("etcd").exists());
        folder.create().unwrap();
        assert!(!folder.log("etcd").exists());
    }

    #[test]
    fn only_the_owner_can_look_inside() {
        use std::os::unix::fs::PermissionsExt as _;
        let there = tempfile::tempdir().unwrap();
        let folder = Folder::at(there.path().join("cluster"));
        folder.create().unwrap();
        for path in [folder.root(), &folder.logs()] {
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
    }
}
