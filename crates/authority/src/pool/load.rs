//! From the fields of a file to CAs that are proven to sign.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use podcert_pki::{
    Certificate, Chain, DnsName, ExtKeyUsages, IssueError, IssuerContext, KeyType, LeafNames,
    LeafSpec, PrivateKey, Serial, SpiffeId, TrustBundle, Validity,
    verify::{Purpose, SignatureError, VerifyError, signature, verify},
};

use super::{
    Ca, CaId, CaPlace, PoolError,
    json::{RawCa, RawPool},
};

pub(super) fn cas(raw: RawPool) -> Result<Vec<Ca>, PoolError> {
    raw.cas
        .into_iter()
        .enumerate()
        .map(|(index, raw)| ca(index, raw))
        .collect()
}

fn ca(index: usize, raw: RawCa) -> Result<Ca, PoolError> {
    let id = CaId::new(raw.id);
    let place = || CaPlace {
        index,
        id: id.clone(),
    };
    let missing = |field| PoolError::MissingField { ca: place(), field };
    if raw.signing_key_pkcs8.is_empty() {
        return Err(missing("SigningKeyPKCS8"));
    }
    if raw.root_certificate_der.is_empty() {
        return Err(missing("RootCertificateDER"));
    }
    let key =
        PrivateKey::from_pkcs8_der(&raw.signing_key_pkcs8).map_err(|source| PoolError::Key {
            ca: place(),
            source,
        })?;
    let certificate = |der: Vec<u8>, field: Cow<'static, str>| {
        Certificate::from_der(der).map_err(|source| PoolError::Certificate {
            ca: place(),
            field: field.into_owned(),
            source,
        })
    };
    let root = certificate(raw.root_certificate_der, "RootCertificateDER".into())?;
    let intermediates = raw
        .intermediate_certificates_der
        .into_iter()
        .enumerate()
        .map(|(i, der)| certificate(der, format!("IntermediateCertificatesDER[{i}]").into()))
        .collect::<Result<Vec<_>, _>>()?;
    let chain = find_chain(&key, &root, &intermediates, &place)?;
    check_root_signature(&root, &place)?;
    let (chain_validity, issuer) = prove(&key, &chain, &root, &place)?;
    let pkcs8 = raw.signing_key_pkcs8;
    Ok(Ca {
        id,
        key,
        pkcs8,
        root,
        intermediates,
        chain,
        chain_validity,
        issuer,
    })
}

/// No verifier looks at the signature of an anchor, so a damaged root would be published, compared
/// and mistaken for another one until somebody looks at it with their own eyes. Where the signature
/// cannot be checked (a cross-signed root, an old algorithm), a [`super::Warning`] says so.
fn check_root_signature(root: &Certificate, place: &impl Fn() -> CaPlace) -> Result<(), PoolError> {
    if !says_self_signed(root) {
        return Ok(());
    }
    match signature(root, root) {
        Ok(()) | Err(SignatureError::Unsupported { .. }) => Ok(()),
        Err(source) => Err(PoolError::RootSignature {
            ca: place(),
            source,
        }),
    }
}

/// Whether a root names itself as its issuer, by name and, where it has both, by key identifier.
/// One that does not is cross-signed: by whom, the file does not say.
pub(super) fn says_self_signed(root: &Certificate) -> bool {
    root.names_issuer_of(root)
}

/// The intermediates that lead from the certificate that holds the key to the root, in this order.
/// Empty if the root holds the key.
fn find_chain(
    key: &PrivateKey,
    root: &Certificate,
    intermediates: &[Certificate],
    place: &impl Fn() -> CaPlace,
) -> Result<Vec<Certificate>, PoolError> {
    let spki = key.public_key().spki_der();
    if root.spki_der() == spki {
        return Ok(Vec::new());
    }
    // From the root downwards, each certificate once, so that a circle of certificates that issued
    // one another ends: per intermediate, the way from it to the root.
    let mut ways: Vec<Option<Vec<Certificate>>> = vec![None; intermediates.len()];
    let mut reached = vec![(root.clone(), Vec::new())];
    while let Some((issuer, way)) = reached.pop() {
        for (known, subject) in ways.iter_mut().zip(intermediates) {
            if known.is_none() && subject != root && issuer.names_issuer_of(subject) {
                let mut longer = vec![subject.clone()];
                longer.extend_from_slice(&way);
                *known = Some(longer.clone());
                reached.push((subject.clone(), longer));
            }
        }
    }
    let mut holders = ways
        .into_iter()
        .zip(intermediates)
        .filter(|(_, c)| c.spki_der() == spki);
    let Some((way, holder)) = holders.next() else {
        return Err(PoolError::KeyMismatch { ca: place() });
    };
    let way = way.or_else(|| holders.find_map(|(way, _)| way));
    way.ok_or_else(|| PoolError::BrokenChain {
        ca: place(),
        subject: holder.subject().to_string(),
        root: root.subject().to_string(),
    })
}

