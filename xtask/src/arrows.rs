//! The arrows between crates: each may depend only on the rooms below it, the pure ones never
//! reach a Kubernetes client, and nothing reaches a second cryptographic provider.
//!
//! The plan is the table [`MAY_USE`]; `docs/architecture.md` draws the same. A new edge belongs
//! in both, with its reason, before it belongs in a `Cargo.toml`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::run::{cargo, root, say};

/// Fails with one line for each arrow that should not be.
pub(crate) fn check() -> Result<()> {
    let metadata = metadata()?;
    let mut wrong = between_rooms(&metadata, MAY_USE);
    wrong.extend(out_of_reach(&metadata)?);
    if wrong.is_empty() {
        say("arrows: as planned");
        return Ok(());
    }
    bail!(
        "arrows that docs/architecture.md does not have:\n  {}",
        wrong.join("\n  ")
    )
}

fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .context("cargo metadata")
}

fn between_rooms(metadata: &Metadata, plan: &[(&str, &[&str])]) -> Vec<String> {
    let plan: BTreeMap<&str, BTreeSet<&str>> = plan
        .iter()
        .map(|(room, below)| (*room, below.iter().copied().collect()))
        .collect();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(allowed) = plan.get(name) else {
            wrong.push(format!("{name} is not in the plan (xtask/src/arrows.rs)"));
            continue;
        };
        for dependency in &package.dependencies {
            // Tests may look down from anywhere: they build the world a room stands in.
            let ours = dependency.path.is_some();
            if ours
                && dependency.kind != DependencyKind::Development
                && !allowed.contains(dependency.name.as_str())
            {
                wrong.push(format!("{name} -> {}", dependency.name));
            }
        }
    }
    wrong
}

/// Asks `cargo tree`, not `cargo metadata`: the latter counts weak optional dependencies that no
/// build contains (rustls-webpki's `ring?/std`).
fn out_of_reach(metadata: &Metadata) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let room = package.name.as_str();
        let tree = cargo(&[
            "tree",
            "--locked",
            "--package",
            room,
            "--edges",
            "normal,build",
            "--target",
            "all",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()?;
        let reached: BTreeSet<&str> = tree
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let pure = PURE.contains(&room);
        let forbidden = NOBODY.iter().chain(NOT_PURE.iter().filter(|_| pure));
        for name in forbidden.filter(|name| reached.contains(**name)) {
            wrong.push(format!(
                "{room} reaches {name}: `cargo tree -p {room} -i {name}` says how"
            ));
        }
    }
    Ok(wrong)
}

/// Each room and the rooms of ours that it may use outside tests.
const MAY_USE: &[(&str, &[&str])] = &[
    ("podcert-pki", &[]),
    ("podcert-apiserver", &[]),
    ("podcert-image", &[]),
    ("podcert-resources", &[]),
    ("podcert-runtime", &[]),
    ("podcert-issuance", &["podcert-pki"]),
    ("podcert-authority", &["podcert-pki"]),
    ("podcert-workload", &["podcert-pki"]),
    ("podcert-diagnosis", &["podcert-pki", "podcert-resources"]),
    (
        "podcert-controller",
        &[
            "podcert-pki",
            "podcert-issuance",
            "podcert-authority",
            "podcert-resources",
            "podcert-runtime",
            "podcert-workload",
        ],
    ),
    (
        "podcert-sandbox",
        &[
            "podcert-apiserver",
            "podcert-controller",
            "podcert-resources",
            "podcert-runtime",
            "podcert-pki",
        ],
    ),
    (
        "podcert-cli",
        &[
            "podcert-pki",
            "podcert-issuance",
            "podcert-authority",
            "podcert-resources",
            "podcert-runtime",
            "podcert-workload",
            "podcert-controller",
            "podcert-diagnosis",
            "podcert-sandbox",
        ],
    ),
    // The embedded server is tested with the cases, so they know nothing of ours.
    ("podcert-cases", &[]),
    (
        "podcert-e2e",
        &[
            // For kubectl, which runs against both servers.
            "podcert-apiserver",
            "podcert-cases",
            "podcert-pki",
            "podcert-issuance",
            "podcert-authority",
            "podcert-runtime",
            "podcert-controller",
            // For what runs on the node.
            "podcert-image",
        ],
    ),
    (
        "podcert-fuzz",
        &[
            "podcert-apiserver",
            "podcert-authority",
            "podcert-issuance",
            "podcert-pki",
            "podcert-resources",
            "podcert-sandbox",
            "podcert-workload",
        ],
    ),
    ("xtask", &["podcert-image"]),
];

/// The rooms that build and test in seconds because no Kubernetes client is below them.
const PURE: &[&str] = &[
    "podcert-pki",
    "podcert-issuance",
    "podcert-authority",
    "podcert-workload",
];

const NOT_PURE: &[&str] = &[
    "kube",
    "kube-core",
    "kube-client",
    "kube-runtime",
    "k8s-openapi",
];

/// aws-lc-rs is the one provider: two would mean two sets of bugs and of certifications.
const NOBODY: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_is_not_planned_is_named() {
        let metadata = metadata().unwrap();
        assert_eq!(between_rooms(&metadata, MAY_USE), Vec::<String>::new());

        let mut plan = MAY_USE.to_vec();
        plan.retain(|(room, _)| *room != "podcert-pki");
        for (room, below) in &mut plan {
            if *room == "podcert-issuance" {
                *below = &[];
            }
        }
        assert_eq!(
            between_rooms(&metadata, &plan),
            [
                "podcert-issuance -> podcert-pki",
                "podcert-pki is not in the plan (xtask/src/arrows.rs)"
            ]
        );
    }
}
