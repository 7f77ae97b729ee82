//! `podcert sandbox exec-pod`: with it the sandbox's kubelet starts each container.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use podcert_sandbox::exec_pod;

use crate::host::Host;

/// The flags of `sandbox exec-pod`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecPod {
    /// File that says where the pod's mounts, sockets and Services are
    #[arg(long, value_name = "FILE")]
    map: PathBuf,

    /// The container's command and arguments; the first word, the program in the image, is this program
    #[arg(last = true, required = true, value_name = "COMMAND")]
    argv: Vec<OsString>,
}

impl ExecPod {
    /// Turns this process into the pod's: from here on it ends with the sandbox and cannot gain privileges. Answers
    /// with the host as the pod sees it and the container's command line, its first word included, which is to be
    /// parsed like this program's own.
    ///
    /// Call it before any thread is started: what it gives up, it gives up for this thread and its descendants.
    ///
    /// # Errors
    /// The map cannot be read, or the guard not be set up.
    pub(crate) fn enter(self) -> Result<(Host, Vec<OsString>)> {
        let map = exec_pod::enter(&self.map).context("cannot play the pod")?;
        Ok((Host::mapped(map), self.argv))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::sandbox::{Args, Command};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_containers_command_line_is_left_alone() {
        let words = [
            "sandbox",
            "exec-pod",
            "--map",
            "/m",
            "--",
            "/meshtool",
            "x",
            "--listen=:443",
            "--",
            "-v",
        ];
        let Command::ExecPod(exec) = Cli::try_parse_from(words).unwrap().args.command else {
            unreachable!("the words say exec-pod");
        };
        assert_eq!(exec.map, PathBuf::from("/m"));
        assert_eq!(exec.argv, ["/meshtool", "x", "--listen=:443", "--", "-v"]);
        assert!(Cli::try_parse_from(["sandbox", "exec-pod", "--map", "/m"]).is_err());
        assert!(Cli::try_parse_from(["sandbox", "exec-pod", "--", "/meshtool"]).is_err());
    }
}
