//! An unmodified kubectl against podcert's own API server and the real one.
//!
//! `e2e/kubectl/*.txt` are transcripts: commands, and what kubectl prints where the server is the
//! real one. They run in the order of their names, each command by a shell, on the embedded server
//! and on the cluster of the run; where the two cannot be the same, the prompt says which one a
//! command is for. `cargo run -p podcert-e2e -- kubectl` runs them on the embedded server alone,
//! `--record` writes down what came out instead of comparing it. Those in `e2e/kubectl/sandbox` are for
//! a running sandbox ([`sandbox`], `--sandbox`).

mod embedded;
pub(crate) mod sandbox;
mod transcript;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use podcert_cases::Release;
use tokio::process::Command;

use self::embedded::Embedded;
use self::transcript::{Entry, On};
use crate::cluster::parts::{Part, Parts, checkout};
use crate::cluster::process::with_parent;
use crate::cluster::progress::Progress;
use crate::run::{Context, Outcome};
use crate::say;

/// What to run, apart from a whole run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Against the real server that this file leads to
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// On `podcert sandbox up`, with the transcripts of its own; the program stands beside this one
    #[arg(long, conflicts_with_all = ["kubeconfig", "filter"])]
    sandbox: bool,
    /// Write what came out into the transcripts
    #[arg(long)]
    record: bool,
    /// Only transcripts whose name contains this
    filter: Option<String>,
}

impl Args {
    /// Runs them and says whether all came out as written.
    pub(crate) async fn run(&self) -> Result<bool> {
        let kubectl = kubectl(&Progress::to_stderr()).await?;
        if self.sandbox {
            let sandbox = sandbox::Sandbox::up().await?;
            let played = sandbox.play(&kubectl).await;
            sandbox.down().await?;
            return self.report(&played?);
        }
        let scripts = Scripts::read(self.filter.as_deref())?;
        let place = tempfile::tempdir()?;
        let (on, config, _server) = match &self.kubeconfig {
            Some(config) => (On::Real, fs::canonicalize(config)?, None),
            None => {
                let (config, server) = embedded(place.path()).await?;
                (On::Embedded, config, Some(server))
            }
        };
        let shell = Shell::new(&kubectl, &config)?;
        let played = scripts.play(&shell, on).await?;
        self.report(&played)
    }

    fn report(&self, played: &Played) -> Result<bool> {
        if self.record {
            played.write()?;
        }
        for difference in &played.differences {
            say(difference);
        }
        say(&format!(
            "{} commands, {} differences",
            played.commands,
            played.differences.len()
        ));
        Ok(self.record || played.differences.is_empty())
    }
}

/// The step of a whole run.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let scripts = Scripts::read(None)?;
    let kubectl = kubectl(&context.progress).await?;
    let place = tempfile::tempdir()?;
    let (config, server) = embedded(place.path()).await?;
    let own = scripts
        .play(&Shell::new(&kubectl, &config)?, On::Embedded)
        .await?;
    drop(server);
    let real = Shell::new(&kubectl, &context.cluster.kubeconfig())?;
    let real = scripts.play(&real, On::Real).await?;
    let mut differences = own.differences;
    differences.extend(real.differences);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(Outcome {
        summary: format!(
            "{} commands as written, {} on the real server",
            own.commands, real.commands
        ),
        figures: Vec::new(),
    })
}

async fn kubectl(progress: &Progress) -> Result<PathBuf> {
    let kubectl = Parts::alone(Part::Kubectl, Release::V1_37, progress).await?;
    progress.end();
    Ok(kubectl.program)
}

async fn embedded(place: &Path) -> Result<(PathBuf, Embedded)> {
    let server = Embedded::start().await?;
    let config = place.join("kubeconfig");
    server.write_kubeconfig(&config)?;
    Ok((config, server))
}

/// The transcripts, by their files.
struct Scripts(Vec<(PathBuf, Vec<Entry>)>);

