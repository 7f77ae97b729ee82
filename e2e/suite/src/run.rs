//! A whole run: for each release a cluster, the behaviour cases on it, then every [`Step`].
//!
//! A step is whatever else is to hold on a real server. To add one: write an async function from
//! [`Context`] to [`Outcome`] and add it to [`crate::steps::all`]. The frame gives it a cluster on
//! which every part runs, times it, catches its panics, prints its figures and adds it to the
//! report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::LocalBoxFuture;
use podcert_cases::Release;

use crate::cases::{self, Namespaces};
use crate::cluster::command::{Output, OutputArg};
use crate::cluster::progress::Progress;
use crate::cluster::{Cluster, Options};
use crate::document;
use crate::failures;
use crate::real::Real;
use crate::release::{self, release, targets};
use crate::report::{Figure, Goal, ReleaseReport, Report, StepReport};
use crate::{node, say, steps};

/// Something that is to hold on a real server, beside the cases.
pub(crate) struct Step {
    /// What, in kebab case: people choose it by a part of it.
    pub(crate) name: &'static str,
    /// The releases it is for.
    pub(crate) releases: &'static [Release],
    /// Does it.
    pub(crate) run: fn(Context) -> LocalBoxFuture<'static, Result<Outcome>>,
}

/// Where a step runs.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The release of the cluster.
    pub(crate) release: Release,
    /// A cluster that serves all versions of `certificates.k8s.io`, for one step at a time; when a
    /// step leaves it with a part down, the next gets a new one. A step that wants another kind of
    /// server starts its own with [`Cluster::start`].
    pub(crate) cluster: Arc<Cluster>,
    /// For what takes long.
    pub(crate) progress: Progress,
    /// A static build of podcert, for images; steps of a node have one.
    pub(crate) podcert: Option<PathBuf>,
}

/// What came out of a step in which nothing failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// In a few words for the table: `240 of 240 chains accepted`.
    pub(crate) summary: String,
    /// What was measured. A figure off its goal fails the step, unless noise moves it.
    pub(crate) figures: Vec<Figure>,
}

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Only this release; may be given again
    #[arg(long, value_name = "RELEASE", value_parser = release())]
    kubernetes: Vec<Release>,
    /// Only cases and steps whose name contains this
    filter: Option<String>,
    /// Write the table of docs/compatibility.md from what came out; for whole runs that are green
    #[arg(long, conflicts_with_all = ["kubernetes", "filter"])]
    write_docs: bool,
    /// Print the names of all cases and steps, and run none
    #[arg(long, conflicts_with_all = ["write_docs"])]
    list: bool,
    /// Only the steps that need a node (node-*), with one: needs root
    #[arg(long, conflicts_with = "write_docs")]
    node: bool,
    /// A static build of podcert, which is put into images for the node
    #[arg(long, value_name = "FILE", requires = "node")]
    podcert: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
}

impl RunArgs {
    /// Runs it and says whether all is green.
    pub(crate) async fn run(&self) -> Result<bool> {
        let releases = release::ALL
            .into_iter()
            .filter(|release| self.kubernetes.is_empty() || self.kubernetes.contains(release));
        let plan: Vec<Plan> = releases
            .map(|release| {
                if self.node {
                    Plan::of_node(release, self.filter.as_deref())
                } else {
                    Plan::new(release, self.filter.as_deref())
                }
            })
            .filter(|plan| !plan.is_empty())
            .collect();
        if plan.is_empty() {
            bail!(NOTHING_CHOSEN);
        }
        if self.list {
            plan.iter().for_each(Plan::list);
            return Ok(true);
        }
        failures::keep();
        let progress = Progress::to_stderr();
        let mut report = Report::default();
        for plan in plan {
            report
                .releases
                .push(plan.run(&progress, self.podcert.as_ref()).await?);
        }
        match self.output.output {
            Output::Json => println(&serde_json::to_string_pretty(&report.to_json())?),
            Output::Text => {
                say("");
                report.lines().iter().for_each(|line| say(line));
                report.figures().for_each(|figure| println(&figure.line()));
                for missed in report.figures().filter(|figure| !figure.is_reached()) {
                    say(&format!("missed: {}", missed.line()));
                }
            }
        }
        if self.write_docs {
            if !report.is_green() {
                bail!("the table is written only from a run in which nothing failed");
            }
            document::write(&report)?;
        }
        Ok(report.is_green())
    }
}

/// What is run on one release.
struct Plan {
    release: Release,
    cases: Vec<cases::Chosen>,
    steps: Vec<Step>,
    /// Whether its clusters have a node.
    node: bool,
}

impl Plan {
    fn new(release: Release, filter: Option<&str>) -> Self {
        let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
        let cases = targets(release).into_iter().map(|target| {
            let mut chosen = cases::Chosen::all(target);
            chosen.cases.retain(|case| wanted(case.name));
            chosen
        });
        let mut steps = steps::all();
        steps.retain(|step| step.releases.contains(&release) && wanted(step.name));
        Self {
            release,
            cases: cases.filter(|chosen| !chosen.cases.is_empty()).collect(),
            steps,
            node: false,
        }
    }

    /// The steps that need a node, alone.
    fn of_node(release: Release, filter: Option<&str>) -> Self {
        let mut steps = node::steps();
        steps.retain(|step| {
            step.releases.contains(&release)
                && filter.is_none_or(|filter| step.name.contains(filter))
        });
        Self {
            release,
            cases: Vec::new(),
            steps,
            node: true,
        }
    }

