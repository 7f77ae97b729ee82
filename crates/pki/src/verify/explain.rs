//! Which check refused a chain, at which certificate, and what to do: [`verify`](super::verify())'s answer for
//! somebody who has to find the fault.
//!
//! webpki says that no path was found, or the most telling error of the paths it tried. Here the way
//! is walked again from the leaf, one issuer at a time, until the step that cannot be taken.

use jiff::Timestamp;

use super::{Purpose, SignatureError, VerifyError, may_sign, signature, verified};
use crate::{Certificate, Chain, SpiffeId, TrustBundle, TrustDomain};

/// Where a chain leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Path {
    /// The certificates of the chain on the way, by their number from 1, the leaf first.
    pub certificates: Vec<usize>,
    /// The anchor at the end, by its number from 1.
    pub anchor: usize,
}

/// Whom a leaf should name.
#[derive(Clone, Debug)]
pub enum ExpectedId<'a> {
    /// A workload.
    Id(&'a SpiffeId),
    /// Any workload of a trust domain.
    TrustDomain(&'a TrustDomain),
}

/// Checks as [`verify`](super::verify()) does, and says more: the way to the anchor, or what to correct.
///
/// # Errors
/// [`Refusal`].
pub fn verify_explained(
    chain: &Chain,
    anchors: &TrustBundle,
    purpose: Purpose<'_>,
    at: Timestamp,
) -> Result<Path, Refusal> {
    verified(chain, anchors, purpose, at).map_err(|error| refusal(&error, chain, anchors))
}

/// Checks the identity in the leaf: an X509-SVID, and the one expected.
///
/// # Errors
/// [`Refusal`].
pub fn expect_id(leaf: &Certificate, expected: &ExpectedId<'_>) -> Result<SpiffeId, Refusal> {
    let refuse = |check, reason: String| Refusal::new(check, Place::Leaf, reason);
    let found = super::spiffe_id(leaf).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        refuse(
            RefusedBy::SpiffeId,
            format!("{error}{}", source.unwrap_or_default()),
        )
    })?;
    match expected {
        ExpectedId::Id(id) if **id != found => Err(refuse(
            RefusedBy::Name,
            format!("the certificate is not for {id} but for {found}"),
        )),
        ExpectedId::TrustDomain(domain) if *domain != found.trust_domain() => Err(refuse(
            RefusedBy::Name,
            format!("the certificate is for {found}, which is not of trust domain {domain}"),
        )),
        _ => Ok(found),
    }
}

/// Why a chain is not to be trusted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The check that failed.
    pub check: RefusedBy,
    /// Where.
    pub place: Place,
    /// What was found, in words.
    pub reason: String,
}

impl Refusal {
    /// Puts the parts together.
    #[must_use]
    pub fn new(check: RefusedBy, place: Place, reason: impl Into<String>) -> Self {
        Self {
            check,
            place,
            reason: reason.into(),
        }
    }
}

/// A certificate of the chain or of the bundle, or neither.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// The first certificate of the chain.
    Leaf,
    /// A further one, by its number in the chain, so from 2.
    Intermediate(usize),
    /// An anchor, by its number from 1.
    Anchor(usize),
    /// The chain as a whole.
    Chain,
}

macro_rules! refused_by {
    ($($name:ident $text:literal $what:literal => $cure:literal;)*) => {
        /// A check that can fail. The names are stable: scripts may rely on them.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum RefusedBy {
            $(#[doc = $what] $name,)*
        }

        impl RefusedBy {
            /// Every check.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What it means when it failed.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }

            /// What to do about it.
            #[must_use]
            pub fn cure(self) -> &'static str {
                match self {
                    $(Self::$name => $cure,)*
                }
            }
        }
    };
}

