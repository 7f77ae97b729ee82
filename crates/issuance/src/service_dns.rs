//! Names from Services: `<service>.<namespace>.svc`, and the same with each configured suffix.
//!
//! A pod gets the names of every Service of its namespace that leads to it, so a client that dials
//! the Service finds its name whichever pod answers. Shorter forms (`<service>`,
//! `<service>.<namespace>`) are never given: the same words mean other Services in other namespaces,
//! or public names.
//!
//! The annotation [`SERVICES_ANNOTATION`] on the projection narrows the names to some of those
//! Services. It never adds one.

use std::collections::BTreeSet;

use podcert_pki::{DnsName, ExtKeyUsages};

use crate::{
    Denial, DenialReason, Facts, Note, NoteReason, PodFacts, Request, ServiceFacts, ServiceKind,
    Wait, WaitReason, Wake,
};

/// On a projection: comma-separated names of Services of the pod's namespace. Only their names are
/// put into the certificate, and all of them must select the pod.
pub const SERVICES_ANNOTATION: &str = "service-dns.row-major.net/services";

/// How the names of a service-dns signer are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    suffixes: Vec<DnsName>,
    ext_key_usages: ExtKeyUsages,
    max_names: usize,
}

impl Policy {
    /// Names with each of these suffixes (cluster domains such as `cluster.local`) beside the ones
    /// without, for servers only.
    ///
    /// # Errors
    /// A suffix so long that a name with it could exceed what DNS allows.
    pub fn with_suffixes(suffixes: impl IntoIterator<Item = DnsName>) -> Result<Self, PolicyError> {
        let suffixes = suffixes.into_iter().collect::<BTreeSet<_>>();
        if let Some(suffix) = suffixes
            .iter()
            .find(|suffix| suffix.as_str().len() > MAX_SUFFIX_LEN)
        {
            return Err(PolicyError::SuffixTooLong {
                suffix: suffix.clone(),
            });
        }
        Ok(Self {
            suffixes: suffixes.into_iter().collect(),
            ..Self::default()
        })
    }

    /// This policy with clientAuth beside serverAuth, as meshtool issues. A certificate named after
    /// Services says nothing about who a client is, so this serves only peers that insist on it.
    #[must_use]
    pub fn with_client_auth(self) -> Self {
        Self {
            ext_key_usages: ExtKeyUsages::SERVER_AND_CLIENT,
            ..self
        }
    }

    /// This policy with another limit on the names of one certificate.
    ///
    /// # Errors
    /// Zero, or more than 1 000: a certificate of more names than that outgrows TLS handshakes.
    pub fn with_max_names(self, max_names: usize) -> Result<Self, PolicyError> {
        if !(1..=MOST_NAMES).contains(&max_names) {
            return Err(PolicyError::MaxNames { given: max_names });
        }
        Ok(Self { max_names, ..self })
    }

    /// The suffixes, sorted.
    #[must_use]
    pub fn suffixes(&self) -> &[DnsName] {
        &self.suffixes
    }

    /// The extended key usages of certificates.
    #[must_use]
    pub fn ext_key_usages(&self) -> ExtKeyUsages {
        self.ext_key_usages
    }

    /// How many names a certificate has at most.
    #[must_use]
    pub fn max_names(&self) -> usize {
        self.max_names
    }
}

impl Default for Policy {
    /// No suffixes, serverAuth only, at most 200 names.
    fn default() -> Self {
        Self {
            suffixes: Vec::new(),
            ext_key_usages: ExtKeyUsages::SERVER,
            max_names: 200,
        }
    }
}

/// Why a service-dns signer cannot be configured so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A suffix that leaves no room for the longest names of Services and namespaces.
    #[error(
        "DNS suffix {suffix} has {} characters, at most {MAX_SUFFIX_LEN} leave room for the \
         longest '<service>.<namespace>.svc.'",
        suffix.as_str().len()
    )]
    SuffixTooLong {
        /// The suffix.
        suffix: DnsName,
    },
    /// A limit on names that is no use.
    #[error("the limit on the names of a certificate must be from 1 to {MOST_NAMES}, not {given}")]
    MaxNames {
        /// The limit.
        given: usize,
    },
}

/// Which Services the request wants the names of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WantedServices<'a> {
    /// Every Service that selects the pod.
    All,
    /// These, by name, sorted.
    Only(BTreeSet<&'a str>),
}

