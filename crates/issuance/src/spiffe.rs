//! Names from identity: one SPIFFE ID, made of the pod's namespace and service account.
//!
//! Both are verified by the API server and compared with the live pod. Labels and annotations are
//! whatever the author of a pod writes, so no template can refer to them.

use std::fmt;

use podcert_pki::{ExtKeyUsages, SpiffeId, TrustDomain};

use crate::{Request, Wait, WaitReason, Wake};

mod template;

pub use template::{IdTemplate, TemplateError};

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
        let longest = "spiffe://".len() + trust_domain.as_str().len() + template.max_path_len();
        if longest > MAX_ID_LEN {
            return Err(TemplateError::TooLong { longest });
        }
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
    // Each variable is one segment, or two accounts could share an ID.
    if namespace.contains('/') || name.contains('/') {
        return Err(unusable(&"a name holds a slash"));
    }
    let path = policy.template.path(namespace, name);
    SpiffeId::new(&policy.trust_domain, &path).map_err(|error| unusable(&error))
}

/// What implementations must support, and none should exceed.
const MAX_ID_LEN: usize = 2048;

#[cfg(test)]
mod tests;
