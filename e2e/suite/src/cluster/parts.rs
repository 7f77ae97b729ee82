//! What a control plane is made of, and which release of each part.
//!
//! Each release is a Go module of its own under `e2e/kubernetes/` (their dependencies clash), whose
//! `go.mod` is the one place that names the full version.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use podcert_cases::Release;

use super::build;
use super::progress::Progress;

/// A program of a control plane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// etcd
    Etcd,
    /// kube-apiserver
    Apiserver,
    /// kube-controller-manager
    ControllerManager,
    /// kubectl, which people run, and the step `kubectl`.
    Kubectl,
}

impl Part {
    /// In the order in which they are built.
    const ALL: [Self; 4] = [
        Self::Etcd,
        Self::Apiserver,
        Self::ControllerManager,
        Self::Kubectl,
    ];

    /// What is built for a purpose.
    pub(super) fn of(purpose: Purpose) -> impl Iterator<Item = Self> {
        let wanted = move |part: &Self| *part != Self::Kubectl || purpose == Purpose::People;
        Self::ALL.into_iter().filter(wanted)
    }

    /// The program's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
        }
    }

    /// The Go package of its `main`.
    pub(super) fn package(self) -> String {
        match self {
            Self::Etcd => ETCD.to_owned(),
            kubernetes => format!("{KUBERNETES}/cmd/{}", kubernetes.name()),
        }
    }

    /// The Go module that holds the package and names the part's version.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Etcd => ETCD,
            _ => KUBERNETES,
        }
    }

    /// The folder of our module that requires it.
    pub(super) fn folder(self, release: Release) -> PathBuf {
        let folder = match self {
            Self::Etcd => "etcd",
            _ => release.as_str(),
        };
        checkout().join("e2e/kubernetes").join(folder)
    }
}

/// The programs of one release, built.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    etcd: Built,
    apiserver: Built,
    controller_manager: Built,
    kubectl: Option<Built>,
}

/// What a cluster is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// A run, which needs what runs.
    Run,
    /// People, who need kubectl too.
    People,
}

/// A program that is there.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) part: Part,
    /// Its full version, with its `v`.
    pub(crate) version: String,
    /// Where it is.
    pub(crate) program: PathBuf,
}

impl Parts {
    /// Builds those that the cache does not have.
    pub(crate) async fn build(
        release: Release,
        purpose: Purpose,
        progress: &Progress,
    ) -> Result<Self> {
        let plan = build::Plan::new(release, purpose)?;
        Ok(Self {
            etcd: plan.build(Part::Etcd, progress).await?,
            apiserver: plan.build(Part::Apiserver, progress).await?,
            controller_manager: plan.build(Part::ControllerManager, progress).await?,
            kubectl: match purpose {
                Purpose::Run => None,
                Purpose::People => Some(plan.build(Part::Kubectl, progress).await?),
            },
        })
    }

    /// kubectl alone, built if the cache does not have it.
    pub(crate) async fn kubectl(release: Release, progress: &Progress) -> Result<Built> {
        let plan = build::Plan::new(release, Purpose::People)?;
        plan.build(Part::Kubectl, progress).await
    }

    pub(crate) fn etcd(&self) -> &Built {
        &self.etcd
    }

    pub(crate) fn apiserver(&self) -> &Built {
        &self.apiserver
    }

    pub(crate) fn controller_manager(&self) -> &Built {
        &self.controller_manager
    }

    /// All there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Built> {
        [&self.etcd, &self.apiserver, &self.controller_manager]
            .into_iter()
            .chain(&self.kubectl)
    }
}

/// The checkout that this program was built from.
pub(crate) fn checkout() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// The version of `module` that a `go.mod` requires on a line of its own.
pub(super) fn required(go_mod: &str, module: &str) -> Result<String> {
    go_mod
        .lines()
        .find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("require") && words.next() == Some(module))
                .then(|| words.next())
                .flatten()
        })
        .map(str::to_owned)
        .with_context(|| format!("go.mod has no line `require {module} <version>`"))
}

const ETCD: &str = "go.etcd.io/etcd/server/v3";
const KUBERNETES: &str = "k8s.io/kubernetes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_modules_version_is_its_releases() {
        for release in [Release::V1_35, Release::V1_36, Release::V1_37] {
            let folder = Part::Apiserver.folder(release);
            let go_mod = std::fs::read_to_string(folder.join("go.mod")).unwrap();
            let version = required(&go_mod, KUBERNETES).unwrap();
            let minor = format!("v{}.", release.as_str());
            assert!(version.starts_with(&minor), "{version} in {folder:?}");
        }
    }

    #[test]
    fn only_a_require_line_of_its_own_counts() {
        let go_mod = "module m\nrequire (\n\ta v1 // indirect\n)\nrequire b v2\n";
        assert_eq!(required(go_mod, "b").unwrap(), "v2");
        assert!(required(go_mod, "a").is_err());
    }

    #[test]
    fn packages_are_inside_their_modules() {
        for part in Part::ALL {
            assert!(part.package().starts_with(part.module()));
        }
    }
}
