//! The identity of a pod as an extension says it, in two formats.

use std::borrow::Cow;

use der::Tag;
use serde::Deserialize;

use super::{ExtensionError, utf8};
use crate::{
    ObjectName, ObjectUid,
    asn1::{self, Fields},
};

/// A pod, and what it runs as and on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PodIdentity {
    /// The namespace of the pod and of its service account.
    pub namespace: ObjectName,
    /// The name of its service account.
    pub service_account_name: ObjectName,
    /// The name of the pod.
    pub pod_name: ObjectName,
    /// The UID of the pod, which no other pod ever has.
    pub pod_uid: ObjectUid,
    /// The name of the node it runs on.
    pub node_name: ObjectName,
}

/// The same with the UIDs of the service account and the node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PodIdentityWithUids {
    /// The pod.
    pub pod: PodIdentity,
    /// The UID of its service account.
    pub service_account_uid: ObjectUid,
    /// The UID of its node.
    pub node_uid: ObjectUid,
}

impl PodIdentity {
    /// Draft A of KEP-4317: a SEQUENCE of five UTF8Strings.
    pub(super) fn to_draft_a(&self) -> der::Result<Vec<u8>> {
        let mut content = Vec::new();
        for text in [
            self.namespace.as_str(),
            self.service_account_name.as_str(),
            self.pod_name.as_str(),
            self.pod_uid.as_str(),
            self.node_name.as_str(),
        ] {
            asn1::append(&mut content, Tag::Utf8String, text.as_bytes())?;
        }
        asn1::sequence(&[&content])
    }

    /// Reads draft A of KEP-4317 out of an `extnValue`.
    ///
    /// # Errors
    /// When it is not five UTF8Strings in a SEQUENCE and nothing else, or one of them is empty or
    /// cannot be the name or UID it should be.
    pub fn from_draft_a(value: &[u8]) -> Result<Self, ExtensionError> {
        let mut fields = Fields::of_sequence(value)?;
        let identity = Self {
            namespace: utf8(&mut fields)?.parse()?,
            service_account_name: utf8(&mut fields)?.parse()?,
            pod_name: utf8(&mut fields)?.parse()?,
            pod_uid: utf8(&mut fields)?.parse()?,
            node_name: utf8(&mut fields)?.parse()?,
        };
        fields.finish()?;
        Ok(identity)
    }
}

impl PodIdentityWithUids {
    /// As Go's `json.Marshal` writes agent-substrate's `PodIdentity`: this order, no white space.
    /// No character of a name or UID needs an escape.
    pub(super) fn to_json(&self) -> String {
        let Self {
            pod,
            service_account_uid,
            node_uid,
        } = self;
        let PodIdentity {
            namespace,
            service_account_name,
            pod_name,
            pod_uid,
            node_name,
        } = pod;
        format!(
            "{{\"Namespace\":\"{namespace}\",\"ServiceAccountName\":\"{service_account_name}\",\
             \"ServiceAccountUID\":\"{service_account_uid}\",\"PodName\":\"{pod_name}\",\
             \"PodUID\":\"{pod_uid}\",\"NodeName\":\"{node_name}\",\"NodeUID\":\"{node_uid}\"}}"
        )
    }

    /// Reads agent-substrate's JSON out of an `extnValue`, in any order of the keys.
    ///
    /// # Errors
    /// When it is no object, a key is missing, there twice or unknown, or a value is empty or
    /// cannot be the name or UID it should be. (agent-substrate itself takes unknown keys and keys
    /// there twice; whoever writes them means something we would not see.)
    pub fn from_json(value: &[u8]) -> Result<Self, ExtensionError> {
        let problem = |problem: String| ExtensionError::Json { problem };
        // serde takes an array for a struct too.
        if value.trim_ascii_start().first() != Some(&b'{') {
            return Err(problem("it is no object".to_owned()));
        }
        let json: Json<'_> =
            serde_json::from_slice(value).map_err(|error| problem(error.to_string()))?;
        Ok(Self {
            pod: PodIdentity {
                namespace: json.namespace.parse()?,
                service_account_name: json.service_account_name.parse()?,
                pod_name: json.pod_name.parse()?,
                pod_uid: json.pod_uid.parse()?,
                node_name: json.node_name.parse()?,
            },
            service_account_uid: json.service_account_uid.parse()?,
            node_uid: json.node_uid.parse()?,
        })
    }
}

/// The keys are the field names of agent-substrate's Go type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Json<'a> {
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    service_account_name: Cow<'a, str>,
    #[serde(borrow, rename = "ServiceAccountUID")]
    service_account_uid: Cow<'a, str>,
    #[serde(borrow)]
    pod_name: Cow<'a, str>,
    #[serde(borrow, rename = "PodUID")]
    pod_uid: Cow<'a, str>,
    #[serde(borrow)]
    node_name: Cow<'a, str>,
    #[serde(borrow, rename = "NodeUID")]
    node_uid: Cow<'a, str>,
}
