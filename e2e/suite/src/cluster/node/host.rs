//! What a node needs of the machine that we do not build.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::cluster::progress::Progress;

/// Programs of the distribution.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Runs a container.
    pub(super) runc: PathBuf,
    /// Makes interfaces.
    pub(super) ip: PathBuf,
}

/// A program, and the Debian package that has it.
struct Wanted {
    program: &'static str,
    package: &'static str,
}

impl Host {
    /// Finds them; where this is Debian or its like, installs what is missing.
    pub(crate) async fn prepare(progress: &Progress) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!(
                "a node needs root: containers, their mounts and networks are made for it. Run the same \
                 command as root (`sudo -E env PATH=$PATH cargo xtask ...` keeps your Go and Rust); without \
                 --node no root is needed"
            );
        }
        let missing = missing(&env::var_os("PATH").unwrap_or_default());
        if !missing.is_empty() {
            let packages: Vec<&str> = missing.iter().map(|wanted| wanted.package).collect();
            if find("apt-get").is_none() {
                let programs: Vec<&str> = missing.iter().map(|wanted| wanted.program).collect();
                bail!(
                    "a node needs {}: install {} (Debian's names of the packages)",
                    programs.join(", "),
                    packages.join(" ")
                );
            }
            install(&packages, progress).await?;
        }
        let program = |name| find(name).with_context(|| format!("there is no {name} on the PATH"));
        // Of kube-proxy and the CNI plugins, which look for it themselves.
        program("iptables")?;
        Ok(Self {
            runc: program("runc")?,
            ip: program("ip")?,
        })
    }
}

async fn install(packages: &[&str], progress: &Progress) -> Result<()> {
    let names = packages.join(" ");
    progress.begin(format!("apt-get install {names}"));
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    let mut said = String::new();
    // An index that is missing or old is the usual reason why a package is not found.
    for words in [install.as_slice(), &["update"], &install] {
        let output = Command::new("apt-get")
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot start apt-get")?;
        if output.status.success() && words == install {
            progress.end_with(format!("installed {names}"));
            return Ok(());
        }
        said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    }
    bail!("`apt-get install {names}` failed, and a node needs them: {said}")
}

fn missing(path: &OsString) -> Vec<&'static Wanted> {
    let there = |wanted: &&Wanted| find_in(path, wanted.program).is_none();
    WANTED.iter().filter(there).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    find_in(&env::var_os("PATH").unwrap_or_default(), program)
}

fn find_in(path: &OsString, program: &str) -> Option<PathBuf> {
    env::split_paths(&with_sbin(path))
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// What a node's parts look for programs in.
pub(super) fn path() -> OsString {
    with_sbin(&env::var_os("PATH").unwrap_or_default())
}

/// A root that came by `su` has the PATH of its user, without these.
fn with_sbin(path: &OsString) -> OsString {
    let folders = env::split_paths(path).chain(SBIN.map(PathBuf::from));
    env::join_paths(folders).unwrap_or_else(|_| path.clone())
}

const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

const WANTED: &[Wanted] = &[
    Wanted {
        program: "runc",
        package: "runc",
    },
    Wanted {
        program: "iptables",
        package: "iptables",
    },
    Wanted {
        program: "ip",
        package: "iproute2",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_and_only_if_it_can_be_run() {
        let there = tempfile::tempdir().unwrap();
        let path = there.path().as_os_str().to_owned();
        assert_eq!(find_in(&path, "podcert-e2e-none"), None);
        let file = there.path().join("podcert-e2e-none");
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_in(&path, "podcert-e2e-none"), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_in(&path, "podcert-e2e-none"), Some(file));
    }

    #[test]
    fn a_path_without_sbin_gets_it_last() {
        let path = with_sbin(&"/bin".into());
        assert_eq!(path, "/bin:/usr/local/sbin:/usr/sbin:/sbin");
    }
}
