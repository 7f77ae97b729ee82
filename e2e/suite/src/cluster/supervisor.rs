//! The process that holds a cluster between `up` and `down`.
//!
//! `up` starts it in a session of its own and keeps a pipe to it. Down that pipe goes one word,
//! `keep`: until it comes, the pipe's end (`up` died, or was interrupted) ends everything; after
//! it, only `down` does, by SIGTERM. Up the other pipe comes the progress, then one line of
//! outcome. The supervisor's own death, however it comes, kills the parts ([`super::process`]).
//!
//! What it says of itself to later commands is the [`Record`] in the cluster's folder.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use podcert_cases::Release;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::folders::{Claim, Folder, Name};
use super::process::Identity;
use super::progress::{News, Progress};
use super::{CertificatesApi, Cluster, Options, Purpose};

/// What somebody wants of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The release of its control plane.
    pub(crate) release: Release,
    /// Which versions of `certificates.k8s.io` it is to serve.
    pub(crate) api: CertificatesApi,
    /// The release of its node, if it is to have one.
    pub(crate) node: Option<Release>,
}

/// A cluster as `state.json` in its folder tells of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Its name.
    pub(crate) name: String,
    /// Its release, as people write it: `1.37`.
    pub(crate) kubernetes: String,
    /// Which versions of `certificates.k8s.io` it serves.
    pub(crate) certificates_api: CertificatesApi,
    /// The release of its node, if it has one.
    #[serde(default)]
    pub(crate) node: Option<String>,
    /// The process that holds it.
    pub(crate) supervisor: Identity,
    /// The rest, once it is ready.
    pub(crate) ready: Option<Ready>,
}

/// What there is to know of a cluster that is ready.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ready {
    /// The API server's full version.
    pub(crate) version: String,
    /// Where the API server listens.
    pub(crate) server: String,
    /// Where etcd listens.
    pub(crate) etcd: String,
    /// An administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// The release's programs.
    pub(crate) programs: PathBuf,
    /// The folder of the logs.
    pub(crate) logs: PathBuf,
    /// Its parts.
    pub(crate) parts: Vec<RunningPart>,
}

/// A part of a cluster.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningPart {
    /// Which.
    pub(crate) name: String,
    /// Its process.
    pub(crate) process: Identity,
    /// Where its outputs go.
    pub(crate) log: PathBuf,
}

/// How a cluster is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    /// Every part runs.
    Running,
    /// `up` is still at it.
    Starting,
    /// Of a cluster that is held these parts have ended.
    Broken(Vec<String>),
    /// Its supervisor is gone, and everything with it.
    Dead,
}

/// What comes out of a start, as one line from the supervisor to `up`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Word {
    /// It is ready, and waits for `keep`.
    Ready(Box<Record>),
    /// It is not, and everything is ended.
    Failed(String),
    /// It is kept.
    Kept,
}

impl Record {
    /// What the folder of that name tells, if there is a cluster in it.
    pub(crate) fn read(folder: &Folder) -> Result<Option<Self>> {
        let path = folder.record();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let record = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a cluster's state", path.display()))?;
        Ok(Some(record))
    }

    /// How the cluster is now.
    pub(crate) fn state(&self) -> State {
        if !self.supervisor.is_alive() {
            return State::Dead;
        }
        let Some(ready) = &self.ready else {
            return State::Starting;
        };
        let ended: Vec<String> = ready
            .parts
            .iter()
            .filter(|part| !part.process.is_alive())
            .map(|part| part.name.clone())
            .collect();
        if ended.is_empty() {
            State::Running
        } else {
            State::Broken(ended)
        }
    }

