//! Names and UIDs of Kubernetes objects, as they may stand in an extension of a certificate.
//!
//! Both grammars hold nothing that JSON escapes or a SPIFFE path segment may not hold, so a value
//! means the same wherever it is written.

use std::{str::FromStr, sync::Arc};

use super::{Kind, NameError, Problem};

/// The name of a namespace, service account, pod or node: an RFC 1123 subdomain of at most 253
/// bytes, as Kubernetes has it (unlike a DNS name's, its labels may be long or all digits).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `metadata.uid` of an object: 1 to 128 of `A-Z a-z 0-9 . - _`. Kubernetes makes UUIDs and lets a
/// request name any text of up to 128 bytes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectUid(Arc<str>);

impl ObjectUid {
    /// The UID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match check_name(text) {
            Ok(()) => Ok(Self(text.into())),
            Err(problem) => Err(NameError::new(Kind::ObjectName, text, problem)),
        }
    }
}

impl FromStr for ObjectUid {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match check_uid(text) {
            Ok(()) => Ok(Self(text.into())),
            Err(problem) => Err(NameError::new(Kind::ObjectUid, text, problem)),
        }
    }
}

fn check_name(text: &str) -> Result<(), Problem> {
    check_length(text, MAX_NAME)?;
    let bad = |c: &char| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
    if let Some(found) = text.chars().find(bad) {
        return Err(Problem::Character {
            found,
            allowed: "a-z, 0-9, '-' and '.'",
        });
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err(Problem::EmptyLabel);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(Problem::Hyphen);
        }
    }
    Ok(())
}

fn check_uid(text: &str) -> Result<(), Problem> {
    check_length(text, MAX_UID)?;
    let bad = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    match text.chars().find(bad) {
        Some(found) => Err(Problem::Character {
            found,
            allowed: "A-Z, a-z, 0-9, '.', '-' and '_'",
        }),
        None => Ok(()),
    }
}

fn check_length(text: &str, limit: usize) -> Result<(), Problem> {
    match text.len() {
        0 => Err(Problem::Empty),
        len if len > limit => Err(Problem::TooLong { limit }),
        _ => Ok(()),
    }
}

/// RFC 1123 subdomain.
const MAX_NAME: usize = 253;
/// What kube-apiserver allows in a PodCertificateRequest.
const MAX_UID: usize = 128;
