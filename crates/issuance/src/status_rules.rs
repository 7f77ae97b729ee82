//! What kube-apiserver enforces on an `Issued` status, to be checked before it is sent.
//!
//! The rules are those of `ValidatePodCertificateRequestStatusUpdate` (Kubernetes 1.37). A status
//! that breaks one would be refused with an error that names the rule, after a round trip, and again
//! on each retry. Checked here, a defect of podcert shows as one clear reason and never as a storm
//! of refused writes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use podcert_pki::{Chain, ChainError};

use crate::{Request, RequestedKey, Wait, WaitReason, Wake};

/// The shortest lifetime of a certificate.
pub const MIN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// beginRefreshAt keeps this far from notBefore and from notAfter.
pub const REFRESH_MARGIN: Duration = Duration::from_secs(10 * 60);

/// notBefore must be nearer than this to the API server's clock.
pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5 * 60);

/// How long `status.certificateChain` may be, in bytes of PEM.
pub const MAX_CHAIN_LEN: usize = 100 * 1024;

/// The fields of an `Issued` status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuedStatus<'a> {
    /// `status.certificateChain`.
    pub certificate_chain: &'a str,
    /// `status.notBefore`.
    pub not_before: Timestamp,
    /// `status.beginRefreshAt`.
    pub begin_refresh_at: Timestamp,
    /// `status.notAfter`.
    pub not_after: Timestamp,
}

/// Checks a status against every rule; `now` is the API server's time.
///
/// Email addresses, which the API server checks too, never stand in a certificate of podcert's.
///
/// # Errors
/// The first rule that is broken, in the order the API server checks them.
pub fn check(
    status: &IssuedStatus<'_>,
    request: &Request,
    now: Timestamp,
) -> Result<(), StatusRuleViolation> {
    let len = status.certificate_chain.len();
    if len > MAX_CHAIN_LEN {
        return Err(StatusRuleViolation::ChainTooLong { len });
    }
    let chain = Chain::from_pem(status.certificate_chain)?;
    let leaf = chain.leaf();
    let illegal = |name: &&str| {
        name.is_empty() || name.contains("..") || name.starts_with('.') || name.ends_with('.')
    };
    if let Some(name) = leaf.dns_names().find(illegal) {
        return Err(StatusRuleViolation::DnsName {
            name: name.to_owned(),
        });
    }
    let RequestedKey::Key(requested) = &request.key else {
        return Err(StatusRuleViolation::OtherKey);
    };
    if leaf.spki_der() != requested.spki_der() {
        return Err(StatusRuleViolation::OtherKey);
    }
    for (field, status, leaf) in [
        ("notBefore", status.not_before, leaf.not_before()),
        ("notAfter", status.not_after, leaf.not_after()),
    ] {
        if status != leaf {
            return Err(StatusRuleViolation::TimeDiffers {
                field,
                status,
                leaf,
            });
        }
    }
    check_times(status, request.max_expiration, now)
}

/// The rules that need neither the chain nor the request's key.
pub(crate) fn check_times(
    status: &IssuedStatus<'_>,
    max_expiration: Duration,
    now: Timestamp,
) -> Result<(), StatusRuleViolation> {
    let difference = now.duration_since(status.not_before).unsigned_abs();
    if difference >= MAX_CLOCK_DIFFERENCE {
        return Err(StatusRuleViolation::NotBeforeFarFromNow {
            not_before: status.not_before,
            now,
        });
    }
    let lifetime = status.not_after.duration_since(status.not_before);
    if lifetime < signed(MIN_LIFETIME) || lifetime > signed(max_expiration) {
        return Err(StatusRuleViolation::Lifetime {
            lifetime,
            max: max_expiration,
        });
    }
    let early = status.begin_refresh_at.duration_since(status.not_before);
    let late = status.not_after.duration_since(status.begin_refresh_at);
    if early < signed(REFRESH_MARGIN) || late < signed(REFRESH_MARGIN) {
        return Err(StatusRuleViolation::BeginRefreshAt {
            begin_refresh_at: status.begin_refresh_at,
            not_before: status.not_before,
            not_after: status.not_after,
        });
    }
    Ok(())
}

/// A rule of the API server that a status would break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusRuleViolation {
    /// More than 100 KiB.
    #[error("status.certificateChain has {len} bytes, {MAX_CHAIN_LEN} are allowed")]
    ChainTooLong {
        /// Its length.
        len: usize,
    },
    /// Not a PEM text of certificates only.
    #[error("status.certificateChain is no chain of certificates")]
    Chain(#[from] ChainError),
    /// A DNS name that is empty, has an empty label, or begins or ends with a dot.
    #[error("the leaf's DNS name {name:?} is malformed")]
    DnsName {
        /// The name.
        name: String,
    },
    /// The leaf certifies another key than the requested one.
    #[error("the leaf's public key is not the requested one")]
    OtherKey,
    /// `status.notBefore` or `status.notAfter` is not the leaf's.
    #[error("status.{field} is {status}, but the leaf's is {leaf}")]
    TimeDiffers {
        /// Which.
        field: &'static str,
        /// What the status says.
        status: Timestamp,
        /// What the leaf says.
        leaf: Timestamp,
    },
    /// notBefore is five minutes or more from now.
    #[error("status.notBefore {not_before} is not within 5 minutes of the API server's time {now}")]
    NotBeforeFarFromNow {
        /// notBefore.
        not_before: Timestamp,
        /// The API server's time.
        now: Timestamp,
    },
    /// Less than an hour, or more than the request allows.
    #[error("the lifetime of {lifetime:#} is not between 1 hour and the requested {max:?}")]
    Lifetime {
        /// From notBefore to notAfter.
        lifetime: SignedDuration,
        /// The request's `maxExpirationSeconds`.
        max: Duration,
    },
    /// Less than ten minutes from notBefore or notAfter.
    #[error(
        "status.beginRefreshAt {begin_refresh_at} is not at least 10 minutes after {not_before} \
         and before {not_after}"
    )]
    BeginRefreshAt {
        /// beginRefreshAt.
        begin_refresh_at: Timestamp,
        /// notBefore.
        not_before: Timestamp,
        /// notAfter.
        not_after: Timestamp,
    },
}

impl StatusRuleViolation {
    /// What to do about a status that must not be sent: wait. When too much time passed between the
    /// decision and the check, deciding again cures it; anything else is a defect of podcert's, or of
    /// a CA whose intermediates make chains too long.
    #[must_use]
    pub fn into_wait(self, now: Timestamp) -> Wait {
        let wake = match &self {
            Self::NotBeforeFarFromNow { .. } => {
                Wake::At(now.saturating_add(TRY_AGAIN_AFTER).unwrap_or(now))
            }
            Self::ChainTooLong { .. } => Wake::Authority,
            _ => Wake::Restart,
        };
        Wait::new(
            WaitReason::StatusRuleViolation,
            wake,
            format!("the API server would refuse the certificate: {self}"),
        )
    }
}

/// How long a decision that came too late waits to be made again.
const TRY_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(30);

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
