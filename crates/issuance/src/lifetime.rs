//! From when to when a certificate is valid, and when its refresh begins.
//!
//! ```text
//!  notBefore    now                    beginRefreshAt                              notAfter
//!      ├─────────┼────────────────────────────┼───────────────────────────────────────┤
//!      │backdate │                     about half of it                                │
//!      │◀──────────── min(policy, maxExpirationSeconds), cut at the CA's end ─────────▶│
//! ```
//!
//! Lifetimes count from notBefore, as meshtool and kube-apiserver count them. Everything is in whole
//! seconds, since X.509 and `metav1.Time` know nothing finer and the API server compares for equality.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use podcert_pki::Validity;

use crate::{
    Wait, WaitReason, Wake,
    status_rules::{MAX_CLOCK_DIFFERENCE, MIN_LIFETIME, REFRESH_MARGIN},
};

/// How long certificates of a signer live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifetimePolicy {
    /// Whole seconds.
    max_lifetime: i64,
    /// Whole seconds.
    backdate: i64,
}

impl LifetimePolicy {
    /// A policy with the given longest lifetime and the default backdating.
    ///
    /// # Errors
    /// Fewer than one hour, which the API server refuses, or more than 91 days, which no request may
    /// ask for.
    pub fn with_max_lifetime(max_lifetime: Duration) -> Result<Self, LifetimePolicyError> {
        if !(MIN_LIFETIME..=LONGEST_LIFETIME).contains(&max_lifetime) {
            return Err(LifetimePolicyError::MaxLifetime {
                given: max_lifetime,
            });
        }
        Ok(Self {
            max_lifetime: whole_seconds(max_lifetime),
            ..Self::default()
        })
    }

    /// This policy with another backdating: how long before now a certificate becomes valid, so that
    /// a peer whose clock is behind accepts it at once.
    ///
    /// # Errors
    /// More than four minutes. The API server refuses a notBefore five minutes from its own clock,
    /// and a minute is left for the request to get there.
    pub fn with_backdate(self, backdate: Duration) -> Result<Self, LifetimePolicyError> {
        if backdate > LONGEST_BACKDATE {
            return Err(LifetimePolicyError::Backdate { given: backdate });
        }
        Ok(Self {
            backdate: whole_seconds(backdate),
            ..self
        })
    }

    /// The longest lifetime of a certificate, from notBefore to notAfter.
    #[must_use]
    pub fn max_lifetime(&self) -> Duration {
        Duration::from_secs(self.max_lifetime.unsigned_abs())
    }

    /// How long before now a certificate becomes valid.
    #[must_use]
    pub fn backdate(&self) -> Duration {
        Duration::from_secs(self.backdate.unsigned_abs())
    }

