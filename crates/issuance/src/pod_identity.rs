//! Names from identity: one SPIFFE ID for each pod, and on request an extension with its facts.
//!
//! A pod's UID is never another pod's, and stands in every certificate: in the ID, or, where the ID
//! is that of the service account (as agent-substrate wants it), in an extension. Whatever else goes
//! into the certificate is from the request's spec too, as everything else is whatever the author of a
//! pod writes.
//!
//! All of it must have been verified by somebody. What the live pod says (its UID, namespace,
//! service account and node) `identity` has compared. The UIDs of the service account and the node are
//! not in a pod. kube-apiserver compares them only for requests that a node makes, and a request does
//! not say who made it. So where they go into the certificate they must have been compared with the
//! live objects, and where those are not shown to podcert, the request waits: RBAC can be granted
//! while it does, and a certificate that says what nobody verified cannot be taken back.

use std::{fmt, str::FromStr};

use podcert_pki::{
    ExtensionOid, LeafExtension, NameError, PodIdentity, PodIdentityWithUids, SpiffeId, TrustDomain,
};

pub use crate::id_template::TemplateError;
use crate::{
    Facts, ObservedUid, Request, Wait, WaitReason, Wake,
    id_template::{Template, Vocabulary},
};

/// What a pod-identity signer puts into certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    trust_domain: TrustDomain,
    template: IdTemplate,
    extensions: Extensions,
}

/// The extensions of a pod-identity signer's certificates; by default none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// The pod's facts under an OID of the operator's own.
    pub own: Option<(ExtensionOid, Encoding)>,
    /// Whether there is the one that agent-substrate reads.
    pub substrate: bool,
}

impl Policy {
    /// IDs of this trust domain with paths after this template, and these extensions.
    ///
    /// # Errors
    /// A template without `{pod-uid}` where no extension has the pod's UID; one whose longest ID
    /// would exceed the 2 048 bytes of SPIFFE-ID 2.3.
    pub fn new(
        trust_domain: TrustDomain,
        template: IdTemplate,
        extensions: Extensions,
    ) -> Result<Self, TemplateError> {
        template.0.check_length(&trust_domain)?;
        if !template.0.has(Variable::PodUid) && extensions == Extensions::default() {
            return Err(POD_UID_MISSING);
        }
        Ok(Self {
            trust_domain,
            template,
            extensions,
        })
    }

    /// The trust domain of all IDs.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The template of their paths.
    #[must_use]
    pub fn template(&self) -> &IdTemplate {
        &self.template
    }

    fn extensions_have_uids(&self) -> bool {
        let Extensions { own, substrate } = self.extensions;
        substrate || matches!(own, Some((_, Encoding::Json)))
    }
}

/// How an extension says the facts of a pod. `docs/extensions.md` has both byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// agent-substrate's JSON, with the UIDs of the service account and the node.
    #[default]
    Json,
    /// The first draft of KEP-4317: five UTF8Strings in a SEQUENCE, without those UIDs.
    Asn1DraftA,
}

impl Encoding {
    const ALL: [Self; 2] = [Self::Json, Self::Asn1DraftA];

    /// Its name in flags.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Asn1DraftA => "asn1-draft-a",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(text: &str) -> Result<Self, UnknownEncoding> {
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or(UnknownEncoding)
    }
}

/// A text that names no encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are json and asn1-draft-a")]
pub struct UnknownEncoding;

/// The path of the IDs of pods, with the variables `{namespace}`, `{service-account}`,
/// `{service-account-uid}`, `{pod}`, `{pod-uid}`, `{node}` and `{node-uid}`. `{pod-uid}` must appear,
/// or both of the first two, as the ID is then at least no other service account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTemplate(Template<Variable>);

impl Default for IdTemplate {
    /// `/ns/{namespace}/sa/{service-account}/pod/{pod}/uid/{pod-uid}`.
    fn default() -> Self {
        Self(Template::of_pairs(&[
            ("ns", Variable::Namespace),
            ("sa", Variable::ServiceAccount),
            ("pod", Variable::Pod),
            ("uid", Variable::PodUid),
        ]))
    }
}

impl FromStr for IdTemplate {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(template)?;
        let of_account = [Variable::Namespace, Variable::ServiceAccount];
        if template.has(Variable::PodUid) || of_account.iter().all(|it| template.has(*it)) {
            Ok(Self(template))
        } else {
            Err(POD_UID_MISSING)
        }
    }
}

impl fmt::Display for IdTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Namespace,
    ServiceAccount,
    ServiceAccountUid,
    Pod,
    PodUid,
    Node,
    NodeUid,
}

