use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::*;
use crate::{
    KeyType,
    fixtures::{ca_spec, issue, issued, key, now, server_spec, spiffe_spec, three},
};

fn bundle(anchors: &[&Certificate]) -> TrustBundle {
    TrustBundle::new(anchors.iter().map(|a| (*a).clone()).collect()).unwrap()
}

fn chain(leaf: &Certificate, above: &[&Certificate]) -> Chain {
    Chain::new(leaf.clone(), above.iter().map(|c| (*c).clone()).collect())
}

fn refused(chain: &Chain, anchors: &TrustBundle) -> Refusal {
    verify_explained(chain, anchors, Purpose::Client, now()).unwrap_err()
}

#[test]
fn the_way_is_told() {
    let [leaf, middle, root] = three();
    let other = crate::fixtures::root(3);
    let anchors = bundle(&[&other, &root]);
    let full = chain(&leaf, &[&other, &middle]);
    let path = verify_explained(&full, &anchors, Purpose::Client, now()).unwrap();
    assert_eq!(
        (path.certificates.as_slice(), path.anchor),
        (&[1, 3][..], 2)
    );
    assert_eq!(path.not_after(&full, &anchors), leaf.not_after());
}

#[test]
fn no_way_is_explained() {
    let [leaf, middle, root] = three();
    let other = crate::fixtures::root(3);

    let missing = refused(&chain(&leaf, &[]), &bundle(&[&root]));
    assert_eq!(
        (missing.check, missing.place),
        (RefusedBy::NoAnchor, Place::Leaf)
    );
    assert!(
        missing
            .reason
            .ends_with("neither in the chain nor among the anchors"),
        "{missing}"
    );

    let unknown = refused(&chain(&leaf, &[&middle]), &bundle(&[&other]));
    assert_eq!(
        (unknown.check, unknown.place),
        (RefusedBy::NoAnchor, Place::Intermediate(2))
    );
    let to_root = refused(&chain(&leaf, &[&middle, &root]), &bundle(&[&other]));
    assert_eq!(
        (to_root.check, to_root.place),
        (RefusedBy::NoAnchor, Place::Intermediate(3))
    );
    assert!(to_root.reason.contains("ends in the root"), "{to_root}");

    // The same name with another key: another generation of the CA.
    let renewed = crate::ca::new_root(key(KeyType::EcdsaP256, 4), &ca_spec("root 0")).unwrap();
    let stale = refused(&chain(&leaf, &[&middle]), &bundle(&[&other, &renewed]));
    assert_eq!(
        (stale.check, stale.place),
        (RefusedBy::AnchorKey, Place::Intermediate(2))
    );
    assert!(
        stale
            .reason
            .contains("anchor 2 has this name, but another key"),
        "{stale}"
    );

    let damaged = |certificate: &Certificate| {
        let mut der = certificate.der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        Certificate::from_der(der).unwrap()
    };
    let forged = refused(&chain(&damaged(&leaf), &[&middle]), &bundle(&[&root]));
    assert_eq!(
        (forged.check, forged.place),
        (RefusedBy::Signature, Place::Leaf)
    );
    let forged = refused(&chain(&leaf, &[&damaged(&middle)]), &bundle(&[&root]));
    assert_eq!(
        (forged.check, forged.place),
        (RefusedBy::Signature, Place::Intermediate(2))
    );
}

#[test]
fn what_else_refuses() {
    let [leaf, middle, root] = three();
    let anchors = bundle(&[&root]);
    let full = chain(&leaf, &[&middle]);
    let at = |at| verify_explained(&full, &anchors, Purpose::Client, at).unwrap_err();
    let late = at(leaf.not_after() + SignedDuration::from_hours(1));
    assert_eq!((late.check, late.place), (RefusedBy::Expired, Place::Leaf));
    let early = at(leaf.not_before() - SignedDuration::from_hours(1));
    assert_eq!(early.check, RefusedBy::NotYetValid);
    // The middle and the root end together, long after the leaf.
    let old = issued(&server_spec());
    let far = old.1.anchors()[0].not_after() + SignedDuration::from_hours(1);
    let far = verify_explained(&full, &anchors, Purpose::Client, far).unwrap_err();
    assert_eq!(far.check, RefusedBy::Expired);

    let ca = refused(&chain(&middle, &[]), &anchors);
    assert_eq!((ca.check, ca.place), (RefusedBy::CaAsLeaf, Place::Leaf));

    let (server, anchors) = issued(&server_spec());
    let usage = refused(&server, &anchors);
    assert_eq!(
        (usage.check, usage.place),
        (RefusedBy::ExtKeyUsage, Place::Leaf)
    );
    assert!(usage.reason.ends_with("only serverAuth"), "{usage}");
    let name = "other.shop.svc".parse().unwrap();
    let named = verify_explained(&server, &anchors, Purpose::Server(Some(&name)), now());
    assert_eq!(named.unwrap_err().check, RefusedBy::Name);
}

