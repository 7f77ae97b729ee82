//! What a cluster is made of, and which release of each part.
//!
//! Each release is a Go module of its own under `e2e/kubernetes/` (their dependencies clash), whose
//! `go.mod` is the one place that names the full version.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use podcert_cases::Release;

use super::build;
use super::progress::Progress;

/// A program of a cluster.
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
    /// kube-scheduler, where there is a node.
    Scheduler,
    /// kubelet, of the release that the node is of.
    Kubelet,
    /// kube-proxy, of the kubelet's release.
    KubeProxy,
    /// containerd
    Containerd,
    /// What containerd starts for each pod.
    ContainerdShim,
    /// containerd's command line, which puts images into it.
    Ctr,
    /// The CNI plugin that connects a pod.
    Ptp,
    /// The CNI plugin that finds it an address.
    HostLocal,
    /// The CNI plugin that lets it talk to itself.
    Loopback,
    /// CoreDNS, in a container.
    CoreDns,
    /// What holds a pod's namespaces, in a container.
    Pause,
    /// Helm, which is no part of a cluster: for the step `install`.
    Helm,
    /// Prometheus' promtool, which is no part of a cluster either: for the step `monitoring`.
    Promtool,
}

/// What a cluster is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Selection {
    /// The release of the control plane.
    pub(crate) release: Release,
    /// Whom it is for.
    pub(crate) purpose: Purpose,
    /// The release of the node, if there is to be one.
    pub(crate) node: Option<Release>,
}

impl Selection {
    /// Its parts with their releases, in the order in which they are built.
    pub(super) fn parts(self) -> Vec<(Part, Release)> {
        let of_all = [Part::Etcd, Part::Apiserver, Part::ControllerManager];
        let mut parts: Vec<_> = of_all.map(|part| (part, self.release)).into();
        if self.purpose == Purpose::People {
            parts.push((Part::Kubectl, self.release));
        }
        if let Some(node) = self.node {
            parts.push((Part::Scheduler, self.release));
            parts.extend(Part::OF_A_NODE.map(|part| (part, node)));
        }
        parts
    }
}

impl Part {
    /// What runs on a node and in it.
    const OF_A_NODE: [Self; 10] = [
        Self::Kubelet,
        Self::KubeProxy,
        Self::Containerd,
        Self::ContainerdShim,
        Self::Ctr,
        Self::Ptp,
        Self::HostLocal,
        Self::Loopback,
        Self::CoreDns,
        Self::Pause,
    ];

    /// The program's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Containerd => "containerd",
            Self::ContainerdShim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::Ptp => "ptp",
            Self::HostLocal => "host-local",
            Self::Loopback => "loopback",
            Self::CoreDns => "coredns",
            Self::Pause => "pause",
            Self::Helm => "helm",
            Self::Promtool => "promtool",
        }
    }

    /// The Go package of its `main`.
    pub(super) fn package(self) -> String {
        match self {
            Self::Etcd => ETCD.to_owned(),
            Self::Containerd | Self::ContainerdShim | Self::Ctr => {
                format!("{CONTAINERD}/cmd/{}", self.name())
            }
            Self::Ptp | Self::Loopback => format!("{CNI}/plugins/main/{}", self.name()),
            Self::HostLocal => format!("{CNI}/plugins/ipam/host-local"),
            Self::CoreDns => COREDNS.to_owned(),
            Self::Pause => PAUSE.to_owned(),
            Self::Helm => format!("{HELM}/cmd/helm"),
            Self::Promtool => format!("{PROMETHEUS}/cmd/promtool"),
            kubernetes => format!("{KUBERNETES}/cmd/{}", kubernetes.name()),
        }
    }

    /// The Go module that holds the package and names the part's version.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Etcd => ETCD,
            Self::Containerd | Self::ContainerdShim | Self::Ctr => CONTAINERD,
            Self::Ptp | Self::HostLocal | Self::Loopback => CNI,
            Self::CoreDns => COREDNS,
            Self::Pause => PAUSE,
            Self::Helm => HELM,
            Self::Promtool => PROMETHEUS,
            _ => KUBERNETES,
        }
    }

    /// The folder of our module that requires it.
    pub(super) fn folder(self, release: Release) -> PathBuf {
        let folder = match self.module() {
            ETCD => "etcd",
            CONTAINERD => "containerd",
            CNI => "cni",
            COREDNS => "coredns",
            PAUSE => "pause",
            HELM => "helm",
            PROMETHEUS => "prometheus",
            _ => release.as_str(),
        };
        checkout().join("e2e/kubernetes").join(folder)
    }

    /// The version that its module's `go.mod` names.
    pub(super) fn version(self, go_mod: &str) -> Result<String> {
        match self {
            // Its source is in that module.
            Self::Pause => Ok("v1".to_owned()),
            part => required(go_mod, part.module()),
        }
    }
}

