//! The key of a request: in a CSR (from 1.36), or bare with a proof of possession (v1beta1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, PublicKeyData as _};
use serde_json::Value;

use super::{Cause, accepted, create, refused, remove, vectors};
use crate::material::{KeyType, POD_UID, csr, key, proof_of_possession, request};
use crate::{ApiVersion, Case, Release, Target, World};

pub(super) fn cases() -> Vec<Case> {
    [kinds(), stubs(), proofs(), forms(), before_stubs()].concat()
}

/// Keys that every release takes, in its own form.
fn kinds() -> Vec<Case> {
    macro_rules! kind {
        ($name:literal, $kind:expr) => {
            Case::new($name, |world: World| async move {
                let object = request(&world, "a", &key($kind));
                let created = world
                    .admin()
                    .post(&world.requests(), &object)
                    .await
                    .created();
                assert_eq!(
                    created["spec"]["stubPKCS10Request"],
                    object["spec"]["stubPKCS10Request"]
                );
                assert_eq!(
                    created["spec"]["pkixPublicKey"],
                    object["spec"]["pkixPublicKey"]
                );
            })
        };
    }
    vec![
        kind!("request-key/rsa-3072-is-accepted", KeyType::Rsa(3072)),
        kind!("request-key/rsa-4096-is-accepted", KeyType::Rsa(4096)),
        kind!("request-key/p256-is-accepted", KeyType::P256),
        kind!("request-key/p384-is-accepted", KeyType::P384),
        kind!("request-key/p521-is-accepted", KeyType::P521),
        kind!("request-key/ed25519-is-accepted", KeyType::Ed25519),
    ]
}

