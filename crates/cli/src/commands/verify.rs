//! `podcert verify`: whether a chain leads to a bundle's anchor, for this name and purpose; and if it
//! does not, which check refused which certificate.
//!
//! The answer is [`podcert_pki::verify`]'s, which is what podcert's own programs ask.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use podcert_pki::inspect::Kind;
use podcert_pki::verify::{
    ExpectedId, Path, Place, Purpose, Refusal, RefusedBy, expect_id, verify_explained,
};
use podcert_pki::{Certificate, Chain, DnsName, SpiffeId, TrustBundle, TrustDomain};
use podcert_runtime::SharedClock;
use serde::Serialize;

use super::inspect::source::{Item, Reading};
use super::inspect::{At, FOUND, Output, at};
use crate::output;
use crate::page::{Ink, clean, date, distance, wrapped};

/// Say whether a chain verifies against a bundle, for whom, and if not, why.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The chain or credential bundle: a file, -, https://HOST:PORT or pod/NAMESPACE/NAME
    #[arg(value_name = "CHAIN")]
    chain: String,

    /// The trust anchors: a file, a manifest, or - for standard input
    #[arg(long, value_name = "FILE")]
    bundle: String,

    /// The DNS name of the server it must be for
    #[arg(long, value_name = "NAME", conflicts_with_all = ["client", "spiffe_id", "trust_domain"])]
    dns: Option<DnsName>,

    /// The SPIFFE ID it must be for
    #[arg(long, value_name = "ID", conflicts_with = "trust_domain")]
    spiffe_id: Option<SpiffeId>,

    /// The trust domain its SPIFFE ID must be of
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<TrustDomain>,

    /// It must be good for a server [default with --dns; else one of both is enough]
    #[arg(long, conflicts_with = "client")]
    server: bool,

    /// It must be good for a client
    #[arg(long)]
    client: bool,

    /// Judge as if it were this time: 2026-11-21, 2026-11-21T12:00:00Z or +30d [default: now]
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<At>,

    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    output: Output,

    /// Kubeconfig for pod/NAMESPACE/NAME [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
}

/// Prints the answer.
pub(crate) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    let now = clock.now();
    let at = args.at.map_or(Ok(now), |at| at.date(now))?;
    if args.chain == "-" && args.bundle == "-" {
        bail!("only one of CHAIN and --bundle can be standard input");
    }
    let reading = |kind| Reading {
        kind,
        at,
        kubeconfig: args.kubeconfig.as_deref(),
    };
    let presented = reading(None).items(&args.chain, clock.clone()).await;
    let presented =
        presented.with_context(|| format!("cannot read chain {}", clean(&args.chain)))?;
    let anchors = reading(Some(Kind::TrustBundle))
        .items(&args.bundle, clock)
        .await;
    let anchors = anchors
        .and_then(bundle)
        .with_context(|| format!("cannot use bundle {}", clean(&args.bundle)))?;

    let mut answers = Vec::new();
    for item in presented {
        let name = item.name.clone();
        let key_matches = item
            .inspection
            .private_key
            .as_ref()
            .map(|key| key.matches_leaf);
        let chain = chain(item)?;
        let verdict = match key_matches {
            Some(None | Some(false)) => Err(Refusal::new(
                RefusedBy::Key,
                Place::Leaf,
                "the private key is not the leaf's, or cannot be read",
            )),
            _ => judge(&args, &chain, &anchors, at),
        };
        answers.push((name, chain, verdict));
    }
    let verified = answers.iter().all(|(_, _, verdict)| verdict.is_ok());
    match args.output {
        Output::Text => {
            let ink = Ink::of_stdout();
            let pages: Vec<String> = answers
                .iter()
                .map(|(name, chain, verdict)| {
                    let name = name.as_deref();
                    page(name, chain, &anchors, verdict, at, ink)
                })
                .collect();
            output::text(pages.join("\n").trim_end())?;
        }
        Output::Json => {
            let results: Vec<_> = answers
                .iter()
                .map(|(name, chain, verdict)| result(name.as_deref(), chain, &anchors, verdict))
                .collect();
            let answer = Answer {
                version: 1,
                at,
                verified,
                results,
            };
            output::object(output::Format::Json, &answer)?;
        }
    }
    Ok(if verified {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    })
}

/// What a chain is good for.
#[derive(Debug)]
struct Verified {
    path: Path,
    purposes: Vec<&'static str>,
    id: Option<SpiffeId>,
}

fn judge(
    args: &Args,
    chain: &Chain,
    anchors: &TrustBundle,
    at: Timestamp,
) -> Result<Verified, Refusal> {
    let as_server = || verify_explained(chain, anchors, Purpose::Server(args.dns.as_ref()), at);
    let as_client = || verify_explained(chain, anchors, Purpose::Client, at);
    let (path, purposes) = if args.server || args.dns.is_some() {
        (as_server()?, vec!["server"])
    } else if args.client {
        (as_client()?, vec!["client"])
    } else {
        match (as_server(), as_client()) {
            (Ok(path), Ok(_)) => (path, vec!["server", "client"]),
            (Ok(path), Err(_)) => (path, vec!["server"]),
            (Err(_), Ok(path)) => (path, vec!["client"]),
            (Err(refusal), Err(_)) => return Err(refusal),
        }
    };
    let expected = match (&args.spiffe_id, &args.trust_domain) {
        (Some(id), _) => Some(ExpectedId::Id(id)),
        (None, Some(domain)) => Some(ExpectedId::TrustDomain(domain)),
        (None, None) => None,
    };
    let id = expected.map(|expected| expect_id(chain.leaf(), &expected));
    Ok(Verified {
        path,
        purposes,
        id: id.transpose()?,
    })
}