    /// In one step, so that nobody reads half of it.
    fn write(&self, folder: &Folder) -> Result<()> {
        let path = folder.record();
        let unfinished = path.with_extension("unfinished");
        let write = || -> Result<()> {
            let mut file = fs::OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&unfinished)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            fs::rename(&unfinished, &path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    fn new(name: &Name, options: &Options) -> Result<Self> {
        Ok(Self {
            name: name.to_string(),
            kubernetes: options.release.as_str().to_owned(),
            certificates_api: options.api,
            node: options.node.map(|node| node.as_str().to_owned()),
            supervisor: Identity::own()?,
            ready: None,
        })
    }
}

impl Ready {
    fn of(cluster: &Cluster) -> Self {
        let parts = cluster.processes().into_iter().map(|process| RunningPart {
            name: process.name().to_owned(),
            process: process.identity().clone(),
            log: process.log().to_path_buf(),
        });
        Self {
            version: cluster.version(),
            server: cluster.url(),
            etcd: cluster.etcd_url(),
            kubeconfig: cluster.kubeconfig(),
            programs: cluster.folder().programs(),
            logs: cluster.logs(),
            parts: parts.collect(),
        }
    }
}

/// What the hidden command `supervise` does, with `up` at the other end of its input and output.
pub(crate) async fn supervise(name: &Name, wanted: Wanted) -> Result<()> {
    // It fails only where there is a session of our own already.
    let _ = rustix::process::setsid();
    let mut requests = Requests::listen()?;
    let outcome = tokio::select! {
        outcome = start(name, wanted) => outcome,
        () = requests.end() => {
            // Everything that was started was killed as the start was dropped, and its claim with it.
            if let Some(claim) = Claim::take(name)? {
                remove(claim.folder()).await?;
            }
            return Ok(());
        }
    };
    let (cluster, record) = match outcome {
        Ok(ready) => ready,
        Err(error) => {
            say(&Word::Failed(format!("{error:#}")));
            return Ok(());
        }
    };
    say(&Word::Ready(Box::new(record)));
    if requests.keep().await {
        say(&Word::Kept);
        requests.end().await;
    }
    cluster.remove().await
}

async fn start(name: &Name, wanted: Wanted) -> Result<(Cluster, Record)> {
    let Some(claim) = Claim::take(name)? else {
        bail!("the cluster {name} is up already, or being started");
    };
    let progress = Progress::forward(|news| print(&news.to_line()));
    let options = Options {
        release: wanted.release,
        api: wanted.api,
        purpose: Purpose::People,
        node: wanted.node,
        progress,
    };
    claim.folder().create()?;
    let mut record = Record::new(name, &options)?;
    record.write(claim.folder())?;
    let cluster = Cluster::start_in(claim, &options).await?;
    record.ready = Some(Ready::of(&cluster));
    record.write(cluster.folder())?;
    Ok((cluster, record))
}

/// Removes a folder that processes which are being killed may still write to.
pub(crate) async fn remove(folder: &Folder) -> Result<()> {
    let mut left = 50_u32;
    loop {
        match folder.remove() {
            Err(_) if left > 0 => {
                left -= 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
}

/// What others want of the supervisor.
struct Requests {
    input: mpsc::UnboundedReceiver<Input>,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    kept: bool,
}

#[derive(Debug, Eq, PartialEq)]
enum Input {
    Keep,
    Closed,
}

impl Requests {
    fn listen() -> Result<Self> {
        let (says, input) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                // One line or none: after it `up` may go.
                let said = match std::io::stdin().lock().lines().next() {
                    Some(Ok(line)) if line == KEEP => Input::Keep,
                    _ => Input::Closed,
                };
                let _ = says.send(said);
            })?;
        Ok(Self {
            input,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            kept: false,
        })
    }

    /// Waits for `keep`; false when it is to end instead.
    async fn keep(&mut self) -> bool {
        tokio::select! {
            input = self.input.recv() => {
                self.kept = input == Some(Input::Keep);
                self.kept
            }
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
        }
    }

    /// Waits until it is to end.
    async fn end(&mut self) {
        let closed = async {
            if self.kept {
                std::future::pending::<()>().await;
            }
            // `keep` before the outcome is known would be a mistake of `up`: it is no end.
            while self.input.recv().await == Some(Input::Keep) {}
        };
        tokio::select! {
            () = closed => {}
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How `up` sees the supervisor that it started.
pub(crate) struct Started {
    child: std::process::Child,
    log: PathBuf,
}

impl Started {
    /// Starts a supervisor for a cluster of that name.
    pub(crate) fn start(name: &Name, wanted: Wanted) -> Result<Self> {
        let log = super::folders::supervisor_log(name)?;
        let errors = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut command = std::process::Command::new("/proc/self/exe");
        std::os::unix::process::CommandExt::arg0(&mut command, "podcert-e2e");
        command
            .args(["supervise", "--name", &name.to_string()])
            .args(["--kubernetes", wanted.release.as_str()])
            .args((wanted.api == CertificatesApi::Stock).then_some("--stock"))
            .args(
                wanted
                    .node
                    .map(|node| format!("--kubelet={}", node.as_str())),
            )
            .envs(super::folders::as_variables()?)
            // It stays when the folder that `up` was called in goes.
            .current_dir("/")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(errors);
        let child = command.spawn().context("cannot start the supervisor")?;
        Ok(Self { child, log })
    }

    /// Waits until the cluster is ready and kept. Blocks: `up` has nothing else to do.
    pub(crate) fn kept(mut self, progress: &Progress) -> Result<Record> {
        let output = self.child.stdout.take().context("invariant: piped")?;
        let mut input = self.child.stdin.take().context("invariant: piped")?;
        let mut ready = None;
        for line in std::io::BufReader::new(output).lines() {
            let line = line.context("cannot hear the supervisor")?;
            if let Some(news) = News::from_line(&line) {
                progress.hear(news);
                continue;
            }
            match serde_json::from_str(&line)
                .with_context(|| format!("the supervisor says `{line}`"))?
            {
                Word::Failed(why) => {
                    progress.end();
                    // Its parts are gone when it is.
                    let _ = self.child.wait();
                    bail!("{why}");
                }
                Word::Ready(record) => {
                    ready = Some(record);
                    writeln!(input, "{KEEP}").context("the supervisor is gone")?;
                }
                Word::Kept => {
                    progress.end();
                    let record = ready.context("kept before it was ready")?;
                    return Ok(*record);
                }
            }
        }
        progress.end();
        let status = self.child.wait()?;
        let log = self.log.display();
        bail!("the supervisor ended early ({status}); what it said last is in {log}")
    }
}

fn say(word: &Word) {
    if let Ok(line) = serde_json::to_string(word) {
        print(&line);
    }
}

/// `up` may be gone: then there is nobody to tell.
fn print(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

const KEEP: &str = "keep";

#[cfg(test)]
mod tests {
    use super::*;

    fn record(supervisor: Identity, parts: Vec<RunningPart>) -> Record {
        Record {
            name: "1.37".into(),
            kubernetes: "1.37".into(),
            certificates_api: CertificatesApi::Stock,
            node: None,
            supervisor,
            ready: Some(Ready {
                version: "v1.37.0".into(),
                server: "https://127.0.0.1:1".into(),
                etcd: "http://127.0.0.1:2".into(),
                kubeconfig: "/c/kubeconfig".into(),
                programs: "/c/bin".into(),
                logs: "/c/logs".into(),
                parts,
            }),
        }
    }

    fn part(process: Identity) -> RunningPart {
        RunningPart {
            name: "etcd".into(),
            process,
            log: "/c/logs/etcd.log".into(),
        }
    }

    fn gone() -> Identity {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        child.wait().unwrap();
        identity
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let there = tempfile::tempdir().unwrap();
        let folder = Folder::at(there.path().join("cluster"));
        assert_eq!(Record::read(&folder).unwrap(), None);
        folder.create().unwrap();
        let own = Identity::own().unwrap();
        let written = record(own.clone(), vec![part(own)]);
        written.write(&folder).unwrap();
        assert_eq!(Record::read(&folder).unwrap(), Some(written));
        fs::write(folder.record(), "{").unwrap();
        let error = format!("{:#}", Record::read(&folder).unwrap_err());
        assert!(error.contains("is not a cluster's state"), "{error}");
    }

    #[test]
    fn a_cluster_is_what_its_processes_are() {
        let own = Identity::own().unwrap();
        let running = record(own.clone(), vec![part(own.clone())]);
        assert_eq!(running.state(), State::Running);
        let broken = record(own.clone(), vec![part(own.clone()), part(gone())]);
        assert_eq!(broken.state(), State::Broken(vec!["etcd".into()]));
        let dead = record(gone(), vec![part(own.clone())]);
        assert_eq!(dead.state(), State::Dead);
        let starting = Record {
            ready: None,
            ..record(own, Vec::new())
        };
        assert_eq!(starting.state(), State::Starting);
    }
}
