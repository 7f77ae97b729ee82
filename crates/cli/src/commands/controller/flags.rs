//! The flags of `podcert controller`, and the configuration they make.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use podcert_controller::{Config, DEFAULT_CONCURRENCY, OwnPod, PoolSource, Signer, UnknownAnchors};
use podcert_issuance::{
    LifetimePolicy, NamePolicy, Policy, SignerName, UnknownAnnotations, Unprojected, pod_identity,
    service_dns, spiffe,
};
use podcert_pki::{DnsName, ExtensionOid, IssuerUrl, TrustDomain};
use podcert_resources::{lease::Application, signers};

use crate::go_flags::parse_bool;

/// Sign the certificates pods ask for and publish the anchors that verify them.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Kubeconfig of the cluster [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE", help_heading = CLUSTER)]
    pub(super) kubeconfig: Option<String>,

    /// Use the service account of the pod this runs in
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          value_name = "BOOL", value_parser = parse_bool, help_heading = CLUSTER)]
    pub(super) in_cluster: bool,

    /// Namespace of the pod this runs in: Events about a bad CA pool or clock go to that pod
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAMESPACE", help_heading = REPLICAS)]
    sharding_pod_namespace: String,

    /// Name of that pod, and of this replica's Lease
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME", help_heading = REPLICAS)]
    sharding_pod_name: String,

    /// UID of that pod: its Lease is removed with it
    #[arg(long, default_value = "", hide_default_value = true, value_name = "UID", help_heading = REPLICAS)]
    sharding_pod_uid: String,

    /// Share the work with the replicas of this name, by Leases; needs the pod's namespace and name
    ///
    /// Without it, or without the rights to Leases, this replica does all the work: run one.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME", help_heading = REPLICAS)]
    sharding_application_name: String,

    /// Sign for row-major.net/service-dns: serving certificates named after Services
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          value_name = "BOOL", value_parser = parse_bool, help_heading = SERVICE_DNS)]
    enable_service_dns_signer: bool,

    /// CA pool of the service-dns signer, JSON; required with it, may appear or change any time
    #[arg(long, default_value = "", hide_default_value = true, value_name = "FILE", help_heading = SERVICE_DNS)]
    service_dns_ca_pool: String,

    /// Answer for this signer name instead
    #[arg(long, default_value = signers::SERVICE_DNS, value_name = "DOMAIN/PATH",
          help_heading = SERVICE_DNS)]
    service_dns_signer_name: SignerName,

    /// Also give each name with this cluster domain, such as cluster.local; repeatable
    ///
    /// A pod behind Service `web` of namespace `shop` gets `web.shop.svc`, and with this
    /// `web.shop.svc.cluster.local` too.
    #[arg(long, value_name = "DOMAIN", help_heading = SERVICE_DNS)]
    service_dns_suffix: Vec<DnsName>,

    /// Let service-dns certificates authenticate clients too, as meshtool's do
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          value_name = "BOOL", value_parser = parse_bool, help_heading = SERVICE_DNS)]
    service_dns_client_auth: bool,

    /// Serve this service account's pods without a projection of the signer; repeatable
    ///
    /// For certificates asked for on a pod's behalf (Kubernetes 1.37's verb
    /// request-serviceaccounts-podcertificate-signer).
    #[arg(long, value_name = "NAMESPACE/SERVICEACCOUNT", value_parser = unprojected,
          help_heading = SERVICE_DNS)]
    service_dns_allow_unprojected: Vec<Unprojected>,

    /// Sign for row-major.net/spiffe: certificates named after service accounts
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          value_name = "BOOL", value_parser = parse_bool, help_heading = SPIFFE)]
    enable_spiffe_signer: bool,

    /// Trust domain of the SPIFFE IDs, such as cluster.local; required with the signer
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TRUST DOMAIN", help_heading = SPIFFE)]
    spiffe_trust_domain: String,

    /// CA pool of the spiffe signer, JSON; required with it, may appear or change any time
    #[arg(long, default_value = "", hide_default_value = true, value_name = "FILE", help_heading = SPIFFE)]
    spiffe_ca_pool: String,

    /// Answer for this signer name instead
    #[arg(long, default_value = signers::SPIFFE, value_name = "DOMAIN/PATH", help_heading = SPIFFE)]
    spiffe_signer_name: SignerName,

    /// Path of the SPIFFE IDs; both variables must stand in it, each as a whole segment
    #[arg(long, default_value = "/ns/{namespace}/sa/{service-account}", value_name = "TEMPLATE",
          help_heading = SPIFFE)]
    spiffe_id_template: spiffe::IdTemplate,

    /// Serve this service account's pods without a projection of the signer; repeatable
    #[arg(long, value_name = "NAMESPACE/SERVICEACCOUNT", value_parser = unprojected,
          help_heading = SPIFFE)]
    spiffe_allow_unprojected: Vec<Unprojected>,

    /// Sign for row-major.net/pod-identity: certificates named after the pod itself
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          value_name = "BOOL", value_parser = parse_bool, help_heading = POD_IDENTITY)]
    enable_pod_identity_signer: bool,

    /// Trust domain of the pods' SPIFFE IDs [default: that of --spiffe-trust-domain]
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TRUST DOMAIN",
          help_heading = POD_IDENTITY)]
    pod_identity_trust_domain: String,

    /// CA pool of the pod-identity signer, JSON; required with it, may appear or change any time
    #[arg(long, default_value = "", hide_default_value = true, value_name = "FILE", help_heading = POD_IDENTITY)]
    pod_identity_ca_pool: String,

    /// Answer for this signer name instead
    #[arg(long, default_value = signers::POD_IDENTITY, value_name = "DOMAIN/PATH",
          help_heading = POD_IDENTITY)]
    pod_identity_signer_name: SignerName,

    /// Path of the SPIFFE IDs, each variable a whole segment; {pod-uid} must stand in it
    ///
    /// The others are {namespace}, {service-account}, {service-account-uid}, {pod}, {node} and
    /// {node-uid}. For {service-account-uid} and {node-uid}, RBAC must show service accounts and nodes
    /// (list, watch); until it does, requests wait. With an extension that has the pod's UID,
    /// {namespace} and {service-account} are enough; agent-substrate wants
    /// /ns/{namespace}/sa/{service-account}.
    #[arg(long, default_value = "/ns/{namespace}/sa/{service-account}/pod/{pod}/uid/{pod-uid}",
          value_name = "TEMPLATE", help_heading = POD_IDENTITY)]
    pod_identity_id_template: pod_identity::IdTemplate,

    /// Put pod, service account and node into an extension with this OID of your own
    ///
    /// Not critical. docs/extensions.md has it byte by byte.
    #[arg(long, value_name = "OID", help_heading = POD_IDENTITY)]
    pod_identity_extension_oid: Option<ExtensionOid>,

    /// How that extension is written: json (with UIDs) or asn1-draft-a (KEP-4317's first draft)
    ///
    /// json has the UIDs of service account and node, for which RBAC must show them (list, watch).
    #[arg(long, default_value_t, value_name = "ENCODING", requires = "pod_identity_extension_oid",
          help_heading = POD_IDENTITY)]
    pod_identity_extension_encoding: pod_identity::Encoding,

    /// Add the extension that agent-substrate reads (1.3.6.1.4.1.11129.2.12.1, JSON with UIDs)
    ///
    /// For it RBAC must show nodes and service accounts (list, watch).
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          value_name = "BOOL", value_parser = parse_bool, help_heading = POD_IDENTITY)]
    pod_identity_substrate_extension: bool,

    /// Serve this service account's pods without a projection of the signer; repeatable
    #[arg(long, value_name = "NAMESPACE/SERVICEACCOUNT", value_parser = unprojected,
          help_heading = POD_IDENTITY)]
    pod_identity_allow_unprojected: Vec<Unprojected>,

    /// Say in every certificate which issuer the cluster's service account tokens have
    ///
    /// The URL that tokens have as `iss`, in an extension of Fulcio's format, not critical; it tells
    /// clusters apart. It is not compared with the cluster's.
    #[arg(long, value_name = "HTTPS URL", help_heading = CERTIFICATES)]
    service_account_issuer: Option<IssuerUrl>,

    /// Longest lifetime of a certificate, such as 24h; a request may ask for less
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = lifetime, help_heading = CERTIFICATES)]
    max_lifetime: LifetimePolicy,

    /// Deny requests with annotations the signer does not know, instead of ignoring those
    ///
    /// A denial is final for the pod: it gets no certificate until it is made anew.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          value_name = "BOOL", value_parser = parse_bool, help_heading = CERTIFICATES)]
    strict_annotations: bool,

    /// Remove anchors from our ClusterTrustBundles that are in no CA pool
    ///
    /// Without it an anchor is removed when a reload of the pool drops its CA while a controller runs;
    /// others stay and are reported (UnknownAnchors), as somebody may need them. Clients stop
    /// trusting what those anchors verify.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          value_name = "BOOL", value_parser = parse_bool, help_heading = OPERATION)]
    remove_unknown_anchors: bool,

    /// How many requests are answered at the same time
    #[arg(long, default_value_t = default_concurrency(), value_name = "N", help_heading = OPERATION)]
    concurrency: NonZeroUsize,

    /// Address for /livez, /readyz and /metrics; empty for none [default: port 8080 on all
    /// addresses with --in-cluster, else a free port of 127.0.0.1, which is logged]
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = OPERATION)]
    listen: Option<String>,
}

