use der::Decode;
use x509_cert::Certificate as Decoded;

use super::*;
use crate::{
    KeyType, PrivateKey,
    ca::{self, CaSpec},
    check,
    fixtures::{ca_spec, issue, key, now, root, server_spec, spiffe_spec, valid_for},
};

#[test]
fn the_profile_byte_for_byte() {
    let root = root(0);
    let spec = server_spec();
    let context = IssuerContext::new(&root, SignatureAlgorithm::EcdsaSha256).unwrap();
    let tbs = context
        .leaf_tbs(&spec, &Serial::from_octets([0xff; 20]))
        .unwrap();
    let der = tbs.assemble(&[1; 70]).unwrap();
    // Another decoder than ours reads it and finds the same encoding canonical.
    let decoded = Decoded::from_der(&der).unwrap();
    assert_eq!(decoded.to_der().unwrap(), der);
    let inner = decoded.tbs_certificate();
    assert_eq!(
        inner.serial_number().as_bytes(),
        [[0x7f; 1].as_slice(), &[0xff; 19]].concat()
    );
    assert!(inner.subject().is_empty());
    let extensions: Vec<(String, bool, String)> = inner
        .extensions()
        .unwrap()
        .iter()
        .map(|e| {
            (
                e.extn_id.to_string(),
                e.critical,
                hex(e.extn_value.as_bytes()),
            )
        })
        .collect();
    let key_id = hex(root.subject_key_id().unwrap());
    let expected = [
        // cA is false by DEFAULT, and DER leaves out a default: an empty SEQUENCE.
        ("2.5.29.19", true, "3000".to_owned()),
        // digitalSignature alone: one used bit, seven unused.
        ("2.5.29.15", true, "03020780".to_owned()),
        ("2.5.29.37", false, "300a06082b06010505070301".to_owned()),
        ("2.5.29.35", false, format!("30168014{key_id}")),
        (
            "2.5.29.17",
            true,
            format!("3011820f{}", hex(b"server.shop.svc")),
        ),
    ];
    assert_eq!(extensions.len(), expected.len());
    for ((oid, critical, value), expected) in extensions.iter().zip(&expected) {
        assert_eq!(
            (oid.as_str(), *critical, value),
            (expected.0, expected.1, &expected.2)
        );
    }
}

#[test]
fn an_issuer_name_is_copied_byte_for_byte() {
    // Repeated attributes, a multi-valued RDN, and string types we would not write ourselves.
    for name in [
        "CN=Workload CA,OU=two,OU=one,O=Acme",
        "CN=a+OU=b+UID=c,DC=example,DC=net",
        "2.5.4.3=#1e040041f600,C=DE",
    ] {
        let name = name
            .parse::<x509_cert::name::Name>()
            .unwrap()
            .to_der()
            .unwrap();
        let root = root_named(&name);
        assert_eq!(root.subject().der(), name);
        let leaf = issue(key(KeyType::EcdsaP256, 3), &root, &server_spec());
        assert_eq!(leaf.issuer().der(), name);
    }
}

#[test]
fn the_issuer_must_be_able_to_sign() {
    let (ca_key, root) = (key(KeyType::EcdsaP256, 0), root(0));
    let leaf = issue(ca_key, &root, &server_spec());
    let error = IssuerContext::new(&leaf, SignatureAlgorithm::EcdsaSha256).unwrap_err();
    assert!(matches!(error, IssueError::NotCa { .. }), "{error:?}");
    let error = IssuerContext::new(&root, SignatureAlgorithm::Ed25519).unwrap_err();
    assert_eq!(
        error.to_string(),
        "issuer CN=root 0,O=podcert tests holds a key that does not sign with Ed25519"
    );
    // A CA whose key usage says digitalSignature only.
    let usage = extension(Critical::Yes, &KeyUsage(KeyUsages::DigitalSignature.into())).unwrap();
    let root = root_with(root.subject().der(), &[&usage]);
    let error = IssuerContext::new(&root, SignatureAlgorithm::EcdsaSha256).unwrap_err();
    assert!(matches!(error, IssueError::MayNotSign { .. }), "{error:?}");
}

