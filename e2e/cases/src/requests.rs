//! PodCertificateRequests: what may be created, what may be changed, and what may be written into
//! their status.
//!
//! Who may do so (RBAC, `sign`, NodeRestriction) is another subject: everything here is done by an
//! administrator. Requests name pods that do not exist, which the server does not mind.

/// The grammar of names, as refusals tell it.
macro_rules! subdomain_rule {
    () => {
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    };
}
/// The refusal of a name that breaks it.
macro_rules! subdomain {
    ($value:literal) => {
        concat!("Invalid value: \"", $value, "\": ", subdomain_rule!())
    };
}
/// The grammar of labels.
macro_rules! label_rule {
    () => {
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    };
}
/// The grammar of what follows the domain in qualified names.
macro_rules! name_rule {
    () => {
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    };
}
/// The form of signer names.
macro_rules! signer_form {
    () => {
        "must be a fully qualified domain and path of the form 'example.com/signer-name'"
    };
}
/// The grammar of conditions' reasons.
macro_rules! reason_rule {
    () => {
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
    };
}

mod annotations;
mod create;
mod json;
mod keys;
mod lifetime;
mod pod;
mod scene;
mod signer;
mod status;
mod update;
mod vectors;
mod versions;

use serde_json::Value;

use crate::material::{KeyType, key, request};
use crate::{Answer, Case, Release, Target, World};

pub(crate) fn cases() -> Vec<Case> {
    [
        create::cases(),
        signer::cases(),
        pod::cases(),
        lifetime::cases(),
        annotations::cases(),
        json::cases(),
        keys::cases(),
        update::cases(),
        status::cases(),
        versions::cases(),
    ]
    .concat()
}

/// A field, and what is wrong with it; `{}` stands for a part that is not compared.
type Cause = (&'static str, &'static str);

fn since_1_37(target: Target) -> bool {
    target.release >= Release::V1_37
}

fn before_1_37(target: Target) -> bool {
    target.release < Release::V1_37
}

/// A proper request with a P-256 key, named `a`.
fn proper(world: &World) -> Value {
    request(world, "a", &key(KeyType::P256))
}

/// Creates what `change` makes of a proper request.
async fn create(world: &World, change: fn(&World, &mut Value)) -> Answer {
    let mut object = proper(world);
    change(world, &mut object);
    world.admin().post(&world.requests(), &object).await
}

/// Takes a field out of a part of an object.
fn remove(object: &mut Value, part: &str, field: &str) {
    object[part].as_object_mut().expect("a map").remove(field);
}

/// A case: the changed request is created.
fn accepted(name: &'static str, change: fn(&World, &mut Value)) -> Case {
    Case::new(name, move |world: World| async move {
        create(&world, change).await.created();
    })
}

/// A case: the changed request is refused with exactly these causes.
fn refused(name: &'static str, change: fn(&World, &mut Value), causes: &'static [Cause]) -> Case {
    Case::new(name, move |world: World| async move {
        invalid(&create(&world, change).await, causes);
    })
}

/// A case: the changed request is no proper JSON for its type, with this explanation.
fn malformed(name: &'static str, change: fn(&World, &mut Value), why: &'static str) -> Case {
    Case::new(name, move |world: World| async move {
        let answer = create(&world, change).await;
        unhandled(&world, &answer, why);
    })
}

/// A `422` about a PodCertificateRequest with exactly these causes, in any order.
#[track_caller]
fn invalid(answer: &Answer, causes: &[Cause]) {
    let message = answer.refused(422, "Invalid");
    assert!(
        message.starts_with("PodCertificateRequest.certificates.k8s.io \""),
        "{message}"
    );
    let mut found: Vec<&Value> = answer.body["details"]["causes"]
        .as_array()
        .expect("an Invalid has causes")
        .iter()
        .collect();
    for (field, expected) in causes {
        let index = found
            .iter()
            .position(|cause| cause["field"] == *field && says(&cause["message"], expected));
        match index {
            Some(index) => found.remove(index),
            None => panic!("no cause {field}: {expected}\n in {}", answer.body),
        };
    }
    assert!(found.is_empty(), "also {found:?}");
}

/// A `400` about JSON that does not fit the type.
#[track_caller]
fn unhandled(world: &World, answer: &Answer, why: &str) {
    let message = answer.refused(400, "BadRequest");
    let version = world.target.api.as_str();
    assert_eq!(
        message,
        format!(
            "PodCertificateRequest in version {version:?} cannot be handled as a PodCertificateRequest: {why}"
        )
    );
}

/// Whether a message is the expected one, `{}` standing for anything.
fn says(message: &Value, expected: &str) -> bool {
    let message = message.as_str().unwrap_or_default();
    match expected.split_once("{}") {
        None => message == expected,
        Some((before, after)) => {
            message.len() >= before.len() + after.len()
                && message.starts_with(before)
                && message.ends_with(after)
        }
    }
}
