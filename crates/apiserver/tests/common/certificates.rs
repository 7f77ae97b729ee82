//! Keys, requests and certificates for tests, made with rcgen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair, SanType,
};
use serde_json::{Value, json};

pub const SIGNER: &str = "example.com/signer";

/// The empty request that kubelets send.
pub fn csr(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .serialize_request(key)
        .expect("a request")
        .der()
        .to_vec()
}

pub fn p256() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// A request as JSON, ready to be spoilt.
pub fn request_json(name: &str, csr: &[u8]) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "signerName": SIGNER,
            "podName": "web-0", "podUID": "11111111-1111-1111-1111-111111111111",
            "serviceAccountName": "web",
            "serviceAccountUID": "22222222-2222-2222-2222-222222222222",
            "nodeName": "node-0", "nodeUID": "33333333-3333-3333-3333-333333333333",
            "stubPKCS10Request": STANDARD.encode(csr),
        },
    })
}

/// A certificate authority.
pub struct Ca {
    pub params: CertificateParams,
    pub key: KeyPair,
    pub pem: String,
    pub der: Vec<u8>,
}

pub fn ca(name: &str) -> Ca {
    let key = p256();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    Ca {
        pem: certificate.pem(),
        der: certificate.der().to_vec(),
        params,
        key,
    }
}

/// A leaf for `key`, valid from and until so many seconds after the test's start.
pub fn leaf(ca: &Ca, key: &KeyPair, from_second: i64, until_second: i64, sans: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = sans
        .iter()
        .map(|name| match name.contains('@') {
            true => SanType::Rfc822Name((*name).try_into().expect("an IA5String")),
            false => SanType::DnsName((*name).try_into().expect("an IA5String")),
        })
        .collect();
    let date = |second: i64| {
        // 2026-11-21T12:00:00Z is what the tests start at.
        let base = rcgen::date_time_ymd(2026, 11, 21) + std::time::Duration::from_secs(12 * 3600);
        match u64::try_from(second) {
            Ok(second) => base + std::time::Duration::from_secs(second),
            Err(_) => base - std::time::Duration::from_secs(second.unsigned_abs()),
        }
    };
    params.not_before = date(from_second);
    params.not_after = date(until_second);
    let issuer = Issuer::from_params(&ca.params, &ca.key);
    params.signed_by(key, &issuer).expect("a certificate").pem()
}
