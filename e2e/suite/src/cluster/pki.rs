//! Keys and certificates of one cluster, from two authorities that exist for it alone: etcd has its
//! own, or any client of the API server could pass the API server by.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::Network;
use super::flags;
use super::folders::Folder;
use super::ports::Ports;

/// Writes everything that the parts and people need into the cluster's folder.
pub(super) fn write(folder: &Folder, network: Network, ports: &Ports) -> Result<ClusterAuthority> {
    let authority = authority("podcert e2e cluster")?;
    file(&folder.pki("ca.crt"), &authority.pem())?;
    file(&folder.pki(flags::AUDIT_POLICY), AUDIT_POLICY)?;

    let (certificate, key) = serving(&authority, network)?;
    file(&folder.pki("apiserver.crt"), &certificate)?;
    file(&folder.pki("apiserver.key"), &key)?;

    let tokens = KeyPair::generate()?;
    file(&folder.pki("service-accounts.key"), &tokens.serialize_pem())?;
    file(
        &folder.pki("service-accounts.pub"),
        &tokens.public_key_pem(),
    )?;

    let server = ports.apiserver_url(network);
    let users = [
        (
            folder.kubeconfig(),
            "podcert-e2e-admin",
            Some("system:masters"),
        ),
        (
            folder.pki("controller-manager.kubeconfig"),
            "system:kube-controller-manager",
            None,
        ),
    ];
    for (path, name, group) in users {
        let (certificate, key) = client(&authority, name, group)?;
        let text = kubeconfig(&server, &authority.pem(), name, &certificate, &key);
        file(&path, &text)?;
    }
    etcd(folder, &ports.etcd_url())?;
    Ok(ClusterAuthority(authority))
}

/// What a node and the parts that serve it need, from the authority of [`write()`].
pub(super) fn write_node(
    folder: &Folder,
    cluster: &ClusterAuthority,
    address: Ipv4Addr,
    server: &str,
) -> Result<()> {
    let authority = &cluster.0;
    let name = super::node::NAME;
    let mut params = CertificateParams::new([name.to_owned()])?;
    let address = SanType::IpAddress(IpAddr::V4(address));
    params.subject_alt_names.push(address);
    let usages = [ExtendedKeyUsagePurpose::ServerAuth];
    let (certificate, key) = leaf(authority, params, name, None, &usages)?;
    file(&folder.pki("kubelet.crt"), &certificate)?;
    file(&folder.pki("kubelet.key"), &key)?;

    let group = Some("system:masters");
    let (certificate, key) = client(authority, "kube-apiserver-kubelet-client", group)?;
    file(&folder.pki("kubelet-client.crt"), &certificate)?;
    file(&folder.pki("kubelet-client.key"), &key)?;

    let users = [
        (
            "kubelet",
            format!("system:node:{name}"),
            Some("system:nodes"),
        ),
        ("kube-proxy", "system:kube-proxy".to_owned(), None),
        ("scheduler", "system:kube-scheduler".to_owned(), None),
    ];
    for (part, user, group) in users {
        let (certificate, key) = client(authority, &user, group)?;
        let text = kubeconfig(server, &authority.pem(), &user, &certificate, &key);
        file(&folder.pki(&format!("{part}.kubeconfig")), &text)?;
    }
    Ok(())
}

/// What etcd and its two clients need: the API server, and the cases about forgotten history.
fn etcd(folder: &Folder, url: &str) -> Result<()> {
    let authority = authority("podcert e2e etcd")?;
    file(&folder.pki("etcd-ca.crt"), &authority.pem())?;

    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    let address = SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST));
    params.subject_alt_names.push(address);
    // It calls itself for its JSON gateway, and its peers, of which there are none.
    let usages = [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let (certificate, key) = leaf(&authority, params, "etcd", None, &usages)?;
    file(&folder.pki("etcd.crt"), &certificate)?;
    file(&folder.pki("etcd.key"), &key)?;

    let (certificate, key) = client(&authority, "kube-apiserver", None)?;
    file(&folder.pki("etcd-client.crt"), &certificate)?;
    file(&folder.pki("etcd-client.key"), &key)?;
    let (certificate, key) = client(&authority, "podcert-e2e", None)?;
    let text = kubeconfig(url, &authority.pem(), "podcert-e2e", &certificate, &key);
    file(&folder.pki("etcd.kubeconfig"), &text)
}

