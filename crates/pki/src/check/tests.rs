use super::*;
use crate::{
    ExtKeyUsages, IssuerContext, KeyType, LeafExtension, LeafSpec, PodIdentity,
    PodIdentityWithUids, Serial, SignatureAlgorithm, Validity,
    fixtures::{ca_spec, key, now, root, server_spec, spiffe_spec, valid_for},
};

fn der_of(spec: &LeafSpec) -> Vec<u8> {
    let context = IssuerContext::new(&root(0), SignatureAlgorithm::EcdsaSha256).unwrap();
    let tbs = context
        .leaf_tbs(spec, &Serial::from_octets([9; 20]))
        .unwrap();
    tbs.assemble(&[1; 70]).unwrap()
}

fn field(der: Vec<u8>, spec: &LeafSpec) -> Field {
    match leaf(der, spec) {
        Err(CheckError::Differs(field)) => field,
        other => panic!("expected a difference, got {other:?}"),
    }
}

#[test]
fn what_was_decided_passes() {
    leaf(der_of(&server_spec()), &server_spec()).unwrap();
    leaf(der_of(&spiffe_spec()), &spiffe_spec()).unwrap();
}

#[test]
fn each_difference_is_named() {
    let spec = server_spec();
    let with = |names: &LeafNames, usages, validity, number: usize| {
        let key = key(KeyType::EcdsaP256, number).public_key().clone();
        LeafSpec::new(key, names.clone(), usages, validity).unwrap()
    };
    let (names, usages, validity) = (spec.names(), spec.ext_key_usages(), spec.validity());
    let dns = |text: &[&str]| LeafNames::Dns(text.iter().map(|t| t.parse().unwrap()).collect());
    let later = Validity::new(now(), validity.not_after()).unwrap();
    for (other, expected) in [
        (with(names, usages, validity, 6), Field::PublicKey),
        (with(names, usages, later, 7), Field::NotBefore),
        (with(names, usages, valid_for(23), 7), Field::NotAfter),
        (
            with(names, ExtKeyUsages::CLIENT, validity, 7),
            Field::ExtKeyUsage,
        ),
        (
            with(names, ExtKeyUsages::SERVER_AND_CLIENT, validity, 7),
            Field::ExtKeyUsage,
        ),
        (
            with(&dns(&["other.shop.svc"]), usages, validity, 7),
            Field::SubjectAltName,
        ),
        (
            with(
                &dns(&["server.shop.svc", "other.shop.svc"]),
                usages,
                validity,
                7,
            ),
            Field::SubjectAltName,
        ),
    ] {
        assert_eq!(field(der_of(&other), &spec), expected);
        assert_eq!(
            field(der_of(&spec), &other),
            expected,
            "and the other way round"
        );
    }
    assert_eq!(field(der_of(&spiffe_spec()), &spec), Field::ExtKeyUsage);
}

#[test]
fn extensions_are_those_decided_and_no_other() {
    let issuer = |url: &str| LeafExtension::ServiceAccountIssuer(url.parse().unwrap());
    let with = |extensions| spiffe_spec().with_extensions(extensions).unwrap();
    let draft_a = |namespace: &str, oid: &str| LeafExtension::PodIdentityDraftA {
        oid: oid.parse().unwrap(),
        identity: PodIdentity {
            namespace: namespace.parse().unwrap(),
            service_account_name: "web".parse().unwrap(),
            pod_name: "web-1".parse().unwrap(),
            pod_uid: "u".parse().unwrap(),
            node_name: "node-a".parse().unwrap(),
        },
    };
    let json = |node_uid: &str| {
        let LeafExtension::PodIdentityDraftA { oid, identity } = draft_a("shop", "1.2.3.5") else {
            unreachable!()
        };
        let identity = PodIdentityWithUids {
            pod: identity,
            service_account_uid: "a".parse().unwrap(),
            node_uid: node_uid.parse().unwrap(),
        };
        LeafExtension::PodIdentityJson { oid, identity }
    };
    let own = "1.2.3.4";
    let different = [
        with(vec![]),
        with(vec![issuer("https://a.example")]),
        with(vec![issuer("https://b.example")]),
        with(vec![draft_a("shop", own)]),
        with(vec![draft_a("shop", "1.2.3.6")]),
        with(vec![draft_a("other", own)]),
        with(vec![json("n")]),
        with(vec![json("m")]),
        with(vec![draft_a("shop", own), json("n")]),
        with(vec![json("n"), draft_a("shop", own)]),
    ];
    for (at, decided) in different.iter().enumerate() {
        leaf(der_of(decided), decided).unwrap();
        for (_, other) in different
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
        {
            assert_eq!(field(der_of(other), decided), Field::Extensions);
        }
    }
}

#[test]
fn a_ca_is_no_leaf() {
    let ca = crate::ca::new_root(key(KeyType::EcdsaP256, 7), &ca_spec("ca")).unwrap();
    let spec = server_spec();
    let key = spec.public_key().clone();
    let validity = ca.validity().unwrap();
    let spec = LeafSpec::new(key, spec.names().clone(), ExtKeyUsages::SERVER, validity).unwrap();
    assert_eq!(field(ca.der().to_vec(), &spec), Field::Subject);
}

/// Whatever single bit changes, the check sees it, unless it lies in what the spec leaves to the
/// issuer: serial number, issuer name, authority key identifier (and the signature).
#[test]
fn flipped_bits_are_seen() {
    let issuer = "https://issuer.example/cluster".parse().unwrap();
    let extensions = vec![LeafExtension::ServiceAccountIssuer(issuer)];
    let spec = spiffe_spec().with_extensions(extensions).unwrap();
    let der = der_of(&spec);
    let good = Certificate::from_der(der.as_slice()).unwrap();
    let key_id = good.authority_key_id().unwrap();
    let key_usage = place(&der, b"\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07", 0);
    let free = [
        // How many bits of the key usage are unused: a smaller count is not the shortest
        // encoding, but says the same.
        key_usage.end - 1..key_usage.end,
        place(&der, good.serial(), 0),
        place(&der, good.issuer().der(), 0),
        // The whole extension: headers, object identifier and the header of the key identifier.
        place(&der, key_id, 13),
        place(&der, &[1; 70], 0),
    ];
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut changed = der.clone();
            changed[at] ^= 1 << bit;
            let seen = leaf(changed, &spec).is_err();
            assert!(
                seen || free.iter().any(|place| place.contains(&at)),
                "byte {at} bit {bit}"
            );
        }
    }
}

/// Where `part` lies in `whole`, and the bytes before it that belong to it.
fn place(whole: &[u8], part: &[u8], before: usize) -> std::ops::Range<usize> {
    let at = whole
        .windows(part.len())
        .position(|window| window == part)
        .unwrap();
    at - before..at + part.len()
}
