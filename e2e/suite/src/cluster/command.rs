//! `cargo xtask cluster up|down|status|kubeconfig`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Subcommand, ValueEnum};
use podcert_cases::Release;
use serde_json::json;

use super::folders::{Claim, Folder, Name};
use super::node::Host;
use super::node::images::Ctr;
use super::parts::{Parts, Purpose, Selection};
use super::process::Signal;
use super::progress::Progress;
use super::supervisor::{self, Ready, Record, Started, State, Wanted};
use super::{CertificatesApi, supervisor::RunningPart};
use crate::release::release;

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build what is not built yet and start a cluster that stays until `down`
    Up {
        #[command(flatten)]
        which: Which,
        /// Serve what the release serves by default: on 1.37, certificates.k8s.io/v1 alone
        #[arg(long)]
        stock: bool,
        /// A node too, on which pods run: needs root
        #[arg(long)]
        node: bool,
        /// The release of the node's kubelet, if not the server's; an earlier one needs v1beta1, so not --stock
        #[arg(long, value_name = "RELEASE", value_parser = release(), requires = "node")]
        kubelet: Option<Release>,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Give a cluster's node images, as `cargo xtask image` makes them
    Load {
        #[command(flatten)]
        which: Which,
        /// Tar files of OCI layouts
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
    /// End a cluster and remove everything of it
    Down {
        #[command(flatten)]
        which: Which,
        /// Every cluster that `up` started
        #[arg(long, conflicts_with_all = ["kubernetes", "name"])]
        all: bool,
    },
    /// Say how each cluster is
    Status {
        #[command(flatten)]
        output: OutputArg,
    },
    /// Print the path of an administrator's kubeconfig
    Kubeconfig {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: OutputArg,
    },
}

/// Which cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Its release; `up` takes 1.37 without, the others the one cluster there is
    #[arg(long, value_name = "RELEASE", value_parser = release())]
    kubernetes: Option<Release>,
    /// Its name, if it is to be another than its release
    #[arg(long, value_parser = Name::parse)]
    name: Option<Name>,
}

/// How to print.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArg {
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What the hidden command `supervise` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct SuperviseArgs {
    #[arg(long, value_parser = Name::parse)]
    name: Name,
    #[arg(long, value_parser = release())]
    kubernetes: Release,
    #[arg(long)]
    stock: bool,
    #[arg(long, value_parser = release())]
    kubelet: Option<Release>,
}

impl SuperviseArgs {
    /// Holds the cluster until it is to end.
    pub(crate) async fn run(&self) -> Result<()> {
        let wanted = Wanted {
            release: self.kubernetes,
            api: api(self.stock),
            node: self.kubelet,
        };
        supervisor::supervise(&self.name, wanted).await
    }
}

impl Command {
    /// Does it.
    pub(crate) async fn run(&self) -> Result<()> {
        match self {
            Self::Up {
                which,
                stock,
                node,
                kubelet,
                output,
            } => {
                let release = which.kubernetes.unwrap_or(Release::V1_37);
                let wanted = Wanted {
                    release,
                    api: api(*stock),
                    node: node.then(|| kubelet.unwrap_or(release)),
                };
                up(which, wanted, output.output).await
            }
            Self::Load { which, images } => load(&which.one()?, images).await,
            Self::Down { which, all } => {
                let names = if *all {
                    Name::all()?
                } else {
                    vec![which.one()?]
                };
                if names.is_empty() {
                    print("no cluster is up");
                }
                for name in names {
                    down(&name).await?;
                }
                Ok(())
            }
            Self::Status { output } => status(output.output),
            Self::Kubeconfig { which, output } => kubeconfig(&which.one()?, output.output),
        }
    }
}

impl Which {
    /// The name of the cluster that is meant, where only one can be.
    fn one(&self) -> Result<Name> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        if let Some(release) = self.kubernetes {
            return Ok(Name::of_release(release));
        }
        let mut all = Name::all()?;
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => bail!("no cluster is up: `cargo xtask cluster up` starts one"),
            (Some(last), false) => {
                let mut names = String::new();
                for name in all {
                    let _ = write!(names, "{name}, ");
                }
                bail!("there are several clusters, say which with --name: {names}{last}")
            }
        }
    }
}