impl Scripts {
    fn read(filter: Option<&str>) -> Result<Self> {
        Self::read_in(&folder(), filter)
    }

    fn read_in(folder: &Path, filter: Option<&str>) -> Result<Self> {
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".txt") && filter.is_none_or(|filter| name.contains(filter))
        });
        files.sort();
        // What runs nothing must not look like success.
        ensure!(!files.is_empty(), "no transcript has such a name");
        let read = |path: PathBuf| -> Result<_> {
            let text = fs::read_to_string(&path)?;
            Ok((path, transcript::parse(&text)))
        };
        files.into_iter().map(read).collect::<Result<_>>().map(Self)
    }

    async fn play(&self, shell: &Shell, server: On) -> Result<Played> {
        let mut played = Played::default();
        for (path, entries) in &self.0 {
            let mut heard = entries.clone();
            for (expected, heard) in entries.iter().zip(&mut heard) {
                if !expected.on.includes(server) {
                    continue;
                }
                played.commands += 1;
                heard.output = shell.run(&expected.command).await?;
                if heard.output != expected.output {
                    played
                        .differences
                        .push(difference(path, expected, heard, server));
                }
            }
            played.transcripts.push((path.clone(), heard));
        }
        Ok(played)
    }
}

/// What came out.
#[derive(Default)]
struct Played {
    commands: usize,
    differences: Vec<String>,
    transcripts: Vec<(PathBuf, Vec<Entry>)>,
}

impl Played {
    fn write(&self) -> Result<()> {
        for (path, entries) in &self.transcripts {
            fs::write(path, transcript::write(entries))?;
        }
        Ok(())
    }
}

fn difference(path: &Path, expected: &Entry, heard: &Entry, server: On) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut text = format!("{name}, {server:?}: $ {}\n", expected.command);
    let same = expected
        .output
        .iter()
        .zip(&heard.output)
        .take_while(|(expected, heard)| expected == heard)
        .count();
    for (sign, lines) in [('-', &expected.output), ('+', &heard.output)] {
        for line in lines.iter().skip(same).take(SHOWN) {
            let _ = writeln!(text, "  {sign} {line}");
        }
    }
    text
}

/// What runs commands: a shell with kubectl in its path and nobody's settings.
struct Shell {
    path: std::ffi::OsString,
    config: PathBuf,
    folder: PathBuf,
    home: tempfile::TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Shell {
    fn new(kubectl: &Path, config: &Path) -> Result<Self> {
        let folder = kubectl.parent().context("kubectl is in no folder")?;
        let usual = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
        let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(usual))?;
        Ok(Self {
            path,
            config: config.to_owned(),
            folder: self::folder(),
            home: tempfile::tempdir()?,
            variables: Vec::new(),
        })
    }

    /// Lets commands find the programs of one more folder.
    fn add_path(&mut self, folder: &Path) -> Result<()> {
        let folders = std::env::split_paths(&self.path).chain([folder.to_owned()]);
        self.path = std::env::join_paths(folders.collect::<Vec<_>>())?;
        Ok(())
    }

    /// Gives commands one more variable.
    fn set(&mut self, name: &'static str, value: &Path) {
        self.variables.push((name, value.to_owned()));
    }

    async fn run(&self, command: &str) -> Result<Vec<String>> {
        let output = Command::from(with_parent("sh")?)
            .arg("-c")
            .arg(format!("exec 2>&1\n{command}"))
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.config)
            .env("HOME", self.home.path())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let Ok(output) = tokio::time::timeout(PATIENCE, output).await else {
            bail!("still running after {} s: {command}", PATIENCE.as_secs());
        };
        let output = output?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(transcript::normalize(&text, output.status.code()))
    }
}

/// Where transcripts and their manifests are.
fn folder() -> PathBuf {
    checkout().join("e2e/kubectl")
}

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How many lines of a difference are shown.
const SHOWN: usize = 40;
