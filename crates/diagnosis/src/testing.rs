//! A CA, certificates and objects for the tests of this crate.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use podcert_pki::ca::{self, CaSpec, SubjectName};
use podcert_pki::{
    Certificate, Chain, ExtKeyUsages, IssuerContext, KeyType, LeafNames, LeafSpec, PrivateKey,
    Serial, Validity, empty_csr,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) fn now() -> Timestamp {
    at(0)
}

/// So many minutes from [`now`].
pub(crate) fn at(minutes: i64) -> Timestamp {
    let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
    now + SignedDuration::from_mins(minutes)
}

pub(crate) fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn authority() -> &'static (PrivateKey, Certificate) {
    static AUTHORITY: OnceLock<(PrivateKey, Certificate)> = OnceLock::new();
    AUTHORITY.get_or_init(|| new_authority("test CA", 100))
}

fn new_authority(name: &str, days: i64) -> (PrivateKey, Certificate) {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let spec = CaSpec {
        subject: SubjectName::new(name, None).unwrap(),
        validity: Validity::new(at(-60 * 24), at(60 * 24 * days)).unwrap(),
        serial: Serial::random().unwrap(),
    };
    let root = ca::new_root(&key, &spec).unwrap();
    (key, root)
}

/// The root of another CA, which ends in so many days, PEM.
pub(crate) fn another_root(days: i64) -> String {
    new_authority("another test CA", days).1.to_pem()
}

/// The CA's root, PEM.
pub(crate) fn root() -> String {
    authority().1.to_pem()
}

/// A certificate of `web.shop.svc`, valid from and until so many minutes from now.
pub(crate) fn chain(from: i64, until: i64) -> String {
    let (issuer_key, issuer) = authority();
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let names = LeafNames::Dns(vec!["web.shop.svc".parse().unwrap()]);
    let validity = Validity::new(at(from), at(until)).unwrap();
    let usages = ExtKeyUsages::SERVER;
    let spec = LeafSpec::new(key.public_key().clone(), names, usages, validity).unwrap();
    let context = IssuerContext::new(issuer, issuer_key.signature_algorithm()).unwrap();
    let tbs = context.leaf_tbs(&spec, &Serial::random().unwrap()).unwrap();
    let der = tbs
        .assemble(&issuer_key.sign(tbs.to_be_signed()).unwrap())
        .unwrap();
    Chain::new(Certificate::from_der(der).unwrap(), vec![]).to_pem()
}

/// A request of pod shop/web for service-dns, made so many minutes from now, with this status.
pub(crate) fn request(name: &str, minutes: i64, status: &Value) -> crate::Request {
    of_csr(name, minutes, status, &json!("MAo="))
}

fn of_csr(name: &str, minutes: i64, status: &Value, csr: &Value) -> crate::Request {
    let object: k8s_openapi::api::certificates::v1::PodCertificateRequest = read(json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-of-{name}"),
            "creationTimestamp": at(minutes),
        },
        "spec": {
            "signerName": "row-major.net/service-dns", "podName": "web", "podUID": "p",
            "serviceAccountName": "default", "serviceAccountUID": "s",
            "nodeName": "n1", "nodeUID": "n", "stubPKCS10Request": csr,
        },
        "status": status,
    }));
    object.into()
}

/// A request that was made now for a key of this type.
pub(crate) fn with_key(name: &str, key_type: KeyType) -> crate::Request {
    let key = PrivateKey::generate(key_type).unwrap();
    let csr = k8s_openapi::ByteString(empty_csr(&key).unwrap());
    of_csr(name, 0, &json!({}), &json!(csr))
}

/// The status of a request that was answered with a certificate.
pub(crate) fn issued(from: i64, until: i64, refresh: i64) -> Value {
    json!({
        "conditions": [condition("Issued", "Issued", "")],
        "certificateChain": chain(from, until), "beginRefreshAt": at(refresh),
    })
}

pub(crate) fn condition(type_: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": now(),
    })
}

/// What podcert said about the request of this name.
pub(crate) fn event(request: &str, minutes: i64, reason: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "web-1"},
        "eventTime": format!("{:.6}", at(minutes)), "reason": reason, "note": format!("note of {reason}"),
        "reportingController": "podcert.dev/controller",
        "regarding": {"kind": "Pod", "namespace": "shop", "name": "web", "uid": "p"},
        "related": {"kind": "PodCertificateRequest", "uid": format!("uid-of-{request}")},
    })
}

/// The bundle of service-dns with these labels.
pub(crate) fn bundle(labels: &Value) -> Value {
    json!({
        "metadata": {"name": "row-major.net:service-dns:primary-bundle", "labels": labels},
        "spec": {"signerName": "row-major.net/service-dns", "trustBundle": root()},
    })
}