impl Variable {
    fn value(self, request: &Request) -> &str {
        match self {
            Self::Namespace => &request.namespace,
            Self::ServiceAccount => &request.service_account_name,
            Self::ServiceAccountUid => &request.service_account_uid,
            Self::Pod => &request.pod_name,
            Self::PodUid => &request.pod_uid,
            Self::Node => &request.node_name,
            Self::NodeUid => &request.node_uid,
        }
    }
}

impl Vocabulary for Variable {
    const ALL: &'static [Self] = &[
        Self::Namespace,
        Self::ServiceAccount,
        Self::ServiceAccountUid,
        Self::Pod,
        Self::PodUid,
        Self::Node,
        Self::NodeUid,
    ];
    // One or two others: see `IdTemplate`.
    const REQUIRED: &'static [Self] = &[];

    fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::ServiceAccount => "service-account",
            Self::ServiceAccountUid => "service-account-uid",
            Self::Pod => "pod",
            Self::PodUid => "pod-uid",
            Self::Node => "node",
            Self::NodeUid => "node-uid",
        }
    }

    fn max_len(self) -> usize {
        match self {
            Self::Namespace => 63,
            Self::ServiceAccount | Self::Pod | Self::Node => 253,
            Self::ServiceAccountUid | Self::PodUid | Self::NodeUid => 128,
        }
    }
}

/// The ID and the extensions a request is for, its pod being what it says.
///
/// The API server lets no name pass that could fail here, but UIDs are any text to it if no node
/// asks. Such a UID is that of no live object, and should one come all the same, nothing in the
/// cluster could cure it.
pub(crate) fn names(
    policy: &Policy,
    request: &Request,
    facts: &dyn Facts,
) -> Result<(SpiffeId, Vec<LeafExtension>), Wait> {
    let template = &policy.template.0;
    if template.has(Variable::ServiceAccountUid) || policy.extensions_have_uids() {
        let (namespace, name) = (&request.namespace, &request.service_account_name);
        if facts.service_account_uid(namespace, name) == ObservedUid::Unknown {
            return Err(uid_not_shown("service account", Wake::ServiceAccount));
        }
    }
    if template.has(Variable::NodeUid) || policy.extensions_have_uids() {
        let known = facts.node_uid(&request.node_name);
        if known == ObservedUid::Unknown {
            return Err(uid_not_shown("node", Wake::Node));
        }
    }
    let unusable = |problem: &dyn fmt::Display| {
        let (namespace, pod) = (&request.namespace, &request.pod_name);
        Wait::new(
            WaitReason::UnusableName,
            Wake::Restart,
            format!("no certificate can name pod {namespace}/{pod}: {problem}"),
        )
    };
    let path = template.path(|variable| variable.value(request));
    let path = path.map_err(|error| unusable(&error))?;
    let id = SpiffeId::new(&policy.trust_domain, &path).map_err(|error| unusable(&error))?;
    let extensions = extensions(policy, request).map_err(|error| unusable(&error))?;
    Ok((id, extensions))
}

fn extensions(policy: &Policy, request: &Request) -> Result<Vec<LeafExtension>, NameError> {
    let mut extensions = Vec::new();
    if let Some((oid, encoding)) = policy.extensions.own {
        extensions.push(match encoding {
            Encoding::Json => LeafExtension::PodIdentityJson {
                oid,
                identity: with_uids(request)?,
            },
            Encoding::Asn1DraftA => LeafExtension::PodIdentityDraftA {
                oid,
                identity: pod(request)?,
            },
        });
    }
    if policy.extensions.substrate {
        extensions.push(LeafExtension::PodIdentityJson {
            oid: ExtensionOid::SUBSTRATE_POD_IDENTITY,
            identity: with_uids(request)?,
        });
    }
    Ok(extensions)
}

fn pod(request: &Request) -> Result<PodIdentity, NameError> {
    Ok(PodIdentity {
        namespace: request.namespace.parse()?,
        service_account_name: request.service_account_name.parse()?,
        pod_name: request.pod_name.parse()?,
        pod_uid: request.pod_uid.parse()?,
        node_name: request.node_name.parse()?,
    })
}

fn with_uids(request: &Request) -> Result<PodIdentityWithUids, NameError> {
    Ok(PodIdentityWithUids {
        pod: pod(request)?,
        service_account_uid: request.service_account_uid.parse()?,
        node_uid: request.node_uid.parse()?,
    })
}

fn uid_not_shown(kind: &str, wake: Wake) -> Wait {
    Wait::new(
        WaitReason::UidNotShown,
        wake,
        format!(
            "the certificate would name the UID of the request's {kind}, which podcert cannot \
             compare: its RBAC must let it list and watch {kind}s"
        ),
    )
}

const POD_UID_MISSING: TemplateError = TemplateError::MissingVariable {
    variable: "pod-uid",
};

#[cfg(test)]
mod tests;
