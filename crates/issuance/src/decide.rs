//! The decision, step by step: first what the request alone says, then the cluster, then the clock.

use jiff::Timestamp;
use podcert_pki::{LeafExtension, LeafNames, LeafSpec, PublicKey, Validity};

use crate::{
    Decision, Denial, DenialReason, Facts, NamePolicy, Plan, Policy, Request, RequestedKey, Wait,
    WaitReason, Wake, annotations, identity, pod_identity,
    service_dns::{self, WantedServices},
    spiffe,
};

/// Decides a request.
///
/// `chain` is the time in which the issuing CA and every certificate above it are valid; `now` is the
/// API server's time (its clock judges notBefore, not ours).
///
/// # Guarantees
/// - A denial depends on the request and the policy only. It is the same whatever the facts, the CA
///   and the clock.
/// - A plan satisfies [`crate::status_rules`] at `now`.
/// - Equal arguments give equal decisions, names in the same order.
#[must_use]
pub fn decide(
    policy: &Policy,
    request: &Request,
    facts: &dyn Facts,
    chain: Validity,
    now: Timestamp,
) -> Decision {
    match plan(policy, request, facts, chain, now) {
        Ok(plan) => Decision::Issue(plan),
        Err(Refusal::Denied(denial)) => Decision::Deny(denial),
        Err(Refusal::Waiting(wait)) => Decision::Wait(wait),
    }
}

fn plan(
    policy: &Policy,
    request: &Request,
    facts: &dyn Facts,
    chain: Validity,
    now: Timestamp,
) -> Result<Plan, Refusal> {
    if request.signer != policy.signer {
        return Err(Refusal::Waiting(Wait::new(
            WaitReason::OtherSigner,
            Wake::Restart,
            format!(
                "the request is for signer {}, not for {}",
                request.signer, policy.signer
            ),
        )));
    }

    // The request alone.
    let public_key = certifiable(&request.key)?;
    let known = policy.names.known_annotations();
    let mut notes = Vec::new();
    notes.extend(annotations::unknown(
        &request.annotations,
        known,
        policy.unknown_annotations,
    )?);
    let wanted = match &policy.names {
        NamePolicy::ServiceDns(_) => WantedServices::of(request)?,
        NamePolicy::Spiffe(_) | NamePolicy::PodIdentity(_) => WantedServices::All,
    };

    // The cluster.
    let pod = identity::verify(request, policy, facts)?;
    let mut extensions = Vec::new();
    let (names, ext_key_usages) = match &policy.names {
        NamePolicy::ServiceDns(names) => {
            let (dns_names, note) = service_dns::names(names, request, pod, &wanted, facts)?;
            notes.extend(note);
            (LeafNames::Dns(dns_names), names.ext_key_usages())
        }
        NamePolicy::Spiffe(names) => (
            LeafNames::Spiffe(spiffe::id(names, request)?),
            spiffe::EXT_KEY_USAGES,
        ),
        NamePolicy::PodIdentity(names) => {
            let (id, asked_for) = pod_identity::names(names, request, facts)?;
            extensions = asked_for;
            (LeafNames::Spiffe(id), spiffe::EXT_KEY_USAGES)
        }
    };
    if let Some(issuer) = &policy.service_account_issuer {
        extensions.push(LeafExtension::ServiceAccountIssuer(issuer.clone()));
    }

    // The CA and the clock.
    let schedule =
        policy
            .lifetime
            .schedule(request.max_expiration, &request.pod_uid, chain, now)?;
    let spec = LeafSpec::new(public_key.clone(), names, ext_key_usages, schedule.validity);
    let spec = spec.and_then(|spec| spec.with_extensions(extensions));
    let spec = spec.map_err(|error| {
        Wait::new(
            WaitReason::UnusableName,
            Wake::Restart,
            format!("no certificate can be made of this request: {error}"),
        )
    })?;
    Ok(Plan {
        spec,
        begin_refresh_at: schedule.begin_refresh_at,
        notes,
    })
}

/// The key, or what follows from not having one.
///
/// A key podcert does not certify is denied: the request cannot change, and no release is expected to
/// certify what Kubernetes does not even offer. Bytes podcert cannot read wait instead. The API
/// server has read them and verified their signature, so the two parsers differ, and a fixed podcert
/// will answer.
fn certifiable(key: &RequestedKey) -> Result<&PublicKey, Refusal> {
    match key {
        RequestedKey::Key(key) => Ok(key),
        RequestedKey::Unsupported { key } => Err(Refusal::Denied(Denial {
            reason: DenialReason::UnsupportedKeyType,
            message: format!("the request's key cannot be certified: {key}"),
        })),
        RequestedKey::NotShown => Err(Refusal::Waiting(Wait::new(
            WaitReason::KeyNotShown,
            Wake::ApiVersion,
            "the request shows no key: a kubelet older than 1.36 put it where only \
             certificates.k8s.io/v1beta1 shows it; serve v1beta1 until every kubelet is 1.36",
        ))),
        RequestedKey::Unreadable { problem } => Err(Refusal::Waiting(Wait::new(
            WaitReason::UnreadableRequest,
            Wake::Restart,
            format!("the request's key cannot be read, although the API server could: {problem}"),
        ))),
    }
}

/// Why there is no plan.
enum Refusal {
    Denied(Denial),
    Waiting(Wait),
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Wait> for Refusal {
    fn from(wait: Wait) -> Self {
        Self::Waiting(wait)
    }
}

#[cfg(test)]
mod tests;
