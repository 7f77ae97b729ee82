//! Keys in CSRs, from 1.36 on: whose keys and signatures count, and what else stands in them does
//! not.

use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, PublicKeyData as _};

use super::{csrs, der, set_stub};
use crate::Case;
use crate::material::{KeyType, csr, key};
use crate::requests::{accepted, refused, vectors};

pub(super) fn cases() -> Vec<Case> {
    [good(), bad()]
        .concat()
        .into_iter()
        .map(|case| case.only(csrs))
        .collect()
}

fn good() -> Vec<Case> {
    vec![
        accepted("request-csr/subject-does-not-matter", |_, object| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "victim");
            set_stub(object, &request_of(&params, &key(KeyType::P256)));
        }),
        accepted("request-csr/names-do-not-matter", |_, object| {
            let params = CertificateParams::new(vec!["victim.example.com".into()]).unwrap();
            set_stub(object, &request_of(&params, &key(KeyType::P256)));
        }),
        accepted("request-csr/extensions-do-not-matter", |_, object| {
            let mut params = CertificateParams::new(vec!["a".into()]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.custom_extensions = vec![CustomExtension::from_oid_content(
                &[1, 3, 6, 1, 4, 1, 1, 1],
                vec![5, 0],
            )];
            set_stub(object, &request_of(&params, &key(KeyType::Ed25519)));
        }),
        accepted("request-csr/p521-may-be-hashed-with-sha256", |_, object| {
            set_stub(object, &csr(&generate(&rcgen::PKCS_ECDSA_P521_SHA256)));
        }),
        accepted("request-csr/p521-may-be-hashed-with-sha384", |_, object| {
            set_stub(object, &csr(&generate(&rcgen::PKCS_ECDSA_P521_SHA384)));
        }),
        accepted("request-csr/of-nearly-10-kib-is-accepted", |_, object| {
            let mut params = CertificateParams::default();
            params.custom_extensions = vec![CustomExtension::from_oid_content(
                &[1, 3, 6, 1, 4, 1, 1, 1],
                vec![7; 9_900],
            )];
            set_stub(object, &request_of(&params, &key(KeyType::P256)));
        }),
    ]
}