refused_by! {
    Algorithm "algorithm" "a key or signature of a kind that is not verified, such as SHA-1"
        => "issue the certificate again with ECDSA, Ed25519, or RSA of 2048 bits and more with SHA-256";
    AnchorKey "anchor-key" "an anchor has the issuer's name, but another key"
        => "the bundle is of another generation of the CA: fetch the present one, or the certificate anew";
    CaAsLeaf "ca-as-leaf" "a CA's certificate is presented as a leaf"
        => "put the leaf first";
    CriticalExtension "critical-extension" "a critical extension that is not known"
        => "issue the certificate without it";
    Expired "expired" "a certificate's validity is over"
        => "get a new certificate; for an anchor, the CA has to be replaced";
    ExtKeyUsage "ext-key-usage" "the extended key usage does not allow this purpose"
        => "ask for the other purpose, or issue for this one";
    Key "key" "the private key is not the leaf's"
        => "read key and chain from one file or generation; they were mixed";
    MayNotSign "may-not-sign" "a certificate that signed another may not sign"
        => "issue from a CA whose basicConstraints and keyUsage allow it";
    Name "name" "the leaf is for somebody else"
        => "connect under a name of the certificate, or issue for this one";
    NameConstraints "name-constraints" "a CA of the chain may not issue for such a name"
        => "issue from a CA without that constraint; rustls refuses all URIs below constraints on URIs";
    NoAnchor "no-anchor" "the chain leads to no anchor"
        => "add the missing intermediate to the chain, or the root to the bundle";
    NotYetValid "not-yet-valid" "a certificate is valid only later"
        => "compare the clocks of this machine and of the issuer, or wait";
    Other "other" "something else is wrong with the chain"
        => "look at the chain with podcert inspect";
    PathLength "path-length" "more CAs below one than its pathLen allows"
        => "leave out intermediates, or make the CA with a larger pathLen";
    Signature "signature" "a signature is not its issuer's"
        => "the file is damaged, or mixes two CAs of one name: fetch chain and bundle again";
    SpiffeId "spiffe-id" "the leaf is no X509-SVID of a workload"
        => "look at the leaf with podcert inspect, and issue an SVID";
}

/// The way from the leaf upwards, as far as names, key identifiers and signatures lead.
struct Walk {
    /// Indices into the chain's certificates.
    way: Vec<usize>,
    end: End,
}

enum End {
    /// At the anchor of this index.
    Anchor(usize),
    /// An anchor (of this index) has the name wanted, but another key.
    OtherKey(usize),
    /// A certificate of the chain (of this index) has the name wanted, but did not sign.
    NotSigned(usize),
    /// The signature above is of a kind we do not check.
    Unsupported(String),
    /// Nobody has the name wanted.
    Nobody,
}

impl Path {
    /// When the first certificate of the way, the anchor included, ends. The chain and anchors are
    /// those that were verified.
    #[must_use]
    pub fn not_after(&self, chain: &Chain, anchors: &TrustBundle) -> Timestamp {
        let certificates = chain.certificates();
        (1..)
            .zip(certificates)
            .filter(|(number, _)| self.certificates.contains(number))
            .map(|(_, certificate)| certificate)
            .chain(anchors.anchors().get(self.anchor.wrapping_sub(1)))
            .map(Certificate::not_after)
            .fold(Timestamp::MAX, Timestamp::min)
    }
}

impl Walk {
    fn new(chain: &Chain, anchors: &TrustBundle) -> Self {
        let certificates: Vec<&Certificate> = chain.certificates().collect();
        let mut way = vec![0];
        let mut current = chain.leaf();
        loop {
            match step(current, &certificates, &way, anchors) {
                Ok(next) => {
                    way.push(next);
                    match certificates.get(next) {
                        Some(certificate) => current = certificate,
                        None => {
                            return Self {
                                way,
                                end: End::Nobody,
                            };
                        }
                    }
                }
                Err(end) => return Self { way, end },
            }
        }
    }
}

/// The index of the certificate that issued `current`, or how the way ends there.
fn step(
    current: &Certificate,
    chain: &[&Certificate],
    way: &[usize],
    anchors: &TrustBundle,
) -> Result<usize, End> {
    let mut end = End::Nobody;
    let named = |c: &Certificate| c.subject().der() == current.issuer().der();
    for (index, anchor) in anchors.anchors().iter().enumerate() {
        if named(anchor) {
            match signature(current, anchor) {
                Ok(()) => return Err(End::Anchor(index)),
                // With another type of key, the algorithm is not the key's either.
                Err(SignatureError::Unsupported { .. }) if anchor.names_issuer_of(current) => {
                    end = End::Unsupported(crate::inspect::describe::signature_algorithm(current));
                }
                Err(_) => end = End::OtherKey(index),
            }
        }
    }
    for (index, above) in chain.iter().enumerate() {
        if way.contains(&index) || !named(above) {
            continue;
        }
        match signature(current, above) {
            Ok(()) => return Ok(index),
            Err(SignatureError::Unsupported { .. }) if above.names_issuer_of(current) => {
                end = End::Unsupported(crate::inspect::describe::signature_algorithm(current));
            }
            Err(_) if matches!(end, End::Nobody) => end = End::NotSigned(index),
            Err(_) => {}
        }
    }
    Err(end)
}

