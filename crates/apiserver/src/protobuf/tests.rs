use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A field with bytes.
fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short");
    [tag(field, 2), vec![length], value.to_vec()].concat()
}

fn number(field: u8, value: u8) -> Vec<u8> {
    [tag(field, 0), vec![value]].concat()
}

fn tag(field: u8, wire: u8) -> Vec<u8> {
    match field {
        ..16 => vec![field << 3 | wire],
        _ => vec![field << 3 | wire | 0x80, field >> 4],
    }
}

fn message(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), bytes(1, &meta), bytes(2, raw)].concat()
}

#[test]
fn an_object_is_what_its_json_would_be() {
    let metadata = [
        bytes(1, b"web"),
        // Go sends what nobody set.
        bytes(2, b""),
        number(7, 0),
        bytes(8, b""),
        bytes(11, &[bytes(1, b"app"), bytes(2, b"web")].concat()),
    ]
    .concat();
    let limit = [bytes(1, b"cpu"), bytes(2, &bytes(1, b"100m"))].concat();
    let port = [number(1, 1), bytes(3, b"https")].concat();
    let action = [bytes(1, b"/ok"), bytes(2, &port)].concat();
    let container = [
        bytes(1, b"main"),
        bytes(4, b""),
        bytes(8, &bytes(1, &limit)),
        bytes(10, &bytes(1, &bytes(2, &action))),
        number(16, 0),
        number(18, 1),
    ]
    .concat();
    let source = bytes(19, &bytes(1, &bytes(1, b"settings")));
    let volume = [bytes(1, b"v"), bytes(2, &source)].concat();
    let spec = [bytes(1, &volume), bytes(2, &container)].concat();
    let template = bytes(2, &spec);
    let deployment = [
        bytes(1, &metadata),
        bytes(
            2,
            &[
                number(1, 0),
                bytes(3, &template),
                number(5, 0),
                number(7, 0),
            ]
            .concat(),
        ),
    ]
    .concat();
    let decoded = decode(&message("apps/v1", "Deployment", &deployment)).expect("an object");
    assert_eq!(
        decoded,
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "replicas": 0,
                "template": {"spec": {
                    "containers": [{
                        "name": "main",
                        "args": [""],
                        "resources": {"limits": {"cpu": "100m"}},
                        "livenessProbe": {"httpGet": {"path": "/ok", "port": "https"}},
                        "tty": true,
                    }],
                    "volumes": [{"name": "v", "configMap": {"name": "settings"}}],
                }},
            },
        })
    );
}

#[test]
fn bytes_dates_and_switches_keep_their_meaning() {
    let data = [bytes(1, b"key"), bytes(2, &[0xff, 0])].concat();
    let date = [0x08, 0x80, 0xc8, 0xe1, 0xc8, 0x06];
    let metadata = [bytes(1, b"s"), bytes(9, &date)].concat();
    let secret = [bytes(1, &metadata), bytes(2, &data), number(5, 0)].concat();
    let decoded = decode(&message("v1", "Secret", &secret)).expect("an object");
    assert_eq!(decoded["data"], json!({"key": "/wA="}));
    assert_eq!(decoded["immutable"], json!(false));
    assert_eq!(
        decoded["metadata"]["deletionTimestamp"],
        json!("2025-11-15T11:29:04Z")
    );
    let options = [number(1, 0), bytes(2, &bytes(1, b"u"))].concat();
    let decoded = decode(&message("apps/v1", "DeleteOptions", &options)).expect("options");
    assert_eq!(decoded["gracePeriodSeconds"], 0);
    assert_eq!(decoded["preconditions"]["uid"], "u");
}

#[test]
fn what_is_no_object_is_told() {
    for body in [
        b"{}".to_vec(),
        b"k8s\0\x0a\xff".to_vec(),
        message("v1", "Nothing", b""),
        message("v1", "ConfigMap", &[0x0a, 0x05, 1]),
        message("v1", "ConfigMap", &[0x08, 0x01]),
        message("v1", "ConfigMap", &bytes(1, &bytes(1, &[0xff]))),
        [b"k8s\0".to_vec(), vec![0x80; 11]].concat(),
    ] {
        decode(&body).expect_err("no object");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(
        raw in prop::collection::vec(any::<u8>(), 0..120),
        kind in "Pod|Deployment|Secret|Event|DeleteOptions|SelfSubjectAccessReview",
    ) {
        for version in ["v1", "apps/v1", "authorization.k8s.io/v1"] {
            if let Ok(decoded) = decode(&message(version, &kind, &raw)) {
                prop_assert_eq!(&decoded["kind"], &Value::from(kind.as_str()));
            }
        }
    }
}

#[test]
fn a_small_body_does_not_become_a_large_object() {
    // A container with an empty security context has four bytes.
    let containers = [bytes(2, &bytes(15, b""))].concat().repeat(VALUES_LIMIT);
    let mut length = Vec::new();
    let mut rest = containers.len();
    while rest > 0x7f {
        length.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    length.push(u8::try_from(rest).expect("seven bits"));
    // The lengths of the outer messages are more than the helpers here write.
    let spec = [vec![tag(2, 2)[0]], length, containers].concat();
    let decoder = Decoder {
        schemas: schemas(),
        numbers: numbers(),
        left: Cell::new(VALUES_LIMIT),
    };
    let refused = decoder
        .named("io.k8s.api.core.v1.Pod", &spec, 0)
        .unwrap_err();
    assert!(refused.0.contains("values"), "{}", refused.0);
}
