//! `podcert status`: how podcert is in a cluster, for a person.

mod page;

use std::process::ExitCode;

use anyhow::Result;
use podcert_diagnosis::cluster::{self, View};
use podcert_diagnosis::{Expectation, Request};
use podcert_runtime::SharedClock;

use crate::observed::{Controllers, Expectations, Reader};
use crate::output::{self, Format};
use crate::page::Ink;

/// Say how podcert is in a cluster, and who waits for a certificate.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Say how podcert is in a cluster: which replicas answer, for which signers, with which \
        CAs and trust bundles, who waits for a certificate and why, and what wants attention.\n\n\
        It looks with the rights of the kubeconfig and changes nothing; what it may not see it says. Counts \
        are of the requests that Kubernetes still keeps, those of the last fifteen minutes.",
    after_long_help = "EXAMPLES\n  podcert status\n  podcert status --output json\n\n\
        EXIT CODES\n  0  nothing wants attention\n  1  it could not be looked at, or not all of it; it says why\n  \
        2  wrong usage\n  3  something wants attention, see the findings\n\n\
        Of one pod: podcert explain pod NAMESPACE/NAME. What each reason means: docs/operations.md."
)]
pub(crate) struct Args {
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
/// The cluster does not answer.
pub(crate) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    let reader = Reader::connect(args.kubeconfig.as_deref(), clock).await?;
    let requests = reader.requests(None).await?;
    let bundles = reader.bundles().await?;
    let events = reader.events_of_podcert().await?;
    let controllers = Controllers::find(&reader).await?;
    let policies = controllers.policies();
    let expected = Expectations::of(&reader, &requests, |_| true, &policies, &bundles).await?;
    let expect = |request: &Request| -> Result<Expectation, String> { expected.get(request) };
    let now = reader.now();
    let report = cluster::assess(&View {
        version: requests.version,
        found: controllers.found(),
        requests: requests.all.as_deref().map_err(Clone::clone),
        events: events.as_deref().map_err(Clone::clone),
        bundles: bundles.as_deref().map_err(Clone::clone),
        expected: &expect,
        unread: &reader.unread(),
        now,
    });
    match args.output {
        Format::Text => output::text(page::page(&report, now, Ink::of_stdout()).trim_end())?,
        format => output::object(format, &report)?,
    }
    Ok(if !report.findings.is_empty() {
        ExitCode::from(ATTENTION)
    } else if !report.not_shown.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

const ATTENTION: u8 = 3;