impl<'a> WantedServices<'a> {
    /// Reads the annotation. Spaces around names are allowed, and naming one twice.
    pub(crate) fn of(request: &'a Request) -> Result<Self, Denial> {
        let Some(value) = request.annotations.get(SERVICES_ANNOTATION) else {
            return Ok(Self::All);
        };
        let names = value.split(',').map(str::trim).collect::<BTreeSet<_>>();
        match names.iter().find(|name| !is_label(name)) {
            None => Ok(Self::Only(names)),
            Some(name) => Err(Denial {
                reason: DenialReason::InvalidUnverifiedUserAnnotations,
                message: format!(
                    "spec.unverifiedUserAnnotations[{SERVICES_ANNOTATION}]: {} is no name of a \
                     Service; expected names of Services separated by commas",
                    quote(name)
                ),
            }),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// The names of a pod, sorted and unique, never none; and a note if a Service had to be left out.
pub(crate) fn names(
    policy: &Policy,
    request: &Request,
    pod: &PodFacts,
    wanted: &WantedServices<'_>,
    facts: &dyn Facts,
) -> Result<(Vec<DnsName>, Option<Note>), Wait> {
    let namespace = request.namespace.as_str();
    let mut services = facts.services_selecting(namespace, &pod.labels);
    services.retain(|service| service.selects(&pod.labels) && wanted.contains(&service.name));
    if let WantedServices::Only(names) = wanted {
        let found: BTreeSet<&str> = services.iter().map(|found| found.name.as_str()).collect();
        let missing = names.iter().find(|name| !found.contains(**name));
        if let Some(name) = missing {
            return Err(requested_but_missing(request, name, facts));
        }
    }
    if services.is_empty() {
        return Err(Wait::new(
            WaitReason::NoMatchingService,
            Wake::PodOrServices,
            format!(
                "no Service of namespace {namespace} selects pod {namespace}/{}: a certificate \
                 needs at least one (type ClusterIP, NodePort or LoadBalancer, with a selector \
                 that matches the pod's labels)",
                request.pod_name
            ),
        ));
    }
    let count = services.len().saturating_mul(policy.suffixes.len() + 1);
    if count > policy.max_names {
        return Err(too_many(request, services.len(), count, policy.max_names));
    }

    let mut names = Vec::with_capacity(count);
    let mut left_out = None;
    let selecting = services.len();
    for service in services {
        if let Err(NotADnsName) = push_names(&mut names, service, namespace, policy) {
            left_out = Some(format!(
                "Service {namespace}/{} selects the pod, but its name is no DNS name and cannot \
                 stand in a certificate",
                service.name
            ));
        }
    }
    names.sort_unstable();
    names.dedup();
    if names
        .iter()
        .map(|name| name.as_str().len() + NAME_OVERHEAD)
        .sum::<usize>()
        > MAX_NAMES_LEN
    {
        return Err(too_many(request, selecting, count, policy.max_names));
    }
    match left_out {
        Some(message) if names.is_empty() => Err(Wait::new(
            WaitReason::UnusableName,
            Wake::PodOrServices,
            message,
        )),
        left_out => {
            let note = |message| Note {
                reason: NoteReason::UnusableServiceName,
                message,
            };
            Ok((names, left_out.map(note)))
        }
    }
}

/// Adds the names of one Service, or none if one of them breaks a limit. With the limit on suffixes
/// only a Service or namespace the API server should have refused gets there.
fn push_names(
    names: &mut Vec<DnsName>,
    service: &ServiceFacts,
    namespace: &str,
    policy: &Policy,
) -> Result<(), NotADnsName> {
    // Each is one label, or two Services could share a name.
    if !is_label(&service.name) || !is_label(namespace) {
        return Err(NotADnsName);
    }
    let name = |text: String| text.parse::<DnsName>().map_err(|_| NotADnsName);
    let plain = name(format!("{}.{namespace}.svc", service.name))?;
    let before = names.len();
    for suffix in &policy.suffixes {
        match name(format!("{plain}.{suffix}")) {
            Ok(name) => names.push(name),
            Err(error) => {
                names.truncate(before);
                return Err(error);
            }
        }
    }
    names.push(plain);
    Ok(())
}

/// A Service or namespace whose name is no DNS label.
struct NotADnsName;

fn too_many(request: &Request, services: usize, names: usize, limit: usize) -> Wait {
    Wait::new(
        WaitReason::TooManyNames,
        Wake::PodOrServices,
        format!(
            "{services} Services select pod {}/{}, which makes {names} names; a certificate holds at \
             most {limit}, of {MAX_NAMES_LEN} bytes together: choose some of the Services with the \
             annotation {SERVICES_ANNOTATION} on the projection",
            request.namespace, request.pod_name
        ),
    )
}

fn requested_but_missing(request: &Request, name: &str, facts: &dyn Facts) -> Wait {
    let Request {
        namespace,
        pod_name,
        ..
    } = request;
    let problem = match facts.service(namespace, name) {
        None => "does not exist",
        Some(service) if service.kind == ServiceKind::ExternalName => {
            "is of type ExternalName, which leads to no pod"
        }
        Some(service) if service.selector.is_empty() => "has no selector",
        Some(_) => "does not select the pod",
    };
    Wait::new(
        WaitReason::RequestedServiceNotMatching,
        Wake::PodOrServices,
        format!(
            "pod {namespace}/{pod_name} asks for the name of Service {name} with the annotation \
             {SERVICES_ANNOTATION}, but Service {namespace}/{name} {problem}"
        ),
    )
}

/// A DNS-1123 label: what Kubernetes accepts as the name of a Service.
fn is_label(name: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

/// A piece of an annotation, cut short: annotations may be 256 KiB.
fn quote(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        format!("{short:?}...")
    } else {
        format!("{short:?}")
    }
}

/// 253, less the longest `<service>.<namespace>.svc.`: two labels of 63 and six more characters.
const MAX_SUFFIX_LEN: usize = 253 - (63 + 1 + 63 + 1 + 3 + 1);
/// More names than anyone meant; and far fewer than make a certificate a burden.
const MOST_NAMES: usize = 1_000;
/// What the names of one certificate may take, encoded. The API server accepts chains of 100 KiB as
/// PEM (75 KiB as DER), rustls accepts 64 KiB of DER in a handshake: this leaves 16 KiB for the rest.
const MAX_NAMES_LEN: usize = 48 * 1024;
/// Tag and length of one name, at most.
const NAME_OVERHEAD: usize = 3;

#[cfg(test)]
mod tests;
