//! Whom a request is for: names and UIDs of the pod, its service account and its node.

use serde_json::Value;

use super::{accepted, refused, remove};
use crate::material::{KeyType, key, set_key};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    [names(), uids()].concat()
}

fn names() -> Vec<Case> {
    vec![
        refused(
            "request-pod/name-is-a-subdomain",
            |_, object| object["spec"]["podName"] = "A".into(),
            &[("spec.podName", subdomain!("A"))],
        ),
        refused(
            "request-pod/name-is-not-empty",
            |_, object| object["spec"]["podName"] = "".into(),
            &[("spec.podName", subdomain!(""))],
        ),
        refused(
            "request-pod/name-has-253-characters-at-most",
            |_, object| object["spec"]["podName"] = "a".repeat(254).into(),
            &[(
                "spec.podName",
                "Invalid value: \"{}\": must be no more than 253 characters",
            )],
        ),
        refused(
            "request-service-account/name-is-a-subdomain",
            |_, object| object["spec"]["serviceAccountName"] = "not ok".into(),
            &[("spec.serviceAccountName", subdomain!("not ok"))],
        ),
        refused(
            "request-service-account/name-is-not-empty",
            |_, object| remove(object, "spec", "serviceAccountName"),
            &[("spec.serviceAccountName", subdomain!(""))],
        ),
        refused(
            "request-service-account/name-has-253-characters-at-most",
            |_, object| object["spec"]["serviceAccountName"] = "a".repeat(254).into(),
            &[(
                "spec.serviceAccountName",
                "Invalid value: \"{}\": must be no more than 253 characters",
            )],
        ),
        refused(
            "request-node/name-is-a-subdomain",
            |_, object| object["spec"]["nodeName"] = "-a".into(),
            &[("spec.nodeName", subdomain!("-a"))],
        ),
        refused(
            "request-node/name-is-not-empty",
            |_, object| remove(object, "spec", "nodeName"),
            &[("spec.nodeName", subdomain!(""))],
        ),
        refused(
            "request-node/name-has-253-characters-at-most",
            |_, object| object["spec"]["nodeName"] = "a".repeat(254).into(),
            &[(
                "spec.nodeName",
                "Invalid value: \"{}\": must be no more than 253 characters",
            )],
        ),
        accepted(
            "request-pod/names-may-have-253-characters-and-dots",
            |_, object| {
                let name = format!("a.{}", "b".repeat(251));
                for field in ["podName", "serviceAccountName", "nodeName"] {
                    object["spec"][field] = name.clone().into();
                }
            },
        ),
    ]
}

fn uids() -> Vec<Case> {
    vec![
        refused(
            "request-pod/uid-is-not-empty",
            |world, object| set_pod_uid(world, object, ""),
            &[("spec.podUID", "Invalid value: \"\": must not be empty")],
        ),
        refused(
            "request-service-account/uid-is-not-empty",
            |_, object| remove(object, "spec", "serviceAccountUID"),
            &[(
                "spec.serviceAccountUID",
                "Invalid value: \"\": must not be empty",
            )],
        ),
        refused(
            "request-node/uid-is-not-empty",
            |_, object| object["spec"]["nodeUID"] = "".into(),
            &[("spec.nodeUID", "Invalid value: \"\": must not be empty")],
        ),
        refused(
            "request-pod/uid-has-128-bytes-at-most",
            |world, object| set_pod_uid(world, object, &"x".repeat(129)),
            &[("spec.podUID", "Too long: may not be more than 128 bytes")],
        ),
        refused(
            "request-service-account/uid-has-128-bytes-at-most",
            |_, object| object["spec"]["serviceAccountUID"] = "x".repeat(129).into(),
            &[(
                "spec.serviceAccountUID",
                "Too long: may not be more than 128 bytes",
            )],
        ),
        refused(
            "request-node/uid-has-128-bytes-at-most",
            |_, object| object["spec"]["nodeUID"] = "x".repeat(129).into(),
            &[("spec.nodeUID", "Too long: may not be more than 128 bytes")],
        ),
        refused(
            "request-node/uid-is-counted-in-bytes",
            |_, object| object["spec"]["nodeUID"] = "é".repeat(65).into(),
            &[("spec.nodeUID", "Too long: may not be more than 128 bytes")],
        ),
        accepted("request-pod/uids-may-be-any-128-bytes", |world, object| {
            set_pod_uid(world, object, &"!".repeat(128));
            object["spec"]["serviceAccountUID"] = "é".repeat(64).into();
            object["spec"]["nodeUID"] = "/".into();
        }),
    ]
}

/// Sets the pod's UID, with a key and where it belongs a proof that fit.
fn set_pod_uid(world: &World, object: &mut Value, uid: &str) {
    object["spec"]["podUID"] = uid.into();
    set_key(world, object, &key(KeyType::P256), uid);
}
