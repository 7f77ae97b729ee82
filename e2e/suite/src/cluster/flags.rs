//! The command line of each part.

use podcert_cases::Release;
use serde::{Deserialize, Serialize};

use super::Network;
use super::folders::Folder;
use super::ports::Ports;

/// Which versions of `certificates.k8s.io` a server serves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CertificatesApi {
    /// Every version of PodCertificateRequest and ClusterTrustBundle that the release knows from
    /// v1beta1 on.
    All,
    /// What a server of the release serves when nobody asks for more; before 1.37 that is none of
    /// the two, and v1beta1 is asked for all the same.
    Stock,
}

pub(super) fn etcd(folder: &Folder, ports: &Ports) -> Vec<String> {
    let (clients, peers) = (ports.etcd_url(), ports.etcd_peers_url());
    let pki = |name: &str| folder.pki(name).display().to_string();
    let mut flags = vec![
        "--name=default".to_owned(),
        format!("--data-dir={}", folder.etcd().display()),
        // Its data does not outlive it: no reason to wait for a disk.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ];
    // Whoever reaches it owns the cluster, and any user of this machine reaches its ports.
    for whose in ["", "peer-"] {
        flags.extend([
            format!("--{whose}cert-file={}", pki("etcd.crt")),
            format!("--{whose}key-file={}", pki("etcd.key")),
            format!("--{whose}trusted-ca-file={}", pki("etcd-ca.crt")),
            format!("--{whose}client-cert-auth=true"),
        ]);
    }
    flags
}

pub(super) fn apiserver(
    release: Release,
    api: CertificatesApi,
    folder: &Folder,
    network: Network,
    ports: &Ports,
    node: bool,
) -> Vec<String> {
    let pki = |name: &str| folder.pki(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers={}", ports.etcd_url()),
        format!("--etcd-cafile={}", pki("etcd-ca.crt")),
        format!("--etcd-certfile={}", pki("etcd-client.crt")),
        format!("--etcd-keyfile={}", pki("etcd-client.key")),
        format!("--bind-address={}", network.bind),
        format!("--advertise-address={}", network.advertise),
        format!("--secure-port={}", ports.apiserver()),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--cert-dir={}", folder.root().join("generated").display()),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!(
            "--service-account-signing-key-file={}",
            pki("service-accounts.key")
        ),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--audit-policy-file={}", pki(AUDIT_POLICY)),
        format!("--audit-log-path={}", folder.log(AUDIT).display()),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
    ];
    if network.advertise.is_loopback() {
        // An endpoint may not have a loopback address, and without pods nobody looks for it.
        flags.push("--endpoint-reconciler-type=none".to_owned());
    }
    if node {
        // For logs and commands in containers.
        flags.extend([
            format!("--kubelet-certificate-authority={}", pki("ca.crt")),
            format!("--kubelet-client-certificate={}", pki("kubelet-client.crt")),
            format!("--kubelet-client-key={}", pki("kubelet-client.key")),
        ]);
    }
    flags.extend(feature_gates(release));
    if release < Release::V1_37 || api == CertificatesApi::All {
        flags.push(
            "--runtime-config=certificates.k8s.io/v1beta1/podcertificaterequests=true,\
             certificates.k8s.io/v1beta1/clustertrustbundles=true"
                .to_owned(),
        );
    }
    flags
}

pub(super) fn controller_manager(release: Release, folder: &Folder) -> Vec<String> {
    let pki = |name: &str| folder.pki(name).display().to_string();
    let mut flags = vec![
        format!("--kubeconfig={}", pki("controller-manager.kubeconfig")),
        format!(
            "--service-account-private-key-file={}",
            pki("service-accounts.key")
        ),
        format!("--root-ca-file={}", pki("ca.crt")),
        // Each controller as the service account whose rights the API server ships.
        "--use-service-account-credentials=true".to_owned(),
        // There is only one.
        "--leader-elect=false".to_owned(),
        // Of each controller: namespaces come by the dozen a second, and each waits for its service account.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        // It serves nothing that anybody here asks for.
        "--secure-port=0".to_owned(),
    ];
    flags.extend(feature_gates(release));
    flags
}

