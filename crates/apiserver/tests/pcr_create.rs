//! What a PodCertificateRequest must be to be created: one test per rule.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::certificates::*;
use common::*;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use kube::Api;
use kube::core::Status;
use podcert_apiserver::User;
use rcgen::KeyPair;
use serde_json::{Value, json};

async fn create(object: &Value) -> kube::Result<PodCertificateRequest> {
    let (_, client) = world();
    let request = http::Request::post(
        "/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests",
    )
    .header("content-type", "application/json")
    .body(object.to_string().into_bytes())
    .expect("a request");
    client.request(request).await
}

async fn refused(change: impl FnOnce(&mut Value)) -> Status {
    let mut object = request_json("a", &csr(&p256()));
    change(&mut object);
    refusal(create(&object).await)
}

/// The rule refuses with exactly these causes.
macro_rules! rule {
    ($name:ident, $change:expr, $([$field:expr, $message:expr]),+) => {
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let status = refused($change).await;
            assert_eq!(causes(&status), [$(($field.to_owned(), $message.to_owned())),+]);
            assert!(
                status.message.starts_with(
                    "PodCertificateRequest.certificates.k8s.io \"a\" is invalid: "
                ),
                "{}", status.message
            );
        }
    };
}

#[tokio::test(start_paused = true)]
async fn a_proper_request_is_created_with_defaults_and_without_status() {
    let mut object = request_json("a", &csr(&p256()));
    object["status"] = json!({"conditions": [condition("Issued")]});
    object["spec"]["pkixPublicKey"] = json!("AAAA");
    object["spec"]["unverifiedUserAnnotations"] = json!({"example.com/a": "b"});
    let created = create(&object).await.expect("created");
    assert_eq!(created.spec.max_expiration_seconds, Some(86_400));
    assert_eq!(
        created.status,
        Some(k8s_openapi::api::certificates::v1::PodCertificateRequestStatus::default())
    );
    assert_eq!(created.metadata.generation, None);
    assert_eq!(
        created
            .spec
            .unverified_user_annotations
            .expect("annotations")["example.com/a"],
        "b"
    );
}

#[tokio::test(start_paused = true)]
async fn anyone_may_ask_for_any_pod() {
    let (api, _) = world();
    let client = client_of(&api, User::new("mallory"));
    let requests: Api<PodCertificateRequest> = Api::default_namespaced(client);
    let created = requests
        .create(&post(), &request("a", &p256()))
        .await
        .expect("created");
    assert_eq!(created.spec.pod_name, "web-0");
}

async fn key_is_accepted(key: KeyPair) {
    create(&request_json("a", &csr(&key)))
        .await
        .expect("created");
}

fn generate(algorithm: &'static rcgen::SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key")
}

fn rsa(size: rcgen::RsaKeySize) -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).expect("a key")
}

#[tokio::test(start_paused = true)]
async fn p256_is_accepted() {
    key_is_accepted(generate(&rcgen::PKCS_ECDSA_P256_SHA256)).await;
}

#[tokio::test(start_paused = true)]
async fn p384_is_accepted() {
    key_is_accepted(generate(&rcgen::PKCS_ECDSA_P384_SHA384)).await;
}

#[tokio::test(start_paused = true)]
async fn p521_is_accepted_under_each_hash() {
    key_is_accepted(generate(&rcgen::PKCS_ECDSA_P521_SHA256)).await;
    key_is_accepted(generate(&rcgen::PKCS_ECDSA_P521_SHA384)).await;
    key_is_accepted(generate(&rcgen::PKCS_ECDSA_P521_SHA512)).await;
}

#[tokio::test(start_paused = true)]
async fn ed25519_is_accepted() {
    key_is_accepted(generate(&rcgen::PKCS_ED25519)).await;
}

#[tokio::test(start_paused = true)]
async fn rsa_3072_is_accepted() {
    key_is_accepted(rsa(rcgen::RsaKeySize::_3072)).await;
}