async fn up(which: &Which, wanted: Wanted, output: Output) -> Result<()> {
    let began = Instant::now();
    let Wanted { release, api, node } = wanted;
    check(wanted)?;
    let name = which
        .name
        .clone()
        .unwrap_or_else(|| Name::of_release(release));
    if let Some(there) = Record::read(&Folder::of(&name)?)? {
        let same = there.kubernetes == release.as_str()
            && there.certificates_api == api
            && there.node.as_deref() == node.map(Release::as_str);
        match there.state() {
            State::Dead => {}
            State::Running if same => {
                return show_up(&there, "is up already", output);
            }
            State::Running => bail!(
                "the cluster {name} is up with other options ({}): end it with `{}`, or give this \
                 one another name with --name",
                describe(&there),
                down_command(&there)
            ),
            State::Starting => bail!("the cluster {name} is being started"),
            State::Broken(parts) => bail!(
                "the cluster {name} is broken ({} ended): end it with `{}`",
                parts.join(", "),
                down_command(&there)
            ),
        }
    }
    let progress = Progress::to_stderr();
    if node.is_some() {
        // Before minutes of building.
        Host::prepare(&progress).await?;
    }
    let selection = Selection {
        release,
        purpose: Purpose::People,
        node,
    };
    Parts::build(selection, &progress).await?;
    let record = Started::start(&name, wanted)?.kept(&progress)?;
    let seconds = began.elapsed().as_secs().max(1);
    let how = format!("is up after {seconds} s");
    show_up(&record, &how, output)
}

/// What cannot work is told before anything is built.
fn check(wanted: Wanted) -> Result<()> {
    let Some(node) = wanted.node else {
        return Ok(());
    };
    let (kubelet, server) = (node.as_str(), wanted.release.as_str());
    if node > wanted.release {
        bail!(
            "a kubelet may not be newer than its API server, and {kubelet} is newer than {server}"
        );
    }
    if node < wanted.release && wanted.api == CertificatesApi::Stock {
        bail!(
            "a kubelet of {kubelet} asks at v1beta1, which {server} does not serve with --stock: leave              that out"
        );
    }
    Ok(())
}

async fn load(name: &Name, images: &[PathBuf]) -> Result<()> {
    let folder = Folder::of(name)?;
    let record = Record::read(&folder)?.with_context(|| format!("there is no cluster {name}"))?;
    if record.node.is_none() || record.state() != State::Running {
        bail!(
            "the cluster {name} has no node that runs: `cargo xtask cluster up --node` starts one"
        );
    }
    for image in images {
        Ctr::of(&folder).import(image).await?;
        print(&format!("{} is on the node of {name}", image.display()));
    }
    Ok(())
}

async fn down(name: &Name) -> Result<()> {
    super::folders::sweep()?;
    let folder = Folder::of(name)?;
    let Some(record) = Record::read(&folder)? else {
        // A folder without a record: nothing was started, or all of it was ended long ago.
        if Claim::take(name)?.is_none() {
            bail!("the cluster {name} is just being started or ended: try again");
        }
        if !folder.root().exists() {
            bail!("there is no cluster {name}: `cargo xtask cluster status` lists those there are");
        }
        supervisor::remove(&folder).await?;
        print(&format!("removed what was left of the cluster {name}"));
        return Ok(());
    };
    let ran = record.supervisor.signal(Signal::TERM)?;
    if ran && !gone(&record, GRACE).await {
        record.supervisor.signal(Signal::KILL)?;
        if !gone(&record, GRACE).await {
            bail!(
                "process {} does not end, the supervisor of the cluster {name}",
                record.supervisor.pid
            );
        }
    }
    supervisor::remove(&folder).await?;
    print(&if ran {
        format!("the cluster {name} is down")
    } else {
        format!("the cluster {name} was dead already; what it left is removed")
    });
    Ok(())
}

