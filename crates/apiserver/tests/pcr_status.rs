//! What may be written into a PodCertificateRequest once it exists: one test per rule.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::certificates::*;
use common::*;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client};
use podcert_apiserver::{Attributes, Authorizer, Permission, User};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// A created request, its key and a CA.
struct Scene {
    requests: Api<PodCertificateRequest>,
    client: Client,
    created: PodCertificateRequest,
    key: KeyPair,
    ca: Ca,
}

async fn scene() -> Scene {
    let (_, client) = world();
    scene_in(client).await
}

async fn scene_in(client: Client) -> Scene {
    let requests: Api<PodCertificateRequest> = Api::default_namespaced(client.clone());
    let key = p256();
    let created = requests
        .create(&post(), &request("a", &key))
        .await
        .expect("created");
    Scene {
        requests,
        client,
        created,
        key,
        ca: ca("root"),
    }
}

impl Scene {
    /// The status of a certificate valid for a day from two minutes ago.
    fn issued(&self) -> Value {
        self.issued_between(-120, 86_400 - 120)
    }

    fn issued_between(&self, not_before: i64, not_after: i64) -> Value {
        json!({
            "conditions": [condition("Issued")],
            "certificateChain": leaf(&self.ca, &self.key, not_before, not_after, &["web.ns.svc"]),
            "notBefore": at(not_before),
            "beginRefreshAt": at(i64::midpoint(not_before, not_after)),
            "notAfter": at(not_after),
        })
    }

    async fn write(&self, status: Value) -> kube::Result<PodCertificateRequest> {
        let object = json!({
            "metadata": {"name": "a", "resourceVersion": self.created.metadata.resource_version},
            "status": status,
        });
        let path =
            "/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests/a/status";
        let request = http::Request::put(path)
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("a request");
        self.client.request(request).await
    }

    async fn refused(&self, status: Value) -> Status {
        refusal(self.write(status).await)
    }
}

/// One cause, with this field and message; `{}` in the message stands for the value.
fn assert_cause(status: &Status, field: &str, message: &str) {
    let causes = causes(status);
    assert_eq!(causes.len(), 1, "{causes:?}");
    assert_eq!(causes[0].0, field);
    match message.split_once("{}") {
        None => assert_eq!(causes[0].1, message),
        Some((before, after)) => assert!(
            causes[0].1.starts_with(before) && causes[0].1.ends_with(after),
            "{causes:?}"
        ),
    }
}

/// The rule refuses an issued status changed like this.
macro_rules! rule {
    ($name:ident, $change:expr, $field:expr, $message:expr) => {
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let scene = scene().await;
            let mut status = scene.issued();
            let change: fn(&Scene, &mut Value) = $change;
            change(&scene, &mut status);
            assert_cause(&scene.refused(status).await, $field, $message);
        }
    };
}

#[tokio::test(start_paused = true)]
async fn a_proper_certificate_is_stored_and_nothing_else_is_touched() {
    let scene = scene().await;
    let mut change = scene.created.clone();
    change.status = from(scene.issued());
    change.spec.signer_name = "example.com/other".into();
    change.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let after = scene
        .requests
        .replace_status("a", &post(), &change)
        .await
        .expect("issued");
    assert_eq!(after.spec, scene.created.spec);
    assert_eq!(after.metadata.labels, None);
    assert_eq!(after.status, change.status);
    assert_ne!(
        after.metadata.resource_version,
        scene.created.metadata.resource_version
    );
}

#[tokio::test(start_paused = true)]
async fn intermediates_may_follow_and_need_not_be_linked() {
    let scene = scene().await;
    let mut status = scene.issued();
    let chain = status["certificateChain"]
        .as_str()
        .expect("a chain")
        .to_owned();
    status["certificateChain"] = format!("{chain}{}", ca("stranger").pem).into();
    scene.write(status).await.expect("issued");
}

