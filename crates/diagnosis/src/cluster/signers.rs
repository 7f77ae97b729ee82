//! Those answered for: their anchors, the CA that signs, and their requests by how they were answered.

use std::collections::BTreeSet;

use jiff::Timestamp;
use podcert_pki::inspect::describe::span;
use podcert_pki::{Certificate, TrustBundle};
use podcert_resources::{bundle, signers};
use serde::Serialize;

use super::{ControllerReport, Finding, View};
use crate::{Answer, Request};

/// One signer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignerReport {
    /// Its name.
    pub name: String,
    /// Whether a controller that was found answers for it; nothing if that cannot be told.
    pub answered: Option<bool>,
    /// What it publishes; nothing too if bundles are hidden.
    pub bundle: Option<BundleReport>,
    /// Whether bundles are shown.
    #[serde(skip)]
    pub bundle_is_shown: bool,
    /// Requests answered with a certificate, of those that Kubernetes still keeps; nothing if requests are
    /// hidden, as with the next two.
    pub issued: Option<usize>,
    /// Requests not answered.
    pub waiting: Option<usize>,
    /// Requests denied or failed.
    pub refused: Option<usize>,
    /// When the last of them was issued.
    pub last_issued: Option<Timestamp>,
    /// When the first of the CAs ends that certificates are issued under: the intermediates and the anchor
    /// of the newest that is known, or else the bundle's anchor if it has but one.
    pub signing_expires: Option<Timestamp>,
}

/// A signer's ClusterTrustBundle.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleReport {
    /// Its name.
    pub name: String,
    /// What clients trust.
    pub anchors: Vec<AnchorReport>,
}

/// A trust anchor.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnchorReport {
    /// Its subject.
    pub subject: String,
    /// When it expires.
    pub not_after: Timestamp,
    /// Whether the newest certificate that is known was signed by it, or by a CA below it.
    pub signs: bool,
}

pub(super) fn assess(
    view: &View<'_>,
    controllers: &[ControllerReport],
    findings: &mut Vec<Finding>,
) -> Vec<SignerReport> {
    let requests = view.requests.as_ref().map_or(&[] as &[_], |all| all);
    let bundles = view.bundles.as_ref().map_or(&[] as &[_], |all| all);
    let configured: BTreeSet<&str> = controllers
        .iter()
        .filter_map(|controller| controller.signers.as_ref())
        .flatten()
        .map(String::as_str)
        .collect();
    let mut names = configured.clone();
    // Requests of other signers are none of podcert's business.
    let usual = [signers::SERVICE_DNS, signers::SPIFFE, signers::POD_IDENTITY];
    let asked = requests.iter().map(Request::signer);
    names.extend(asked.filter(|name| usual.contains(name)));
    // Bundles of podcert's making have a name that follows from the signer's.
    names.extend(bundles.iter().filter_map(|known| {
        let signer = known.spec.signer_name.as_deref()?;
        (known.metadata.name.as_deref() == Some(&bundle::name(signer))).then_some(signer)
    }));
    let all_shown = view.found.is_all();
    names
        .into_iter()
        .map(|name| {
            let answered = super::answers(controllers, all_shown, name);
            let report = of_signer(view, name, answered);
            if view.bundles.is_ok() && configured.contains(name) {
                judge(view, &report, findings);
            }
            report
        })
        .collect()
}

