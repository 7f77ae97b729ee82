use super::*;
use crate::{
    ExtKeyUsages, IssuerContext, KeyType, LeafSpec, Serial, SignatureAlgorithm, Validity,
    fixtures::{ca_spec, key, now, root, server_spec, spiffe_spec, valid_for},
};

fn der_of(spec: &LeafSpec) -> Vec<u8> {
    let context = IssuerContext::new(&root(0), SignatureAlgorithm::EcdsaSha256).unwrap();
    let tbs = context.leaf_tbs(spec, &Serial::random().unwrap()).unwrap();
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
fn a_ca_is_no_leaf() {
    let ca = crate::ca::new_root(key(KeyType::EcdsaP256, 7), &ca_spec("ca")).unwrap();
    let spec = server_spec();
    let key = spec.public_key().clone();
    let validity = ca.validity().unwrap();
    let spec = LeafSpec::new(key, spec.names().clone(), ExtKeyUsages::SERVER, validity).unwrap();
    assert_eq!(field(ca.der().to_vec(), &spec), Field::Subject);
}

#[test]
fn flipped_bits_are_seen() {
    let spec = spiffe_spec();
    let der = der_of(&spec);
    let end = der.len() - 70;
    let (mut unseen, mut at_all) = (0, 0);
    for at in 0..end {
        for bit in 0..8 {
            let mut changed = der.clone();
            changed[at] ^= 1 << bit;
            at_all += 1;
            if leaf(changed, &spec).is_ok() {
                unseen += 1;
            }
        }
    }
    // What may change unseen is what the spec does not decide: issuer name, serial number,
    // authority key identifier, and the text of the algorithm in both places at once (never
    // with a single bit).
    assert!(unseen * 2 < at_all, "{unseen} of {at_all}");
}