fn chain(item: Item) -> Result<Chain> {
    let mut certificates = item.inspection.certificates.into_iter();
    let leaf = certificates
        .next()
        .with_context(|| format!("{} holds no certificate", clean(&item.source)))?;
    Ok(Chain::new(leaf, certificates.collect()))
}

/// The anchors of all items, each once.
fn bundle(items: Vec<Item>) -> Result<TrustBundle> {
    let mut anchors: Vec<Certificate> = Vec::new();
    for item in items {
        if let ([], [unusable, ..]) = (
            item.inspection.certificates.as_slice(),
            item.inspection.findings.as_slice(),
        ) {
            bail!("{}", clean(&unusable.message));
        }
        // Of a CA of a pool, the root.
        let skip = match item.inspection.kind {
            Kind::Authority => item.inspection.certificates.len().saturating_sub(1),
            _ => 0,
        };
        for anchor in item.inspection.certificates.into_iter().skip(skip) {
            if !anchors.contains(&anchor) {
                anchors.push(anchor);
            }
        }
    }
    Ok(TrustBundle::new(anchors)?)
}

fn page(
    name: Option<&str>,
    chain: &Chain,
    anchors: &TrustBundle,
    verdict: &Result<Verified, Refusal>,
    at: Timestamp,
    ink: Ink,
) -> String {
    let of = name.map_or_else(String::new, |name| format!("{}: ", clean(name)));
    match verdict {
        Ok(Verified { path, purposes, id }) => {
            let until = path.not_after(chain, anchors);
            let mut page = format!(
                "{of}{}, good for a {}, until {} ({})\n",
                ink.green("yes"),
                purposes.join(" and a "),
                date(until),
                distance(at, until)
            );
            if let Some(id) = id {
                page += &format!("  id             {id}\n");
            }
            for number in &path.certificates {
                if let Some(one) = number
                    .checked_sub(1)
                    .and_then(|i| chain.certificates().nth(i))
                {
                    page += &step(&format!("certificate {number}"), one);
                }
            }
            if let Some(anchor) = path
                .anchor
                .checked_sub(1)
                .and_then(|i| anchors.anchors().get(i))
            {
                page += &step(&format!("anchor {}", path.anchor), anchor);
            }
            page
        }
        Err(refusal) => {
            let severity = Some(podcert_pki::inspect::Severity::Error);
            let no = ink.bold(severity, "no");
            format!(
                "{of}{no}, {}\n  {}\n  {}\n",
                ink.bold(None, refusal.check.as_str()),
                wrapped(&clean(&refusal.reason), 2),
                wrapped(&format!("-> {}", refusal.check.cure()), 2)
            )
        }
    }
}

/// One certificate of the way.
fn step(place: &str, certificate: &Certificate) -> String {
    let mut names = certificate.uris().chain(certificate.dns_names());
    let name = match names.next() {
        Some(name) => name.to_owned(),
        None => certificate.subject().to_string(),
    };
    format!("  {place:15}{}\n", clean(&name))
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    version: u32,
    at: Timestamp,
    verified: bool,
    results: Vec<Outcome<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    name: Option<&'a str>,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    purposes: Option<&'a [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Way<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<No<'a>>,
}

#[derive(Debug, Serialize)]
struct Way<'a> {
    certificates: &'a [usize],
    anchor: usize,
}

#[derive(Debug, Serialize)]
struct No<'a> {
    check: &'static str,
    certificate: Option<usize>,
    anchor: Option<usize>,
    reason: &'a str,
    cure: &'static str,
}

fn result<'a>(
    name: Option<&'a str>,
    chain: &Chain,
    anchors: &TrustBundle,
    verdict: &'a Result<Verified, Refusal>,
) -> Outcome<'a> {
    let verified = verdict.as_ref().ok();
    Outcome {
        name,
        verified: verified.is_some(),
        purposes: verified.map(|v| v.purposes.as_slice()),
        spiffe_id: verified
            .and_then(|v| v.id.as_ref())
            .map(ToString::to_string),
        path: verified.map(|v| Way {
            certificates: &v.path.certificates,
            anchor: v.path.anchor,
        }),
        valid_until: verified.map(|v| v.path.not_after(chain, anchors)),
        refused: verdict.as_ref().err().map(|refusal| No {
            check: refusal.check.as_str(),
            certificate: match refusal.place {
                Place::Leaf => Some(1),
                Place::Intermediate(number) => Some(number),
                Place::Anchor(_) | Place::Chain => None,
            },
            anchor: match refusal.place {
                Place::Anchor(number) => Some(number),
                _ => None,
            },
            reason: &refusal.reason,
            cure: refusal.check.cure(),
        }),
    }
}

const AFTER_HELP: &str = "\
CHAIN is the leaf, then each one's issuer; a private key before it must be the leaf's. What else
CHAIN and --bundle may be (manifests, CA pools, SPIFFE bundles): podcert inspect --help

EXAMPLES
  podcert verify /var/run/tls/bundle.pem --bundle /var/run/tls/anchors.pem
  podcert verify https://server.shop.svc --bundle anchors.pem --dns server.shop.svc
  podcert verify chain.pem --bundle anchors.pem --client --trust-domain cluster.local
  kubectl get clustertrustbundle NAME -o json | podcert verify chain.pem --bundle - --at +7d

What each check means and the shape of the JSON: docs/inspect.md

EXIT CODES
  0  yes
  1  chain or bundle cannot be read; the message says why
  2  wrong usage
  3  no; the answer says which check refused which certificate";