fn bad() -> Vec<Case> {
    vec![
        refused(
            "request-csr/rsa-2048-is-refused",
            |_, object| set_stub(object, &csr(&key(KeyType::Rsa(2048)))),
            &[(
                STUB,
                "Invalid value: \"2048-bit modulus\": RSA keys must have modulus size 3072 or 4096",
            )],
        ),
        refused(
            "request-csr/p224-is-refused",
            |_, object| object["spec"]["stubPKCS10Request"] = vectors::P224_REQUEST.into(),
            &[(
                STUB,
                "Invalid value: \"curve P-224\": elliptic public keys must use curve P256, P384, or P521",
            )],
        ),
        refused(
            "request-csr/secp256k1-is-refused",
            |_, object| object["spec"]["stubPKCS10Request"] = vectors::SECP256K1_REQUEST.into(),
            &[(STUB, NO_CSR)],
        ),
        refused(
            "request-csr/dsa-is-refused",
            |_, object| object["spec"]["stubPKCS10Request"] = vectors::DSA_REQUEST.into(),
            &[(STUB, UNKNOWN_KEY)],
        ),
        refused(
            "request-csr/key-of-unknown-kind-is-refused",
            |_, object| {
                set_stub(object, &bare_request(&der::unknown_key()));
            },
            &[(STUB, UNKNOWN_KEY)],
        ),
        refused(
            "request-csr/key-off-its-curve-is-refused",
            |_, object| {
                let mut spki = key(KeyType::P256).subject_public_key_info();
                *spki.last_mut().unwrap() ^= 1;
                set_stub(object, &bare_request(&spki));
            },
            &[(STUB, NO_CSR)],
        ),
        refused(
            "request-csr/of-ed25519-not-signed-by-its-key-is-refused",
            |_, object| set_stub(object, &spoilt(csr(&key(KeyType::Ed25519)))),
            &[(STUB, "Invalid value: invalid signature")],
        ),
        refused(
            "request-csr/of-p256-not-signed-by-its-key-is-refused",
            |_, object| set_stub(object, &spoilt(csr(&key(KeyType::P256)))),
            &[(STUB, "Invalid value: invalid signature")],
        ),
        refused(
            "request-csr/of-p521-not-signed-by-its-key-is-refused",
            |_, object| set_stub(object, &spoilt(csr(&key(KeyType::P521)))),
            &[(STUB, "Invalid value: invalid signature")],
        ),
        refused(
            "request-csr/of-rsa-not-signed-by-its-key-is-refused",
            |_, object| set_stub(object, &spoilt(csr(&key(KeyType::Rsa(3072))))),
            &[(STUB, "Invalid value: invalid signature")],
        ),
        refused(
            "request-csr/signed-by-another-key-is-refused",
            |_, object| {
                // The key of one request in the other: both are of one length.
                let (mine, other) = (key(KeyType::Ed25519), key(KeyType::Ed25519));
                let bytes = replace(
                    csr(&mine),
                    &mine.subject_public_key_info(),
                    &other.subject_public_key_info(),
                );
                set_stub(object, &bytes);
            },
            &[(STUB, "Invalid value: invalid signature")],
        ),
        refused(
            "request-csr/trailing-bytes-are-refused",
            |_, object| set_stub(object, &[csr(&key(KeyType::P256)), vec![0]].concat()),
            &[(STUB, NO_CSR)],
        ),
        refused(
            "request-csr/cut-off-is-refused",
            |_, object| {
                let mut bytes = csr(&key(KeyType::P256));
                bytes.pop();
                set_stub(object, &bytes);
            },
            &[(STUB, NO_CSR)],
        ),
        refused(
            "request-csr/other-bytes-are-refused",
            |_, object| set_stub(object, b"nonsense"),
            &[(STUB, NO_CSR)],
        ),
        refused(
            "request-csr/pem-is-refused",
            |_, object| {
                let mut params = CertificateParams::default();
                params.distinguished_name = rcgen::DistinguishedName::new();
                let request = params.serialize_request(&key(KeyType::P256)).unwrap();
                set_stub(object, request.pem().unwrap().as_bytes());
            },
            &[(STUB, NO_CSR)],
        ),
        refused(
            "request-csr/has-10-kib-at-most",
            |_, object| set_stub(object, &[0; 10_241]),
            &[(STUB, "Too long: may not be more than 10240 bytes")],
        ),
        refused(
            "request-csr/of-10-kib-is-read",
            |_, object| set_stub(object, &[0; 10_240]),
            &[(STUB, NO_CSR)],
        ),
    ]
}

fn generate(algorithm: &'static rcgen::SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key")
}

fn request_of(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    params
        .serialize_request(key)
        .expect("a request")
        .der()
        .to_vec()
}

/// A bit of the signature flipped.
fn spoilt(mut der: Vec<u8>) -> Vec<u8> {
    *der.last_mut().expect("bytes") ^= 1;
    der
}

fn replace(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("what is replaced is there");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// A request with this key and a signature of zeros.
fn bare_request(spki: &[u8]) -> Vec<u8> {
    let info = der::element(
        0x30,
        &[
            der::element(2, &[vec![0]]),
            der::element(0x30, &[]),
            spki.to_vec(),
            der::element(0xa0, &[]),
        ],
    );
    let ecdsa_with_sha256 = vec![0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let algorithm = der::element(0x30, &[der::element(6, &[ecdsa_with_sha256])]);
    der::element(0x30, &[info, algorithm, der::element(3, &[vec![0; 9]])])
}

const STUB: &str = "spec.stubPKCS10Request";
const NO_CSR: &str = "Invalid value: must be a valid PKCS#10 CSR";
const UNKNOWN_KEY: &str =
    "Invalid value: unknown public key type; supported types are Ed25519, ECDSA, and RSA";
