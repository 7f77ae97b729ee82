//! The example applications of `deploy/examples`, as this program was built with them.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, Result};
use jiff::SignedDuration;
use serde_json::Value;

/// The example applications.
#[derive(Debug)]
pub(crate) struct Examples(Vec<Manifest>);

/// One manifest, as it is applied.
#[derive(Debug)]
pub(crate) struct Manifest {
    file: &'static str,
    documents: Vec<Value>,
    yaml: String,
}

impl Examples {
    /// Reads the manifests this program was built with; with an `interval` each client is told to
    /// call that often, which is the only thing that differs from the files.
    pub(crate) fn load(interval: Option<SignedDuration>) -> Result<Self> {
        let manifests = EXAMPLES.iter().map(|(file, text)| {
            let mut documents: Vec<Value> =
                serde_saphyr::from_multiple(text).with_context(|| format!("{file} is no YAML"))?;
            let yaml = match interval {
                None => (*text).to_owned(),
                Some(interval) => {
                    for document in &mut documents {
                        set_interval(document, interval);
                    }
                    let texts: Result<Vec<String>, _> =
                        documents.iter().map(serde_saphyr::to_string).collect();
                    texts
                        .with_context(|| format!("{file} cannot be written"))?
                        .join("---\n")
                }
            };
            Ok(Manifest {
                file,
                documents,
                yaml,
            })
        });
        manifests.collect::<Result<_>>().map(Self)
    }

    /// The manifests, in the order they are applied.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.0.iter()
    }

    /// The images their containers name, which this program plays.
    pub(crate) fn images(&self) -> impl Iterator<Item = String> + '_ {
        let images: BTreeSet<String> = self
            .containers()
            .filter_map(|(_, container)| container.get("image")?.as_str().map(str::to_owned))
            .collect();
        images.into_iter()
    }

    /// How many pods call a server.
    pub(crate) fn clients(&self) -> usize {
        self.containers()
            .filter(|(_, container)| words(container).any(|word| word == CLIENT))
            .map(|(replicas, _)| replicas)
            .sum()
    }

    /// How many certificates their pods need: one per pod and projection.
    pub(crate) fn credentials(&self) -> usize {
        self.deployments()
            .map(|(replicas, spec)| {
                let volumes = array(spec, "/volumes");
                let sources = volumes.flat_map(|volume| array(volume, "/projected/sources"));
                replicas
                    * sources
                        .filter(|source| source.get("podCertificate").is_some())
                        .count()
            })
            .sum()
    }

    fn deployments(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.0.iter().flat_map(Manifest::deployments)
    }

    fn containers(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.deployments().flat_map(|(replicas, spec)| {
            array(spec, "/containers").map(move |container| (replicas, container))
        })
    }
}

impl Manifest {
    /// The file's name without folder and ending.
    pub(crate) fn name(&self) -> &'static str {
        let name = self.file.rsplit('/').next().unwrap_or(self.file);
        name.strip_suffix(".yaml").unwrap_or(name)
    }

    /// The namespaces that it makes.
    pub(crate) fn namespaces(&self) -> BTreeSet<String> {
        let namespaces = self
            .documents
            .iter()
            .filter(|document| document.get("kind").is_some_and(|kind| kind == "Namespace"));
        namespaces
            .filter_map(|namespace| Some(namespace.pointer("/metadata/name")?.as_str()?.to_owned()))
            .collect()
    }

    /// How many pods it leads to.
    pub(crate) fn pods(&self) -> usize {
        self.deployments().map(|(replicas, _)| replicas).sum()
    }

    fn deployments(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.documents
            .iter()
            .filter(|document| {
                document
                    .get("kind")
                    .is_some_and(|kind| kind == "Deployment")
            })
            .filter_map(|document| {
                let replicas = document.pointer("/spec/replicas").and_then(Value::as_u64);
                let replicas = usize::try_from(replicas.unwrap_or(1)).ok()?;
                Some((replicas, document.pointer("/spec/template/spec")?))
            })
    }

    /// The text to apply.
    pub(crate) fn yaml(&self) -> &str {
        &self.yaml
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)
    }
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn words(container: &Value) -> impl Iterator<Item = &str> {
    array(container, "/command").filter_map(Value::as_str)
}

fn set_interval(document: &mut Value, interval: SignedDuration) {
    let containers = document.pointer_mut("/spec/template/spec/containers");
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if !words(container).any(|word| word == CLIENT) {
            continue;
        }
        if let Some(command) = container
            .pointer_mut("/command")
            .and_then(Value::as_array_mut)
        {
            command.push(Value::String(format!("--interval={interval:#}")));
        }
    }
}

const EXAMPLES: &[(&str, &str)] = &[
    (
        "deploy/examples/service-dns-unauth-client.yaml",
        include_str!("../../../../../deploy/examples/service-dns-unauth-client.yaml"),
    ),
    (
        "deploy/examples/service-dns-spiffe-client.yaml",
        include_str!("../../../../../deploy/examples/service-dns-spiffe-client.yaml"),
    ),
];
/// The subcommand whose pods call a server.
const CLIENT: &str = "https-client";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_what_the_demo_counts_on() {
        let examples = Examples::load(Some(SignedDuration::from_millis(500))).unwrap();
        // A server and a client; three servers and three clients with an identity each.
        assert_eq!(examples.clients(), 4);
        assert_eq!(examples.credentials(), 7);
        assert_eq!(examples.images().count(), 1);
        for manifest in examples.manifests() {
            assert_eq!(
                manifest.yaml().matches("--interval=500ms").count(),
                1,
                "{manifest}"
            );
        }
    }

    #[test]
    fn the_examples_have_names_and_are_left_alone() {
        let examples = Examples::load(None).unwrap();
        for (manifest, (file, text)) in examples.manifests().zip(EXAMPLES) {
            assert_eq!(manifest.yaml(), *text);
            assert_eq!(*file, format!("deploy/examples/{}.yaml", manifest.name()));
            assert_eq!(
                manifest.namespaces().into_iter().collect::<Vec<_>>(),
                [manifest.name()]
            );
            assert!(manifest.pods() >= 2);
        }
    }
}