/// What another server needs: in PEM, and an administrator's kubeconfig that leads to it.
pub(crate) struct Material {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) kubeconfig: String,
}

impl Material {
    /// For a server on the loopback interface, of an authority that exists for it alone.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let authority = authority("podcert e2e embedded")?;
        let (certificate, key) = serving(&authority, Network::LOCAL)?;
        let name = "podcert-e2e-admin";
        let (user, user_key) = client(&authority, name, Some("system:masters"))?;
        Ok(Self {
            kubeconfig: kubeconfig(url, &authority.pem(), name, &user, &user_key),
            authority: authority.pem(),
            certificate,
            key,
        })
    }
}

/// Who certifies the parts of one cluster; its key is in no file.
pub(super) struct ClusterAuthority(Authority);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// The API server's certificate, for every name and address that anybody may call it by.
fn serving(authority: &Authority, network: Network) -> Result<(String, String)> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut params = CertificateParams::new(names.map(str::to_owned))?;
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(FIRST_SERVICE),
        network.advertise,
    ];
    addresses.sort_unstable();
    addresses.dedup();
    params
        .subject_alt_names
        .extend(addresses.into_iter().map(SanType::IpAddress));
    leaf(
        authority,
        params,
        "kube-apiserver",
        None,
        &[ExtendedKeyUsagePurpose::ServerAuth],
    )
}

fn client(authority: &Authority, name: &str, group: Option<&str>) -> Result<(String, String)> {
    leaf(
        authority,
        CertificateParams::default(),
        name,
        group,
        &[ExtendedKeyUsagePurpose::ClientAuth],
    )
}

fn leaf(
    authority: &Authority,
    mut params: CertificateParams,
    name: &str,
    group: Option<&str>,
    usages: &[ExtendedKeyUsagePurpose],
) -> Result<(String, String)> {
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn kubeconfig(server: &str, authority: &str, user: &str, certificate: &str, key: &str) -> String {
    let authority = BASE64_STANDARD.encode(authority);
    let certificate = BASE64_STANDARD.encode(certificate);
    let key = BASE64_STANDARD.encode(key);
    format!(
        "apiVersion: v1
kind: Config
current-context: podcert-e2e
contexts:
- name: podcert-e2e
  context:
    cluster: podcert-e2e
    user: {user}
clusters:
- name: podcert-e2e
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
    )
}

/// A file for its owner alone, whatever the umask.
pub(crate) fn file(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)?
            .write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Everything the service account of meshtool's installation asks, and of nobody else anything.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
  "rules": [
    {"level": "Metadata", "users": ["system:serviceaccount:mesh-controller:default"]},
    {"level": "None"}
  ]
}"#;

/// The API server's own address among the Services.
const FIRST_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_for_their_owner_and_nothing_is_written_over() {
        let there = tempfile::tempdir().unwrap();
        let folder = Folder::at(there.path().join("cluster"));
        folder.create().unwrap();
        write(&folder, Network::LOCAL, &Ports::fixed(1, 2, 6443)).unwrap();
        for path in [
            folder.kubeconfig(),
            folder.pki("apiserver.key"),
            folder.pki("service-accounts.key"),
            folder.pki("controller-manager.kubeconfig"),
            folder.pki("etcd.key"),
            folder.pki("etcd-client.key"),
            folder.pki("etcd.kubeconfig"),
        ] {
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        assert!(write(&folder, Network::LOCAL, &Ports::fixed(1, 2, 6443)).is_err());
    }

    #[test]
    fn a_kubeconfig_names_server_and_user() {
        let there = tempfile::tempdir().unwrap();
        let folder = Folder::at(there.path().join("cluster"));
        folder.create().unwrap();
        write(&folder, Network::LOCAL, &Ports::fixed(1, 2, 24_002)).unwrap();
        let config = kube::config::Kubeconfig::read_from(folder.kubeconfig()).unwrap();
        let cluster = config.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:24002"));
        assert_eq!(config.auth_infos[0].name, "podcert-e2e-admin");
        assert!(kube::config::Kubeconfig::from_yaml(&kubeconfig("s", "a", "u", "c", "k")).is_ok());
    }
}
