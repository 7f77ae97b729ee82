//! `podcert explain`: why a pod has, or has not, its certificates.

mod page;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use podcert_diagnosis::cluster::{self, ControllerReport};
use podcert_diagnosis::pod::{self, PodReport, State, View};
use podcert_diagnosis::{Expectation, NotShown, Unread};
use podcert_issuance::Policy;
use podcert_runtime::SharedClock;

use crate::observed::{Controllers, Expectations, Reader, is_name};
use crate::output::{self, Format};
use crate::page::Ink;

/// Say why a pod has, or has not, its certificates and trust anchors.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Say why a pod has, or has not, its certificates and trust anchors: what each source of \
        its volumes asks for, how that stands, what it waits for, and what would cure it.\n\n\
        It looks at the pod, its requests, Events and trust bundles with the rights of the kubeconfig, and \
        changes nothing. Where no Event says why a request waits, it decides the request as the controller \
        would, from the objects it may see.",
    after_long_help = "EXAMPLES\n  podcert explain pod shop/web-0\n  \
        podcert explain pod shop/web-0 --output json\n\n\
        EXIT CODES\n  0  all of it is there, or the pod asks for nothing\n  \
        1  some of it could not be looked at; it says why\n  2  wrong usage\n  \
        3  something is awaited, missing, refused or overdue\n\n\
        What each reason means: docs/operations.md."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    about: About,
}

#[derive(Debug, clap::Subcommand)]
enum About {
    /// A pod
    Pod(PodArgs),
}

#[derive(Debug, clap::Args)]
struct PodArgs {
    /// The pod; without a namespace, in the kubeconfig's
    #[arg(value_name = "[NAMESPACE/]NAME")]
    pod: String,

    /// Kubeconfig of the cluster [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,

    /// Print it in this format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

/// Looks and prints.
///
/// # Errors
/// The cluster does not answer, or shows nothing of the pod.
pub(crate) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    let About::Pod(args) = args.about;
    let reader = Reader::connect(args.kubeconfig.as_deref(), clock).await?;
    let (namespace, name) = split(&args.pod, reader.default_namespace())?;
    let report = report(&reader, &namespace, &name).await?;
    match args.output {
        Format::Text => output::text(page::page(&report, Ink::of_stdout()).trim_end())?,
        format => output::object(format, &report)?,
    }
    Ok(match report.worst() {
        Some(worst) if worst >= State::Attention => ExitCode::from(NOT_ALL),
        Some(State::Unknown) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

async fn report(reader: &Reader, namespace: &str, name: &str) -> Result<PodReport> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let pod: Pod = match reader
        .object(&path, &format!("pod {namespace}/{name}"))
        .await?
    {
        Ok(Some(pod)) => pod,
        Ok(None) => bail!("there is no pod {namespace}/{name}"),
        Err(not_shown) => bail!("{not_shown}"),
    };
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let requests = reader.requests(Some(namespace)).await?;
    let events = reader.events_about(namespace, &uid).await?;
    let bundles = reader.bundles().await?;
    let is_own = |request: &podcert_diagnosis::Request| request.pod_uid() == uid;
    let waits = requests
        .all
        .iter()
        .flatten()
        .any(|request| is_own(request) && requests.open.contains_key(request.uid()));
    let answering = match waits {
        true => Answering::find(reader).await?,
        false => Answering::default(),
    };
    let policies = &answering.policies;
    let expected = Expectations::of(reader, &requests, is_own, policies, &bundles).await?;
    let expect = |request: &podcert_diagnosis::Request| -> Result<Expectation, String> {
        expected.get(request)
    };
    let mut hidden = answering.hidden.clone();
    hidden.extend(reader.unread().iter().map(Unread::not_shown));
    Ok(pod::explain(&View {
        pod: &pod,
        requests: requests.all.as_deref().map_err(Clone::clone),
        events: events.as_deref().map_err(Clone::clone),
        bundles: bundles.as_deref().map_err(Clone::clone),
        expected: &expect,
        answered: &|signer| cluster::answers(&answering.controllers, answering.all_shown, signer),
        hidden: &hidden,
        now: reader.now(),
    }))
}

/// Who answers.
#[derive(Default)]
struct Answering {
    controllers: Vec<ControllerReport>,
    policies: Vec<Policy>,
    /// Whether all who do would show themselves.
    all_shown: bool,
    /// Why not all of that is sure.
    hidden: Vec<NotShown>,
}

impl Answering {
    async fn find(reader: &Reader) -> Result<Self> {
        let found = Controllers::find(reader).await?;
        Ok(Self {
            controllers: cluster::controllers(&found.found()),
            policies: found.policies(),
            all_shown: found.found().is_all(),
            hidden: found.hidden(),
        })
    }
}

/// Namespace and name of a pod as it was given.
fn split(text: &str, default: &str) -> Result<(String, String)> {
    let text = text.strip_prefix("pod/").unwrap_or(text);
    let (namespace, name) = text.split_once('/').unwrap_or((default, text));
    if is_name(namespace) && is_name(name) {
        return Ok((namespace.to_owned(), name.to_owned()));
    }
    Err(anyhow::anyhow!("expected NAMESPACE/NAME or NAME"))
        .with_context(|| format!("{text:?} is no pod"))
}

const NOT_ALL: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_as_people_name_it() {
        let named = |text| split(text, "default").unwrap();
        assert_eq!(named("shop/web-0"), ("shop".into(), "web-0".into()));
        assert_eq!(named("pod/shop/web-0"), ("shop".into(), "web-0".into()));
        assert_eq!(named("web-0"), ("default".into(), "web-0".into()));
        for text in ["", "/", "a/", "/a", "a/b/c", "a/../b", "A/b", "a?/b", "a b"] {
            assert!(split(text, "default").is_err(), "{text:?}");
        }
    }
}