fn of_signer(view: &View<'_>, name: &str, answered: Option<bool>) -> SignerReport {
    let requests = view.requests.as_ref().map_or(&[] as &[_], |all| all);
    let bundles = view.bundles.as_ref().map_or(&[] as &[_], |all| all);
    let mut report = SignerReport {
        name: name.to_owned(),
        answered,
        bundle: None,
        bundle_is_shown: view.bundles.is_ok(),
        issued: None,
        waiting: None,
        refused: None,
        last_issued: None,
        signing_expires: None,
    };
    let (mut issued, mut waiting, mut refused) = (0, 0, 0);
    let mut newest = None;
    for request in requests.iter().filter(|request| request.signer() == name) {
        match request.answer() {
            Answer::Issued { chain, .. } => {
                issued += 1;
                if let Some(chain) = chain {
                    let at = request.created();
                    if newest.as_ref().is_none_or(|(known, _)| *known <= at) {
                        newest = Some((at, chain));
                    }
                }
            }
            Answer::Refused { .. } => refused += 1,
            Answer::None => waiting += 1,
        }
    }
    let shown = |count: usize| view.requests.is_ok().then_some(count);
    report.issued = shown(issued);
    report.waiting = shown(waiting);
    report.refused = shown(refused);
    report.last_issued = newest.as_ref().and_then(|(at, _)| *at);
    let chain = newest.map(|(_, chain)| chain);
    let top = chain
        .as_ref()
        .and_then(|chain| chain.certificates().last().cloned());
    let wanted = bundle::name(name);
    let own = bundles
        .iter()
        .find(|known| known.metadata.name.as_deref() == Some(&wanted));
    report.bundle = own.map(|known| {
        let read = TrustBundle::from_pem(&known.spec.trust_bundle);
        let anchors = read.map(|read| read.anchors().to_vec()).unwrap_or_default();
        BundleReport {
            name: wanted,
            anchors: anchors
                .iter()
                .map(|anchor| of_anchor(anchor, top.as_ref()))
                .collect(),
        }
    });
    // The order of a bundle says nothing: a pool put in another order does not rewrite it.
    let anchors = report.bundle.iter().flat_map(|own| &own.anchors);
    let only = anchors
        .clone()
        .next()
        .filter(|_| anchors.clone().count() == 1);
    let anchor = anchors.clone().find(|anchor| anchor.signs).or(only);
    let intermediates = chain.iter().flat_map(podcert_pki::Chain::intermediates);
    report.signing_expires = intermediates
        .map(Certificate::not_after)
        .chain(anchor.map(|anchor| anchor.not_after))
        .min();
    report
}

fn of_anchor(anchor: &Certificate, top: Option<&Certificate>) -> AnchorReport {
    let subject = anchor.subject();
    AnchorReport {
        subject: if subject.is_empty() {
            "(no subject)".to_owned()
        } else {
            subject.to_string()
        },
        not_after: anchor.not_after(),
        signs: top.is_some_and(|top| anchor.names_issuer_of(top)),
    }
}

fn judge(view: &View<'_>, signer: &SignerReport, findings: &mut Vec<Finding>) {
    let name = &signer.name;
    let Some(own) = &signer.bundle else {
        findings.push(Finding::error(
            format!("signer {name} has no bundle: clients cannot verify its certificates"),
            "its CA pool, if the controller is not ready; else the controller's log",
        ));
        return;
    };
    let last = own.anchors.iter().map(|anchor| anchor.not_after).max();
    match last {
        None => findings.push(Finding::error(
            format!("the bundle {} holds no anchor that can be read", own.name),
            "podcert inspect on it; the controller's log",
        )),
        Some(last) if last <= view.now => findings.push(Finding::error(
            format!(
                "all anchors of signer {name} have expired, the last {} ago",
                span(last, view.now)
            ),
            "a new CA, first in the signer's pool, now",
        )),
        Some(_) => {}
    }
    let Some(expires) = signer.signing_expires else {
        return;
    };
    let cure =
        "append a new CA to the signer's pool, and move it to the front when clients have it";
    if expires <= view.now {
        if last.is_some_and(|last| last > view.now) {
            findings.push(Finding::error(
                format!(
                    "the CA that signs for {name} expired {} ago: nothing can be issued under it",
                    span(expires, view.now)
                ),
                "a CA that is valid, first in the signer's pool, now",
            ));
        }
    } else if expires.duration_since(view.now).as_hours() / 24 < SOON_DAYS {
        findings.push(Finding::warning(
            format!(
                "the CA that signs for {name} expires in {}",
                span(view.now, expires)
            ),
            cure,
        ));
    }
}

/// Time enough for a rotation by hand.
const SOON_DAYS: i64 = 30;