/// The programs of one cluster, built.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    etcd: Built,
    apiserver: Built,
    controller_manager: Built,
    others: Vec<Built>,
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
    pub(crate) async fn build(selection: Selection, progress: &Progress) -> Result<Self> {
        let plan = build::Plan::new(selection)?;
        let mut built = Vec::new();
        for (part, release) in selection.parts() {
            built.push(plan.build(part, release, progress).await?);
        }
        let mut take = |part: Part| {
            let at = built.iter().position(|built| built.part == part);
            at.map(|at| built.remove(at))
                .with_context(|| format!("invariant: every cluster has {}", part.name()))
        };
        Ok(Self {
            etcd: take(Part::Etcd)?,
            apiserver: take(Part::Apiserver)?,
            controller_manager: take(Part::ControllerManager)?,
            others: built,
        })
    }

    /// One alone, built if the cache does not have it.
    pub(crate) async fn alone(part: Part, release: Release, progress: &Progress) -> Result<Built> {
        let selection = Selection {
            release,
            purpose: Purpose::People,
            node: None,
        };
        let plan = build::Plan::new(selection)?;
        plan.build(part, release, progress).await
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

    /// One that not every cluster has.
    pub(crate) fn other(&self, part: Part) -> Result<&Built> {
        let found = self.others.iter().find(|built| built.part == part);
        found.with_context(|| format!("invariant: this cluster has {}", part.name()))
    }

    /// All there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Built> {
        [&self.etcd, &self.apiserver, &self.controller_manager]
            .into_iter()
            .chain(&self.others)
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
const CONTAINERD: &str = "github.com/containerd/containerd/v2";
const CNI: &str = "github.com/containernetworking/plugins";
const COREDNS: &str = "github.com/coredns/coredns";
const HELM: &str = "helm.sh/helm/v4";
const PROMETHEUS: &str = "github.com/prometheus/prometheus";
const PAUSE: &str = "podcert.dev/e2e/pause";

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

    fn everything() -> Vec<(Part, Release)> {
        let selection = Selection {
            release: Release::V1_37,
            purpose: Purpose::People,
            node: Some(Release::V1_35),
        };
        selection.parts()
    }

    #[test]
    fn every_part_has_a_module_that_names_its_version_and_the_node_has_its_own_release() {
        for (part, release) in everything() {
            let go_mod = part.folder(release).join("go.mod");
            let go_mod = std::fs::read_to_string(&go_mod).unwrap();
            let version = part.version(&go_mod).unwrap();
            let older = [Part::Kubelet, Part::KubeProxy].contains(&part);
            if part.module() == KUBERNETES {
                let wanted = if older { "v1.35." } else { "v1.37." };
                assert!(version.starts_with(wanted), "{part:?} {version}");
            }
        }
    }

    #[test]
    fn a_cluster_without_a_node_has_nothing_of_one() {
        let selection = Selection {
            release: Release::V1_36,
            purpose: Purpose::Run,
            node: None,
        };
        let names: Vec<_> = selection
            .parts()
            .iter()
            .map(|(part, _)| part.name())
            .collect();
        assert_eq!(names, ["etcd", "kube-apiserver", "kube-controller-manager"]);
    }

    #[test]
    fn only_a_require_line_of_its_own_counts() {
        let go_mod = "module m\nrequire (\n\ta v1 // indirect\n)\nrequire b v2\n";
        assert_eq!(required(go_mod, "b").unwrap(), "v2");
        assert!(required(go_mod, "a").is_err());
    }

    #[test]
    fn packages_are_inside_their_modules() {
        for (part, _) in everything() {
            assert!(part.package().starts_with(part.module()));
        }
    }
}