    fn is_empty(&self) -> bool {
        self.cases.is_empty() && self.steps.is_empty()
    }

    fn list(&self) {
        let release = self.release.as_str();
        for chosen in &self.cases {
            for case in &chosen.cases {
                println(&format!(
                    "{release} {} {}",
                    chosen.target.api.as_str(),
                    case.name
                ));
            }
        }
        for step in &self.steps {
            println(&format!("{release} step {}", step.name));
        }
    }

    async fn run(self, progress: &Progress, podcert: Option<&PathBuf>) -> Result<ReleaseReport> {
        let mut options = Options::new(self.release, progress.clone());
        if self.node {
            options = options.with_node(self.release);
        }
        let mut cluster = start(&options).await?;
        let mut report = ReleaseReport::new(self.release, cluster.version());
        for chosen in self.cases {
            let server = Real::connect(&cluster.kubeconfig(), &cluster.etcd_config()).await?;
            let cases = chosen.run(server, Namespaces::Left, progress).await;
            cases.lines(self.release).iter().for_each(|line| say(line));
            report.cases.push(cases);
        }
        // The steps want none of what the cases left. Started before the other ends, so that it has
        // another folder and the logs of the cases stay.
        if !report.cases.is_empty() && !self.steps.is_empty() {
            let empty = start(&options).await?;
            end(cluster).await?;
            cluster = empty;
        }
        for step in self.steps {
            cluster = whole(cluster, &options).await?;
            let context = Context {
                release: self.release,
                cluster: Arc::clone(&cluster),
                progress: progress.clone(),
                podcert: podcert.cloned(),
            };
            let step = run_step(&step, context).await;
            step.lines(self.release).iter().for_each(|line| say(line));
            report.steps.push(step);
        }
        end(cluster).await?;
        Ok(report)
    }
}

async fn run_step(step: &Step, context: Context) -> StepReport {
    context
        .progress
        .begin(format!("{} on {}", step.name, context.release.as_str()));
    let progress = context.progress.clone();
    let began = Instant::now();
    let outcome = failures::caught((step.run)(context)).await;
    progress.end();
    let (failure, outcome) = match outcome {
        Ok(Ok(outcome)) => (None, outcome),
        Ok(Err(error)) => (Some(format!("{error:#}")), Outcome::default()),
        Err(panic) => (Some(panic), Outcome::default()),
    };
    let off: Vec<String> = outcome
        .figures
        .iter()
        .filter(|figure| figure.fails())
        .map(Figure::line)
        .collect();
    let failure = failure.or_else(|| (!off.is_empty()).then(|| off.join("\n")));
    StepReport {
        name: step.name,
        seconds: began.elapsed().as_secs_f64(),
        failure,
        summary: outcome.summary,
        figures: outcome.figures,
    }
}

/// The cluster, or a new one in its place if a step left it otherwise than it found it.
async fn whole(cluster: Arc<Cluster>, options: &Options) -> Result<Arc<Cluster>> {
    if cluster.is_as_started() {
        return Ok(cluster);
    }
    end(cluster).await?;
    start(options).await
}

/// A cluster, of which people are told.
async fn start(options: &Options) -> Result<Arc<Cluster>> {
    let cluster = Cluster::start(options).await?;
    say(&format!(
        "Kubernetes {}: {} (logs in {})",
        cluster.version(),
        cluster.url(),
        cluster.logs().display()
    ));
    Ok(Arc::new(cluster))
}

/// Ends a cluster as soon as the tasks of its steps have let go of it.
async fn end(mut cluster: Arc<Cluster>) -> Result<()> {
    for _ in 0..LETTING_GO {
        match Arc::try_unwrap(cluster) {
            Ok(alone) => return alone.shutdown().await,
            Err(shared) => cluster = shared,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("a step still uses its cluster after its end")
}

impl Context {
    /// Options for another cluster of the same release.
    pub(crate) fn options(&self) -> Options {
        Options::new(self.release, self.progress.clone())
    }
}

impl Outcome {
    /// An outcome without figures.
    pub(crate) fn of(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            figures: Vec::new(),
        }
    }

    /// The same with one more figure.
    #[must_use]
    pub(crate) fn with(mut self, name: impl Into<String>, value: f64, goal: Goal) -> Self {
        self.figures.push(Figure {
            name: name.into(),
            value,
            goal,
        });
        self
    }
}

#[allow(clippy::print_stdout, reason = "what programs read")]
fn println(line: &str) {
    println!("{line}");
}

/// What `--help` ends with.
pub(crate) const AFTER_HELP: &str = "\
Go 1.21 or newer and OpenSSL are needed. Each release is built once, into $PODCERT_E2E_CACHE, else
$XDG_CACHE_HOME/podcert/e2e or ~/.cache/podcert/e2e. A run says where the logs of its cluster are;
they stay until the next run.

EXIT CODES
  0  everything that ran passed
  1  something failed, or nothing could be run; the last lines say what
  2  wrong usage";

/// Why nothing is run.
pub(crate) const NOTHING_CHOSEN: &str =
    "no case and no step here has such a name; `cargo xtask e2e --list` prints them all";

/// In tenths of a second.
const LETTING_GO: u32 = 100;