/// OpenSSL would take such a leaf for its own issuer.
#[test]
fn only_below_a_root_without_a_name_a_leaf_has_its_own_key_id() {
    let spec = spiffe_spec();
    let ca_key = key(KeyType::EcdsaP256, 3);
    let leaf = issue(ca_key, &root_named(&[0x30, 0]), &spec);
    assert!(leaf.issuer().is_empty());
    assert_eq!(
        leaf.subject_key_id(),
        Some(spec.public_key().key_id().as_slice())
    );
    assert_ne!(leaf.subject_key_id(), leaf.authority_key_id());
    let named = issue(key(KeyType::EcdsaP256, 0), &root(0), &spec);
    assert_eq!(named.subject_key_id(), None);
    // That of another key is not what was decided.
    let mut other = leaf.der().to_vec();
    let id = spec.public_key().key_id();
    let at = other.windows(20).position(|part| part == id).unwrap();
    other[at] ^= 1;
    assert_eq!(
        check::leaf(other, &spec).unwrap_err(),
        check::CheckError::Differs(check::Field::Extensions)
    );
}

#[test]
fn a_root_without_key_id_yields_leaves_without_authority_key_id() {
    let root = root_with(root(0).subject().der(), &[]);
    let leaf = issue(key(KeyType::EcdsaP256, 3), &root, &spiffe_spec());
    assert_eq!(leaf.authority_key_id(), None);
}

#[test]
fn times_change_their_type_in_2050() {
    for (text, tag) in [
        ("2049-12-31T23:59:59Z", 0x17),
        ("2050-01-01T00:00:00Z", 0x18),
    ] {
        let encoded = asn1::time(text.parse().unwrap()).unwrap();
        assert_eq!(encoded[0], tag);
        let back = asn1::Fields::new(&encoded).unwrap().time().unwrap();
        assert_eq!(back.to_string(), text);
    }
    let far = Validity::new(now(), "9999-12-30T00:00:00Z".parse().unwrap()).unwrap();
    let spec = CaSpec {
        validity: far,
        ..ca_spec("far")
    };
    let root = ca::new_root(key(KeyType::Ed25519, 0), &spec).unwrap();
    assert_eq!(root.validity(), Some(far));
}

#[test]
fn serial_numbers_are_positive_long_and_different() {
    let serials: Vec<_> = (0..100).map(|_| Serial::random().unwrap()).collect();
    for serial in &serials {
        assert_eq!(serial.as_bytes().len(), 20);
        assert!((0x40..0x80).contains(&serial.as_bytes()[0]));
    }
    let different: std::collections::HashSet<_> = serials.iter().collect();
    assert_eq!(different.len(), 100);
    assert_eq!(
        Serial::from_octets([0; 20]).to_string(),
        format!("40{}", "00".repeat(19))
    );
}

#[test]
fn ten_thousand_names_fit() {
    let names = (0..10_000)
        .map(|n| format!("service-{n}.shop.svc").parse().unwrap())
        .collect();
    let key = key(KeyType::EcdsaP256, 7).public_key().clone();
    let spec = LeafSpec::new(
        key,
        LeafNames::Dns(names),
        ExtKeyUsages::SERVER,
        valid_for(24),
    )
    .unwrap();
    let leaf = issue(self::key(KeyType::EcdsaP256, 0), &root(0), &spec);
    assert_eq!(leaf.dns_names().count(), 10_000);
}

/// A root of the P-256 key number 3 with this name.
fn root_named(name: &[u8]) -> Certificate {
    let id = x509_cert::ext::pkix::SubjectKeyIdentifier(OctetString::new([5; 20]).unwrap());
    root_with(name, &[&extension(Critical::No, &id).unwrap()])
}

fn root_with(name: &[u8], extensions: &[&[u8]]) -> Certificate {
    let key: &PrivateKey = key(KeyType::EcdsaP256, 3);
    let constraints = BasicConstraints {
        ca: true,
        path_len_constraint: None,
    };
    let constraints = extension(Critical::Yes, &constraints).unwrap();
    let extensions = [&[constraints.as_slice()], extensions].concat();
    let tbs = Tbs {
        serial: &Serial::random().unwrap(),
        algorithm: key.signature_algorithm(),
        issuer: name,
        validity: valid_for(1000),
        subject: name,
        spki: key.public_key().spki_der(),
        extensions: &extensions,
    };
    let tbs = tbs.encode().unwrap();
    let signature = key.sign(tbs.to_be_signed()).unwrap();
    Certificate::from_der(tbs.assemble(&signature).unwrap()).unwrap()
}

#[test]
fn checked_leaves_are_the_ones_assembled() {
    let context = IssuerContext::new(&root(0), SignatureAlgorithm::EcdsaSha256).unwrap();
    let serial = Serial::from_octets([1; 20]);
    let der = context
        .leaf_tbs(&spiffe_spec(), &serial)
        .unwrap()
        .assemble(&[0; 64])
        .unwrap();
    let leaf = check::leaf(der.as_slice(), &spiffe_spec()).unwrap();
    assert_eq!(leaf.der(), der);
    assert_eq!(leaf.serial(), serial.as_bytes());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