pub(super) fn scheduler(folder: &Folder) -> Vec<String> {
    vec![
        format!(
            "--kubeconfig={}",
            folder.pki("scheduler.kubeconfig").display()
        ),
        // There is only one.
        "--leader-elect=false".to_owned(),
        // It serves nothing that anybody here asks for.
        "--secure-port=0".to_owned(),
    ]
}

/// Before 1.37 pod certificates and trust bundles are beta and off.
fn feature_gates(release: Release) -> Option<String> {
    (release < Release::V1_37)
        .then(|| "--feature-gates=PodCertificateRequest=true,ClusterTrustBundle=true".to_owned())
}

/// The log of what a drop-in may do and does, and the file that says so.
pub(super) const AUDIT: &str = "audit";
pub(super) const AUDIT_POLICY: &str = "audit.yaml";

/// Where Services get their addresses; the first of them is the API server's own.
const SERVICES: &str = "10.0.0.0/24";

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn of(release: Release, api: CertificatesApi, network: Network) -> String {
        let folder = Folder::at("/state".into());
        let ports = Ports::fixed(1, 2, 3);
        apiserver(release, api, &folder, network, &ports, false).join(" ")
    }

    #[test]
    fn v1beta1_is_asked_for_wherever_issuing_needs_it_or_someone_wants_all() {
        use CertificatesApi::{All, Stock};
        let asks = |release, api| of(release, api, Network::LOCAL).contains("/v1beta1/");
        for release in [Release::V1_35, Release::V1_36] {
            assert!(asks(release, All) && asks(release, Stock));
        }
        assert!(asks(Release::V1_37, All));
        assert!(!asks(Release::V1_37, Stock));
    }

    #[test]
    fn gates_are_opened_only_where_they_are_shut() {
        let gates = |release| {
            let folder = Folder::at("/state".into());
            let api = CertificatesApi::All;
            let server = of(release, api, Network::LOCAL).contains("--feature-gates");
            let controllers = controller_manager(release, &folder)
                .join(" ")
                .contains("--feature-gates");
            assert_eq!(server, controllers);
            server
        };
        assert!(gates(Release::V1_35));
        assert!(gates(Release::V1_36));
        assert!(!gates(Release::V1_37));
    }

    #[test]
    fn an_address_that_pods_reach_is_told_to_them() {
        let api = CertificatesApi::All;
        let local = of(Release::V1_37, api, Network::LOCAL);
        assert!(local.contains("--bind-address=127.0.0.1 --advertise-address=127.0.0.1"));
        assert!(local.contains("--endpoint-reconciler-type=none"));

        let reachable = Network {
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            advertise: IpAddr::V4(Ipv4Addr::new(10, 0, 99, 1)),
        };
        let wide = of(Release::V1_37, api, reachable);
        assert!(wide.contains("--bind-address=0.0.0.0 --advertise-address=10.0.99.1"));
        assert!(!wide.contains("--endpoint-reconciler-type"));
    }

    #[test]
    fn a_kubelet_is_asked_with_a_certificate_and_must_show_one() {
        let folder = Folder::at("/state".into());
        let ports = Ports::fixed(1, 2, 3);
        let with = |node| {
            let (release, api) = (Release::V1_37, CertificatesApi::All);
            apiserver(release, api, &folder, Network::LOCAL, &ports, node).join(" ")
        };
        assert!(with(true).contains("--kubelet-client-certificate=/state/pki/kubelet-client.crt"));
        assert!(with(true).contains("--kubelet-certificate-authority=/state/pki/ca.crt"));
        assert!(!with(false).contains("--kubelet-c"));
    }

    #[test]
    fn etcd_listens_on_its_ports_only() {
        let folder = Folder::at("/state".into());
        let flags = etcd(&folder, &Ports::fixed(1, 2, 3));
        assert!(flags.contains(&"--listen-client-urls=https://127.0.0.1:1".to_owned()));
        assert!(flags.contains(&"--listen-peer-urls=https://127.0.0.1:2".to_owned()));
        assert!(flags.contains(&"--client-cert-auth=true".to_owned()));
        assert!(flags.contains(&"--peer-client-cert-auth=true".to_owned()));
        assert!(flags.contains(&"--data-dir=/state/etcd".to_owned()));
    }
}
