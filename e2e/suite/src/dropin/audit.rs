//! What the service account asked the API server, in the words of its audit log.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What was asked for, and how that went.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Verb and resource, of what was allowed.
    allowed: BTreeSet<String>,
    /// The same, of what was not.
    forbidden: BTreeSet<String>,
    /// Events of the log.
    pub(crate) events: usize,
}

impl Asked {
    /// Reads the log.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn read(log: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(log).with_context(|| format!("audit log {}", log.display()))?;
        let mut asked = Self::default();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line)?;
            let word = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or("");
            // Discovery and the version are everybody's.
            let resource = match (word("/objectRef/resource"), word("/objectRef/subresource")) {
                ("", _) => continue,
                (resource, "") => resource.to_owned(),
                (resource, sub) => format!("{resource}/{sub}"),
            };
            asked.events += 1;
            let what = format!("{} {resource}", word("/verb"));
            let code = event
                .pointer("/responseStatus/code")
                .and_then(Value::as_u64);
            if code == Some(403) {
                asked.forbidden.insert(what);
            } else {
                asked.allowed.insert(what);
            }
        }
        Ok(asked)
    }

    /// Holds it against what meshtool's roles give: they were used, and nothing else was tried but what
    /// is optional.
    ///
    /// # Errors
    /// What was tried beside them, or not tried at all.
    pub(super) fn check(&self) -> Result<()> {
        self.check_refusals()?;
        for needed in NEEDED {
            ensure!(
                self.allowed.contains(needed),
                "nobody asked to {needed}: {:?}",
                self.allowed
            );
        }
        Ok(())
    }

    /// Only the second half of it.
    ///
    /// # Errors
    /// What was tried beside the roles.
    pub(crate) fn check_refusals(&self) -> Result<()> {
        let refused: Vec<&str> = self.forbidden.iter().map(String::as_str).collect();
        ensure!(
            refused == OPTIONAL,
            "forbidden were {refused:?}, and should be {OPTIONAL:?}"
        );
        Ok(())
    }
}

/// What podcert would like to see and meshtool's roles do not show.
const OPTIONAL: [&str; 2] = ["list nodes", "list serviceaccounts"];
/// What cannot be done without, or the log would be of somebody else.
const NEEDED: [&str; 9] = [
    "create clustertrustbundles",
    "create events",
    "create leases",
    "delete leases",
    "update clustertrustbundles",
    "update leases",
    "update podcertificaterequests/status",
    "watch pods",
    "watch services",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_beside_the_roles_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let event = |verb: &str, resource: &str, code: u32| {
            format!(
                "{{\"verb\":\"{verb}\",\"objectRef\":{{\"resource\":\"{resource}\"}},\
                 \"responseStatus\":{{\"code\":{code}}}}}\n"
            )
        };
        let mut log: String = NEEDED
            .iter()
            .filter_map(|needed| needed.split_once(' '))
            .map(|(verb, resource)| event(verb, resource, 200))
            .collect();
        for resource in ["nodes", "serviceaccounts"] {
            log += &event("list", resource, 403);
        }
        std::fs::write(file.path(), &log).unwrap();
        Asked::read(file.path()).unwrap().check().unwrap();
        log += &event("patch", "podcertificaterequests", 403);
        std::fs::write(file.path(), &log).unwrap();
        let error = Asked::read(file.path()).unwrap().check().unwrap_err();
        assert!(error.to_string().contains("patch podcertificaterequests"));
        std::fs::write(file.path(), event("list", "nodes", 403)).unwrap();
        assert!(Asked::read(file.path()).unwrap().check().is_err());
    }
}