/// Where health and metrics are served.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Listen {
    /// On the first of these that can be bound.
    At(Vec<SocketAddr>),
    /// Not at all.
    Nowhere,
}

impl Args {
    /// Whether pod-identity is enabled beside another signer and nothing more is said of it. meshtool
    /// took that and did nothing: its command line has to start here too. Without a pool nothing can be
    /// signed, and what else is said of pod-identity is said to us, who then want the pool.
    pub(super) fn leaves_pod_identity_out(&self) -> bool {
        self.enable_pod_identity_signer
            && self.pod_identity_ca_pool.is_empty()
            && self.pod_identity_trust_domain.is_empty()
            && (self.enable_service_dns_signer || self.enable_spiffe_signer)
    }

    /// The controller these flags ask for.
    ///
    /// # Errors
    /// Which flag is missing or wrong.
    pub(super) fn config(&self) -> Result<Config> {
        let mut signers = Vec::new();
        if self.enable_service_dns_signer {
            signers.push(self.service_dns()?);
        }
        if self.enable_spiffe_signer {
            signers.push(self.spiffe()?);
        }
        if self.enable_pod_identity_signer && !self.leaves_pod_identity_out() {
            signers.push(self.pod_identity()?);
        }
        if signers.is_empty() {
            bail!(
                "no signer is enabled: give --enable-service-dns-signer=true, \
                 --enable-spiffe-signer=true or --enable-pod-identity-signer=true"
            );
        }
        let own_pod = (!self.sharding_pod_namespace.is_empty()
            && !self.sharding_pod_name.is_empty())
        .then(|| OwnPod {
            namespace: self.sharding_pod_namespace.clone(),
            name: self.sharding_pod_name.clone(),
            uid: self.sharding_pod_uid.clone(),
        });
        let instance = match &own_pod {
            Some(pod) => pod.name.clone(),
            None => format!("podcert-{}", std::process::id()),
        };
        let application = self.application()?;
        if application.is_some() && own_pod.is_none() {
            bail!(
                "--sharding-application-name needs --sharding-pod-namespace and --sharding-pod-name: \
                 replicas are told apart by their pods"
            );
        }
        Ok(Config {
            concurrency: self.concurrency.get(),
            own_pod,
            instance,
            application,
            unknown_anchors: if self.remove_unknown_anchors {
                UnknownAnchors::Remove
            } else {
                UnknownAnchors::Keep
            },
            ..Config::new(signers)
        })
    }