fn refusal(error: &VerifyError, chain: &Chain, anchors: &TrustBundle) -> Refusal {
    let find = |has: &dyn Fn(&Certificate) -> bool| find(chain, anchors, has);
    let words = error.to_string();
    match error {
        VerifyError::CaAsLeaf => Refusal::new(RefusedBy::CaAsLeaf, Place::Leaf, words),
        VerifyError::Expired { not_after, .. } => {
            let place = find(&|c| c.not_after().as_second() == not_after.as_second());
            Refusal::new(RefusedBy::Expired, place, words)
        }
        VerifyError::NotYetValid { not_before, .. } => {
            let place = find(&|c| c.not_before() == *not_before);
            Refusal::new(RefusedBy::NotYetValid, place, words)
        }
        VerifyError::WrongName { .. } => Refusal::new(RefusedBy::Name, Place::Leaf, words),
        VerifyError::MayNotSign => may_not_sign(chain, anchors),
        VerifyError::WrongUsage => wrong_usage(chain),
        VerifyError::Signature | VerifyError::UnknownIssuer => lost(chain, anchors, words),
        VerifyError::Invalid(error) => invalid(error, chain, anchors),
    }
}

fn may_not_sign(chain: &Chain, anchors: &TrustBundle) -> Refusal {
    let walk = Walk::new(chain, anchors);
    let cannot = |c: &Certificate| !c.is_ca() || !may_sign(c);
    let mut on_way = walk.way.iter().skip(1);
    let below = on_way.find(|index| chain.certificates().nth(**index).is_some_and(cannot));
    let place = match (below, walk.end) {
        (Some(index), _) => Place::Intermediate(index + 1),
        (None, End::Anchor(index)) => Place::Anchor(index + 1),
        (None, _) => Place::Chain,
    };
    let why = match certificate_at(chain, anchors, place) {
        Some(certificate) if !certificate.is_ca() => "its basicConstraints do not say CA",
        _ => "its keyUsage lacks keyCertSign",
    };
    let reason = format!(
        "{} signed another one, but {why}",
        in_words(chain, anchors, place)
    );
    Refusal::new(RefusedBy::MayNotSign, place, reason)
}

fn wrong_usage(chain: &Chain) -> Refusal {
    let lists = |certificate: &Certificate| {
        let extensions = crate::inspect::describe::extensions(certificate);
        let usage = extensions
            .into_iter()
            .find(|e| e.name == Some("extKeyUsage"));
        usage.map(|usage| usage.words.join(", "))
    };
    match lists(chain.leaf()) {
        Some(purposes) => Refusal::new(
            RefusedBy::ExtKeyUsage,
            Place::Leaf,
            format!("the leaf's extended key usage does not allow this purpose, only {purposes}"),
        ),
        None => Refusal::new(
            RefusedBy::ExtKeyUsage,
            Place::Chain,
            "the extended key usage of a CA of the chain does not allow this purpose",
        ),
    }
}

/// No path: says at which step.
fn lost(chain: &Chain, anchors: &TrustBundle, otherwise: String) -> Refusal {
    let walk = Walk::new(chain, anchors);
    let last = walk.way.last().copied().unwrap_or_default();
    let place = in_chain(last);
    let Some(current) = chain.certificates().nth(last) else {
        return Refusal::new(RefusedBy::NoAnchor, Place::Chain, otherwise);
    };
    let what = in_words(chain, anchors, place);
    let issuer = current.issuer();
    match walk.end {
        End::Anchor(_) => Refusal::new(RefusedBy::Other, Place::Chain, otherwise),
        End::Unsupported(algorithm) => Refusal::new(
            RefusedBy::Algorithm,
            place,
            format!("{what} is signed with {algorithm}, which is not verified"),
        ),
        End::OtherKey(index) => {
            let by_id = anchors
                .anchors()
                .get(index)
                .is_none_or(|anchor| anchor.names_issuer_of(current));
            if by_id && current.authority_key_id().is_some() {
                return Refusal::new(
                    RefusedBy::Signature,
                    place,
                    format!(
                        "the signature of {what} is not that of its issuer, anchor {}",
                        index + 1
                    ),
                );
            }
            Refusal::new(
                RefusedBy::AnchorKey,
                place,
                format!(
                    "{what} was issued by {issuer}; anchor {} has this name, but another key",
                    index + 1
                ),
            )
        }
        End::NotSigned(index) => Refusal::new(
            RefusedBy::Signature,
            place,
            format!(
                "{what} was issued by {issuer}; certificate {} of the chain has this name, but \
                 its key did not make the signature",
                index + 1
            ),
        ),
        End::Nobody if current.is_self_issued() => Refusal::new(
            RefusedBy::NoAnchor,
            place,
            format!("the chain ends in the root {issuer}, which is not among the anchors"),
        ),
        End::Nobody => Refusal::new(
            RefusedBy::NoAnchor,
            place,
            format!(
                "{what} was issued by {issuer}, which is neither in the chain nor among the anchors"
            ),
        ),
    }
}