#[tokio::test(start_paused = true)]
async fn rsa_4096_is_accepted() {
    key_is_accepted(rsa(rcgen::RsaKeySize::_4096)).await;
}

#[tokio::test(start_paused = true)]
async fn the_contents_of_the_csr_do_not_matter() {
    let key = p256();
    let params = rcgen::CertificateParams::new(vec!["victim.example.com".into()]).expect("names");
    let csr = params.serialize_request(&key).expect("a request");
    create(&request_json("a", csr.der()))
        .await
        .expect("created");
}

rule!(
    rsa_2048_is_refused,
    |object| {
        object["spec"]["stubPKCS10Request"] =
            STANDARD.encode(csr(&rsa(rcgen::RsaKeySize::_2048))).into();
    },
    [
        "spec.stubPKCS10Request",
        "Invalid value: \"2048-bit modulus\": RSA keys must have modulus size 3072 or 4096"
    ]
);

rule!(
    p224_is_refused,
    |object| {
        let point = [vec![0, 4], vec![7; 56]].concat();
        let spki = der(
            0x30,
            &[
                der(
                    0x30,
                    &[der(6, &[EC_PUBLIC_KEY.to_vec()]), der(6, &[P224.to_vec()])],
                ),
                der(3, &[point]),
            ],
        );
        object["spec"]["stubPKCS10Request"] = STANDARD.encode(bare_csr(spki)).into();
    },
    [
        "spec.stubPKCS10Request",
        "Invalid value: \"curve P-224\": elliptic public keys must use curve P256, P384, or P521"
    ]
);

rule!(
    keys_of_unknown_kind_are_refused,
    |object| {
        let spki = der(
            0x30,
            &[
                der(0x30, &[der(6, &[vec![0x2a, 3, 4]])]),
                der(3, &[vec![0, 1, 2, 3]]),
            ],
        );
        object["spec"]["stubPKCS10Request"] = STANDARD.encode(bare_csr(spki)).into();
    },
    [
        "spec.stubPKCS10Request",
        "Invalid value: unknown public key type; supported types are Ed25519, ECDSA, and RSA"
    ]
);

rule!(
    a_csr_not_signed_by_its_key_is_refused,
    |object| {
        let mut bytes = csr(&generate(&rcgen::PKCS_ED25519));
        *bytes.last_mut().expect("bytes") ^= 1;
        object["spec"]["stubPKCS10Request"] = STANDARD.encode(bytes).into();
    },
    ["spec.stubPKCS10Request", "Invalid value: invalid signature"]
);

rule!(
    a_p521_csr_not_signed_by_its_key_is_refused,
    |object| {
        let mut bytes = csr(&generate(&rcgen::PKCS_ECDSA_P521_SHA512));
        *bytes.last_mut().expect("bytes") ^= 1;
        object["spec"]["stubPKCS10Request"] = STANDARD.encode(bytes).into();
    },
    ["spec.stubPKCS10Request", "Invalid value: invalid signature"]
);

rule!(
    a_csr_with_trailing_bytes_is_refused,
    |object| {
        let bytes = [csr(&p256()), vec![0]].concat();
        object["spec"]["stubPKCS10Request"] = STANDARD.encode(bytes).into();
    },
    [
        "spec.stubPKCS10Request",
        "Invalid value: must be a valid PKCS#10 CSR"
    ]
);

rule!(
    bytes_that_are_no_csr_are_refused,
    |object| object["spec"]["stubPKCS10Request"] = STANDARD.encode("nonsense").into(),
    [
        "spec.stubPKCS10Request",
        "Invalid value: must be a valid PKCS#10 CSR"
    ]
);

rule!(
    a_csr_over_10_kib_is_refused,
    |object| object["spec"]["stubPKCS10Request"] = STANDARD.encode(vec![0; 10_241]).into(),
    [
        "spec.stubPKCS10Request",
        "Too long: may not be more than 10240 bytes"
    ]
);

