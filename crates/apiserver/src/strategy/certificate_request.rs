//! Rules of PodCertificateRequest, v1 and v1beta1, in the order kube-apiserver 1.37 applies them
//! (`pkg/apis/certificates/validation/validation.go`, `pkg/registry/certificates/podcertificaterequest`).
//!
//! Here: what a request must be to be created, and that its spec never changes after. What may be
//! written into its status is in [`status`].

pub(super) mod status;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::metadata::{ANNOTATIONS_LIMIT, annotations_size};
use super::names::{self, NameRule, Prefix};
use super::signer;
use crate::certs::{self, Depth, KeyKind, SignatureCheck};
use crate::field::FieldError;
use crate::object::as_map_mut;
use crate::status::Failure;

/// The spec's fields; others are dropped, as a typed decoder drops them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    signer_name: String,
    pod_name: String,
    #[serde(rename = "podUID")]
    pod_uid: String,
    service_account_name: String,
    #[serde(rename = "serviceAccountUID")]
    service_account_uid: String,
    node_name: String,
    #[serde(rename = "nodeUID")]
    node_uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_expiration_seconds: Option<i32>,
    /// Base64 of a SubjectPublicKeyInfo; v1beta1 only.
    #[serde(with = "nullable")]
    pkix_public_key: String,
    /// Base64 of a signature; v1beta1 only.
    #[serde(with = "nullable")]
    proof_of_possession: String,
    /// Base64 of DER.
    #[serde(rename = "stubPKCS10Request", with = "nullable")]
    stub_pkcs10_request: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unverified_user_annotations: BTreeMap<String, String>,
}

impl Spec {
    /// The JSON of the type that the real server has for all versions: no field has a JSON name of
    /// its own there, and none is left out.
    fn as_go_shows_it(&self) -> String {
        let text = |text: &str| Value::from(text).to_string();
        let bytes = |base64: &str| match base64 {
            "" => "null".to_owned(),
            base64 => text(base64),
        };
        let annotations = match self.unverified_user_annotations.is_empty() {
            true => "null".to_owned(),
            false => json!(self.unverified_user_annotations).to_string(),
        };
        let fields = [
            ("SignerName", text(&self.signer_name)),
            ("PodName", text(&self.pod_name)),
            ("PodUID", text(&self.pod_uid)),
            ("ServiceAccountName", text(&self.service_account_name)),
            ("ServiceAccountUID", text(&self.service_account_uid)),
            ("NodeName", text(&self.node_name)),
            ("NodeUID", text(&self.node_uid)),
            (
                "MaxExpirationSeconds",
                json!(self.max_expiration_seconds).to_string(),
            ),
            ("PKIXPublicKey", bytes(&self.pkix_public_key)),
            ("ProofOfPossession", bytes(&self.proof_of_possession)),
            ("StubPKCS10Request", bytes(&self.stub_pkcs10_request)),
            ("UnverifiedUserAnnotations", annotations),
        ];
        let shown: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name:?}:{value}"))
            .collect();
        format!("{{{}}}", shown.join(","))
    }

    /// Base64 as the real server writes it: decoded and encoded again.
    fn canonical(mut self) -> Self {
        for bytes in [
            &mut self.pkix_public_key,
            &mut self.proof_of_possession,
            &mut self.stub_pkcs10_request,
        ] {
            *bytes = STANDARD.encode(certs::lenient_base64(bytes));
        }
        self
    }
}

