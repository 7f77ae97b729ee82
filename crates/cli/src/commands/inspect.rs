//! `podcert inspect`: what certificates say, and what is wrong with them.
//!
//! `source` fetches (a file, standard input, a TLS server, a pod's requests) and `manifest` takes
//! apart what is more than PEM; what a certificate says and what is wrong with it is
//! [`podcert_pki::inspect`]'s. `page` prints it for people, `report` for scripts. The table of checks,
//! the shape of the JSON and the exit codes are in `docs/inspect.md`.
//!
//! Private keys are read to be compared with the leaf's; nothing of them is kept or printed.

pub(super) mod manifest;
mod page;
mod pod;
mod report;
pub(super) mod source;
mod tls;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, SpanRelativeTo, Timestamp, civil, tz::TimeZone};
use podcert_pki::inspect::{Kind, Severity};
use podcert_runtime::SharedClock;

use crate::output;
use crate::page::{Ink, clean};

/// Say what is in certificates, chains, bundles and CA pools, and what is wrong with them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A file, - for standard input, https://HOST:PORT or pod/NAMESPACE/NAME
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,

    /// What the source is meant to be [default: what it looks like]
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<MeantAs>,

    /// Judge as if it were this time: 2026-11-21, 2026-11-21T12:00:00Z or +30d [default: now]
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<At>,

    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    output: Output,

    /// The least severity that is told by exit code 3
    #[arg(long, value_enum, default_value = "warning")]
    fail_on: FailOn,

    /// Kubeconfig for pod/NAMESPACE/NAME [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
}

/// What the caller says the source is.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum MeantAs {
    /// One certificate
    Certificate,
    /// The leaf, then each one's issuer
    Chain,
    /// A private key and its chain
    CredentialBundle,
    /// Trust anchors, as a ClusterTrustBundle holds them
    TrustBundle,
}

/// How to print a result.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// From which severity on a finding counts.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FailOn {
    /// Warnings and errors
    Warning,
    /// Errors alone
    Error,
    /// Nothing
    Never,
}

/// A time on the command line.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// A date.
    Date(Timestamp),
    /// So long from now.
    FromNow(SignedDuration),
}

impl At {
    /// The date, with `now` being the present one.
    pub(super) fn date(self, now: Timestamp) -> Result<Timestamp> {
        match self {
            Self::Date(date) => Ok(date),
            Self::FromNow(distance) => now
                .checked_add(distance)
                .context("--at is further away than dates go"),
        }
    }
}

/// Prints what is in the sources.
pub(crate) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    let now = clock.now();
    let at = args.at.map_or(Ok(now), |at| at.date(now))?;
    let kind = args.kind.map(|kind| match kind {
        MeantAs::Certificate => Kind::Certificate,
        MeantAs::Chain => Kind::Chain,
        MeantAs::CredentialBundle => Kind::CredentialBundle,
        MeantAs::TrustBundle => Kind::TrustBundle,
    });
    let mut items = Vec::new();
    for name in &args.sources {
        let reading = source::Reading {
            kind,
            at,
            kubeconfig: args.kubeconfig.as_deref(),
        };
        let found = reading.items(name, clock.clone()).await;
        items.extend(found.with_context(|| format!("cannot inspect {}", clean(name)))?);
    }
    match args.output {
        Output::Text => output::text(page::page(&items, at, Ink::of_stdout()).trim_end())?,
        Output::Json => output::object(output::Format::Json, &report::Report::new(&items, at))?,
    }
    let worst = items
        .iter()
        .filter_map(|item| item.inspection.worst())
        .max();
    let fails = match args.fail_on {
        FailOn::Warning => worst.is_some(),
        FailOn::Error => worst == Some(Severity::Error),
        FailOn::Never => false,
    };
    Ok(if fails {
        ExitCode::from(FOUND)
    } else {
        ExitCode::SUCCESS
    })
}

/// A date, a date and time with offset, or a distance from now.
pub(super) fn at(text: &str) -> Result<At, String> {
    if let Some(distance) = text.strip_prefix('+') {
        let span: jiff::Span = distance.parse().map_err(|e: jiff::Error| e.to_string())?;
        // Days have 24 hours; a year is counted from a fixed date, so that it is always as long.
        let start = SpanRelativeTo::from(civil::date(2026, 1, 1));
        let distance = span.to_duration(start).map_err(|e| e.to_string())?;
        return Ok(At::FromNow(distance));
    }
    if let Ok(date) = text.parse::<Timestamp>() {
        return Ok(At::Date(date));
    }
    let midnight = text
        .parse::<civil::Date>()
        .and_then(|date| date.to_zoned(TimeZone::UTC));
    midnight
        .map(|zoned| At::Date(zoned.timestamp()))
        .map_err(|_| "expected 2026-11-21, 2026-11-21T12:00:00Z or +30d".to_owned())
}

/// The exit code for findings, and for a chain that does not verify.
pub(super) const FOUND: u8 = 3;

const AFTER_HELP: &str = "\
SOURCES
  file or -           PEM or DER certificates; a private key with its chain, as the kubelet
                      writes it; a CA pool; a SPIFFE bundle (JSON); a manifest, or a list of them,
                      of a Secret, ConfigMap, ClusterTrustBundle or PodCertificateRequest
  https://HOST:PORT   the chain a TLS server presents; nothing is verified, nothing is sent
  pod/NS/NAME         of each signer the newest certificate issued to the pod, from its
                      PodCertificateRequests, while Kubernetes keeps them

EXAMPLES
  podcert inspect /var/run/tls/bundle.pem
  podcert inspect --as trust-bundle --at +30d anchors.pem
  podcert inspect pod/shop/web-0
  kubectl get clustertrustbundles -o json | podcert inspect -
  podcert inspect --output json --fail-on error pool.json | jq '.items[].findings'

Private keys are never printed: only their type, and whether the leaf is theirs.
What each finding means and the shape of the JSON: docs/inspect.md

EXIT CODES
  0  nothing wrong (or nothing as bad as --fail-on)
  1  a source cannot be read; the message says why
  2  wrong usage
  3  something is wrong, see the findings";

#[cfg(test)]
mod tests;
