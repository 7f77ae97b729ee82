//! The key of a request: in a CSR (from 1.36), or bare with a proof of possession (v1beta1).

mod csr;
mod der;
mod form;
mod proof;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::Value;

use crate::material::{KeyType, POD_UID, key, proof_of_possession, request};
use crate::{Case, Release, Target, World};

pub(super) fn cases() -> Vec<Case> {
    [kinds(), csr::cases(), proof::cases(), form::cases()].concat()
}

/// Keys that every release takes, in its own form.
fn kinds() -> Vec<Case> {
    [
        ("request-key/rsa-3072-is-accepted", KeyType::Rsa(3072)),
        ("request-key/rsa-4096-is-accepted", KeyType::Rsa(4096)),
        ("request-key/p256-is-accepted", KeyType::P256),
        ("request-key/p384-is-accepted", KeyType::P384),
        ("request-key/p521-is-accepted", KeyType::P521),
        ("request-key/ed25519-is-accepted", KeyType::Ed25519),
    ]
    .map(|(name, kind)| {
        Case::new(name, move |world: World| async move {
            let object = request(&world, "a", &key(kind));
            let created = world
                .admin()
                .post(&world.requests(), &object)
                .await
                .created();
            for field in ["stubPKCS10Request", "pkixPublicKey"] {
                assert_eq!(created["spec"][field], object["spec"][field], "{created}");
            }
        })
    })
    .into()
}

/// Whether the release knows CSRs.
fn csrs(target: Target) -> bool {
    target.release >= Release::V1_36
}

fn set_stub(object: &mut Value, der: &[u8]) {
    object["spec"]["stubPKCS10Request"] = STANDARD.encode(der).into();
}

/// Puts a bare key and its proof in place of what is there.
pub(super) fn set_bare(object: &mut Value, key: &KeyPair) {
    let proof = proof_of_possession(key, POD_UID);
    set_proof(object, &key.subject_public_key_info(), &proof);
}

/// As [`set_bare`], whether they fit or not.
fn set_proof(object: &mut Value, spki: &[u8], proof: &[u8]) {
    set_proof_text(object, &STANDARD.encode(spki), &STANDARD.encode(proof));
}

fn set_proof_text(object: &mut Value, spki: &str, proof: &str) {
    clear(object);
    object["spec"]["pkixPublicKey"] = spki.into();
    object["spec"]["proofOfPossession"] = proof.into();
}

fn clear(object: &mut Value) {
    let spec = object["spec"].as_object_mut().expect("a spec");
    for field in ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"] {
        spec.remove(field);
    }
}

const PKIX: &str = "spec.pkixPublicKey";
const PROOF: &str = "spec.proofOfPossession";
const UNPROVEN: &str = "Invalid value: could not verify proof-of-possession signature";