/// Bytes that Go shows as `null` when there are none: a slice without `omitempty`.
mod nullable {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        match text {
            "" => serializer.serialize_none(),
            text => serializer.serialize_str(text),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<String, D::Error> {
        Option::deserialize(deserializer).map(Option::unwrap_or_default)
    }
}

/// Defaults of a new request.
pub(super) fn prepare_create(object: &mut Value) -> Result<(), Failure> {
    let mut spec = decode::<Spec>(object, "spec")?.canonical();
    spec.max_expiration_seconds
        .get_or_insert(DEFAULT_MAX_EXPIRATION);
    encode(object, "spec", &spec);
    // Never absent, as Go writes it.
    encode(object, "status", &json!({}));
    Ok(())
}

/// Reduces a request to the fields its type has.
pub(super) fn shape(object: &mut Value) -> Result<(), Failure> {
    let mut spec = decode::<Spec>(object, "spec")?.canonical();
    spec.max_expiration_seconds
        .get_or_insert(DEFAULT_MAX_EXPIRATION);
    encode(object, "spec", &spec);
    Ok(())
}

pub(super) fn check_create(object: &Value) -> Vec<FieldError> {
    let Ok(spec) = decode::<Spec>(object, "spec") else {
        return vec![FieldError::required("spec", "")];
    };
    let mut errors = signer::check("spec.signerName", &spec.signer_name);
    errors.extend(check_annotations(&spec.unverified_user_annotations));
    for (field, value) in [
        ("podName", &spec.pod_name),
        ("serviceAccountName", &spec.service_account_name),
        ("nodeName", &spec.node_name),
    ] {
        errors.extend(
            names::name(NameRule::Subdomain, value, Prefix::Complete)
                .into_iter()
                .map(|why| FieldError::invalid(&format!("spec.{field}"), value, why)),
        );
        let (field, uid) = match field {
            "podName" => ("spec.podUID", &spec.pod_uid),
            "serviceAccountName" => ("spec.serviceAccountUID", &spec.service_account_uid),
            _ => ("spec.nodeUID", &spec.node_uid),
        };
        if uid.is_empty() {
            errors.push(FieldError::invalid(field, uid, "must not be empty"));
        }
        if uid.len() > UID_LIMIT {
            errors.push(FieldError::too_long(field, UID_LIMIT));
        }
    }
    let Some(seconds) = spec.max_expiration_seconds else {
        errors.push(FieldError::required(
            "spec.maxExpirationSeconds",
            "must be set",
        ));
        return errors;
    };
    let longest = if signer::is_of_kubernetes(&spec.signer_name) {
        KUBERNETES_MAX_EXPIRATION
    } else {
        MAX_EXPIRATION
    };
    if !(MIN_EXPIRATION..=longest).contains(&seconds) {
        errors.push(FieldError::invalid_raw(
            "spec.maxExpirationSeconds",
            seconds,
            format!("must be in the range [{MIN_EXPIRATION}, {longest}]"),
        ));
    }
    errors.extend(check_key(&spec));
    errors
}

pub(super) fn check_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let spec = |object| decode::<Spec>(object, "spec").unwrap_or_default();
    let new = spec(object);
    if new == spec(old) {
        return Vec::new();
    }
    vec![FieldError::invalid_raw(
        "spec",
        new.as_go_shows_it(),
        "field is immutable",
    )]
}

fn check_annotations(annotations: &BTreeMap<String, String>) -> Vec<FieldError> {
    const FIELD: &str = "spec.unverifiedUserAnnotations";
    let mut errors = Vec::new();
    for key in annotations.keys() {
        let key = key.to_lowercase();
        if key.is_empty() {
            errors.push(FieldError::required(FIELD, ""));
            continue;
        }
        let complaints = names::label_key(&key);
        if complaints.is_empty() && !key.contains('/') {
            errors.push(FieldError::invalid(
                FIELD,
                &key,
                "must be a domain-prefixed key (such as \"acme.io/foo\")",
            ));
        }
        errors.extend(
            complaints
                .into_iter()
                .map(|why| FieldError::invalid(FIELD, &key, why)),
        );
    }
    let map = serde_json::to_value(annotations).ok();
    if annotations_size(map.as_ref()) > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long(FIELD, ANNOTATIONS_LIMIT));
    }
    errors
}

/// The key comes in a PKCS#10 request, or at v1beta1 bare with a proof.
fn check_key(spec: &Spec) -> Vec<FieldError> {
    match (
        spec.stub_pkcs10_request.is_empty(),
        spec.pkix_public_key.is_empty(),
        spec.proof_of_possession.is_empty(),
    ) {
        (false, true, true) => check_stub(spec),
        (true, false, false) => check_proof(spec),
        _ => vec![FieldError::invalid_omitted(
            "spec",
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
        )],
    }
}

