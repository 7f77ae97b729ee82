//! Annotations of a request: which of them mean something to a signer, and what the rest costs.
//!
//! They are the pod author's words, copied by kubelet from the projection; the API server compares
//! them with nothing. They may narrow what a certificate says, never widen it.

use std::collections::BTreeMap;

use crate::{Denial, DenialReason, Note, NoteReason, UnknownAnnotations};

/// A note on the annotations a signer does not know, or the denial if the policy is strict.
pub(crate) fn unknown(
    annotations: &BTreeMap<String, String>,
    known: &[&str],
    policy: UnknownAnnotations,
) -> Result<Option<Note>, Denial> {
    let unknown = || {
        annotations
            .keys()
            .map(String::as_str)
            .filter(|key| !known.contains(key))
    };
    if unknown().next().is_none() {
        return Ok(None);
    }
    let listed = list(unknown());
    match policy {
        UnknownAnnotations::Ignore => Ok(Some(Note {
            reason: NoteReason::IgnoredAnnotations,
            message: format!("userAnnotations this signer does not know were ignored: {listed}"),
        })),
        UnknownAnnotations::Deny => Err(Denial {
            reason: DenialReason::InvalidUnverifiedUserAnnotations,
            message: format!(
                "spec.unverifiedUserAnnotations holds keys this signer does not know: {listed}"
            ),
        }),
    }
}

/// A few keys and how many more there are: annotations may be 256 KiB, the text of an Event 1 KiB.
fn list<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    const ENOUGH: usize = 300;
    let mut listed = String::new();
    let mut more = 0_usize;
    for key in keys {
        if listed.len() + key.len() > ENOUGH && !listed.is_empty() {
            more += 1;
        } else {
            let separator = if listed.is_empty() { "" } else { ", " };
            listed = listed + separator + key;
        }
    }
    if more > 0 {
        format!("{listed} and {more} more")
    } else {
        listed
    }
}
