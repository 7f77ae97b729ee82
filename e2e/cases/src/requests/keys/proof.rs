//! Bare public keys with proofs of possession, which v1beta1 takes on every release.

use rcgen::{KeyPair, PublicKeyData as _};

use super::{PKIX, PROOF, UNPROVEN, der, set_bare, set_proof, set_proof_text};
use crate::material::{KeyType, POD_UID, csr, key, proof_of_possession};
use crate::requests::{accepted, proper, refused, vectors};
use crate::{ApiVersion, Case, World};

pub(super) fn cases() -> Vec<Case> {
    [kinds(), salts(), proofs(), keys()]
        .concat()
        .into_iter()
        .map(|case| case.only(|target| target.api == ApiVersion::V1beta1))
        .collect()
}

fn kinds() -> Vec<Case> {
    [
        ("request-proof/rsa-3072-is-accepted", KeyType::Rsa(3072)),
        ("request-proof/rsa-4096-is-accepted", KeyType::Rsa(4096)),
        ("request-proof/p256-is-accepted", KeyType::P256),
        ("request-proof/p384-is-accepted", KeyType::P384),
        ("request-proof/p521-is-accepted", KeyType::P521),
        ("request-proof/ed25519-is-accepted", KeyType::Ed25519),
    ]
    .map(|(name, kind)| {
        Case::new(name, move |world: World| async move {
            let mut object = proper(&world);
            set_bare(&mut object, &key(kind));
            let created = world
                .admin()
                .post(&world.requests(), &object)
                .await
                .created();
            for field in ["pkixPublicKey", "proofOfPossession"] {
                assert_eq!(created["spec"][field], object["spec"][field], "{created}");
            }
        })
    })
    .into()
}

fn salts() -> Vec<Case> {
    vec![
        accepted(
            "request-proof/by-rsa-may-have-the-longest-salt",
            |_, object| {
                set_proof_text(object, vectors::RSA_KEY, vectors::RSA_PROOF_LONGEST_SALT);
            },
        ),
        accepted("request-proof/by-rsa-may-have-no-salt", |_, object| {
            set_proof_text(object, vectors::RSA_KEY, vectors::RSA_PROOF_NO_SALT);
        }),
    ]
}

fn proofs() -> Vec<Case> {
    vec![
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
    ]
}

fn keys() -> Vec<Case> {
    vec![
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
            &[(PKIX, NO_KEY)],
        ),
        refused(
            "request-public-key/is-no-csr",
            |_, object| set_proof(object, &csr(&key(KeyType::P256)), b"yes"),
            &[(PKIX, NO_KEY)],
        ),
        refused(
            "request-public-key/of-unknown-kind-is-refused",
            |_, object| {
                set_proof(object, &der::unknown_key(), b"yes");
            },
            &[(PKIX, NO_KEY)],
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
                set_bare(object, &key(KeyType::Rsa(2048)));
            },
            &[(
                PKIX,
                "Invalid value: \"2048-bit modulus\": RSA keys must have modulus size 3072 or 4096",
            )],
        ),
    ]
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

const NO_KEY: &str = "Invalid value: \"{}\": must be a valid PKIX-serialized public key";