fn invalid(error: &webpki::Error, chain: &Chain, anchors: &TrustBundle) -> Refusal {
    let critical = |certificate: &Certificate| {
        crate::inspect::describe::extensions(certificate)
            .into_iter()
            .find(|extension| extension.critical && !extension.verifiers_know)
    };
    match error {
        webpki::Error::NameConstraintViolation => {
            let constrains = |c: &Certificate| {
                crate::inspect::describe::extensions(c)
                    .iter()
                    .any(|e| e.name == Some("nameConstraints"))
            };
            let place = find(chain, anchors, &constrains);
            let reason = format!(
                "{} has name constraints that exclude a name of the leaf",
                in_words(chain, anchors, place)
            );
            Refusal::new(RefusedBy::NameConstraints, place, reason)
        }
        webpki::Error::PathLenConstraintViolated => Refusal::new(
            RefusedBy::PathLength,
            Place::Chain,
            "the chain has more CAs than the pathLen of one of them allows",
        ),
        webpki::Error::UnsupportedCriticalExtension => {
            let place = find(chain, anchors, &|c| critical(c).is_some());
            let which = certificate_at(chain, anchors, place).and_then(critical);
            let which = which.map_or_else(String::new, |e| format!(" {}", e.label()));
            let what = in_words(chain, anchors, place);
            let reason = format!("{what} has the critical extension{which}, which is not known");
            Refusal::new(RefusedBy::CriticalExtension, place, reason)
        }
        other => {
            let walk = Walk::new(chain, anchors);
            if let End::Unsupported(_) = walk.end {
                return lost(chain, anchors, other.to_string());
            }
            Refusal::new(
                RefusedBy::Other,
                Place::Chain,
                format!("the chain is not valid: {other:?}"),
            )
        }
    }
}

fn find(chain: &Chain, anchors: &TrustBundle, has: &dyn Fn(&Certificate) -> bool) -> Place {
    if let Some(index) = chain.certificates().position(has) {
        return in_chain(index);
    }
    let anchor = anchors.anchors().iter().position(has);
    anchor.map_or(Place::Chain, |index| Place::Anchor(index + 1))
}

fn in_chain(index: usize) -> Place {
    match index {
        0 => Place::Leaf,
        _ => Place::Intermediate(index + 1),
    }
}

fn certificate_at<'a>(
    chain: &'a Chain,
    anchors: &'a TrustBundle,
    place: Place,
) -> Option<&'a Certificate> {
    match place {
        Place::Leaf => Some(chain.leaf()),
        Place::Intermediate(number) => chain.certificates().nth(number.checked_sub(1)?),
        Place::Anchor(number) => anchors.anchors().get(number.checked_sub(1)?),
        Place::Chain => None,
    }
}

fn in_words(chain: &Chain, anchors: &TrustBundle, place: Place) -> String {
    let subject = || {
        certificate_at(chain, anchors, place)
            .map(|certificate| format!(" ({})", certificate.subject()))
            .unwrap_or_default()
    };
    match place {
        Place::Leaf => "the leaf".to_owned(),
        Place::Intermediate(number) => format!("certificate {number} of the chain{}", subject()),
        Place::Anchor(number) => format!("anchor {number}{}", subject()),
        Place::Chain => "a certificate of the chain".to_owned(),
    }
}

#[cfg(test)]
mod tests;
