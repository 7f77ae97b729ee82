use proptest::prelude::*;

use super::*;
use crate::{
    Certificate, KeyType, ObjectName, SpecError,
    fixtures::{issue, key, root, server_spec, spiffe_spec},
};

/// The pod of the worked examples in `docs/extensions.md`.
fn pod() -> PodIdentity {
    PodIdentity {
        namespace: "shop".parse().unwrap(),
        service_account_name: "web".parse().unwrap(),
        pod_name: "web-1".parse().unwrap(),
        pod_uid: "0b7f6c0e-5a2c-4f0e-9d6e-2f1f4f3b9a10".parse().unwrap(),
        node_name: "node-a".parse().unwrap(),
    }
}

fn identity() -> PodIdentityWithUids {
    PodIdentityWithUids {
        pod: pod(),
        service_account_uid: "5f1d2a9c-3b64-4c43-8a51-7c1a6c1f0e02".parse().unwrap(),
        node_uid: "c8f0b1de-97aa-4f0c-a7ac-55a1c4e5d103".parse().unwrap(),
    }
}

fn oid(text: &str) -> ExtensionOid {
    text.parse().unwrap()
}

fn all() -> Vec<LeafExtension> {
    vec![
        LeafExtension::PodIdentityDraftA {
            oid: oid("1.3.6.1.4.1.99999.1"),
            identity: pod(),
        },
        LeafExtension::PodIdentityJson {
            oid: ExtensionOid::SUBSTRATE_POD_IDENTITY,
            identity: identity(),
        },
        LeafExtension::ServiceAccountIssuer(
            "https://kubernetes.default.svc.cluster.local"
                .parse()
                .unwrap(),
        ),
    ]
}

const JSON: &str = r#"{"Namespace":"shop","ServiceAccountName":"web","ServiceAccountUID":"5f1d2a9c-3b64-4c43-8a51-7c1a6c1f0e02","PodName":"web-1","PodUID":"0b7f6c0e-5a2c-4f0e-9d6e-2f1f4f3b9a10","NodeName":"node-a","NodeUID":"c8f0b1de-97aa-4f0c-a7ac-55a1c4e5d103"}"#;

#[test]
fn the_bytes_are_those_of_the_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/extensions.md");
    let page = std::fs::read_to_string(page).unwrap();
    // Hexadecimal stands in a column of at most 47 characters, explained in the rest of the line.
    let dumped: String = page
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| line.split("  ").next().unwrap_or_default())
        .flat_map(|column| column.chars().filter(|c| !c.is_whitespace()))
        .collect();
    assert!(page.contains(JSON));
    for extension in all() {
        let value = extension.value().unwrap();
        let oid = asn1::tlv(Tag::ObjectIdentifier, &[extension.oid().as_bytes()]).unwrap();
        let octets = asn1::tlv(Tag::OctetString, &[&value]).unwrap();
        let whole = asn1::sequence(&[&oid, &octets]).unwrap();
        let hex: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
        // The JSON is shown as text after its headers.
        let shown = match extension {
            LeafExtension::PodIdentityJson { .. } => &hex[..2 * (whole.len() - value.len())],
            _ => &hex,
        };
        assert!(dumped.contains(shown), "{}: {shown}", extension.oid());
    }
}

