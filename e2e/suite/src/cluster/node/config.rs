//! What the parts of a node are told: command lines and files.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use podcert_cases::Release;
use serde_json::{Value, json};

use super::{Programs, cgroups};
use crate::cluster::folders::Folder;

/// What the files of one node are made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    /// Where everything of the node is.
    pub(super) folder: &'a Folder,
    /// The kubelet's address.
    pub(super) address: Ipv4Addr,
    /// What it runs.
    pub(super) programs: &'a Programs,
    /// The release of the kubelet.
    pub(super) release: Release,
}

impl Settings<'_> {
    /// containerd's. It finds its shim by path and no plugin of the machine's.
    pub(super) fn containerd(self) -> String {
        let Self {
            folder, programs, ..
        } = self;
        format!(
            "version = 3
root = {root}
state = '/run/containerd'
disabled_plugins = ['io.containerd.nri.v1.nri']

[grpc]
address = {socket}

[ttrpc]
address = '/run/containerd/ttrpc.sock'

[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{pause}'

[plugins.'io.containerd.cri.v1.runtime']
# A machine may withhold CAP_SYS_RESOURCE, and then no score can be lowered.
restrict_oom_score_adj = true
# A profile would stay in the machine's kernel.
disable_apparmor = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [{plugins}]
conf_dir = {networks}

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
runtime_path = {shim}

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = {runc}
SystemdCgroup = false
",
            root = toml(&folder.node("containerd")),
            socket = toml(&socket(folder)),
            pause = super::PAUSE,
            plugins = toml(&folder.programs()),
            networks = toml(&folder.node("cni")),
            shim = toml(&programs.shim),
            runc = toml(&programs.runc),
        )
    }

    /// The pods' network: each pod has a line to the node, which is its gateway.
    pub(super) fn cni(self) -> Value {
        json!({
            "cniVersion": "1.0.0",
            "name": "podcert-e2e",
            "plugins": [{
                "type": "ptp",
                // The API server's answers find the node, not the pods.
                "ipMasq": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        })
    }

    /// The kubelet's file.
    pub(super) fn kubelet(self) -> Value {
        let pki = |name: &str| self.folder.pki(name).display().to_string();
        let socket = format!("unix://{}", socket(self.folder).display());
        let mut config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address.to_string(),
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": pki("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": pki("kubelet.crt"),
            "tlsPrivateKeyFile": pki("kubelet.key"),
            "containerRuntimeEndpoint": socket,
            "imageServiceEndpoint": socket,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", cgroups::of(self.folder.root())),
            "failCgroupV1": false,
            "enforceNodeAllocatable": [],
            "clusterDNS": [super::DNS],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "podLogsDir": self.folder.logs().join("pods"),
            "volumePluginDir": self.folder.node("volume-plugins"),
            "failSwapOn": false,
            // Nothing can be pulled again, and a full disk is not what is tried here.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
                "imagefs.inodesFree": "0%",
            },
            "maxPods": MAX_PODS,
            "registerNode": true,
            "readOnlyPort": 0,
            // A burst of pods is a case of its own, not a matter of defaults.
            "serializeImagePulls": false,
        });
        if self.release < Release::V1_37 {
            config["featureGates"] = json!({
                "ClusterTrustBundle": true,
                "ClusterTrustBundleProjection": true,
                "PodCertificateRequest": true,
            });
        }
        config
    }

    /// The kubelet's command line: what its file has no field for.
    pub(super) fn kubelet_flags(self) -> Vec<String> {
        let Self {
            folder, address, ..
        } = self;
        vec![
            format!("--config={}", folder.node("kubelet.json").display()),
            format!(
                "--kubeconfig={}",
                folder.pki("kubelet.kubeconfig").display()
            ),
            format!("--hostname-override={}", super::NAME),
            format!("--node-ip={address}"),
            format!("--root-dir={}", folder.node("kubelet").display()),
            format!("--cert-dir={}", folder.node("kubelet-pki").display()),
        ]
    }

    /// kube-proxy's file.
    pub(super) fn kube_proxy(self) -> Value {
        let kubeconfig = self.folder.pki("kube-proxy.kubeconfig");
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": kubeconfig},
            "hostnameOverride": super::NAME,
            "mode": "iptables",
            "bindAddress": self.address.to_string(),
            "metricsBindAddress": "127.0.0.1:10249",
            "clusterCIDR": PODS,
            // The machine's limits are not ours to change.
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        })
    }
}

/// Where containerd is asked. In the cluster's folder, so that people reach it from outside.
pub(super) fn socket(folder: &Folder) -> PathBuf {
    folder.node("containerd.sock")
}

/// As a literal string, which has no escapes.
fn toml(path: &Path) -> String {
    format!("'{}'", path.display())
}

/// Where pods get their addresses: in the node's own network, so that every node has the same.
const PODS: &str = "10.244.0.0/24";
const MAX_PODS: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(release: Release, read: impl Fn(Settings<'_>) -> T) -> T {
        let folder = Folder::at("/state/cluster".into());
        let programs = Programs {
            runc: "/usr/sbin/runc".into(),
            shim: "/cache/shim".into(),
        };
        read(Settings {
            folder: &folder,
            address: Ipv4Addr::new(10, 99, 0, 2),
            programs: &programs,
            release,
        })
    }

    #[test]
    fn an_older_kubelet_has_its_gates_opened() {
        let gates = |release| with(release, |node| node.kubelet()["featureGates"].clone());
        assert_eq!(gates(Release::V1_37), Value::Null);
        for release in [Release::V1_35, Release::V1_36] {
            assert_eq!(gates(release)["PodCertificateRequest"], true);
            assert_eq!(gates(release)["ClusterTrustBundleProjection"], true);
        }
    }

    #[test]
    fn what_a_node_writes_is_in_its_clusters_folder_or_in_what_goes_with_it() {
        let texts = with(Release::V1_37, |node| {
            [
                node.containerd(),
                node.cni().to_string(),
                node.kubelet().to_string(),
                node.kubelet_flags().join(" "),
                node.kube_proxy().to_string(),
            ]
        });
        for text in texts {
            for path in text
                .split(['\'', '"', '=', ' '])
                .filter(|word| word.starts_with('/'))
            {
                let known = [
                    "/state/cluster/",
                    "/run/",
                    "/usr/sbin/runc",
                    "/cache/shim",
                    "/podcert-e2e-",
                ];
                assert!(known.iter().any(|known| path.starts_with(known)), "{path}");
            }
        }
        assert!(super::super::OWN_FOLDERS.contains(&"/run"));
    }

    #[test]
    fn the_kubelets_pods_are_in_the_cgroup_that_is_removed_later() {
        let root = with(Release::V1_37, |node| node.kubelet()["cgroupRoot"].clone());
        let cluster = Path::new("/state/cluster");
        assert_eq!(root, format!("/{}", cgroups::of(cluster)));
    }
}