    /// Where health and metrics are to be served.
    ///
    /// # Errors
    /// When the address is none.
    pub(super) fn listen(&self) -> Result<Listen> {
        let address = match self.listen.as_deref() {
            Some("") => return Ok(Listen::Nowhere),
            Some(address) => address,
            // Both address families where there are both.
            None if self.in_cluster => {
                return Ok(Listen::At(vec![
                    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT),
                    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT),
                ]));
            }
            None => "127.0.0.1:0",
        };
        // As Go has it, no host is every host.
        let address = match address.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => address.to_owned(),
        };
        let address = address.parse().with_context(|| {
            format!("--listen {address:?} is no IP address and port, such as 127.0.0.1:8080")
        })?;
        Ok(Listen::At(vec![address]))
    }

    /// Those to share the work with, if it is to be shared.
    fn application(&self) -> Result<Option<Application>> {
        let name = self.sharding_application_name.as_str();
        if name.is_empty() {
            return Ok(None);
        }
        let application = name
            .parse()
            .context("--sharding-application-name cannot be used")?;
        Ok(Some(application))
    }

    fn service_dns(&self) -> Result<Signer> {
        if self.service_dns_ca_pool.is_empty() {
            bail!("--service-dns-ca-pool must be set");
        }
        let names = service_dns::Policy::with_suffixes(self.service_dns_suffix.iter().cloned())
            .context("--service-dns-suffix cannot be used")?;
        let names = if self.service_dns_client_auth {
            names.with_client_auth()
        } else {
            names
        };
        Ok(self.signer(
            &self.service_dns_signer_name,
            NamePolicy::ServiceDns(names),
            &self.service_dns_allow_unprojected,
            &self.service_dns_ca_pool,
        ))
    }

    fn spiffe(&self) -> Result<Signer> {
        let trust_domain = trust_domain("--spiffe-trust-domain", &self.spiffe_trust_domain)?;
        if self.spiffe_ca_pool.is_empty() {
            bail!("--spiffe-ca-pool must be set");
        }
        let names = spiffe::Policy::new(trust_domain, self.spiffe_id_template.clone())
            .context("--spiffe-id-template cannot be used")?;
        Ok(self.signer(
            &self.spiffe_signer_name,
            NamePolicy::Spiffe(names),
            &self.spiffe_allow_unprojected,
            &self.spiffe_ca_pool,
        ))
    }

    fn pod_identity(&self) -> Result<Signer> {
        // meshtool, which never signed for it, had no flag for the trust domain.
        let trust_domain = match self.pod_identity_trust_domain.as_str() {
            "" if !self.spiffe_trust_domain.is_empty() => {
                trust_domain("--spiffe-trust-domain", &self.spiffe_trust_domain)?
            }
            own => trust_domain("--pod-identity-trust-domain", own)?,
        };
        if self.pod_identity_ca_pool.is_empty() {
            bail!("--pod-identity-ca-pool must be set");
        }
        let encoding = self.pod_identity_extension_encoding;
        let extensions = pod_identity::Extensions {
            own: self.pod_identity_extension_oid.map(|oid| (oid, encoding)),
            substrate: self.pod_identity_substrate_extension,
        };
        let template = self.pod_identity_id_template.clone();
        let names = pod_identity::Policy::new(trust_domain, template, extensions)
            .context("--pod-identity-id-template cannot be used")?;
        Ok(self.signer(
            &self.pod_identity_signer_name,
            NamePolicy::PodIdentity(names),
            &self.pod_identity_allow_unprojected,
            &self.pod_identity_ca_pool,
        ))
    }

    fn signer(
        &self,
        name: &SignerName,
        names: NamePolicy,
        unprojected: &[Unprojected],
        pool: &str,
    ) -> Signer {
        let policy = Policy {
            lifetime: self.max_lifetime.clone(),
            unknown_annotations: if self.strict_annotations {
                UnknownAnnotations::Deny
            } else {
                UnknownAnnotations::Ignore
            },
            unprojected: unprojected.to_vec(),
            service_account_issuer: self.service_account_issuer.clone(),
            ..Policy::new(name.clone(), names)
        };
        Signer {
            policy,
            pool: PoolSource::file(pool),
        }
    }
}