#[test]
fn a_leaf_carries_them_and_gives_them_back() {
    let spec = spiffe_spec().with_extensions(all()).unwrap();
    let leaf = issue(key(KeyType::EcdsaP256, 0), &root(0), &spec);
    let found = leaf.pod_identity_json(ExtensionOid::SUBSTRATE_POD_IDENTITY);
    assert_eq!(found, Ok(Some(identity())));
    let found = leaf.pod_identity_draft_a(oid("1.3.6.1.4.1.99999.1"));
    assert_eq!(found, Ok(Some(pod())));
    let issuer = leaf.service_account_issuer().unwrap().unwrap();
    assert_eq!(
        issuer.as_str(),
        "https://kubernetes.default.svc.cluster.local"
    );
    // Read as what it is not, it is an error; under another OID there is nothing.
    assert!(leaf.pod_identity_json(oid("1.3.6.1.4.1.99999.1")).is_err());
    let draft_a = leaf.pod_identity_draft_a(ExtensionOid::SUBSTRATE_POD_IDENTITY);
    assert!(draft_a.is_err());
    assert_eq!(leaf.extension(oid("1.3.6.1.4.1.99999.2")), None);
    // Another decoder than ours finds them, and none critical.
    use der::Decode;
    let decoded = x509_cert::Certificate::from_der(leaf.der()).unwrap();
    let extensions = decoded.tbs_certificate().extensions().unwrap();
    for asked in all() {
        let found = extensions
            .iter()
            .find(|found| found.extn_id == asked.oid().identifier())
            .unwrap();
        assert!(!found.critical);
        assert_eq!(found.extn_value.as_bytes(), asked.value().unwrap());
    }
    // The JSON is exactly what Go's json.Marshal makes of agent-substrate's type.
    let json = leaf.extension(ExtensionOid::SUBSTRATE_POD_IDENTITY);
    assert_eq!(json, Some(JSON.as_bytes()));
}

#[test]
fn a_leaf_without_them_has_none() {
    let leaf = issue(key(KeyType::EcdsaP256, 0), &root(0), &server_spec());
    assert_eq!(leaf.service_account_issuer(), Ok(None));
    let oid = ExtensionOid::SUBSTRATE_POD_IDENTITY;
    assert_eq!(leaf.pod_identity_json(oid), Ok(None));
}

#[test]
fn one_oid_stands_once() {
    let [draft_a, _, issuer] = <[_; 3]>::try_from(all()).unwrap();
    let json = LeafExtension::PodIdentityJson {
        oid: draft_a.oid(),
        identity: identity(),
    };
    let error = server_spec().with_extensions(vec![draft_a.clone(), issuer, json]);
    assert_eq!(
        error.unwrap_err(),
        SpecError::ExtensionTwice { oid: draft_a.oid() }
    );
}

#[test]
fn twice_in_a_certificate_is_refused_when_it_is_read() {
    let [one, other] = ["1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.3"].map(oid);
    let of_pod = |oid| LeafExtension::PodIdentityDraftA {
        oid,
        identity: pod(),
    };
    let spec = server_spec().with_extensions(vec![of_pod(one), of_pod(other)]);
    let leaf = issue(key(KeyType::EcdsaP256, 0), &root(0), &spec.unwrap());
    // No spec can ask for this, so the last arc of one is changed.
    let mut der = leaf.der().to_vec();
    let at = der
        .windows(other.as_bytes().len())
        .position(|window| window == other.as_bytes())
        .unwrap();
    der[at + other.as_bytes().len() - 1] = 1;
    let error = Certificate::from_der(der).unwrap_err();
    assert_eq!(
        error.to_string(),
        "certificate has extension 1.3.6.1.4.1.99999.1 twice"
    );
}

