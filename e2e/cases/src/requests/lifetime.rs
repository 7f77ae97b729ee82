//! How long a certificate a request may ask for.

use serde_json::Value;

use super::{accepted, create, refused};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        refused(
            "request-lifetime/is-an-hour-at-least",
            |_, object| object["spec"]["maxExpirationSeconds"] = 3599.into(),
            &[(
                MAX,
                "Invalid value: 3599: must be in the range [3600, 7862400]",
            )],
        ),
        refused(
            "request-lifetime/is-91-days-at-most",
            |_, object| object["spec"]["maxExpirationSeconds"] = 7_862_401.into(),
            &[(
                MAX,
                "Invalid value: 7862401: must be in the range [3600, 7862400]",
            )],
        ),
        refused(
            "request-lifetime/zero-is-no-default",
            |_, object| object["spec"]["maxExpirationSeconds"] = 0.into(),
            &[(
                MAX,
                "Invalid value: 0: must be in the range [3600, 7862400]",
            )],
        ),
        refused(
            "request-lifetime/is-not-negative",
            |_, object| object["spec"]["maxExpirationSeconds"] = (-86_400).into(),
            &[(
                MAX,
                "Invalid value: -86400: must be in the range [3600, 7862400]",
            )],
        ),
        accepted("request-lifetime/may-be-an-hour", |_, object| {
            object["spec"]["maxExpirationSeconds"] = 3600.into();
        }),
        accepted("request-lifetime/may-be-91-days", |_, object| {
            object["spec"]["maxExpirationSeconds"] = 7_862_400.into();
        }),
        Case::new(
            "request-lifetime/null-is-the-default",
            |world: World| async move {
                let created = create(&world, |_, object| {
                    object["spec"]["maxExpirationSeconds"] = Value::Null;
                })
                .await
                .created();
                assert_eq!(created["spec"]["maxExpirationSeconds"], 86_400);
            },
        ),
        refused(
            "request-lifetime/for-kubernetes-signers-is-a-day-at-most",
            |_, object| {
                object["spec"]["signerName"] = "kubernetes.io/any".into();
                object["spec"]["maxExpirationSeconds"] = 86_401.into();
            },
            &[(
                MAX,
                "Invalid value: 86401: must be in the range [3600, 86400]",
            )],
        ),
        refused(
            "request-lifetime/for-kubernetes-subdomains-is-a-day-at-most",
            |_, object| {
                object["spec"]["signerName"] = "sub.kubernetes.io/any".into();
                object["spec"]["maxExpirationSeconds"] = 86_401.into();
            },
            &[(
                MAX,
                "Invalid value: 86401: must be in the range [3600, 86400]",
            )],
        ),
        accepted(
            "request-lifetime/for-kubernetes-signers-may-be-a-day",
            |_, object| {
                object["spec"]["signerName"] = "kubernetes.io/any".into();
                object["spec"]["maxExpirationSeconds"] = 86_400.into();
            },
        ),
        accepted(
            "request-lifetime/of-like-named-signers-is-not-limited",
            |_, object| {
                object["spec"]["signerName"] = "notkubernetes.io/any".into();
                object["spec"]["maxExpirationSeconds"] = 86_401.into();
            },
        ),
    ]
}

const MAX: &str = "spec.maxExpirationSeconds";