#[tokio::test(start_paused = true)]
async fn denied_and_failed_carry_a_condition_alone() {
    for kind in ["Denied", "Failed"] {
        let scene = scene().await;
        let mut status = scene.issued();
        status["conditions"] = json!([condition(kind)]);
        assert_cause(
            &scene.refused(status).await,
            "status",
            "Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest",
        );
        scene
            .write(json!({"conditions": [condition(kind)]}))
            .await
            .expect("written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_terminal_status_never_changes() {
    for kind in ["Issued", "Denied", "Failed"] {
        let mut scene = scene().await;
        let status = match kind {
            "Issued" => scene.issued(),
            kind => json!({"conditions": [condition(kind)]}),
        };
        scene.created = scene.write(status.clone()).await.expect("written");
        let before = scene.created.metadata.resource_version.clone();
        let again = scene
            .write(status)
            .await
            .expect("the same again is no change");
        assert_eq!(again.metadata.resource_version, before);
        for change in [
            json!({"conditions": [condition("Denied")], "notAfter": at(0)}),
            json!({}),
        ] {
            assert_cause(
                &scene.refused(change).await,
                "status",
                "Invalid value: immutable after PodCertificateRequest is issued, denied, or failed",
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_without_condition_stays_empty() {
    let scene = scene().await;
    let mut status = scene.issued();
    status["conditions"] = json!([]);
    assert_cause(
        &scene.refused(status).await,
        "status",
        "Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_update_names_the_version_it_replaces() {
    let scene = scene().await;
    let mut change = scene.created.clone();
    change.status = from(scene.issued());
    change.metadata.resource_version = Some("1".into());
    let status = refusal(scene.requests.replace_status("a", &post(), &change).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on podcertificaterequests.certificates.k8s.io \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    change.metadata.resource_version = None;
    let status = refusal(scene.requests.replace_status("a", &post(), &change).await);
    assert_cause(
        &status,
        "metadata.resourceVersion",
        "Invalid value: 0: must be specified for an update",
    );
    assert_eq!(
        status.message,
        "podcertificaterequests.certificates.k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
}

#[tokio::test(start_paused = true)]
async fn patches_of_the_status_obey_the_same_rules() {
    let scene = scene().await;
    let wrong = json!({"status": {"conditions": [condition("Approved")]}});
    let patched = scene
        .requests
        .patch_status("a", &PatchParams::default(), &Patch::Merge(&wrong))
        .await;
    assert_eq!(causes(&refusal(patched))[0].0, "status.conditions.[0].type");
    let right = json!({"status": scene.issued()});
    let patched = scene
        .requests
        .patch_status("a", &PatchParams::default(), &Patch::Merge(&right))
        .await
        .expect("issued");
    assert!(
        patched
            .status
            .expect("a status")
            .certificate_chain
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn the_spec_never_changes() {
    let scene = scene().await;
    let mut change = scene.created.clone();
    change.spec.pod_name = "another".into();
    let status = refusal(scene.requests.replace("a", &post(), &change).await);
    assert_cause(&status, "spec", "Invalid value: {}: field is immutable");
}

#[tokio::test(start_paused = true)]
async fn a_plain_update_changes_metadata_but_no_status() {
    let scene = scene().await;
    let mut change = scene.created.clone();
    change.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    change.status = from(scene.issued());
    let after = scene
        .requests
        .replace("a", &post(), &change)
        .await
        .expect("replaced");
    assert_eq!(after.metadata.labels, change.metadata.labels);
    assert_eq!(
        after.status,
        Some(k8s_openapi::api::certificates::v1::PodCertificateRequestStatus::default())
    );
}

/// Lets only `signer` sign, and for one domain only.
#[derive(Debug)]
struct OnlySigner;

impl Authorizer for OnlySigner {
    fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Permission {
        let wanted = (attributes.verb, attributes.group, attributes.resource)
            == ("sign", "certificates.k8s.io", "signers");
        if wanted && !(user.name == "signer" && attributes.name == "example.com/*") {
            return Permission::Denied;
        }
        Permission::Allowed
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_sign_may_not_write_a_status() {
    let api = builder().authorizer(Arc::new(OnlySigner)).build();
    let scene = scene_in(client_of(&api, User::new("mallory"))).await;
    let status = scene.refused(scene.issued()).await;
    assert_cause(
        &status,
        "spec.signerName",
        "Forbidden: User \"mallory\" is not permitted to \"sign\" for signer \"example.com/signer\"",
    );
    // What breaks a rule is told first, and what changes nothing needs no permission.
    let status = scene
        .refused(json!({"conditions": [condition("Approved")]}))
        .await;
    assert_eq!(causes(&status)[0].0, "status.conditions.[0].type");
    scene.write(json!({})).await.expect("nothing to do");
    let signer = Scene {
        client: client_of(&api, User::new("signer")),
        ..scene
    };
    signer
        .write(signer.issued())
        .await
        .expect("the whole domain is signer's");
}

rule!(
    an_unknown_condition_is_refused,
    |_, status| status["conditions"] = json!([condition("Approved")]),
    "status.conditions.[0].type",
    "Unsupported value: \"Approved\": supported values: \"Issued\", \"Denied\", \"Failed\""
);

rule!(
    a_second_condition_is_refused,
    |_, status| status["conditions"] = json!([condition("Issued"), condition("Denied")]),
    "status.conditions.[1].type",
    "Invalid value: \"Denied\": There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\""
);

rule!(
    a_condition_must_be_true,
    |_, status| status["conditions"][0]["status"] = "False".into(),
    "status.conditions.[0].status",
    "Unsupported value: \"False\": supported values: \"True\""
);

rule!(
    a_condition_needs_a_reason,
    |_, status| status["conditions"][0]["reason"] = "".into(),
    "status.conditions[0].reason",
    "Required value"
);

rule!(
    a_reason_is_one_word,
    |_, status| status["conditions"][0]["reason"] = "two words".into(),
    "status.conditions[0].reason",
    "Invalid value: \"two words\": a condition reason must start with alphabetic character, {}"
);

rule!(
    a_reason_has_1024_bytes_at_most,
    |_, status| status["conditions"][0]["reason"] = "a".repeat(1025).into(),
    "status.conditions[0].reason",
    "Too long: may not be more than 1024 bytes"
);

rule!(
    a_message_has_32_kib_at_most,
    |_, status| status["conditions"][0]["message"] = "a".repeat(32 * 1024 + 1).into(),
    "status.conditions[0].message",
    "Too long: may not be more than 32768 bytes"
);

rule!(
    a_condition_needs_a_transition_time,
    |_, status| {
        status["conditions"][0]
            .as_object_mut()
            .expect("a map")
            .remove("lastTransitionTime");
    },
    "status.conditions[0].lastTransitionTime",
    "Required value"
);

#[tokio::test(start_paused = true)]
async fn the_same_condition_twice_is_refused_twice() {
    let scene = scene().await;
    let status = json!({"conditions": [condition("Issued"), condition("Issued")]});
    let causes = causes(&scene.refused(status).await);
    assert_eq!(causes[0].0, "status.conditions.[1].type");
    assert_eq!(
        causes[1],
        (
            "status.conditions[1]".to_owned(),
            "Duplicate value: \"Issued\"".to_owned()
        )
    );
}

rule!(
    a_chain_is_required,
    |_, status| status["certificateChain"] = "".into(),
    "status.certificateChain",
    "Invalid value: \"\": issued certificate chain must contain at least one certificate"
);

rule!(
    a_chain_has_100_kib_at_most,
    |_, status| status["certificateChain"] = "x".repeat(100 * 1024 + 1).into(),
    "status.certificateChain",
    "Too long: may not be more than 102400 bytes"
);

rule!(
    the_first_block_is_a_certificate,
    |scene, status| status["certificateChain"] = scene.key.serialize_pem().into(),
    "status.certificateChain",
    "Invalid value: {}: issued certificate chain must consist entirely of CERTIFICATE PEM blocks"
);

rule!(
    the_leaf_must_parse,
    |_, status| {
        status["certificateChain"] =
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into();
    },
    "status.certificateChain",
    "Invalid value: {}: leaf certificate does not parse as valid X.509"
);

rule!(
    every_further_block_is_a_certificate,
    |scene, status| {
        let chain = status["certificateChain"]
            .as_str()
            .expect("a chain")
            .to_owned();
        status["certificateChain"] = format!("{chain}{}", scene.key.serialize_pem()).into();
    },
    "status.certificateChain",
    "Invalid value: {}: issued certificate chain must consist entirely of CERTFICATE PEM blocks"
);

rule!(
    every_further_certificate_parses,
    |_, status| {
        let chain = status["certificateChain"]
            .as_str()
            .expect("a chain")
            .to_owned();
        status["certificateChain"] =
            format!("{chain}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").into();
    },
    "status.certificateChain",
    "Invalid value: {}: intermediate certificate does not parse as valid X.509"
);

rule!(
    the_leaf_is_for_the_requested_key,
    |scene, status| {
        status["certificateChain"] = leaf(&scene.ca, &p256(), -120, 86_280, &["web.ns.svc"]).into();
    },
    "status.certificateChain",
    "Invalid value: {}: leaf certificate was not issued to the requested public key"
);

rule!(
    dns_names_are_not_empty,
    |scene, status| {
        status["certificateChain"] = leaf(&scene.ca, &scene.key, -120, 86_280, &[""]).into();
    },
    "status.certificateChain",
    "Invalid value: \"\": leaf certificate should not contain empty DNSName"
);

rule!(
    dns_names_have_no_double_dots,
    |scene, status| {
        status["certificateChain"] = leaf(&scene.ca, &scene.key, -120, 86_280, &["a..b"]).into();
    },
    "status.certificateChain",
    "Invalid value: \"a..b\": leaf certificate's DNSName should not contain '..'"
);

rule!(
    dns_names_do_not_begin_with_a_dot,
    |scene, status| {
        status["certificateChain"] = leaf(&scene.ca, &scene.key, -120, 86_280, &[".a"]).into();
    },
    "status.certificateChain",
    "Invalid value: \".a\": leaf certificate's DNSName should not start or end with '.'"
);

rule!(
    dns_names_do_not_end_with_a_dot,
    |scene, status| {
        status["certificateChain"] = leaf(&scene.ca, &scene.key, -120, 86_280, &["a."]).into();
    },
    "status.certificateChain",
    "Invalid value: \"a.\": leaf certificate's DNSName should not start or end with '.'"
);

rule!(
    email_addresses_are_well_formed,
    |scene, status| {
        status["certificateChain"] = leaf(&scene.ca, &scene.key, -120, 86_280, &["@nobody"]).into();
    },
    "status.certificateChain",
    "Invalid value: \"@nobody\": leaf certificate should not contain invalid EmailAddress"
);

#[tokio::test(start_paused = true)]
async fn a_leaf_without_names_is_fine() {
    let scene = scene().await;
    let mut status = scene.issued();
    status["certificateChain"] = leaf(&scene.ca, &scene.key, -120, 86_280, &[]).into();
    scene.write(status).await.expect("issued");
}

rule!(
    not_before_is_required,
    |_, status| {
        status.as_object_mut().expect("a map").remove("notBefore");
    },
    "status.notBefore",
    "Required value: must be present and consistent with the issued certificate"
);

rule!(
    not_after_is_required,
    |_, status| {
        status.as_object_mut().expect("a map").remove("notAfter");
    },
    "status.notAfter",
    "Required value: must be present and consistent with the issued certificate"
);

rule!(
    begin_refresh_at_is_required,
    |_, status| {
        status
            .as_object_mut()
            .expect("a map")
            .remove("beginRefreshAt");
    },
    "status.beginRefreshAt",
    "Required value: must be present and in the range [notbefore+10min, notafter-10min]"
);

rule!(
    not_before_is_the_leafs,
    |_, status| status["notBefore"] = at(-121).into(),
    "status.notBefore",
    "Invalid value: \"2026-11-21T11:57:59Z\": must be set to the NotBefore time encoded in the leaf certificate"
);

rule!(
    not_before_has_no_fraction,
    |_, status| status["notBefore"] = "2026-11-21T11:58:00.5Z".into(),
    "status.notBefore",
    "Invalid value: \"2026-11-21T11:58:00.5Z\": must be set to the NotBefore time encoded in the leaf certificate"
);

rule!(
    not_after_is_the_leafs,
    |_, status| status["notAfter"] = at(86_281).into(),
    "status.notAfter",
    "Invalid value: \"2026-11-22T11:58:01Z\": must be set to the NotAfter time encoded in the leaf certificate"
);

rule!(
    not_before_is_not_five_minutes_ago,
    |scene, status| *status = scene.issued_between(-300, 86_000),
    "status.notBefore",
    "Invalid value: \"2026-11-21T11:55:00Z\": must be set to within 5 minutes of kube-apiserver's current time"
);

rule!(
    not_before_is_not_five_minutes_ahead,
    |scene, status| *status = scene.issued_between(300, 86_000),
    "status.notBefore",
    "Invalid value: \"2026-11-21T12:05:00Z\": must be set to within 5 minutes of kube-apiserver's current time"
);

#[tokio::test(start_paused = true)]
async fn not_before_may_be_a_second_less_than_five_minutes_off() {
    for not_before in [-299, 299] {
        let scene = scene().await;
        scene
            .write(scene.issued_between(not_before, 80_000))
            .await
            .expect("issued");
    }
}

#[tokio::test(start_paused = true)]
async fn the_five_minutes_are_the_servers() {
    let scene = scene().await;
    let status = scene.issued();
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert_cause(
        &scene.refused(status).await,
        "status.notBefore",
        "Invalid value: \"2026-11-21T11:58:00Z\": must be set to within 5 minutes of kube-apiserver's current time",
    );
}

rule!(
    a_leaf_lives_an_hour_at_least,
    |scene, status| *status = scene.issued_between(0, 3599),
    "status.certificateChain",
    "Invalid value: 3599000000000: leaf certificate lifetime must be >= 1 hour"
);

rule!(
    a_leaf_lives_as_long_as_asked_at_most,
    |scene, status| *status = scene.issued_between(0, 86_401),
    "status.certificateChain",
    "Invalid value: 86401000000000: leaf certificate lifetime must be <= spec.maxExpirationSeconds (86400)"
);

rule!(
    refresh_begins_ten_minutes_after_not_before,
    |_, status| status["beginRefreshAt"] = at(-120 + 599).into(),
    "status.beginRefreshAt",
    "Invalid value: \"2026-11-21T12:07:59Z\": must be at least 10 minutes after status.notBefore"
);

rule!(
    refresh_begins_ten_minutes_before_not_after,
    |_, status| status["beginRefreshAt"] = at(86_280 - 599).into(),
    "status.beginRefreshAt",
    "Invalid value: \"2026-11-22T11:48:01Z\": must be at least 10 minutes before status.notAfter"
);

#[tokio::test(start_paused = true)]
async fn refresh_may_begin_at_the_limits_themselves() {
    for refresh in [-120 + 600, 86_280 - 600] {
        let scene = scene().await;
        let mut status = scene.issued();
        status["beginRefreshAt"] = at(refresh).into();
        scene.write(status).await.expect("issued");
    }
}

#[tokio::test(start_paused = true)]
async fn dates_are_stored_in_whole_seconds() {
    let scene = scene().await;
    let mut status = scene.issued();
    status["conditions"][0]["lastTransitionTime"] = "2026-11-21T13:00:00.25+01:00".into();
    let after = scene.write(status).await.expect("issued");
    let json = serde_json::to_value(&after.status).expect("JSON");
    assert_eq!(
        json["conditions"][0]["lastTransitionTime"],
        "2026-11-21T12:00:00Z"
    );
}