/// A bare key, and the pod's UID signed by it.
fn check_proof(spec: &Spec) -> Vec<FieldError> {
    let bytes = |base64: &str| STANDARD.decode(base64).unwrap_or_default();
    let (key, proof) = (
        bytes(&spec.pkix_public_key),
        bytes(&spec.proof_of_possession),
    );
    for (field, bytes) in [(PKIX, &key), (PROOF, &proof)] {
        if bytes.len() > STUB_LIMIT {
            return vec![FieldError::too_long(field, STUB_LIMIT)];
        }
    }
    let about_key = |shown: &str, why: &str| vec![FieldError::invalid(PKIX, shown, why)];
    let Some(key) = certs::read_public_key(&key) else {
        return about_key(
            &spec.pkix_public_key,
            "must be a valid PKIX-serialized public key",
        );
    };
    match key.kind {
        KeyKind::Ecdsa("P-256" | "P-384" | "P-521")
        | KeyKind::Ed25519
        | KeyKind::Rsa(3072 | 4096) => {}
        // Upstream forgot P521 in this sentence.
        KeyKind::Ecdsa(curve) => {
            return about_key(
                &format!("curve {curve}"),
                "elliptic public keys must use curve P256 or P384",
            );
        }
        KeyKind::Rsa(bits) => {
            return about_key(
                &format!("{bits}-bit modulus"),
                "RSA keys must have modulus size 3072 or 4096",
            );
        }
        KeyKind::Unknown => {
            return about_key(
                &spec.pkix_public_key,
                "unknown public key type; supported types are Ed25519, ECDSA, and RSA",
            );
        }
    }
    if key.verifies_proof(spec.pod_uid.as_bytes(), &proof) {
        return Vec::new();
    }
    vec![FieldError::invalid_omitted(
        PROOF,
        "could not verify proof-of-possession signature",
    )]
}

fn check_stub(spec: &Spec) -> Vec<FieldError> {
    let der = STANDARD
        .decode(&spec.stub_pkcs10_request)
        .unwrap_or_default();
    if der.len() > STUB_LIMIT {
        return vec![FieldError::too_long(STUB, STUB_LIMIT)];
    }
    let Some(request) = certs::read_request(&der, Depth::Signature) else {
        return vec![FieldError::invalid_omitted(
            STUB,
            "must be a valid PKCS#10 CSR",
        )];
    };
    let error = match request.key.kind {
        KeyKind::Ecdsa("P-256" | "P-384" | "P-521")
        | KeyKind::Ed25519
        | KeyKind::Rsa(3072 | 4096) => match request.signature {
            SignatureCheck::Valid => return Vec::new(),
            _ => FieldError::invalid_omitted(STUB, "invalid signature"),
        },
        KeyKind::Ecdsa(curve) => FieldError::invalid(
            STUB,
            &format!("curve {curve}"),
            "elliptic public keys must use curve P256, P384, or P521",
        ),
        KeyKind::Rsa(bits) => FieldError::invalid(
            STUB,
            &format!("{bits}-bit modulus"),
            "RSA keys must have modulus size 3072 or 4096",
        ),
        KeyKind::Unknown => FieldError::invalid_omitted(
            STUB,
            "unknown public key type; supported types are Ed25519, ECDSA, and RSA",
        ),
    };
    vec![error]
}

fn decode<T: Default + for<'a> Deserialize<'a>>(object: &Value, field: &str) -> Result<T, Failure> {
    let Some(value) = object.get(field) else {
        return Ok(T::default());
    };
    // What does not fit the type was refused when the body was read ([`super::types`]).
    T::deserialize(value).map_err(|error| {
        Failure::bad_request(format!(
            "the object cannot be handled as a PodCertificateRequest: {field}: {error}"
        ))
    })
}

fn encode(object: &mut Value, field: &str, value: &impl Serialize) {
    let map = as_map_mut(object);
    map.retain(|key, _| {
        matches!(
            key.as_str(),
            "kind" | "apiVersion" | "metadata" | "spec" | "status"
        )
    });
    // Plain structs of strings, numbers and dates always serialise.
    if let Ok(value) = serde_json::to_value(value) {
        map.insert(field.to_owned(), value);
    }
}

const PKIX: &str = "spec.pkixPublicKey";
const PROOF: &str = "spec.proofOfPossession";
const STUB: &str = "spec.stubPKCS10Request";
const STUB_LIMIT: usize = 10 * 1024;
const UID_LIMIT: usize = 128;
const DEFAULT_MAX_EXPIRATION: i32 = 86_400;
const MIN_EXPIRATION: i32 = 3_600;
/// 91 days.
const MAX_EXPIRATION: i32 = 7_862_400;
/// What the signers of Kubernetes itself get at most.
const KUBERNETES_MAX_EXPIRATION: i32 = 86_400;