rule!(
    a_request_without_csr_is_refused,
    |object| {
        object["spec"]
            .as_object_mut()
            .expect("spec")
            .remove("stubPKCS10Request");
    },
    [
        "spec",
        "Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
    ]
);

rule!(
    v1_knows_no_pkix_public_key,
    |object| {
        let spec = object["spec"].as_object_mut().expect("spec");
        spec.remove("stubPKCS10Request");
        spec.insert("pkixPublicKey".into(), "AAAA".into());
        spec.insert("proofOfPossession".into(), "AAAA".into());
    },
    [
        "spec",
        "Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
    ]
);

#[tokio::test(start_paused = true)]
async fn a_csr_that_is_not_base64_is_a_bad_request() {
    let status = refused(|object| object["spec"]["stubPKCS10Request"] = "%".into()).await;
    assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
}

#[tokio::test(start_paused = true)]
async fn a_field_of_the_wrong_type_is_a_bad_request() {
    let status = refused(|object| object["spec"]["podName"] = 7.into()).await;
    assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
}

rule!(
    less_than_an_hour_is_refused,
    |object| object["spec"]["maxExpirationSeconds"] = 3599.into(),
    [
        "spec.maxExpirationSeconds",
        "Invalid value: 3599: must be in the range [3600, 7862400]"
    ]
);

rule!(
    more_than_91_days_is_refused,
    |object| object["spec"]["maxExpirationSeconds"] = 7_862_401.into(),
    [
        "spec.maxExpirationSeconds",
        "Invalid value: 7862401: must be in the range [3600, 7862400]"
    ]
);

rule!(
    kubernetes_signers_get_a_day_at_most,
    |object| {
        object["spec"]["signerName"] = "kubernetes.io/any".into();
        object["spec"]["maxExpirationSeconds"] = 86_401.into();
    },
    [
        "spec.maxExpirationSeconds",
        "Invalid value: 86401: must be in the range [3600, 86400]"
    ]
);

#[tokio::test(start_paused = true)]
async fn the_limits_of_the_lifetime_themselves_are_fine() {
    for seconds in [3600, 7_862_400] {
        let mut object = request_json("a", &csr(&p256()));
        object["spec"]["maxExpirationSeconds"] = seconds.into();
        create(&object).await.expect("created");
    }
}

rule!(
    annotations_need_a_domain,
    |object| object["spec"]["unverifiedUserAnnotations"] = json!({"foo": "x"}),
    [
        "spec.unverifiedUserAnnotations",
        "Invalid value: \"foo\": must be a domain-prefixed key (such as \"acme.io/foo\")"
    ]
);

