//! What several certificates can have wrong with one another.

use jiff::Timestamp;

use super::{Check, Finding, Kind};
use crate::{
    Certificate,
    verify::{SignatureError, signature},
};

/// Looks at the certificates as what `kind` says they are.
pub(super) fn look(
    kind: Kind,
    certificates: &[Certificate],
    at: Timestamp,
    findings: &mut Vec<Finding>,
) {
    match kind {
        Kind::Certificate => {}
        Kind::TrustBundle => bundle(certificates, at, findings),
        Kind::Chain | Kind::CredentialBundle => chain(certificates, findings),
        Kind::Authority => {
            all_cas(certificates, 0, findings);
            links(certificates, findings);
        }
    }
}

fn bundle(anchors: &[Certificate], at: Timestamp, findings: &mut Vec<Finding>) {
    all_cas(anchors, 0, findings);
    let expired = |anchor: &Certificate| at.as_second() > anchor.not_after().as_second();
    let all_expired = anchors.iter().all(expired);
    for (number, anchor) in (1..).zip(anchors) {
        let mut add = |check, message| findings.push(Finding::new(check, Some(number), message));
        if let Some(first) = anchors.iter().take(number - 1).position(|a| a == anchor) {
            add(
                Check::DuplicateAnchor,
                format!("it is the same as certificate {}", first + 1),
            );
            continue;
        }
        if expired(anchor) {
            let check = if all_expired {
                Check::Expired
            } else {
                Check::ExpiredAnchor
            };
            let (end, ago) = (
                anchor.not_after(),
                super::describe::span(anchor.not_after(), at),
            );
            add(check, format!("it expired at {end}, {ago} ago"));
        }
        if !anchor.names_issuer_of(anchor) {
            add(
                Check::AnchorNotSelfSigned,
                format!("it was issued by {}", anchor.issuer()),
            );
        }
    }
}

fn chain(chain: &[Certificate], findings: &mut Vec<Finding>) {
    if let [only] = chain
        && only.is_ca()
    {
        findings.push(Finding::new(
            Check::CaAsLeaf,
            Some(1),
            "the only certificate is a CA's",
        ));
        return;
    }
    let mut unique: Vec<Certificate> = Vec::new();
    for (number, certificate) in (1..).zip(chain) {
        if let Some(first) = chain.iter().take(number - 1).position(|c| c == certificate) {
            findings.push(Finding::new(
                Check::DuplicateCertificate,
                Some(number),
                format!("it is the same as certificate {}", first + 1),
            ));
        } else {
            unique.push(certificate.clone());
        }
    }
    let ordered = unique.windows(2).all(|pair| match pair {
        [below, above] => above.names_issuer_of(below),
        _ => true,
    });
    if !ordered && let Some(right) = right_order(&unique) {
        let numbers: Vec<String> = right
            .iter()
            .filter_map(|wanted| chain.iter().position(|c| c == *wanted))
            .map(|index| (index + 1).to_string())
            .collect();
        findings.push(Finding::new(
            Check::WrongOrder,
            None,
            format!("the order should be {}", numbers.join(", ")),
        ));
        return;
    }
    if chain.first().is_some_and(Certificate::is_ca) {
        findings.push(Finding::new(
            Check::CaAsLeaf,
            Some(1),
            "the first certificate is a CA's",
        ));
    }
    all_cas(chain, 1, findings);
    if unique.len() == chain.len() {
        links(chain, findings);
    }
    let last = chain.len();
    if let Some(root) = chain.last()
        && last > 1
        && root.names_issuer_of(root)
    {
        findings.push(Finding::new(
            Check::RootInChain,
            Some(last),
            format!("{} is self-signed: a root", root.subject()),
        ));
    }
}

/// Certificates after the first `skip` that are no CA's.
fn all_cas(certificates: &[Certificate], skip: usize, findings: &mut Vec<Finding>) {
    for (number, certificate) in (1..).zip(certificates).skip(skip) {
        if !certificate.is_ca() {
            findings.push(Finding::new(
                Check::NotCa,
                Some(number),
                "it is not a CA's certificate",
            ));
        }
    }
}

/// Whether each certificate was issued by the next one.
fn links(chain: &[Certificate], findings: &mut Vec<Finding>) {
    for (number, pair) in (1..).zip(chain.windows(2)) {
        let [below, above] = pair else { continue };
        let mut add = |check, message| findings.push(Finding::new(check, Some(number), message));
        if !above.names_issuer_of(below) {
            let message = if above.subject().der() == below.issuer().der() {
                format!(
                    "its issuer has the name of certificate {}, but another key",
                    number + 1
                )
            } else {
                format!(
                    "it was issued by {}, but certificate {} is {}",
                    below.issuer(),
                    number + 1,
                    above.subject()
                )
            };
            add(Check::IssuerMismatch, message);
            continue;
        }
        // What cannot be checked has a finding of its own: an old algorithm, a strange key.
        if signature(below, above) == Err(SignatureError::Wrong) {
            let message = format!(
                "its signature is not of the key of certificate {}",
                number + 1
            );
            add(Check::WrongSignature, message);
        }
        if below.not_after() > above.not_after() {
            add(
                Check::OutlivesIssuer,
                format!(
                    "it ends at {}, its issuer at {}",
                    below.not_after(),
                    above.not_after()
                ),
            );
        }
    }
    path_lengths(chain, findings);
}

/// RFC 5280 §4.2.1.9: self-issued certificates and the leaf do not count.
fn path_lengths(chain: &[Certificate], findings: &mut Vec<Finding>) {
    let mut cas_below = 0_u64;
    for (number, certificate) in (1..).zip(chain) {
        if !certificate.is_ca() {
            continue;
        }
        if let Some(allowed) = certificate.path_len()
            && allowed < cas_below
        {
            findings.push(Finding::new(
                Check::PathTooLong,
                Some(number),
                format!("it allows {allowed} CAs below it, there are {cas_below}"),
            ));
        }
        if !certificate.is_self_issued() {
            cas_below += 1;
        }
    }
}

/// The certificates from the leaf upwards, if all of them are on one way.
fn right_order(certificates: &[Certificate]) -> Option<Vec<&Certificate>> {
    let issued_another = |c: &&Certificate| {
        certificates
            .iter()
            .any(|other| other != *c && c.names_issuer_of(other))
    };
    let mut lowest = certificates.iter().filter(|c| !issued_another(c));
    let (first, None) = (lowest.next()?, lowest.next()) else {
        return None;
    };
    let mut way = vec![first];
    while let Some(current) = way.last() {
        let next = certificates
            .iter()
            .find(|c| !way.contains(c) && c.names_issuer_of(current));
        match next {
            Some(next) => way.push(next),
            None => break,
        }
    }
    (way.len() == certificates.len()).then_some(way)
}
