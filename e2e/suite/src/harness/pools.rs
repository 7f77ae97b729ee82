//! CA pools in files, of each kind a CA may be.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use podcert_pki::ca::{self, CaSpec, SubjectName};
use podcert_pki::{Certificate, KeyType, PrivateKey, Serial, Validity};
use serde_json::{Value, json};

use super::now;

/// What a CA is made of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct CaKind {
    /// The type of its keys.
    pub(crate) key: KeyType,
    /// Whether an intermediate signs, and not the root.
    pub(crate) intermediate: bool,
}

/// A pool of one CA.
#[derive(Clone)]
pub(crate) struct CaPool {
    /// Of what kind it is.
    pub(crate) kind: CaKind,
    /// The root.
    pub(crate) root: Certificate,
    json: Arc<str>,
}

impl CaKind {
    /// The key types of CAs that are held against the servers.
    pub(crate) const KEYS: [KeyType; 5] = [
        KeyType::Rsa2048,
        KeyType::Rsa4096,
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::Ed25519,
    ];

    /// What `podcert make-ca-pool-secret` makes.
    pub(crate) const USUAL: Self = Self {
        key: KeyType::EcdsaP256,
        intermediate: false,
    };

    /// Each of [`Self::KEYS`], without and with an intermediate.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::KEYS
            .into_iter()
            .flat_map(|key| [false, true].map(|intermediate| Self { key, intermediate }))
    }
}

impl fmt::Display for CaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.intermediate {
            " with intermediate"
        } else {
            ""
        };
        write!(f, "{}{by}", self.key)
    }
}

impl CaPool {
    /// The pool of this kind: made once in the life of the process, keys of RSA take their time.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn of(kind: CaKind) -> Result<Self> {
        static MADE: LazyLock<Mutex<BTreeMap<CaKind, CaPool>>> = LazyLock::new(Mutex::default);
        let made = || MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = made().get(&kind) {
            return Ok(pool.clone());
        }
        let pool = Self::new(kind)?;
        Ok(made().entry(kind).or_insert(pool).clone())
    }

    /// A new pool of this kind.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new(kind: CaKind) -> Result<Self> {
        let root_key = PrivateKey::generate(kind.key)?;
        let root = ca::new_root(&root_key, &spec("Root", &root_key)?)?;
        let (key, intermediate) = if kind.intermediate {
            let key = PrivateKey::generate(kind.key)?;
            let spec = spec("Intermediate", &key)?;
            let intermediate = ca::new_intermediate(&root_key, &root, key.public_key(), &spec)?;
            (key, Some(intermediate))
        } else {
            (root_key, None)
        };
        // The form of meshtool's pools; `IntermediateCertificatesDER` is null there without any.
        let json = json!({"CAs": [{
            "ID": "1",
            "SigningKeyPKCS8": STANDARD.encode(&*key.to_pkcs8_der()?),
            "RootCertificateDER": STANDARD.encode(root.der()),
            "IntermediateCertificatesDER":
                intermediate.as_ref().map(|it| [STANDARD.encode(it.der())]),
        }]});
        Ok(Self {
            kind,
            root,
            json: json.to_string().into(),
        })
    }

    /// This pool with the CAs of others behind its own, so that its own signs.
    ///
    /// # Errors
    /// Never, unless a pool is not what [`Self::new`] makes.
    pub(crate) fn followed_by<'a>(
        &'a self,
        others: impl IntoIterator<Item = &'a Self>,
    ) -> Result<Self> {
        let mut cas = Vec::new();
        for pool in std::iter::once(self).chain(others) {
            let pool: Value = serde_json::from_str(&pool.json)?;
            cas.extend(pool["CAs"].as_array().into_iter().flatten().cloned());
        }
        for (number, ca) in cas.iter_mut().enumerate() {
            ca["ID"] = (number + 1).to_string().into();
        }
        Ok(Self {
            json: json!({"CAs": cas}).to_string().into(),
            ..self.clone()
        })
    }

    /// Writes the pool's file, in place of one that is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(self.json.as_bytes()))
            .and_then(|()| std::fs::rename(&new, path))
            .with_context(|| format!("CA pool {}", path.display()))
    }
}

impl fmt::Debug for CaPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CaPool").field(&self.kind).finish()
    }
}

fn spec(name: &str, key: &PrivateKey) -> Result<CaSpec> {
    // Around any time a skewed clock of a controller may show.
    let day = SignedDuration::from_hours(24);
    Ok(CaSpec {
        subject: SubjectName::for_key(name, Some("podcert e2e"), key.public_key())?,
        validity: Validity::new(now() - day, now() + day * 365)?,
        serial: Serial::random()?,
    })
}
