//! Keys, requests and certificates for cases, made with another library than podcert's own.

use aws_lc_rs::digest::{Digest, SHA256, SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, PublicKeyData as _, RsaKeySize, SanType, SignatureAlgorithm,
};
use serde_json::{Value, json};

use crate::{Release, World};

/// A signer's name that no real signer answers.
pub const SIGNER: &str = "example.com/signer";
/// The UID of the pod that [`request`] names.
pub const POD_UID: &str = "11111111-1111-1111-1111-111111111111";

/// A key that a workload may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyType {
    /// RSA with a modulus of so many bits (2048, 3072 or 4096).
    Rsa(u16),
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

/// The six that kubelets make.
pub const KUBELET_KEYS: [KeyType; 6] = [
    KeyType::Rsa(3072),
    KeyType::Rsa(4096),
    KeyType::P256,
    KeyType::P384,
    KeyType::P521,
    KeyType::Ed25519,
];

/// A key pair.
pub fn key(kind: KeyType) -> KeyPair {
    fn of(algorithm: &'static SignatureAlgorithm) -> KeyPair {
        KeyPair::generate_for(algorithm).expect("a key")
    }
    fn rsa(size: RsaKeySize) -> KeyPair {
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).expect("a key")
    }
    match kind {
        KeyType::Rsa(4096) => rsa(RsaKeySize::_4096),
        KeyType::Rsa(3072) => rsa(RsaKeySize::_3072),
        KeyType::Rsa(_) => rsa(RsaKeySize::_2048),
        KeyType::P256 => of(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyType::P384 => of(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyType::P521 => of(&rcgen::PKCS_ECDSA_P521_SHA512),
        KeyType::Ed25519 => of(&rcgen::PKCS_ED25519),
    }
}

/// The empty request that kubelets send, DER.
pub fn csr(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .serialize_request(key)
        .expect("a request")
        .der()
        .to_vec()
}

/// The signature over a pod's UID that 1.35's kubelets send with the public key.
///
/// # Panics
/// When the key is none of [`KeyType`].
pub fn proof_of_possession(key: &KeyPair, pod_uid: &str) -> Vec<u8> {
    let der = key.serialize_der();
    let random = SystemRandom::new();
    let message = pod_uid.as_bytes();
    let algorithm = key.algorithm();
    if algorithm == &rcgen::PKCS_ED25519 {
        return Ed25519KeyPair::from_pkcs8(&der)
            .expect("a key")
            .sign(message)
            .as_ref()
            .to_vec();
    }
    for curve in [
        &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        &signature::ECDSA_P521_SHA256_ASN1_SIGNING,
    ] {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve, &der) {
            return pair
                .sign(&random, message)
                .expect("a signature")
                .as_ref()
                .to_vec();
        }
    }
    let p384 = &signature::ECDSA_P384_SHA384_ASN1_SIGNING;
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(p384, &der) {
        // Over SHA-256, which no algorithm of the library is for. A digest shorter than the curve's
        // order counts as the number that it is (FIPS 186-5, 6.4.1), so zeros before it change
        // nothing.
        let mut hash = [0; 48];
        hash[16..].copy_from_slice(digest(&SHA256, message).as_ref());
        let hash = Digest::import_less_safe(&hash, &SHA384).expect("a digest");
        return pair
            .sign_digest(&hash)
            .expect("a signature")
            .as_ref()
            .to_vec();
    }
    let pair = RsaKeyPair::from_pkcs8(&der).expect("a key");
    let mut proof = vec![0; pair.public_modulus_len()];
    pair.sign(&signature::RSA_PSS_SHA256, &random, message, &mut proof)
        .expect("a signature");
    proof
}

/// A proper request for a pod that need not exist, in the world's API version: with a CSR from
/// 1.36 on, with public key and proof of possession before. Ready to be spoilt.
pub fn request(world: &World, name: &str, key: &KeyPair) -> Value {
    let mut object = json!({
        "apiVersion": world.certificates_api(),
        "kind": "PodCertificateRequest",
        "metadata": {"name": name, "namespace": world.namespace},
        "spec": {
            "signerName": SIGNER,
            "podName": "web-0", "podUID": POD_UID,
            "serviceAccountName": "web",
            "serviceAccountUID": "22222222-2222-2222-2222-222222222222",
            "nodeName": "node-0", "nodeUID": "33333333-3333-3333-3333-333333333333",
        },
    });
    set_key(world, &mut object, key, POD_UID);
    object
}

/// Puts `key` into a request as the release wants it.
pub fn set_key(world: &World, object: &mut Value, key: &KeyPair, pod_uid: &str) {
    if world.target.release >= Release::V1_36 {
        object["spec"]["stubPKCS10Request"] = STANDARD.encode(csr(key)).into();
    } else {
        object["spec"]["pkixPublicKey"] = STANDARD.encode(key.subject_public_key_info()).into();
        object["spec"]["proofOfPossession"] =
            STANDARD.encode(proof_of_possession(key, pod_uid)).into();
    }
}

/// The request, denied.
pub fn denied(world: &World, mut object: Value) -> Value {
    object["status"] = json!({"conditions": [{
        "type": "Denied", "status": "True", "reason": "Because", "message": "no",
        "lastTransitionTime": date(world.now()),
    }]});
    object
}

/// A certificate authority.
#[derive(Debug)]
pub struct Ca {
    params: CertificateParams,
    key: KeyPair,
    /// Its certificate.
    pub pem: String,
}

/// A P-256 authority with this common name.
pub fn ca(name: &str) -> Ca {
    let key = key(KeyType::P256);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    Ca {
        pem: certificate.pem(),
        params,
        key,
    }
}

/// A leaf for `key` with whole-second dates and these SANs (with `@` e-mail, else DNS), PEM.
pub fn leaf(ca: &Ca, key: &KeyPair, from: Timestamp, until: Timestamp, sans: &[&str]) -> String {
    leaf_with(ca, key, from, until, sans, Vec::new())
}

/// A leaf with further extensions.
pub fn leaf_with(
    ca: &Ca,
    key: &KeyPair,
    from: Timestamp,
    until: Timestamp,
    sans: &[&str],
    extensions: Vec<CustomExtension>,
) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = extensions;
    params.subject_alt_names = sans
        .iter()
        .map(|name| match name.contains('@') {
            true => SanType::Rfc822Name((*name).try_into().expect("an IA5String")),
            false => SanType::DnsName((*name).try_into().expect("an IA5String")),
        })
        .collect();
    let date = |at: Timestamp| {
        let base = rcgen::date_time_ymd(1970, 1, 1);
        base + std::time::Duration::from_secs(at.as_second().unsigned_abs())
    };
    params.not_before = date(from);
    params.not_after = date(until);
    let issuer = Issuer::from_params(&ca.params, &ca.key);
    params.signed_by(key, &issuer).expect("a certificate").pem()
}

/// A date as `metav1.Time` shows it: whole seconds.
pub fn date(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_over_p384_is_over_sha256() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let proof = proof_of_possession(&key, "uid");
        let public = key.public_key_raw();
        let verifies = |algorithm| {
            let key = signature::UnparsedPublicKey::new(algorithm, public);
            key.verify(b"uid", &proof).is_ok()
        };
        assert!(verifies(&signature::ECDSA_P384_SHA256_ASN1));
        assert!(!verifies(&signature::ECDSA_P384_SHA384_ASN1));
    }
}
