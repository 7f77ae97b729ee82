//! Bodies that are no JSON, or JSON that does not fit the type.

use http::Method;
use serde_json::{Value, json};

use super::{create, malformed, proper, unhandled};
use crate::{ApiVersion, Case, Release, World};

pub(super) fn cases() -> Vec<Case> {
    [requests(), statuses()].concat()
}

fn requests() -> Vec<Case> {
    vec![
        malformed(
            "request-json/name-is-no-number",
            |_, object| object["spec"]["podName"] = 7.into(),
            "json: cannot unmarshal number into Go struct field PodCertificateRequestSpec.spec.podName of type string",
        ),
        malformed(
            "request-json/signer-is-no-boolean",
            |_, object| object["spec"]["signerName"] = true.into(),
            "json: cannot unmarshal bool into Go struct field PodCertificateRequestSpec.spec.signerName of type string",
        ),
        malformed(
            "request-json/uid-is-no-object",
            |_, object| object["spec"]["podUID"] = json!({}),
            "json: cannot unmarshal object into Go struct field PodCertificateRequestSpec.spec.podUID of type types.UID",
        ),
        malformed(
            "request-json/lifetime-is-no-string",
            |_, object| object["spec"]["maxExpirationSeconds"] = "86400".into(),
            "json: cannot unmarshal string into Go struct field PodCertificateRequestSpec.spec.maxExpirationSeconds of type int32",
        ),
        malformed(
            "request-json/lifetime-is-whole",
            |_, object| object["spec"]["maxExpirationSeconds"] = 4000.5.into(),
            "json: cannot unmarshal number 4000.5 into Go struct field PodCertificateRequestSpec.spec.maxExpirationSeconds of type int32",
        ),
        malformed(
            "request-json/lifetime-fits-32-bits",
            |_, object| object["spec"]["maxExpirationSeconds"] = 3_000_000_000_u64.into(),
            "json: cannot unmarshal number 3000000000 into Go struct field PodCertificateRequestSpec.spec.maxExpirationSeconds of type int32",
        ),
        malformed(
            "request-json/annotations-are-strings",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!({"a.b/c": 1}),
            "json: cannot unmarshal number into Go struct field PodCertificateRequestSpec.spec.unverifiedUserAnnotations of type string",
        ),
        malformed(
            "request-json/annotations-are-no-list",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!([]),
            "json: cannot unmarshal array into Go struct field PodCertificateRequestSpec.spec.unverifiedUserAnnotations of type map[string]string",
        ),
        malformed(
            "request-json/csr-is-base64",
            |_, object| object["spec"]["stubPKCS10Request"] = "%".into(),
            "illegal base64 data at input byte 0",
        )
        .only(|target| target.release >= Release::V1_36),
        malformed(
            "request-json/base64-is-padded",
            |_, object| object["spec"]["stubPKCS10Request"] = "AAAAAAA".into(),
            "illegal base64 data at input byte 4",
        )
        .only(|target| target.release >= Release::V1_36),
        malformed(
            "request-json/base64-is-not-of-urls",
            |_, object| object["spec"]["stubPKCS10Request"] = "AAA_".into(),
            "illegal base64 data at input byte 3",
        )
        .only(|target| target.release >= Release::V1_36),
        malformed(
            "request-json/public-key-is-base64",
            |_, object| object["spec"]["pkixPublicKey"] = "-----BEGIN".into(),
            "illegal base64 data at input byte 0",
        )
        .only(|target| target.api == ApiVersion::V1beta1),
        malformed(
            "request-json/proof-is-no-number",
            |_, object| object["spec"]["proofOfPossession"] = 1.into(),
            "json: cannot unmarshal number into Go struct field PodCertificateRequestSpec.spec.proofOfPossession of type []uint8",
        )
        .only(|target| target.api == ApiVersion::V1beta1),
        Case::new("request-json/line-breaks-in-base64-are-fine", |world: World| async move {
            let mut object = proper(&world);
            let field = if world.target.release >= Release::V1_36 {
                "stubPKCS10Request"
            } else {
                "pkixPublicKey"
            };
            let base64 = object["spec"][field].as_str().unwrap().to_owned();
            let (start, end) = base64.split_at(10);
            object["spec"][field] = format!("{start}\r\n{end}\n").into();
            let created = world.admin().post(&world.requests(), &object).await.created();
            assert_eq!(created["spec"][field], base64);
        }),
        Case::new("request-json/spec-is-an-object", |world: World| async move {
            for (spec, what) in [(json!([]), "array"), (json!("x"), "string")] {
                let mut object = proper(&world);
                object["spec"] = spec;
                let answer = world.admin().post(&world.requests(), &object).await;
                let version = world.target.api.as_str();
                unhandled(&world, &answer, &format!(
                    "json: cannot unmarshal {what} into Go struct field PodCertificateRequest.spec of type {version}.PodCertificateRequestSpec"
                ));
            }
        }),
        malformed(
            "request-json/metadata-is-an-object",
            |_, object| object["metadata"] = json!([]),
            "json: cannot unmarshal array into Go struct field PodCertificateRequest.metadata of type v1.ObjectMeta",
        ),
        malformed(
            "request-json/object-name-is-no-number",
            |_, object| object["metadata"]["name"] = 7.into(),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
        ),
        malformed(
            "request-json/labels-are-strings",
            |_, object| object["metadata"]["labels"] = json!({"a": 1}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        malformed(
            "request-json/even-a-dropped-status-fits-its-type",
            |_, object| object["status"] = json!({"conditions": 7}),
            "json: cannot unmarshal number into Go struct field PodCertificateRequestStatus.status.conditions of type []v1.Condition",
        ),
        Case::new("request-json/field-names-know-case", |world: World| async move {
            let answer = create(&world, |_, object| {
                object["spec"]["NodeUID"] = object["spec"]["nodeUID"].take();
                super::remove(object, "spec", "nodeUID");
            })
            .await;
            super::invalid(&answer, &[("spec.nodeUID", "Invalid value: \"\": must not be empty")]);
        }),
        Case::new("request-json/body-is-json", |world: World| async move {
            let answer = send(&world, "{\"apiVersion\":").await;
            let message = answer.refused(400, "BadRequest");
            assert!(
                message.starts_with(
                    "the object provided is unrecognized (must be of type PodCertificateRequest): couldn't get version/kind; json parse error: "
                ),
                "{message}"
            );
        }),
        Case::new("request-json/body-is-an-object", |world: World| async move {
            for body in ["[]", "\"x\"", "1"] {
                let answer = send(&world, body).await;
                let message = answer.refused(400, "BadRequest");
                assert!(
                    message.starts_with(
                        "the object provided is unrecognized (must be of type PodCertificateRequest): couldn't get version/kind; json parse error: json: cannot unmarshal "
                    ),
                    "{message}"
                );
            }
        }),
        Case::new("request-json/kind-and-version-may-be-left-out", |world: World| async move {
            let mut object = proper(&world);
            let map = object.as_object_mut().unwrap();
            map.remove("kind");
            map.remove("apiVersion");
            let created = world.admin().post(&world.requests(), &object).await.created();
            assert_eq!(created["kind"], "PodCertificateRequest");
            assert_eq!(created["apiVersion"], world.certificates_api());
        }),
        Case::new("request-json/unknown-version-is-refused", |world: World| async move {
            let answer = create(&world, |_, object| {
                object["apiVersion"] = "certificates.k8s.io/v9".into();
            })
            .await;
            let message = answer.refused(400, "BadRequest");
            assert!(
                message.starts_with(
                    "PodCertificateRequest in version \"v9\" cannot be handled as a PodCertificateRequest: no kind \"PodCertificateRequest\" is registered for version \"certificates.k8s.io/v9\" in scheme "
                ),
                "{message}"
            );
        }),
        Case::new("request-json/other-kind-is-refused", |world: World| async move {
            let answer = create(&world, |_, object| object["kind"] = "Pod".into()).await;
            let message = answer.refused(400, "BadRequest");
            let version = world.target.api.as_str();
            let start = format!(
                "Pod in version {version:?} cannot be handled as a PodCertificateRequest: no kind \"Pod\" is registered for version \"{}\" in scheme ",
                world.certificates_api()
            );
            assert!(message.starts_with(&start), "{message}");
        }),
    ]
}

fn statuses() -> Vec<Case> {
    vec![
        malformed_status(
            "status-json/chain-is-no-number",
            || json!({"certificateChain": 7}),
            "json: cannot unmarshal number into Go struct field PodCertificateRequestStatus.status.certificateChain of type string",
        ),
        malformed_status(
            "status-json/conditions-are-a-list",
            || json!({"conditions": {}}),
            "json: cannot unmarshal object into Go struct field PodCertificateRequestStatus.status.conditions of type []v1.Condition",
        ),
        malformed_status(
            "status-json/condition-is-an-object",
            || json!({"conditions": ["Issued"]}),
            "json: cannot unmarshal string into Go struct field PodCertificateRequestStatus.status.conditions of type v1.Condition",
        ),
        malformed_status(
            "status-json/reason-is-a-string",
            || json!({"conditions": [{"reason": 1}]}),
            "json: cannot unmarshal number into Go struct field Condition.status.conditions.reason of type string",
        ),
        malformed_status(
            "status-json/observed-generation-is-a-number",
            || json!({"conditions": [{"observedGeneration": "1"}]}),
            "json: cannot unmarshal string into Go struct field Condition.status.conditions.observedGeneration of type int64",
        ),
        malformed_status(
            "status-json/date-is-a-date",
            || json!({"notBefore": "today"}),
            "parsing time \"today\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"today\" as \"2006\"",
        ),
        malformed_status(
            "status-json/date-has-a-time",
            || json!({"notBefore": "2026-11-21"}),
            "parsing time \"2026-11-21\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\"",
        ),
        malformed_status(
            "status-json/date-has-a-zone",
            || json!({"notAfter": "2026-11-21T12:00:00"}),
            "parsing time \"2026-11-21T12:00:00\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\"",
        ),
        malformed_status(
            "status-json/date-is-no-number",
            || json!({"beginRefreshAt": 1}),
            "json: cannot unmarshal number into Go struct field PodCertificateRequestStatus.status.beginRefreshAt of type string",
        ),
        malformed_status(
            "status-json/transition-time-is-a-date",
            || json!({"conditions": [{"lastTransitionTime": "2026-13-01T00:00:00Z"}]}),
            "parsing time \"2026-13-01T00:00:00Z\": month out of range",
        ),
        malformed_status(
            "status-json/status-is-an-object",
            || json!([]),
            "json: cannot unmarshal array into Go struct field PodCertificateRequest.status of type {version}.PodCertificateRequestStatus",
        ),
    ]
}

/// A case: this status fits its type neither in a PUT nor in a PATCH.
fn malformed_status(name: &'static str, status: fn() -> Value, why: &'static str) -> Case {
    Case::new(name, move |world: World| async move {
        let scene = super::scene::Scene::begin(world).await;
        let why = why.replace("{version}", scene.world.target.api.as_str());
        unhandled(&scene.world, &scene.put(status()).await, &why);
        // In a patch it is an error of the patch, shown with the whole object it makes.
        let patch = json!({"status": status()});
        let answer = scene
            .world
            .admin()
            .patch(&scene.path(), "merge", &patch)
            .await;
        let message = answer.refused(422, "Invalid");
        assert!(
            message.starts_with(" \"\" is invalid: patch: "),
            "{message}"
        );
        let cause = &answer.body["details"]["causes"][0];
        assert_eq!(cause["field"], "patch");
        let message = cause["message"].as_str().unwrap();
        assert!(message.starts_with("Invalid value: \"{\\\""), "{message}");
        assert!(message.ends_with(&format!("}}\": {why}")), "{message}");
    })
}

async fn send(world: &World, body: &str) -> crate::Answer {
    world
        .admin()
        .send(
            Method::POST,
            &world.requests(),
            Some(body.to_owned()),
            "application/json",
        )
        .await
}