fn default_concurrency() -> NonZeroUsize {
    NonZeroUsize::new(DEFAULT_CONCURRENCY).unwrap_or(NonZeroUsize::MIN)
}

fn lifetime(text: &str) -> Result<LifetimePolicy, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}; expected something like 24h"))?;
    let duration = Duration::try_from(duration).map_err(|_| "it is negative".to_owned())?;
    LifetimePolicy::with_max_lifetime(duration).map_err(|error| error.to_string())
}

fn trust_domain(flag: &str, text: &str) -> Result<TrustDomain> {
    if text.is_empty() {
        bail!("{flag} must be set");
    }
    text.parse()
        .with_context(|| format!("{flag} {text:?} is no trust domain"))
}

fn unprojected(text: &str) -> Result<Unprojected, String> {
    match text.split_once('/') {
        Some((namespace, account))
            if !namespace.is_empty() && !account.is_empty() && !account.contains('/') =>
        {
            Ok(Unprojected {
                namespace: namespace.to_owned(),
                service_account: account.to_owned(),
            })
        }
        _ => Err("expected NAMESPACE/SERVICEACCOUNT".to_owned()),
    }
}

const CERTIFICATES: &str = "All certificates";
const CLUSTER: &str = "Cluster";
const OPERATION: &str = "Operation";
const POD_IDENTITY: &str = "Signer pod-identity";
const REPLICAS: &str = "Replicas";
const SERVICE_DNS: &str = "Signer service-dns";
const SPIFFE: &str = "Signer spiffe";
const DEFAULT_PORT: u16 = 8080;

const LONG_ABOUT: &str = "\
Sign the certificates pods ask for and publish the anchors that verify them.

Pods ask with a podCertificate projection; the kubelet turns it into a PodCertificateRequest. This
command watches the requests for its signers, compares each with the pod it is for, and answers
it with one write. The roots of each signer's CA pool are kept in a ClusterTrustBundle, which
other pods mount. Pool files are followed: a new one is used without a restart, a bad new one is
reported and the last good one goes on signing.";

const AFTER_HELP: &str = "\
Every flag of meshtool's controller is taken with its default; a boolean is given bare or with
`=true`, never with a space. Replicas share the work under --sharding-application-name.

IF SOMETHING IS WRONG
  a pod gets no certificate   kubectl describe pod: an Event says what the request waits for
  many do not                 /metrics: podcert_requests_waiting, by reason
  the controller is not ready /readyz says in words what is missing: a pool file, a list from the
                              API server, a bundle; it need not be restarted
  what a reason means         docs/operations.md: each word, what cures it, who acts
Kubernetes 1.37 is needed, or 1.36 or 1.35 that serves certificates.k8s.io/v1beta1.

EXAMPLE
  podcert controller --enable-spiffe-signer --spiffe-trust-domain cluster.local \\
      --spiffe-ca-pool spiffe-pool.json

EXIT CODES
  0  ended by SIGTERM or SIGINT
  1  could not start, or a part of it ended by a defect; the message says why
  2  wrong usage";

#[cfg(test)]
mod tests;
