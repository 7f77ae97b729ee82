//! `podcert sandbox run EXAMPLE`: applies an example application, unchanged, and waits until it runs.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use podcert_runtime::SharedClock;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::{NameArgs, client, env_line, running};
use crate::commands::stage::{Examples, Manifest};
use crate::output::{self, Format};

/// The flags of `sandbox run`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "EXIT CODES\n  0  every pod of it is ready\n  1  not within a minute; the message says which are not\n  \
    2  wrong usage\n  130  stopped by Ctrl-C"
)]
pub(crate) struct Args {
    /// The example, by the name of its file in deploy/examples; without one they are listed
    #[arg(value_name = "EXAMPLE")]
    example: Option<String>,

    #[command(flatten)]
    name: NameArgs,

    /// Print what runs in this format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

/// A pod of the example.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    namespace: String,
    name: String,
    ready: bool,
    /// Why not, where the kubelet says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Applies the example.
///
/// # Errors
/// There is no such example, no such sandbox, or a pod does not become ready.
pub(super) async fn run(args: &Args, clock: SharedClock) -> Result<ExitCode> {
    let examples = Examples::load(None)?;
    let Some(wanted) = &args.example else {
        for manifest in examples.manifests() {
            output::text(manifest.name())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(manifest) = examples
        .manifests()
        .find(|manifest| manifest.name() == wanted)
    else {
        let names: Vec<&str> = examples.manifests().map(Manifest::name).collect();
        bail!(
            "there is no example {wanted:?}; there are: {}",
            names.join(", ")
        );
    };
    let record = running(&args.name.name)?;
    let client = client(&record, clock).await?;
    podcert_sandbox::apply(&client, manifest.yaml())
        .await
        .with_context(|| format!("applying {manifest}"))?;

    let Settled { pods: seen, late } = settle(&client, manifest).await?;
    if args.output == Format::Text {
        for pod in &seen {
            let state = if pod.ready { "ready" } else { "not ready" };
            output::text(&format!("{}/{} {state}", pod.namespace, pod.name))?;
        }
    } else {
        output::object(args.output, &seen)?;
    }
    if let Some(late) = late {
        bail!("not ready after {} s: {late}", PATIENCE.as_secs());
    }
    if args.output == Format::Text {
        let namespace = manifest.namespaces().into_iter().next().unwrap_or_default();
        output::text(&format!(
            "\n{}\nkubectl -n {namespace} logs -f deploy/client",
            env_line(&record)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What came of the example.
#[derive(Debug)]
struct Settled {
    pods: Vec<Seen>,
    /// What is still missing when the minute is over.
    late: Option<String>,
}

impl Settled {
    /// `wanted` is how many pods the example has.
    fn late(pods: Vec<Seen>, wanted: usize) -> Self {
        let mut late = vec![format!("{} of {wanted} pods are there", pods.len())];
        late.extend(pods.iter().filter(|pod| !pod.ready).map(|pod| {
            let reason = pod.reason.as_deref().unwrap_or("not ready");
            format!("{} ({reason})", pod.name)
        }));
        Self {
            late: Some(late.join(", ")),
            pods,
        }
    }
}

/// Waits until every pod of the example, and no other in its namespaces, is there and ready, or for a minute.
async fn settle(client: &kube::Client, manifest: &Manifest) -> Result<Settled> {
    let begin = Instant::now();
    let end = begin + PATIENCE;
    let mut told = 0;
    loop {
        let seen = pods(client, manifest).await?;
        let ready = seen.iter().filter(|pod| pod.ready).count();
        let wanted = manifest.pods();
        if seen.len() == wanted && ready == wanted {
            return Ok(Settled {
                pods: seen,
                late: None,
            });
        }
        let seconds = begin.elapsed().as_secs();
        if seconds >= told + TELL {
            told = seconds;
            // Nothing is lost if nobody reads it.
            let _ = writeln!(
                io::stderr(),
                "{ready} of {wanted} pods are ready, {seconds} s"
            );
        }
        if timeout_at(end, sleep(LOOK)).await.is_err() {
            return Ok(Settled::late(seen, wanted));
        }
    }
}

async fn pods(client: &kube::Client, manifest: &Manifest) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for namespace in manifest.namespaces() {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        for pod in pods.list(&ListParams::default()).await?.items {
            if pod.metadata.deletion_timestamp.is_none() {
                seen.push(look(&pod));
            }
        }
    }
    Ok(seen)
}

fn look(pod: &Pod) -> Seen {
    let status = pod.status.as_ref();
    let ready = podcert_sandbox::is_ready(pod);
    let waiting = status
        .and_then(|status| status.container_statuses.as_ref())
        .into_iter()
        .flatten()
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    Seen {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        ready,
        reason: waiting.or_else(|| status.and_then(|status| status.message.clone())),
    }
}

const LOOK: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);
/// How many seconds may pass without a word.
const TELL: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_says_what_is_missing() {
        assert_eq!(
            Settled::late(Vec::new(), 2).late.as_deref(),
            Some("0 of 2 pods are there")
        );
        let pod = |name: &str, ready, reason: Option<&str>| Seen {
            namespace: "a".to_owned(),
            name: name.to_owned(),
            ready,
            reason: reason.map(str::to_owned),
        };
        let pods = vec![
            pod("one", true, None),
            pod("two", false, Some("ImagePullBackOff")),
            pod("three", false, None),
        ];
        assert_eq!(
            Settled::late(pods, 3).late.as_deref(),
            Some("3 of 3 pods are there, two (ImagePullBackOff), three (not ready)")
        );
    }
}