#[test]
fn json_that_is_none() {
    let value = |text: &str| PodIdentityWithUids::from_json(text.as_bytes());
    assert_eq!(value(JSON), Ok(identity()));
    let spaced = JSON.replace(',', " ,\n ").replace(':', ": ");
    assert_eq!(value(&spaced), Ok(identity()));
    let moved = JSON.replace(r#""Namespace":"shop","#, "");
    let moved = moved.replace('}', r#","Namespace":"shop"}"#);
    assert_eq!(value(&moved), Ok(identity()));
    for field in [
        "Namespace",
        "ServiceAccountName",
        "ServiceAccountUID",
        "PodName",
        "PodUID",
        "NodeName",
        "NodeUID",
    ] {
        let fields = JSON.trim_matches(['{', '}']).split(',');
        let (own, others): (Vec<&str>, Vec<&str>) =
            fields.partition(|it| it.starts_with(&format!("\"{field}\":")));
        let (own, others) = (own[0], others.join(","));
        let missing = format!("{{{others}}}");
        let error = value(&missing).unwrap_err().to_string();
        assert!(
            error.contains(&format!("missing field `{field}`")),
            "{error}"
        );
        let twice = format!("{{{own},{others},{own}}}");
        let error = value(&twice).unwrap_err().to_string();
        assert!(
            error.contains(&format!("duplicate field `{field}`")),
            "{error}"
        );
        for bad in ["\"\"", "\"a b\"", "\"a\\u0000\"", "null", "7", "\"-\\\"\""] {
            let bad = format!("{{{others},\"{field}\":{bad}}}");
            assert!(value(&bad).is_err(), "{bad}");
        }
        let other_case = JSON.replace(field, &field.to_lowercase());
        assert!(value(&other_case).is_err(), "{other_case}");
    }
    let array = r#"["shop","web","u","web-1","u","node-a","u"]"#;
    for bad in [
        "",
        "null",
        "\"\"",
        "not json",
        array,
        &format!(" {array}"),
        &format!("{JSON} {{}}"),
        &JSON.replace('}', r#","Actor":"x"}"#),
        &JSON[..JSON.len() - 1],
    ] {
        assert!(value(bad).is_err(), "{bad}");
    }
}

#[test]
fn draft_a_that_is_none() {
    let good = pod().to_draft_a().unwrap();
    assert_eq!(PodIdentity::from_draft_a(&good), Ok(pod()));
    let texts = |tag, texts: &[&str]| {
        let mut content = Vec::new();
        for text in texts {
            asn1::append(&mut content, tag, text.as_bytes()).unwrap();
        }
        asn1::sequence(&[&content]).unwrap()
    };
    let five = ["a", "b", "c", "d", "e"];
    assert!(PodIdentity::from_draft_a(&texts(Tag::Utf8String, &five)).is_ok());
    for bad in [
        texts(Tag::PrintableString, &five),
        texts(Tag::Utf8String, &five[..4]),
        texts(Tag::Utf8String, &["a", "b", "c", "d", "e", "f"]),
        texts(Tag::Utf8String, &["a", "b", "c", "", "e"]),
        texts(Tag::Utf8String, &["A", "b", "c", "d", "e"]),
        [good.as_slice(), &[0]].concat(),
        Vec::new(),
        JSON.as_bytes().to_vec(),
    ] {
        assert!(PodIdentity::from_draft_a(&bad).is_err(), "{bad:02x?}");
    }
}

/// The five texts of the sample certificate in KEP-4317, which has its OID as
/// `06 09 2b 06 01 04 01 83 c2 53 01`.
#[test]
fn the_oid_of_the_drafts_is_the_keps() {
    let drafts = oid("1.3.6.1.4.1.57683.1");
    assert_eq!(drafts.as_bytes(), b"\x2b\x06\x01\x04\x01\x83\xc2\x53\x01");
}

#[test]
fn oids_of_ones_own() {
    for text in [
        "1.3.6.1.4.1.99999.1",
        "2.5.28.1",
        "1.3.6.1.4.1.2147483647.0",
    ] {
        assert_eq!(oid(text).to_string(), text);
    }
    let problem = |text: &str| text.parse::<ExtensionOid>().unwrap_err().to_string();
    let long = ["1.3", &".2147483647".repeat(8)].concat();
    for text in [
        "", "1", "1.3", "3.1.1", "1.40.1", "1.3.x", "1.3.-1", "1.3.+1", "1.03.6", "1..3", ".1.3.6",
        "1.3.6.", " 1.3.6", &long,
    ] {
        let problem = problem(text);
        assert!(problem.contains("is no object identifier"), "{problem}");
    }
    for text in [
        "2.25.329800735698586629295641978511506172918",
        "1.3.6.1.4.1.2147483648",
        "2.2147483647.1",
    ] {
        let problem = problem(text);
        assert!(problem.contains("Go's crypto/x509"), "{problem}");
    }
    for text in [
        "2.5.29.17",
        "2.5.29.100",
        "1.3.6.1.5.5.7.1.1",
        "1.3.6.1.4.1.11129.2.4.3",
        "1.3.6.1.4.1.11129.2.12.1",
        "1.3.6.1.4.1.57264.1.8",
    ] {
        let problem = problem(text);
        assert!(problem.contains("already means something"), "{problem}");
    }
}

/// Everything at its limit stays far below what a status may hold (100 KiB of PEM, with the chain).
#[test]
fn the_longest_extensions_are_small() {
    let name: ObjectName = "x".repeat(253).parse().unwrap();
    let uid: crate::ObjectUid = "x".repeat(128).parse().unwrap();
    let pod = PodIdentity {
        namespace: name.clone(),
        service_account_name: name.clone(),
        pod_name: name.clone(),
        pod_uid: uid.clone(),
        node_name: name,
    };
    let identity = PodIdentityWithUids {
        pod,
        service_account_uid: uid.clone(),
        node_uid: uid,
    };
    let issuer = format!("https://example.org/{}", "x".repeat(1004));
    let longest = vec![
        LeafExtension::PodIdentityJson {
            oid: oid("1.3.6.1.4.1.99999.1"),
            identity: identity.clone(),
        },
        LeafExtension::PodIdentityJson {
            oid: ExtensionOid::SUBSTRATE_POD_IDENTITY,
            identity,
        },
        LeafExtension::ServiceAccountIssuer(issuer.parse().unwrap()),
    ];
    let length: usize = longest.iter().map(|it| it.value().unwrap().len()).sum();
    assert!(length < 5_000, "{length}");
    let spec = server_spec().with_extensions(longest).unwrap();
    let leaf = issue(key(KeyType::EcdsaP256, 0), &root(0), &spec);
    assert!(leaf.to_pem().len() < 8_000);
}

prop_compose! {
    fn any_identity()(
        names in proptest::array::uniform4("[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,9}){0,2}"),
        uids in proptest::array::uniform3("[A-Za-z0-9._-]{1,40}"),
    ) -> PodIdentityWithUids {
        let [namespace, account, pod, node] = names.map(|name| name.parse().unwrap());
        let [pod_uid, service_account_uid, node_uid] = uids.map(|uid| uid.parse().unwrap());
        PodIdentityWithUids {
            pod: PodIdentity {
                namespace, service_account_name: account, pod_name: pod, pod_uid, node_name: node,
            },
            service_account_uid,
            node_uid,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(identity in any_identity()) {
        let json = identity.to_json();
        prop_assert_eq!(PodIdentityWithUids::from_json(json.as_bytes()).unwrap(), identity.clone());
        let draft_a = identity.pod.to_draft_a().unwrap();
        prop_assert_eq!(PodIdentity::from_draft_a(&draft_a).unwrap(), identity.pod);
    }

    /// Whatever bytes: an identity that is written as it was read, or an error.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        identity in any_identity(),
    ) {
        let change = |mut good: Vec<u8>| {
            let at = at.index(good.len());
            good[at] = byte;
            good
        };
        let issuer = LeafExtension::ServiceAccountIssuer("https://a.example/b".parse().unwrap());
        for bytes in [
            bytes,
            change(identity.to_json().into_bytes()),
            change(identity.pod.to_draft_a().unwrap()),
            change(issuer.value().unwrap()),
        ] {
            if let Ok(read) = PodIdentityWithUids::from_json(&bytes) {
                prop_assert_eq!(PodIdentityWithUids::from_json(read.to_json().as_bytes()), Ok(read));
            }
            if let Ok(read) = PodIdentity::from_draft_a(&bytes) {
                prop_assert_eq!(read.to_draft_a().unwrap(), bytes.clone());
            }
            if let Ok(read) = issuer_from(&bytes) {
                let again = LeafExtension::ServiceAccountIssuer(read).value().unwrap();
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn any_text_is_an_oid_as_it_stands_or_none(text in "[0-9.]{0,30}|\\PC{0,20}") {
        if let Ok(oid) = text.parse::<ExtensionOid>() {
            prop_assert_eq!(oid.to_string(), text);
        }
    }
}
