//! A node's namespaces as the supervisor sees them: made, entered, ended.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::cluster::folders::Folder;
use crate::cluster::process::{Process, with_parent};
use crate::cluster::until_ready;

/// The namespaces of one node. They end with this.
#[derive(Debug)]
pub(crate) struct Space {
    process: Arc<Process>,
    init: i32,
}

impl Space {
    /// Makes them.
    pub(super) async fn open(folder: &Folder) -> Result<Self> {
        let file = folder.node("init");
        let args = ["node-space".to_owned(), file.display().to_string()];
        let process = Process::spawn(NAME, Path::new(ITSELF), &args, &folder.log(NAME))?;
        until_ready(&process, || async { file.exists() }).await?;
        let init = std::fs::read_to_string(&file)?
            .parse()
            .context("invariant: `node-space` writes a number")?;
        Ok(Self {
            process: Arc::new(process),
            init,
        })
    }

    /// Process 1 in there, as it is outside.
    pub(super) fn init(&self) -> i32 {
        self.init
    }

    /// The process that holds them.
    pub(super) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process)
    }

    /// Starts a part in there.
    pub(super) fn spawn(
        &self,
        name: &str,
        program: &Path,
        args: &[String],
        folder: &Folder,
    ) -> Result<Arc<Process>> {
        let mut words = vec![
            "node-enter".to_owned(),
            self.init.to_string(),
            program.display().to_string(),
        ];
        words.extend_from_slice(args);
        let log = folder.log(name);
        Ok(Arc::new(Process::spawn(
            name,
            Path::new(ITSELF),
            &words,
            &log,
        )?))
    }

    /// A command in there.
    pub(super) fn command(&self, program: &Path, args: &[impl AsRef<OsStr>]) -> Result<Command> {
        let mut command = Command::from(with_parent(ITSELF)?);
        command
            .args(["node-enter", &self.init.to_string()])
            .arg(program)
            .args(args);
        Ok(command)
    }

    /// Ends everything in there and waits until it is gone.
    pub(super) async fn end(&self) {
        self.process.terminate(GRACE).await;
    }
}

/// Runs a command to its end and says what it printed.
pub(super) async fn run(command: &mut Command) -> Result<String> {
    let words = {
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
        words.join(" ")
    };
    let output = command
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start `{words}`"))?;
    if !output.status.success() {
        bail!(
            "`{words}`: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program that runs, even where another was built in its place.
const ITSELF: &str = "/proc/self/exe";

/// As its log and `status` call it.
const NAME: &str = "node";

const GRACE: Duration = Duration::from_secs(20);