/// CSRs.
fn stubs() -> Vec<Case> {
    let good: Vec<Case> = vec![
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
    ];
    let bad: Vec<Case> = vec![
        bad_stub(
            "request-csr/rsa-2048-is-refused",
            |object| set_stub(object, &csr(&key(KeyType::Rsa(2048)))),
            &[(
                STUB,
                "Invalid value: \"2048-bit modulus\": RSA keys must have modulus size 3072 or 4096",
            )],
        ),
        bad_stub(
            "request-csr/p224-is-refused",
            |object| object["spec"]["stubPKCS10Request"] = vectors::P224_REQUEST.into(),
            &[(
                STUB,
                "Invalid value: \"curve P-224\": elliptic public keys must use curve P256, P384, or P521",
            )],
        ),
        bad_stub(
            "request-csr/secp256k1-is-refused",
            |object| object["spec"]["stubPKCS10Request"] = vectors::SECP256K1_REQUEST.into(),
            &[(STUB, NO_CSR)],
        ),
        bad_stub(
            "request-csr/dsa-is-refused",
            |object| object["spec"]["stubPKCS10Request"] = vectors::DSA_REQUEST.into(),
            &[(STUB, UNKNOWN_KEY)],
        ),
        bad_stub(
            "request-csr/key-of-unknown-kind-is-refused",
            |object| {
                let algorithm = der_element(0x30, &[der_element(6, &[vec![0x2a, 3, 4]])]);
                let spki = der_element(0x30, &[algorithm, der_element(3, &[vec![0, 1, 2, 3]])]);
                set_stub(object, &bare_request(&spki));
            },
            &[(STUB, UNKNOWN_KEY)],
        ),
        bad_stub(
            "request-csr/key-off-its-curve-is-refused",
            |object| {
                let mut spki = key(KeyType::P256).subject_public_key_info();
                *spki.last_mut().unwrap() ^= 1;
                set_stub(object, &bare_request(&spki));
            },
            &[(STUB, NO_CSR)],
        ),
        bad_stub(
            "request-csr/of-ed25519-not-signed-by-its-key-is-refused",
            |object| set_stub(object, &spoilt(csr(&key(KeyType::Ed25519)))),
            &[(STUB, "Invalid value: invalid signature")],
        ),
        bad_stub(
            "request-csr/of-p256-not-signed-by-its-key-is-refused",
            |object| set_stub(object, &spoilt(csr(&key(KeyType::P256)))),
            &[(STUB, "Invalid value: invalid signature")],
        ),
        bad_stub(
            "request-csr/of-p521-not-signed-by-its-key-is-refused",
            |object| set_stub(object, &spoilt(csr(&key(KeyType::P521)))),
            &[(STUB, "Invalid value: invalid signature")],
        ),
        bad_stub(
            "request-csr/of-rsa-not-signed-by-its-key-is-refused",
            |object| set_stub(object, &spoilt(csr(&key(KeyType::Rsa(3072))))),
            &[(STUB, "Invalid value: invalid signature")],
        ),
        bad_stub(
            "request-csr/signed-by-another-key-is-refused",
            |object| {
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
        bad_stub(
            "request-csr/trailing-bytes-are-refused",
            |object| set_stub(object, &[csr(&key(KeyType::P256)), vec![0]].concat()),
            &[(STUB, NO_CSR)],
        ),
        bad_stub(
            "request-csr/cut-off-is-refused",
            |object| {
                let mut bytes = csr(&key(KeyType::P256));
                bytes.pop();
                set_stub(object, &bytes);
            },
            &[(STUB, NO_CSR)],
        ),
        bad_stub(
            "request-csr/other-bytes-are-refused",
            |object| set_stub(object, b"nonsense"),
            &[(STUB, NO_CSR)],
        ),
        bad_stub(
            "request-csr/pem-is-refused",
            |object| {
                let mut params = CertificateParams::default();
                params.distinguished_name = rcgen::DistinguishedName::new();
                let request = params.serialize_request(&key(KeyType::P256)).unwrap();
                set_stub(object, request.pem().unwrap().as_bytes());
            },
            &[(STUB, NO_CSR)],
        ),
        bad_stub(
            "request-csr/has-10-kib-at-most",
            |object| set_stub(object, &[0; 10_241]),
            &[(STUB, "Too long: may not be more than 10240 bytes")],
        ),
        bad_stub(
            "request-csr/of-10-kib-is-read",
            |object| set_stub(object, &[0; 10_240]),
            &[(STUB, NO_CSR)],
        ),
        accepted("request-csr/of-nearly-10-kib-is-accepted", |_, object| {
            let mut params = CertificateParams::default();
            params.custom_extensions = vec![CustomExtension::from_oid_content(
                &[1, 3, 6, 1, 4, 1, 1, 1],
                vec![7; 9_900],
            )];
            set_stub(object, &request_of(&params, &key(KeyType::P256)));
        }),
    ];
    good.into_iter()
        .chain(bad)
        .map(|case| case.only(|target| target.release >= Release::V1_36))
        .collect()
}

/// Bare keys with proofs, at v1beta1 on every release.
fn proofs() -> Vec<Case> {
    macro_rules! kind {
        ($name:literal, $kind:expr) => {
            Case::new($name, |world: World| async move {
                let mut object = super::proper(&world);
                let key = key($kind);
                let proof = proof_of_possession(&key, POD_UID);
                set_proof(&mut object, &key.subject_public_key_info(), &proof);
                let created = world
                    .admin()
                    .post(&world.requests(), &object)
                    .await
                    .created();
                for field in ["pkixPublicKey", "proofOfPossession"] {
                    assert_eq!(created["spec"][field], object["spec"][field], "{created}");
                }
            })
        };
    }
    let good = vec![
        kind!("request-proof/rsa-3072-is-accepted", KeyType::Rsa(3072)),
        kind!("request-proof/rsa-4096-is-accepted", KeyType::Rsa(4096)),
        kind!("request-proof/p256-is-accepted", KeyType::P256),
        kind!("request-proof/p384-is-accepted", KeyType::P384),
        kind!("request-proof/p521-is-accepted", KeyType::P521),
        kind!("request-proof/ed25519-is-accepted", KeyType::Ed25519),
        accepted(
            "request-proof/by-rsa-may-have-the-longest-salt",
            |_, object| {
                set_proof_text(object, vectors::RSA_KEY, vectors::RSA_PROOF_LONGEST_SALT);
            },
        ),
        accepted("request-proof/by-rsa-may-have-no-salt", |_, object| {
            set_proof_text(object, vectors::RSA_KEY, vectors::RSA_PROOF_NO_SALT);
        }),
    ];
    let bad = vec![
        refused(
            "request-proof/by-rsa-is-over-sha256",
            |_, object| set_proof_text(object, vectors::RSA_KEY, vectors::RSA_PROOF_SHA384),
            &[(PROOF, UNPROVEN)],
        ),
        refused(
            "request-proof/by-rsa-is-pss",
            |_, object| {
                let key = key(KeyType::Rsa(3072));
                let proof = pkcs1(&key);
                set_proof(object, &key.subject_public_key_info(), &proof);
            },
            &[(PROOF, UNPROVEN)],
        ),
        refused(
            "request-proof/by-ecdsa-is-over-sha256",
            |_, object| {
                let key = key(KeyType::P384);
                let proof = ecdsa(&key, &aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING);
                set_proof(object, &key.subject_public_key_info(), &proof);
            },
            &[(PROOF, UNPROVEN)],
        ),
        refused(
            "request-proof/by-ecdsa-is-asn1",
            |_, object| {
                let key = key(KeyType::P256);
                let proof = ecdsa(&key, &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING);
                set_proof(object, &key.subject_public_key_info(), &proof);
            },
            &[(PROOF, UNPROVEN)],
        ),
        refused(
            "request-proof/is-over-the-pods-uid",
            |_, object| {
                let key = key(KeyType::Ed25519);
                let proof = proof_of_possession(&key, "another");
                set_proof(object, &key.subject_public_key_info(), &proof);
            },
            &[(PROOF, UNPROVEN)],
        ),
        refused(
            "request-proof/is-by-the-key-itself",
            |_, object| {
                let proof = proof_of_possession(&key(KeyType::P256), POD_UID);
                set_proof(
                    object,
                    &key(KeyType::P256).subject_public_key_info(),
                    &proof,
                );
            },
            &[(PROOF, UNPROVEN)],
        ),
        refused(
            "request-proof/is-by-the-rsa-key-itself",
            |_, object| {
                let proof = proof_of_possession(&key(KeyType::Rsa(3072)), POD_UID);
                set_proof(
                    object,
                    &key(KeyType::Rsa(3072)).subject_public_key_info(),
                    &proof,
                );
            },
            &[(PROOF, UNPROVEN)],
        ),
        refused(
            "request-proof/is-a-signature",
            |_, object| {
                set_proof(
                    object,
                    &key(KeyType::P521).subject_public_key_info(),
                    b"yes",
                );
            },
            &[(PROOF, UNPROVEN)],
        ),
        refused(
            "request-proof/has-10-kib-at-most",
            |_, object| {
                set_proof(
                    object,
                    &key(KeyType::P256).subject_public_key_info(),
                    &[0; 10_241],
                );
            },
            &[(PROOF, "Too long: may not be more than 10240 bytes")],
        ),
        refused(
            "request-public-key/has-10-kib-at-most",
            |_, object| set_proof(object, &[0; 10_241], &[0; 10_241]),
            &[(PKIX, "Too long: may not be more than 10240 bytes")],
        ),
        refused(
            "request-public-key/is-a-key",
            |_, object| set_proof(object, &[0, 0, 0], b"yes"),
            &[(
                PKIX,
                "Invalid value: \"AAAA\": must be a valid PKIX-serialized public key",
            )],
        ),
        refused(
            "request-public-key/has-no-trailing-bytes",
            |_, object| {
                let bytes = [key(KeyType::P256).subject_public_key_info(), vec![0]].concat();
                set_proof(object, &bytes, b"yes");
            },
            &[(
                PKIX,
                "Invalid value: \"{}\": must be a valid PKIX-serialized public key",
            )],
        ),
        refused(
            "request-public-key/is-no-csr",
            |_, object| set_proof(object, &csr(&key(KeyType::P256)), b"yes"),
            &[(
                PKIX,
                "Invalid value: \"{}\": must be a valid PKIX-serialized public key",
            )],
        ),
        refused(
            "request-public-key/of-unknown-kind-is-refused",
            |_, object| {
                let algorithm = der_element(0x30, &[der_element(6, &[vec![0x2a, 3, 4]])]);
                let spki = der_element(0x30, &[algorithm, der_element(3, &[vec![0, 1, 2, 3]])]);
                set_proof(object, &spki, b"yes");
            },
            &[(
                PKIX,
                "Invalid value: \"{}\": must be a valid PKIX-serialized public key",
            )],
        ),
        refused(
            "request-public-key/of-x25519-is-refused",
            |_, object| set_proof_text(object, vectors::X25519_KEY, "AAAA"),
            &[(
                PKIX,
                "Invalid value: \"MCowBQYDK2VuAyEAI0TIzgluRxCNbviqT4Q/gUgRZuYFRFhELqxnLnttll4=\": unknown public key type; supported types are Ed25519, ECDSA, and RSA",
            )],
        ),
        refused(
            "request-public-key/of-dsa-is-refused",
            |_, object| set_proof_text(object, vectors::DSA_KEY, "AAAA"),
            &[(
                PKIX,
                "Invalid value: \"{}\": unknown public key type; supported types are Ed25519, ECDSA, and RSA",
            )],
        ),
        refused(
            "request-public-key/of-p224-is-refused",
            |_, object| set_proof_text(object, vectors::P224_KEY, vectors::P224_PROOF),
            &[(
                PKIX,
                "Invalid value: \"curve P-224\": elliptic public keys must use curve P256 or P384",
            )],
        ),
        refused(
            "request-public-key/of-rsa-2048-is-refused",
            |_, object| {
                let key = key(KeyType::Rsa(2048));
                let proof = proof_of_possession(&key, POD_UID);
                set_proof(object, &key.subject_public_key_info(), &proof);
            },
            &[(
                PKIX,
                "Invalid value: \"2048-bit modulus\": RSA keys must have modulus size 3072 or 4096",
            )],
        ),
    ];
    good.into_iter()
        .chain(bad)
        .map(|case| case.only(|target| target.api == ApiVersion::V1beta1))
        .collect()
}

/// Which of the two forms, and how much of them.
fn forms() -> Vec<Case> {
    vec![
        refused(
            "request-form/one-is-needed",
            |_, object| clear(object),
            ONE_FORM,
        )
        .only(csrs),
        refused(
            "request-form/empty-csr-is-none",
            |_, object| {
                clear(object);
                object["spec"]["stubPKCS10Request"] = "".into();
            },
            ONE_FORM,
        )
        .only(csrs),
        refused(
            "request-form/both-are-too-many",
            |_, object| set_both(object),
            ONE_FORM,
        )
        .only(both),
        refused(
            "request-form/csr-with-public-key-is-too-much",
            |_, object| {
                set_both(object);
                remove(object, "spec", "proofOfPossession");
            },
            ONE_FORM,
        )
        .only(both),
        refused(
            "request-form/csr-with-proof-is-too-much",
            |_, object| {
                set_both(object);
                remove(object, "spec", "pkixPublicKey");
            },
            ONE_FORM,
        )
        .only(both),
        refused(
            "request-form/public-key-without-proof-is-too-little",
            |_, object| {
                set_both(object);
                remove(object, "spec", "stubPKCS10Request");
                remove(object, "spec", "proofOfPossession");
            },
            ONE_FORM,
        )
        .only(csrs),
        refused(
            "request-form/proof-without-public-key-is-too-little",
            |_, object| {
                set_both(object);
                remove(object, "spec", "stubPKCS10Request");
                remove(object, "spec", "pkixPublicKey");
            },
            ONE_FORM,
        )
        .only(csrs),
        refused(
            "request-form/v1-knows-no-public-key",
            |_, object| {
                set_both(object);
                remove(object, "spec", "stubPKCS10Request");
            },
            ONE_FORM,
        )
        .only(|target| target.api == ApiVersion::V1),
        Case::new(
            "request-form/v1-ignores-a-public-key-beside-the-csr",
            |world: World| async move {
                let created = create(&world, |_, object| set_both(object)).await.created();
                let spec = created["spec"].as_object().unwrap();
                assert!(!spec.contains_key("pkixPublicKey"), "{created}");
                assert!(!spec.contains_key("proofOfPossession"), "{created}");
            },
        )
        .only(|target| target.api == ApiVersion::V1),
        Case::new(
            "request-form/public-key-is-shown-as-null-when-there-is-none",
            |world: World| async move {
                let created = create(&world, |_, _| {}).await.created();
                for field in ["pkixPublicKey", "proofOfPossession"] {
                    assert_eq!(created["spec"].get(field), Some(&Value::Null), "{created}");
                }
            },
        )
        .only(both),
        Case::new(
            "request-form/csr-is-shown-as-null-when-there-is-none",
            |world: World| async move {
                let mut object = super::proper(&world);
                let key = key(KeyType::P256);
                let proof = proof_of_possession(&key, POD_UID);
                set_proof(&mut object, &key.subject_public_key_info(), &proof);
                let created = world
                    .admin()
                    .post(&world.requests(), &object)
                    .await
                    .created();
                assert_eq!(created["spec"].get("stubPKCS10Request"), Some(&Value::Null));
            },
        )
        .only(both),
    ]
}

/// 1.35, which has never heard of CSRs.
fn before_stubs() -> Vec<Case> {
    vec![
        refused(
            "request-form/before-1-36-a-csr-is-no-key",
            |_, object| {
                clear(object);
                set_stub(object, &csr(&key(KeyType::P256)));
            },
            &[(
                PKIX,
                "Invalid value: {}: must be a valid PKIX-serialized public key",
            )],
        ),
        refused(
            "request-form/before-1-36-a-public-key-is-needed",
            |_, object| clear(object),
            &[(
                PKIX,
                "Invalid value: {}: must be a valid PKIX-serialized public key",
            )],
        ),
        refused(
            "request-form/before-1-36-a-proof-is-needed",
            |_, object| remove(object, "spec", "proofOfPossession"),
            &[(PROOF, UNPROVEN)],
        ),
        Case::new(
            "request-form/before-1-36-a-csr-is-dropped",
            |world: World| async move {
                let created = create(&world, |_, object| {
                    set_stub(object, &csr(&key(KeyType::P256)));
                })
                .await
                .created();
                let spec = created["spec"].as_object().unwrap();
                assert!(!spec.contains_key("stubPKCS10Request"), "{created}");
            },
        ),
    ]
    .into_iter()
    .map(|case| case.only(|target| target.release < Release::V1_36))
    .collect()
}

fn csrs(target: Target) -> bool {
    target.release >= Release::V1_36
}

/// Whether the version knows both forms.
fn both(target: Target) -> bool {
    csrs(target) && target.api == ApiVersion::V1beta1
}

fn bad_stub(name: &'static str, spoil: fn(&mut Value), causes: &'static [Cause]) -> Case {
    Case::new(name, move |world: World| async move {
        let mut object = super::proper(&world);
        spoil(&mut object);
        let answer = world.admin().post(&world.requests(), &object).await;
        super::invalid(&answer, causes);
    })
}

fn set_stub(object: &mut Value, der: &[u8]) {
    object["spec"]["stubPKCS10Request"] = STANDARD.encode(der).into();
}

/// Puts a bare key and its proof in place of what is there.
fn set_proof(object: &mut Value, spki: &[u8], proof: &[u8]) {
    set_proof_text(object, &STANDARD.encode(spki), &STANDARD.encode(proof));
}

fn set_proof_text(object: &mut Value, spki: &str, proof: &str) {
    clear(object);
    object["spec"]["pkixPublicKey"] = spki.into();
    object["spec"]["proofOfPossession"] = proof.into();
}

/// Both forms of one key.
fn set_both(object: &mut Value) {
    let key = key(KeyType::P256);
    let proof = proof_of_possession(&key, POD_UID);
    set_proof(object, &key.subject_public_key_info(), &proof);
    set_stub(object, &csr(&key));
}

fn clear(object: &mut Value) {
    let spec = object["spec"].as_object_mut().expect("a spec");
    for field in ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"] {
        spec.remove(field);
    }
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

fn ecdsa(
    key: &KeyPair,
    algorithm: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm,
) -> Vec<u8> {
    aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(algorithm, &key.serialize_der())
        .expect("a key")
        .sign(&aws_lc_rs::rand::SystemRandom::new(), POD_UID.as_bytes())
        .expect("a signature")
        .as_ref()
        .to_vec()
}

/// A proof as RSA signed before PSS.
fn pkcs1(key: &KeyPair) -> Vec<u8> {
    let pair = aws_lc_rs::signature::RsaKeyPair::from_pkcs8(&key.serialize_der()).expect("a key");
    let mut proof = vec![0; pair.public_modulus_len()];
    pair.sign(
        &aws_lc_rs::signature::RSA_PKCS1_SHA256,
        &aws_lc_rs::rand::SystemRandom::new(),
        POD_UID.as_bytes(),
        &mut proof,
    )
    .expect("a signature");
    proof
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
    let info = der_element(
        0x30,
        &[
            der_element(2, &[vec![0]]),
            der_element(0x30, &[]),
            spki.to_vec(),
            der_element(0xa0, &[]),
        ],
    );
    let ecdsa_with_sha256 = vec![0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let algorithm = der_element(0x30, &[der_element(6, &[ecdsa_with_sha256])]);
    der_element(0x30, &[info, algorithm, der_element(3, &[vec![0; 9]])])
}

/// A DER element of a tag and its parts.
fn der_element(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = u8::try_from(content.len()).expect("a short element");
    let mut bytes = match length {
        0..128 => vec![tag, length],
        _ => vec![tag, 0x81, length],
    };
    bytes.extend(content);
    bytes
}

const STUB: &str = "spec.stubPKCS10Request";
const PKIX: &str = "spec.pkixPublicKey";
const PROOF: &str = "spec.proofOfPossession";
const NO_CSR: &str = "Invalid value: must be a valid PKCS#10 CSR";
const UNKNOWN_KEY: &str =
    "Invalid value: unknown public key type; supported types are Ed25519, ECDSA, and RSA";
const UNPROVEN: &str = "Invalid value: could not verify proof-of-possession signature";
const ONE_FORM: &[Cause] = &[(
    "spec",
    "Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
)];