    /// Lays out one certificate. `max_expiration` is the request's, `chain` the time in which the
    /// issuing CA and every certificate above it are valid, `now` the API server's time.
    ///
    /// # Errors
    /// A wait, if no certificate the API server accepts fits: for the authority when the CA is the
    /// obstacle.
    pub fn schedule(
        &self,
        max_expiration: Duration,
        pod_uid: &str,
        chain: Validity,
        now: Timestamp,
    ) -> Result<Schedule, Wait> {
        let (ca_not_before, ca_not_after) = (chain.not_before(), chain.not_after());
        if now < ca_not_before {
            return Err(Wait::new(
                WaitReason::CaNotYetValid,
                Wake::At(ca_not_before),
                format!("the signing CA is not valid before {ca_not_before}"),
            ));
        }
        if now > ca_not_after {
            return Err(Wait::new(
                WaitReason::CaExpired,
                Wake::Authority,
                format!(
                    "the signing CA expired at {ca_not_after}: put a new one first in the CA pool"
                ),
            ));
        }
        let not_before = now.as_second().saturating_sub(self.backdate);
        let wanted = self.max_lifetime.min(whole_seconds(max_expiration));
        if wanted < whole_seconds(MIN_LIFETIME) {
            return Err(Wait::new(
                WaitReason::LifetimeTooShort,
                Wake::Restart,
                format!(
                    "spec.maxExpirationSeconds of {} leaves no room for the hour the API server \
                     demands",
                    max_expiration.as_secs()
                ),
            ));
        }
        let not_after = not_before
            .saturating_add(wanted)
            .min(ca_not_after.as_second());
        let lifetime = not_after - not_before;
        if lifetime < whole_seconds(MIN_LIFETIME) {
            return Err(Wait::new(
                WaitReason::CaExpiresTooSoon,
                Wake::Authority,
                format!(
                    "the signing CA expires at {ca_not_after}, too soon for the hour the API server \
                     demands of a certificate: put a new one first in the CA pool"
                ),
            ));
        }
        let margin = whole_seconds(REFRESH_MARGIN);
        let refresh_after = refresh_after(lifetime, pod_uid).clamp(margin, lifetime - margin);
        let timestamp = |second| Timestamp::from_second(second).ok();
        let schedule = || {
            let validity = Validity::new(timestamp(not_before)?, timestamp(not_after)?).ok()?;
            Some(Schedule {
                validity,
                begin_refresh_at: timestamp(not_before + refresh_after)?,
            })
        };
        // X.509 begins in 1970 and jiff's calendar ends in 9999.
        schedule().ok_or_else(|| {
            Wait::new(
                WaitReason::ClockWrong,
                // Whoever set it wrong may set it right.
                Wake::At(now.saturating_add(LOOK_AGAIN_AFTER).unwrap_or(now)),
                format!("no certificate can begin at {now}: the API server's clock is wrong"),
            )
        })
    }
}

impl Default for LifetimePolicy {
    /// At most 24 hours, backdated two minutes: meshtool's figures.
    fn default() -> Self {
        Self {
            max_lifetime: 24 * 60 * 60,
            backdate: 2 * 60,
        }
    }
}

/// The times of one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// notBefore and notAfter.
    pub validity: Validity,
    /// `status.beginRefreshAt`.
    pub begin_refresh_at: Timestamp,
}

/// Why a lifetime cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LifetimePolicyError {
    /// Outside of what the API server accepts of any certificate.
    #[error("the longest lifetime of certificates must be from 1 hour to 91 days, not {given:?}")]
    MaxLifetime {
        /// The lifetime.
        given: Duration,
    },
    /// So long that the API server would refuse notBefore.
    #[error("certificates can be backdated by at most 4 minutes, not {given:?}")]
    Backdate {
        /// The backdating.
        given: Duration,
    },
}

/// When refresh begins, in seconds after notBefore: at half of the lifetime, earlier or later by up
/// to 10 % of that half. A 24 h certificate is refreshed 10 h 48 min to 13 h 12 min after notBefore.
///
/// Half, so that an outage of the signer may last half a lifetime (KEP-4317 advises it). The shift
/// comes from the pod's UID, so a fleet started at once spreads out, every replica of the controller
/// decides alike, and a pod keeps its place. It is
/// `FNV-1a(uid)`, its halves folded by XOR, modulo 2001, as ten-thousandths of half a lifetime around
/// 9 000 to 11 000. Changing it moves refreshes once and harms nothing.
fn refresh_after(lifetime: i64, pod_uid: &str) -> i64 {
    let hash = pod_uid.bytes().fold(FNV_OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    });
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    let share = 9_000 + i64::try_from(folded % 2_001).unwrap_or(1_000);
    // At most 91 days of seconds, times 11 000: far from overflow.
    lifetime * share / 20_000
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// What `spec.maxExpirationSeconds` may be at most.
const LONGEST_LIFETIME: Duration = Duration::from_secs(91 * 24 * 60 * 60);
/// How long until a clock that stands where no certificate can begin is looked at again.
const LOOK_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(1);
const LONGEST_BACKDATE: Duration = MAX_CLOCK_DIFFERENCE.saturating_sub(Duration::from_secs(60));

#[cfg(test)]
mod tests;