/// Waits until nothing of the cluster runs.
async fn gone(record: &Record, patience: Duration) -> bool {
    let parts: &[RunningPart] = record.ready.as_ref().map_or(&[], |ready| &ready.parts);
    let deadline = Instant::now() + patience;
    loop {
        let any = record.supervisor.is_alive() || parts.iter().any(|part| part.process.is_alive());
        if !any {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn status(output: Output) -> Result<()> {
    let mut records = Vec::new();
    for name in Name::all()? {
        records.extend(Record::read(&Folder::of(&name)?)?);
    }
    if output == Output::Json {
        let all: Vec<_> = records
            .iter()
            .map(|record| json!({"state": record.state(), "cluster": record}))
            .collect();
        return print_json(&json!(all));
    }
    if records.is_empty() {
        print("no cluster is up");
    }
    for record in records {
        let state = match record.state() {
            State::Running => "running".to_owned(),
            State::Starting => "starting".to_owned(),
            State::Broken(parts) => format!("broken: {} ended", parts.join(", ")),
            State::Dead => format!("dead; `{}` removes it", down_command(&record)),
        };
        print(&format!("{}: {state} ({})", record.name, describe(&record)));
        if let Some(ready) = &record.ready {
            print(&details(ready));
        }
    }
    Ok(())
}

fn kubeconfig(name: &Name, output: Output) -> Result<()> {
    let record = Record::read(&Folder::of(name)?)?;
    let record = record.with_context(|| format!("there is no cluster {name}"))?;
    if record.state() == State::Dead {
        bail!("the cluster {name} is dead: `cargo xtask cluster up` starts it anew");
    }
    let ready = record
        .ready
        .with_context(|| format!("the cluster {name} is still being started"))?;
    match output {
        Output::Text => print(&ready.kubeconfig.display().to_string()),
        Output::Json => print_json(&json!({
            "kubeconfig": ready.kubeconfig,
            "server": ready.server,
            "kubectl": ready.programs.join("kubectl"),
        }))?,
    }
    Ok(())
}

fn show_up(record: &Record, how: &str, output: Output) -> Result<()> {
    if output == Output::Json {
        return print_json(&json!({"state": record.state(), "cluster": record}));
    }
    print(&format!(
        "the cluster {} {how} ({})",
        record.name,
        describe(record)
    ));
    if let Some(ready) = &record.ready {
        print(&details(ready));
        print("use it:");
        print(&format!(
            "  export KUBECONFIG={} PATH={}:$PATH",
            ready.kubeconfig.display(),
            ready.programs.display()
        ));
        print("end it:");
        print(&format!("  {}", down_command(record)));
    }
    Ok(())
}

fn describe(record: &Record) -> String {
    let version = match &record.ready {
        Some(ready) => ready.version.clone(),
        None => record.kubernetes.clone(),
    };
    let served = match (record.certificates_api, record.kubernetes.as_str()) {
        (_, "1.35" | "1.36") => "v1beta1",
        (CertificatesApi::Stock, _) => "v1",
        (CertificatesApi::All, _) => "v1 and v1beta1",
    };
    let node = match &record.node {
        Some(kubelet) => format!(", a node of {kubelet}"),
        None => String::new(),
    };
    format!("Kubernetes {version}, certificates.k8s.io {served}{node}")
}

fn details(ready: &Ready) -> String {
    format!(
        "  API server  {}\n  etcd        {}\n  kubeconfig  {}\n  programs    {}\n  logs        {}",
        ready.server,
        ready.etcd,
        ready.kubeconfig.display(),
        ready.programs.display(),
        ready.logs.display()
    )
}

fn down_command(record: &Record) -> String {
    format!("cargo xtask cluster down --name {}", record.name)
}

fn api(stock: bool) -> CertificatesApi {
    if stock {
        CertificatesApi::Stock
    } else {
        CertificatesApi::All
    }
}

fn print(line: &str) {
    // Nobody reads any more: nothing is lost.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// What `--help` ends with.
pub(crate) const AFTER_HELP: &str = "\
Clusters listen on 127.0.0.1 alone (with a node, where this machine and its pods reach them), and live in $PODCERT_E2E_STATE, else $XDG_STATE_HOME/podcert/e2e
or ~/.local/state/podcert/e2e: `status` says where the logs, kubectl and the kubeconfig of each are.
Go 1.21 or newer is needed to build them, once for each release.

EXIT CODES
  0  done; `status` also where a cluster is broken or dead, which it says
  1  failed; the last line says why
  2  wrong usage";

/// How long the end of a cluster may take.
const GRACE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use Release::{V1_35, V1_36, V1_37};

    use super::*;

    #[test]
    fn a_kubelet_that_the_server_cannot_serve_is_refused_before_anything_is_built() {
        let wanted = |release, node, stock| Wanted {
            release,
            api: api(stock),
            node,
        };
        for good in [
            wanted(V1_37, Some(V1_37), true),
            wanted(V1_37, Some(V1_35), false),
            wanted(V1_35, Some(V1_35), true),
            wanted(V1_35, None, true),
        ] {
            assert!(check(good).is_ok(), "{good:?}");
        }
        let newer = check(wanted(V1_36, Some(V1_37), false))
            .unwrap_err()
            .to_string();
        assert!(newer.contains("1.37 is newer than 1.36"), "{newer}");
        let unserved = check(wanted(V1_37, Some(V1_36), true))
            .unwrap_err()
            .to_string();
        assert!(unserved.contains("--stock"), "{unserved}");
    }
}
