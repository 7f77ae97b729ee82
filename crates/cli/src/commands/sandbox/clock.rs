//! The sandbox's clock in a shell that once evaluated `podcert sandbox env`.
//!
//! What makes certificates must not take it for another cluster: a CA that is valid from next month
//! on is found out when every handshake fails.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use podcert_runtime::ScaledClock;
use podcert_sandbox::instance::{Instances, Record};

/// Refuses a `clock` of the environment unless `kubeconfig` (else `$KUBECONFIG`) leads to the
/// running sandbox that has it.
///
/// # Errors
/// It leads elsewhere, or nowhere.
pub(crate) fn check(clock: &ScaledClock, kubeconfig: Option<&str>) -> Result<()> {
    let path = match kubeconfig.filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => std::env::var_os("KUBECONFIG").map(PathBuf::from),
    };
    let instances = Instances::of_this_user()?;
    let records = instances
        .names()
        .into_iter()
        .filter_map(|name| instances.find(&name).ok().flatten());
    if is_of(clock, path.as_deref(), records) {
        return Ok(());
    }
    bail!(
        "{variable}={clock} is the clock of a sandbox, and the kubeconfig is not that sandbox's: \
         certificates would have wrong dates; unset {variable}, or name the sandbox's kubeconfig",
        variable = ScaledClock::VARIABLE
    )
}

/// Whether one of these sandboxes has the clock and the kubeconfig, its administrator's or another
/// in its folder.
fn is_of(
    clock: &ScaledClock,
    kubeconfig: Option<&Path>,
    mut records: impl Iterator<Item = Record>,
) -> bool {
    let words = clock.to_string();
    kubeconfig.is_some_and(|path| {
        records.any(|record| {
            record.clock.as_deref() == Some(words.as_str())
                && (record.kubeconfig == path || path.starts_with(&record.state_dir))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_taken_for_its_own_sandbox_alone() {
        let clock: ScaledClock = "2026-01-01T00:00:00Z*120".parse().unwrap();
        let record = |clock: Option<&str>| -> Record {
            serde_json::from_value(serde_json::json!({
                "pid": 1, "address": "127.0.0.1:1", "kubeconfig": "/r/default.kubeconfig",
                "stateDir": "/r/pc-1", "started": "2026-01-01T00:00:00Z", "speed": 120,
                "clock": clock, "nodes": ["sandbox"],
            }))
            .unwrap()
        };
        let own = Some("2026-01-01T00:00:00Z*120");
        let is_of = |path: Option<&str>, of: Option<&str>| {
            super::is_of(&clock, path.map(Path::new), std::iter::once(record(of)))
        };
        assert!(is_of(Some("/r/default.kubeconfig"), own));
        assert!(is_of(Some("/r/pc-1/team.kubeconfig"), own));
        assert!(!is_of(Some("/home/ann/.kube/config"), own));
        assert!(!is_of(None, own));
        assert!(!is_of(Some("/r/default.kubeconfig"), None));
        let another = Some("2026-02-01T00:00:00Z*120");
        assert!(!is_of(Some("/r/default.kubeconfig"), another));
    }
}
