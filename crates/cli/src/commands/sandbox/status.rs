//! `podcert sandbox status`: whether a sandbox runs, and what is in it.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use jiff::SignedDuration;
use k8s_openapi::api::certificates::v1::{ClusterTrustBundle, PodCertificateRequest};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use podcert_runtime::{Clock as _, SharedClock, SystemClock};
use podcert_sandbox::instance::{InstanceName, Instances, Record};
use serde::Serialize;

use super::{NameArgs, client, env_line};
use crate::output::{self, Format};

/// The flags of `sandbox status`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "EXIT CODES\n  0  it runs and answers\n  1  it runs but does not answer\n  2  wrong usage\n  \
    3  it does not run\n  130  stopped by Ctrl-C"
)]
pub(crate) struct Args {
    #[command(flatten)]
    name: NameArgs,

    /// Print it in this format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

/// What there is to know.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    name: InstanceName,
    state: State,
    /// Others that run, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<InstanceName>,
    #[serde(flatten)]
    record: Option<Record>,
    #[serde(flatten)]
    counts: Option<Counts>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Running,
    Starting,
    NotRunning,
}

/// What is in it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    pods: usize,
    pods_running: usize,
    requests: usize,
    requests_issued: usize,
    requests_refused: usize,
    trust_bundles: usize,
}

/// Looks and prints.
///
/// # Errors
/// The sandbox's process lives but its API server does not answer.
pub(super) async fn run(args: &Args, clock: SharedClock) -> Result<ExitCode> {
    let name = args.name.name.clone();
    let instances = Instances::of_this_user()?;
    let record = instances.find(&name)?;
    let counts = match &record {
        None => None,
        Some(record) => Some(count(record, clock).await.with_context(|| {
            format!(
                "sandbox {name} lives (process {}) but does not answer{}",
                record.pid,
                super::log_hint(record)
            )
        })?),
    };
    let state = match &record {
        Some(_) => State::Running,
        None if instances.is_alive(&name) => State::Starting,
        None => State::NotRunning,
    };
    let mut others = instances.names();
    others.retain(|other| *other != name);
    let status = Status {
        name,
        state,
        others,
        record,
        counts,
    };
    match args.output {
        Format::Text => output::text(&status.text())?,
        format => output::object(format, &status)?,
    }
    Ok(match state {
        State::Running => ExitCode::SUCCESS,
        State::Starting | State::NotRunning => ExitCode::from(NOT_RUNNING),
    })
}

async fn count(record: &Record, clock: SharedClock) -> Result<Counts> {
    let client = client(record, clock).await?;
    let all = ListParams::default();
    let pods = Api::<Pod>::all(client.clone()).list(&all).await?.items;
    let requests = Api::<PodCertificateRequest>::all(client.clone())
        .list(&all)
        .await?
        .items;
    let bundles = Api::<ClusterTrustBundle>::all(client)
        .list(&all)
        .await?
        .items;
    let is_running = |pod: &&Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        phase == Some("Running")
    };
    let with = |wanted: &'static [&'static str]| {
        requests
            .iter()
            .filter_map(|request| request.status.as_ref()?.conditions.as_ref())
            .filter(|conditions| {
                conditions
                    .iter()
                    .any(|condition| wanted.contains(&condition.type_.as_str()))
            })
            .count()
    };
    Ok(Counts {
        pods: pods.len(),
        pods_running: pods.iter().filter(is_running).count(),
        requests: requests.len(),
        requests_issued: with(&["Issued"]),
        requests_refused: with(&["Denied", "Failed"]),
        trust_bundles: bundles.len(),
    })
}

impl Status {
    fn text(&self) -> String {
        let mut lines = vec![match self.state {
            State::Running => format!("sandbox {} runs", self.name),
            State::Starting => format!("sandbox {} is starting", self.name),
            State::NotRunning => format!("sandbox {} does not run", self.name),
        }];
        let mut row = |name: &str, text: String| lines.push(format!("  {name:<13} {text}"));
        if let Some(record) = &self.record {
            let age = SystemClock.now().duration_since(record.started);
            let age = SignedDuration::from_secs(age.as_secs());
            row("API", format!("https://{}", record.address));
            row("for", format!("{age:#}, as process {}", record.pid));
            row("nodes", record.nodes.join(", "));
            if record.speed > 1 {
                row(
                    "clock",
                    format!("{} times as fast as the machine's", record.speed),
                );
            }
            if let Some(log) = &record.log {
                row("log", log.display().to_string());
            }
        }
        if let Some(counts) = &self.counts {
            row(
                "pods",
                format!("{}, {} running", counts.pods, counts.pods_running),
            );
            row(
                "requests",
                format!(
                    "{}: {} issued, {} refused, {} waiting",
                    counts.requests,
                    counts.requests_issued,
                    counts.requests_refused,
                    counts
                        .requests
                        .saturating_sub(counts.requests_issued + counts.requests_refused)
                ),
            );
            row("trust bundles", counts.trust_bundles.to_string());
        }
        if let Some(record) = &self.record {
            row("kubectl", env_line(record));
        }
        if !self.others.is_empty() {
            let others: Vec<String> = self.others.iter().map(ToString::to_string).collect();
            lines.push(format!("also there: {}", others.join(", ")));
        }
        lines.join("\n")
    }
}

const NOT_RUNNING: u8 = 3;
