//! What is in the program: a software bill of materials in CycloneDX 1.6, from `Cargo.lock`.
//!
//! Every crate that cargo links into it for that target, with its version, licence and the checksum that
//! `Cargo.lock` pins, and which needs which. No time and no random number: the same sources make the same
//! bill.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde_json::{Value, json};

use crate::run::root;

/// The bill of the program that `package` has, in the image of that name and digest.
pub(super) fn of(package: &str, triple: &str, image: &str, digest: &str) -> Result<Value> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec![
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            triple.to_owned(),
        ])
        .exec()
        .context("cargo metadata")?;
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    bill(&metadata, &checksums(&lock), package, image, digest)
}

fn bill(
    metadata: &Metadata,
    checksums: &BTreeMap<(String, String), String>,
    package: &str,
    image: &str,
    digest: &str,
) -> Result<Value> {
    let root = metadata
        .workspace_packages()
        .into_iter()
        .find(|found| found.name.as_str() == package)
        .with_context(|| format!("there is no package {package}"))?;
    let edges = edges(metadata)?;
    let mut linked = BTreeSet::new();
    let mut next = vec![&root.id];
    while let Some(id) = next.pop() {
        if linked.insert(id) {
            next.extend(edges.get(id).into_iter().flatten());
        }
    }
    let mut packages: Vec<&Package> = metadata
        .packages
        .iter()
        .filter(|package| linked.contains(&package.id))
        .collect();
    packages.sort_by_key(|package| (package.name.as_str(), package.version.clone()));
    let names: BTreeMap<&PackageId, String> = packages
        .iter()
        .map(|package| (&package.id, purl(package)))
        .collect();

    let components: Vec<Value> = packages
        .iter()
        .filter(|package| package.id != root.id)
        .map(|package| component(package, checksums))
        .collect();
    let dependencies: Vec<Value> = packages
        .iter()
        .map(|package| {
            let needs: BTreeSet<&String> = edges
                .get(&package.id)
                .into_iter()
                .flatten()
                .filter_map(|id| names.get(id))
                .collect();
            json!({"ref": purl(package), "dependsOn": needs})
        })
        .collect();
    let mut main = component(root, checksums);
    if let Some(fields) = main.as_object_mut() {
        fields.insert("type".to_owned(), json!("application"));
        fields.insert(
            "properties".to_owned(),
            json!([
                {"name": "oci:image:name", "value": image},
                {"name": "oci:image:digest", "value": digest},
            ]),
        );
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main},
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What each package links: tests' and build scripts' dependencies are in no program.
fn edges(metadata: &Metadata) -> Result<BTreeMap<&PackageId, Vec<&PackageId>>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo metadata resolved nothing")?;
    let edges = resolve.nodes.iter().map(|node| {
        let linked = node.deps.iter().filter(|dependency| {
            let mut kinds = dependency.dep_kinds.iter();
            kinds.any(|kind| kind.kind == DependencyKind::Normal)
        });
        (&node.id, linked.map(|dependency| &dependency.pkg).collect())
    });
    Ok(edges.collect())
}

fn component(package: &Package, checksums: &BTreeMap<(String, String), String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name.as_str(),
        "version": package.version.to_string(),
        "purl": purl(package),
    });
    if let Some(fields) = component.as_object_mut() {
        if let Some(licence) = &package.license {
            // Old manifests have a slash for "or".
            let expression = licence.replace(" / ", " OR ").replace('/', " OR ");
            fields.insert("licenses".to_owned(), json!([{"expression": expression}]));
        }
        let key = (package.name.to_string(), package.version.to_string());
        if let Some(checksum) = checksums.get(&key) {
            let hashes = json!([{"alg": "SHA-256", "content": checksum}]);
            fields.insert("hashes".to_owned(), hashes);
        }
    }
    component
}

/// The name that every tool knows it by.
fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

/// What `Cargo.lock` says each package of a registry is, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for entry in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            entry.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix(" = \"")?;
                Some(value.strip_suffix('"')?.to_owned())
            })
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Value {
        of("podcert-cli", "x86_64-unknown-linux-gnu", "a:1", "sha256:0").unwrap()
    }

    #[test]
    fn the_bill_has_what_is_linked_with_its_checksum_and_nothing_that_only_tests() {
        let bill = ours();
        let components = bill["components"].as_array().unwrap();
        let of = |name: &str| components.iter().find(|one| one["name"] == name);
        let rustls = of("rustls").unwrap();
        assert_eq!(rustls["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert!(
            rustls["licenses"][0]["expression"]
                .as_str()
                .unwrap()
                .contains(" OR ")
        );
        assert!(of("podcert-controller").is_some());
        assert!(of("podcert-image").is_none());
        // Only tests use it.
        assert!(of("proptest").is_none());
        assert_eq!(bill["metadata"]["component"]["name"], "podcert-cli");
    }

    #[test]
    fn every_reference_leads_to_a_component() {
        let bill = ours();
        let mut known: BTreeSet<&str> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["bom-ref"].as_str().unwrap())
            .collect();
        known.insert(bill["metadata"]["component"]["bom-ref"].as_str().unwrap());
        let dependencies = bill["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), known.len());
        for dependency in dependencies {
            for needed in dependency["dependsOn"].as_array().unwrap() {
                assert!(known.contains(needed.as_str().unwrap()), "{needed}");
            }
        }
        assert_eq!(ours(), bill);
    }
}
