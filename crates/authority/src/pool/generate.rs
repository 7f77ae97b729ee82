//! New CAs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use podcert_pki::{
    IssueError, KeyError, KeyType, PrivateKey, Serial, SpecError, Validity,
    ca::{self, CaSpec, SubjectError, SubjectName},
};

use super::{Ca, CaId, CaPlace, PoolError, load};

/// How a new CA shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaOptions {
    /// Its ID in the pool.
    pub id: CaId,
    /// The type of its key. Default ECDSA P-256, which every TLS library takes; meshtool makes
    /// Ed25519 keys, which Windows and browsers do not.
    pub key_type: KeyType,
    /// From now until it expires. Default 365 days, as meshtool has it.
    pub lifetime: Duration,
    /// How long before now it becomes valid, so that a peer whose clock is behind accepts it.
    /// Default 5 minutes, which covers the backdating of leaves.
    pub backdate: Duration,
    /// The beginning of its common name, which eight digits of its key's hash follow, so that no two
    /// CAs share a subject. At most 55 characters. Default `podcert CA`.
    pub common_name: String,
    /// Its organization, if any. At most 64 characters.
    pub organization: Option<String>,
}

impl CaOptions {
    /// The defaults.
    #[must_use]
    pub fn new(id: CaId) -> Self {
        Self {
            id,
            key_type: KeyType::EcdsaP256,
            lifetime: Duration::from_secs(365 * 24 * 60 * 60),
            backdate: Duration::from_secs(5 * 60),
            common_name: "podcert CA".to_owned(),
            organization: None,
        }
    }
}

/// Why a CA could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A lifetime too short to be of use.
    #[error(
        "a CA must live for at least 2 hours, not {given:?}: certificates live for 1 hour or more"
    )]
    Lifetime {
        /// The lifetime.
        given: Duration,
    },
    /// Times a certificate cannot hold.
    #[error("a CA cannot be valid for these times")]
    Validity(#[from] SpecError),
    /// The subject cannot be used.
    #[error("a CA cannot have this subject")]
    Subject(#[from] SubjectError),
    /// The key was not made, or cannot be written.
    #[error("the CA's key could not be made")]
    Key(#[from] KeyError),
    /// The root was not made.
    #[error("the CA's root could not be made")]
    Root(#[from] IssueError),
    /// The new CA does not pass the proof every CA must pass.
    #[error("the new CA does not work")]
    Proof(#[from] PoolError),
}

pub(super) fn ca(options: &CaOptions, now: Timestamp) -> Result<Ca, GenerateError> {
    if options.lifetime < SHORTEST_LIFETIME {
        return Err(GenerateError::Lifetime {
            given: options.lifetime,
        });
    }
    let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    // Out of the calendar, both become times that Validity refuses.
    let not_before = now
        .saturating_sub(signed(options.backdate))
        .unwrap_or(Timestamp::MAX);
    let not_after = now
        .checked_add(signed(options.lifetime))
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let validity = Validity::new(not_before, not_after)?;
    let key = PrivateKey::generate(options.key_type)?;
    let organization = options.organization.as_deref();
    let subject = SubjectName::for_key(&options.common_name, organization, key.public_key())?;
    let root = ca::new_root(
        &key,
        &CaSpec {
            subject,
            validity,
            serial: Serial::random()?,
        },
    )?;
    let place = || CaPlace {
        index: 0,
        id: options.id.clone(),
    };
    let (chain_validity, issuer) = load::prove(&key, &[], &root, &place)?;
    let pkcs8 = key.to_pkcs8_der()?;
    Ok(Ca {
        id: options.id.clone(),
        key,
        pkcs8,
        root,
        intermediates: Vec::new(),
        chain: Vec::new(),
        chain_validity,
        issuer,
    })
}

/// A CA that lives for less could never issue a certificate of one hour for long.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);