#[test]
fn what_the_profile_forbids() {
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair};

    let made = |change_leaf: fn(&mut CertificateParams), change_ca: fn(&mut CertificateParams)| {
        let (ca_key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change_ca(&mut ca);
        let mut leaf = CertificateParams::new(vec!["a.shop.svc".to_owned()]).unwrap();
        leaf.is_ca = IsCa::ExplicitNoCa;
        change_leaf(&mut leaf);
        let root = ca.self_signed(&ca_key).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key)).unwrap();
        let parse = |der: &[u8]| Certificate::from_der(der.to_vec()).unwrap();
        (
            chain(&parse(leaf.der()), &[]),
            bundle(&[&parse(root.der())]),
        )
    };
    let (ok, anchors) = made(|_| {}, |_| {});
    verify_explained(&ok, &anchors, Purpose::Client, now()).unwrap();

    let (no, anchors) = made(
        |leaf| {
            let mut unknown =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99, 7], vec![5, 0]);
            unknown.set_criticality(true);
            leaf.custom_extensions.push(unknown);
        },
        |_| {},
    );
    let critical = refused(&no, &anchors);
    assert_eq!(critical.check, RefusedBy::CriticalExtension, "{critical}");
    assert!(critical.reason.contains("1.3.6.1.4.1.99.7"), "{critical}");

    let (no, anchors) = made(
        |_| {},
        |ca| {
            // permitted: DNS "other.svc"
            let content = b"\x30\x0f\xa0\x0d\x30\x0b\x82\x09other.svc".to_vec();
            let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
            constraints.set_criticality(true);
            ca.custom_extensions.push(constraints);
        },
    );
    let constrained = refused(&no, &anchors);
    assert_eq!(
        (constrained.check, constrained.place),
        (RefusedBy::NameConstraints, Place::Anchor(1)),
        "{constrained}"
    );

    let (no, anchors) = made(
        |_| {},
        |ca| ca.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign],
    );
    let may_not = refused(&no, &anchors);
    assert_eq!(
        (may_not.check, may_not.place),
        (RefusedBy::MayNotSign, Place::Anchor(1)),
        "{may_not}"
    );
}

#[test]
fn too_many_cas() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    let params = |name: &str, is_ca| {
        let mut params = CertificateParams::new(vec!["a.shop.svc".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = is_ca;
        (params, KeyPair::generate().unwrap())
    };
    let parse = |der: &[u8]| Certificate::from_der(der.to_vec()).unwrap();
    let (root, root_key) = params("root", IsCa::Ca(BasicConstraints::Unconstrained));
    let (high, high_key) = params("high", IsCa::Ca(BasicConstraints::Constrained(0)));
    let (low, low_key) = params("low", IsCa::Ca(BasicConstraints::Unconstrained));
    let (leaf, leaf_key) = params("leaf", IsCa::ExplicitNoCa);
    let anchor = parse(root.self_signed(&root_key).unwrap().der());
    let high_der = high
        .signed_by(&high_key, &Issuer::new(root, root_key))
        .unwrap();
    let low_der = low
        .signed_by(&low_key, &Issuer::new(high, high_key))
        .unwrap();
    let leaf_der = leaf
        .signed_by(&leaf_key, &Issuer::new(low, low_key))
        .unwrap();
    let full = chain(
        &parse(leaf_der.der()),
        &[&parse(low_der.der()), &parse(high_der.der())],
    );
    assert_eq!(
        refused(&full, &bundle(&[&anchor])).check,
        RefusedBy::PathLength
    );
}

#[test]
fn signatures_nobody_checks() {
    let rsa = key(KeyType::Rsa2048, 0);
    let root = crate::ca::new_root(rsa, &ca_spec("rsa")).unwrap();
    let leaf = issue(rsa, &root, &spiffe_spec());
    // sha256WithRSAEncryption becomes sha1WithRSAEncryption.
    let (from, to) = (b"\xf7\x0d\x01\x01\x0b", b"\xf7\x0d\x01\x01\x05");
    let mut der = leaf.der().to_vec();
    for start in 0..der.len() - from.len() {
        if der[start..].starts_with(from) {
            der[start..start + to.len()].copy_from_slice(to);
        }
    }
    let old = Certificate::from_der(der).unwrap();
    let refusal = refused(&chain(&old, &[]), &bundle(&[&root]));
    assert_eq!(
        (refusal.check, refusal.place),
        (RefusedBy::Algorithm, Place::Leaf),
        "{refusal}"
    );
    assert!(refusal.reason.contains("RSA with SHA-1"), "{refusal}");
}

#[test]
fn identities() {
    let leaf = issued(&spiffe_spec()).0.leaf().clone();
    let (same, other): (SpiffeId, SpiffeId) = (
        "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap(),
        "spiffe://cluster.local/ns/shop/sa/db".parse().unwrap(),
    );
    assert_eq!(expect_id(&leaf, &ExpectedId::Id(&same)).unwrap(), same);
    let wrong = expect_id(&leaf, &ExpectedId::Id(&other)).unwrap_err();
    assert_eq!((wrong.check, wrong.place), (RefusedBy::Name, Place::Leaf));
    let (here, there) = ("cluster.local".parse().unwrap(), "b.org".parse().unwrap());
    expect_id(&leaf, &ExpectedId::TrustDomain(&here)).unwrap();
    let wrong = expect_id(&leaf, &ExpectedId::TrustDomain(&there)).unwrap_err();
    assert_eq!(wrong.check, RefusedBy::Name);
    let server = issued(&server_spec()).0.leaf().clone();
    let no_svid = expect_id(&server, &ExpectedId::Id(&same)).unwrap_err();
    assert_eq!(no_svid.check, RefusedBy::SpiffeId);
}

#[test]
fn names_of_checks_are_unique() {
    let names: BTreeSet<_> = RefusedBy::ALL.iter().map(|check| check.as_str()).collect();
    assert_eq!(names.len(), RefusedBy::ALL.len());
}
