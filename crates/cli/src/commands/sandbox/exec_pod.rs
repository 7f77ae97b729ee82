//! `podcert sandbox exec-pod`: with it the sandbox's kubelet starts each container.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use podcert_sandbox::exec_pod;
use podcert_sandbox::isolation::{self, Stage};

use crate::host::Host;

/// The flags of `sandbox exec-pod`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecPod {
    /// File that says where the pod's mounts, sockets and Services are
    #[arg(long, value_name = "FILE", required_unless_present = "isolated")]
    map: Option<PathBuf>,

    /// File that says which program to run in namespaces of its own
    #[arg(long, value_name = "FILE", conflicts_with = "map")]
    isolated: Option<PathBuf>,

    /// Which of the processes that set up the namespaces this one is
    #[arg(long, value_parser = stage, default_value = "namespaces", requires = "isolated")]
    stage: Stage,

    /// The container's command and arguments; the first word, the program in the image, is this program
    #[arg(
        last = true,
        required_unless_present = "isolated",
        value_name = "COMMAND"
    )]
    argv: Vec<OsString>,
}

/// What this process does for a sandbox pod.
#[derive(Debug)]
pub(crate) enum Entered {
    /// It plays the pod: with this host, and this command line, its first word included, which is to be parsed like this
    /// program's own.
    Mapped(Host, Vec<OsString>),
    /// It has done its part of setting up another program.
    Done(ExitCode),
}

impl ExecPod {
    /// Turns this process into the pod's: from here on it ends with the sandbox and cannot gain privileges.
    ///
    /// Call it before any thread is started: what it gives up, it gives up for this thread and its descendants.
    ///
    /// # Errors
    /// The map cannot be read, or the guard not be set up.
    pub(crate) fn enter(self) -> Result<Entered> {
        if let Some(file) = &self.isolated {
            return Ok(Entered::Done(isolation::play(file, self.stage, &self.argv)));
        }
        let map = self.map.context("--map is missing")?;
        let map = exec_pod::enter(&map).context("cannot play the pod")?;
        Ok(Entered::Mapped(Host::mapped(map), self.argv))
    }
}

fn stage(name: &str) -> Result<Stage> {
    Stage::from_name(name).context("no such stage")
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
        assert_eq!(exec.map, Some(PathBuf::from("/m")));
        assert_eq!(exec.argv, ["/meshtool", "x", "--listen=:443", "--", "-v"]);
        assert!(Cli::try_parse_from(["sandbox", "exec-pod", "--map", "/m"]).is_err());
        assert!(Cli::try_parse_from(["sandbox", "exec-pod", "--", "/meshtool"]).is_err());
        let words = ["sandbox", "exec-pod", "--isolated", "/run.json"];
        let Command::ExecPod(exec) = Cli::try_parse_from(words).unwrap().args.command else {
            unreachable!("the words say exec-pod");
        };
        assert_eq!(exec.stage, Stage::Namespaces);
    }
}