/// Proves that the CA signs what verifies, and finds when; makes it ready to issue.
pub(super) fn prove(
    key: &PrivateKey,
    chain: &[Certificate],
    root: &Certificate,
    place: &impl Fn() -> CaPlace,
) -> Result<(Validity, IssuerContext), PoolError> {
    let may_not_sign = |source| PoolError::MayNotSign {
        ca: place(),
        source,
    };
    // webpki looks neither at key usages nor at the root's constraints; Go and OpenSSL do.
    for (below, certificate) in chain.iter().chain([root]).enumerate() {
        let issuer = || certificate.subject().to_string();
        if !certificate.is_ca() {
            return Err(may_not_sign(IssueError::NotCa { issuer: issuer() }));
        }
        if certificate
            .key_usage()
            .is_some_and(|usage| !usage.key_cert_sign())
        {
            return Err(may_not_sign(IssueError::MayNotSign { issuer: issuer() }));
        }
        match certificate.path_len() {
            Some(allowed) if allowed < below as u64 => {
                let subject = issuer();
                return Err(PoolError::PathTooLong {
                    ca: place(),
                    subject,
                    allowed,
                    found: below,
                });
            }
            _ => {}
        }
    }
    let all = || chain.iter().chain([root]);
    let not_before = all()
        .map(Certificate::not_before)
        .fold(Timestamp::UNIX_EPOCH, Timestamp::max);
    let not_after = all()
        .map(Certificate::not_after)
        .fold(Timestamp::MAX, Timestamp::min);
    let validity =
        Validity::new(not_before, not_after).map_err(|_| PoolError::NeverValid { ca: place() })?;
    let issuer = chain.first().unwrap_or(root);
    let context = IssuerContext::new(issuer, key.signature_algorithm()).map_err(may_not_sign)?;
    let verdict =
        try_out(key, &context, chain, root, validity).map_err(|source| PoolError::Trial {
            ca: place(),
            source,
        })?;
    verdict.map_err(|source| PoolError::DoesNotVerify {
        ca: place(),
        source,
    })?;
    Ok((validity, context))
}

/// Signs a leaf for a key that is thrown away and verifies it, as a server's and as an SVID. One of
/// the two is enough: a CA may be constrained to names of one kind.
fn try_out(
    key: &PrivateKey,
    context: &IssuerContext,
    chain: &[Certificate],
    root: &Certificate,
    validity: Validity,
) -> Result<Result<(), VerifyError>, Box<dyn std::error::Error + Send + Sync>> {
    let anchors = TrustBundle::new(vec![root.clone()])?;
    let at = middle(validity);
    let leaf_key = PrivateKey::generate(KeyType::EcdsaP256)?;
    let sign = |names| -> Result<Chain, Box<dyn std::error::Error + Send + Sync>> {
        let usages = ExtKeyUsages::SERVER_AND_CLIENT;
        let spec = LeafSpec::new(leaf_key.public_key().clone(), names, usages, validity)?;
        let tbs = context.leaf_tbs(&spec, &Serial::random()?)?;
        let der = tbs.assemble(&key.sign(tbs.to_be_signed())?)?;
        Ok(Chain::new(Certificate::from_der(der)?, chain.to_vec()))
    };
    let name: DnsName = "trial.podcert.invalid".parse()?;
    let server = sign(LeafNames::Dns(vec![name]))?;
    let Err(error) = verify(&server, &anchors, Purpose::Server(None), at) else {
        return Ok(Ok(()));
    };
    let id: SpiffeId = "spiffe://trial.podcert.invalid/trial".parse()?;
    let client = sign(LeafNames::Spiffe(id))?;
    Ok(verify(&client, &anchors, Purpose::Client, at).map_err(|_| error))
}

/// A moment in which everything is valid, whatever time it is: an expired CA is proven as well.
fn middle(validity: Validity) -> Timestamp {
    let (from, to) = (validity.not_before(), validity.not_after());
    let half = SignedDuration::from_secs((to.as_second() - from.as_second()) / 2);
    from.checked_add(half).unwrap_or(from)
}
