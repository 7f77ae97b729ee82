//! Names from identity: one SPIFFE ID, made of the pod's namespace and service account.
//!
//! Both are verified by the API server and compared with the live pod. Labels and annotations are
//! whatever the author of a pod writes, so no template can refer to them.

use std::{fmt, str::FromStr};

use podcert_pki::{ExtKeyUsages, SpiffeId, TrustDomain};

pub use crate::id_template::TemplateError;
use crate::{
    Request, Wait, WaitReason, Wake,
    id_template::{Template, Vocabulary},
};

/// X509-SVIDs authenticate both ends, so they have both usages (X509-SVID 4.4).
pub(crate) const EXT_KEY_USAGES: ExtKeyUsages = ExtKeyUsages::SERVER_AND_CLIENT;

/// How the IDs of a spiffe signer are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    trust_domain: TrustDomain,
    template: IdTemplate,
}

impl Policy {
    /// IDs of this trust domain with paths after this template.
    ///
    /// # Errors
    /// A template whose longest ID would exceed the 2 048 bytes of SPIFFE-ID 2.3.
    pub fn new(trust_domain: TrustDomain, template: IdTemplate) -> Result<Self, TemplateError> {
        template.0.check_length(&trust_domain)?;
        Ok(Self {
            trust_domain,
            template,
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
}

/// The path of the IDs of service accounts, with the variables `{namespace}` and
/// `{service-account}`, which must both appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTemplate(Template<Variable>);

impl Default for IdTemplate {
    /// `/ns/{namespace}/sa/{service-account}`: what Istio, SPIRE and meshtool use.
    fn default() -> Self {
        Self(Template::of_pairs(&[
            ("ns", Variable::Namespace),
            ("sa", Variable::ServiceAccount),
        ]))
    }
}

impl FromStr for IdTemplate {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        Template::parse(template).map(Self)
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
}

impl Vocabulary for Variable {
    const ALL: &'static [Self] = &[Self::Namespace, Self::ServiceAccount];
    const REQUIRED: &'static [Self] = Self::ALL;

    fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::ServiceAccount => "service-account",
        }
    }

    fn max_len(self) -> usize {
        match self {
            Self::Namespace => 63,
            Self::ServiceAccount => 253,
        }
    }
}

/// The ID a request is for.
///
/// The API server lets no name pass that could fail here. Should one come all the same, nothing in
/// the cluster could cure it.
pub(crate) fn id(policy: &Policy, request: &Request) -> Result<SpiffeId, Wait> {
    let Request {
        namespace,
        service_account_name: name,
        ..
    } = request;
    let unusable = |problem: &dyn fmt::Display| {
        Wait::new(
            WaitReason::UnusableName,
            Wake::Restart,
            format!("service account {namespace}/{name} has no SPIFFE ID: {problem}"),
        )
    };
    let path = policy.template.0.path(|variable| match variable {
        Variable::Namespace => namespace,
        Variable::ServiceAccount => name,
    });
    let path = path.map_err(|error| unusable(&error))?;
    SpiffeId::new(&policy.trust_domain, &path).map_err(|error| unusable(&error))
}

#[cfg(test)]
mod tests;
