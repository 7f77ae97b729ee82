//! In which form a key comes, and how much of it: a CSR, or a public key and its proof.

use serde_json::Value;

use super::{PKIX, PROOF, UNPROVEN, clear, csrs, set_bare, set_stub};
use crate::material::{KeyType, csr, key};
use crate::requests::{Cause, create, proper, refused, remove};
use crate::{ApiVersion, Case, Release, Target, World};

pub(super) fn cases() -> Vec<Case> {
    [forms(), before_stubs()].concat()
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
                let mut object = proper(&world);
                set_bare(&mut object, &key(KeyType::P256));
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

/// Whether the version knows both forms.
fn both(target: Target) -> bool {
    csrs(target) && target.api == ApiVersion::V1beta1
}

/// Both forms of one key.
fn set_both(object: &mut Value) {
    let key = key(KeyType::P256);
    set_bare(object, &key);
    set_stub(object, &csr(&key));
}

const ONE_FORM: &[Cause] = &[(
    "spec",
    "Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
)];