rule!(
    annotations_need_a_name_after_the_domain,
    |object| object["spec"]["unverifiedUserAnnotations"] = json!({"acme.io/": "x"}),
    [
        "spec.unverifiedUserAnnotations",
        "Invalid value: \"acme.io/\": name part must be non-empty"
    ],
    [
        "spec.unverifiedUserAnnotations",
        "Invalid value: \"acme.io/\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    ]
);

rule!(
    annotations_have_a_size_limit,
    |object| {
        object["spec"]["unverifiedUserAnnotations"] = json!({"acme.io/a": "x".repeat(256 * 1024)});
    },
    [
        "spec.unverifiedUserAnnotations",
        "Too long: may not be more than 262144 bytes"
    ]
);

rule!(
    a_signer_needs_a_path,
    |object| object["spec"]["signerName"] = "noslash".into(),
    [
        "spec.signerName",
        "Invalid value: \"noslash\": must be a fully qualified domain and path of the form 'example.com/signer-name'"
    ]
);

rule!(
    a_signer_is_required,
    |object| object["spec"]["signerName"] = "".into(),
    ["spec.signerName", "Required value"]
);

rule!(
    a_signers_domain_has_two_segments,
    |object| object["spec"]["signerName"] = "com/signer".into(),
    [
        "spec.signerName",
        "Invalid value: \"com\": should be a domain with at least two segments separated by dots"
    ]
);

rule!(
    a_signers_domain_consists_of_labels,
    |object| object["spec"]["signerName"] = "Example.com/signer".into(),
    [
        "spec.signerName",
        "Invalid value: \"Example.com\": validating label \"Example\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    ]
);

rule!(
    a_signers_path_consists_of_subdomains,
    |object| object["spec"]["signerName"] = "example.com/Signer".into(),
    [
        "spec.signerName",
        "Invalid value: \"Signer\": validating label \"Signer\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
);

rule!(
    a_signer_has_571_characters_at_most,
    |object| {
        let path = ["a".repeat(253), "b".repeat(70)].join(".");
        let domain = [
            ["c".repeat(63), "d".repeat(63), "e".repeat(63)].join("."),
            "f".repeat(61),
        ]
        .join(".");
        object["spec"]["signerName"] = format!("{domain}/{path}").into();
    },
    [
        "spec.signerName",
        "Too long: may not be more than 571 bytes"
    ]
);

rule!(
    the_pods_name_is_a_subdomain,
    |object| object["spec"]["podName"] = "A".into(),
    [
        "spec.podName",
        "Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
);

rule!(
    the_pods_uid_must_not_be_empty,
    |object| object["spec"]["podUID"] = "".into(),
    ["spec.podUID", "Invalid value: \"\": must not be empty"]
);

rule!(
    the_service_accounts_uid_must_not_be_empty,
    |object| object["spec"]["serviceAccountUID"] = "".into(),
    [
        "spec.serviceAccountUID",
        "Invalid value: \"\": must not be empty"
    ]
);

rule!(
    the_nodes_uid_must_not_be_empty,
    |object| object["spec"]["nodeUID"] = "".into(),
    ["spec.nodeUID", "Invalid value: \"\": must not be empty"]
);

rule!(
    uids_have_128_bytes_at_most,
    |object| {
        for field in ["podUID", "serviceAccountUID", "nodeUID"] {
            object["spec"][field] = "x".repeat(129).into();
        }
    },
    ["spec.podUID", "Too long: may not be more than 128 bytes"],
    [
        "spec.serviceAccountUID",
        "Too long: may not be more than 128 bytes"
    ],
    ["spec.nodeUID", "Too long: may not be more than 128 bytes"]
);

#[tokio::test(start_paused = true)]
async fn names_of_service_account_and_node_are_subdomains() {
    let status = refused(|object| {
        object["spec"]["serviceAccountName"] = "Not ok".into();
        object["spec"]["nodeName"] = "".into();
    })
    .await;
    let fields: Vec<String> = causes(&status)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(fields, ["spec.serviceAccountName", "spec.nodeName"]);
}

#[tokio::test(start_paused = true)]
async fn all_broken_fields_are_named_at_once() {
    let status = refused(|object| {
        object["spec"]["podUID"] = "".into();
        object["spec"]["maxExpirationSeconds"] = 1.into();
    })
    .await;
    assert_eq!(causes(&status).len(), 2);
    assert_eq!(
        status.message,
        "PodCertificateRequest.certificates.k8s.io \"a\" is invalid: [spec.podUID: Invalid value: \"\": must not be empty, spec.maxExpirationSeconds: Invalid value: 1: must be in the range [3600, 7862400]]"
    );
}

/// A DER element of a tag and its parts.
fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = u8::try_from(content.len()).expect("a short element");
    let mut bytes = match length {
        0..128 => vec![tag, length],
        _ => vec![tag, 0x81, length],
    };
    bytes.extend(content);
    bytes
}

/// A request with this key and a signature of zeros.
fn bare_csr(spki: Vec<u8>) -> Vec<u8> {
    let info = der(
        0x30,
        &[der(2, &[vec![0]]), der(0x30, &[]), spki, der(0xa0, &[])],
    );
    let algorithm = der(
        0x30,
        &[der(6, &[vec![0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])],
    );
    der(0x30, &[info, algorithm, der(3, &[vec![0; 9]])])
}

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P224: &[u8] = &[0x2b, 0x81, 4, 0, 33];
