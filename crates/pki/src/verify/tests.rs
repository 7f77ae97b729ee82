use jiff::SignedDuration;

use super::*;
use crate::{
    ExtKeyUsages, KeyType, LeafNames, LeafSpec, Validity,
    ca::{CaSpec, new_intermediate},
    fixtures::{ca_spec, issue, issued, key, now, root, server_spec, spiffe_spec, valid_for},
};

fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

#[test]
fn a_server_under_its_name() {
    let (chain, anchors) = issued(&server_spec());
    verify(
        &chain,
        &anchors,
        Purpose::Server(Some(&name("server.shop.svc"))),
        now(),
    )
    .unwrap();
    verify(&chain, &anchors, Purpose::Server(None), now()).unwrap();
    let wrong = name("server.other.svc");
    let error = verify(&chain, &anchors, Purpose::Server(Some(&wrong)), now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate is not for server.other.svc but for server.shop.svc"
    );
    let error = verify(&chain, &anchors, Purpose::Client, now()).unwrap_err();
    assert_eq!(error, VerifyError::WrongUsage);
}

#[test]
fn a_workload_as_client_and_server() {
    let (chain, anchors) = issued(&spiffe_spec());
    verify(&chain, &anchors, Purpose::Client, now()).unwrap();
    verify(&chain, &anchors, Purpose::Server(None), now()).unwrap();
    let error = verify(
        &chain,
        &anchors,
        Purpose::Server(Some(&name("a.svc"))),
        now(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate is not for a.svc but for no DNS name at all"
    );
    assert_eq!(
        spiffe_id(chain.leaf()).unwrap().as_str(),
        "spiffe://cluster.local/ns/shop/sa/web"
    );
}

#[test]
fn time_and_trust() {
    let (chain, anchors) = issued(&spiffe_spec());
    let not_after = chain.leaf().not_after();
    verify(&chain, &anchors, Purpose::Client, not_after).unwrap();
    let at = not_after + SignedDuration::from_secs(1);
    assert_eq!(
        verify(&chain, &anchors, Purpose::Client, at),
        Err(VerifyError::Expired {
            certificate: "the leaf certificate".to_owned(),
            not_after,
            at
        })
    );
    let not_before = chain.leaf().not_before();
    let at = not_before - SignedDuration::from_secs(1);
    assert_eq!(
        verify(&chain, &anchors, Purpose::Client, at),
        Err(VerifyError::NotYetValid {
            certificate: "the leaf certificate".to_owned(),
            not_before,
            at
        })
    );
    let others = TrustBundle::new(vec![root(1)]).unwrap();
    assert_eq!(
        verify(&chain, &others, Purpose::Client, now()),
        Err(VerifyError::UnknownIssuer)
    );
    // The same name, another key.
    let impostor = crate::ca::new_root(key(KeyType::EcdsaP256, 1), &ca_spec("root 0")).unwrap();
    let impostor = TrustBundle::new(vec![impostor]).unwrap();
    assert_eq!(
        verify(&chain, &impostor, Purpose::Client, now()),
        Err(VerifyError::Signature)
    );
}

#[test]
fn an_intermediate_is_needed_and_may_end() {
    let (root_key, sub) = (key(KeyType::EcdsaP256, 0), key(KeyType::EcdsaP256, 1));
    let root = root(0);
    let spec = CaSpec {
        validity: valid_for(1),
        ..ca_spec("short")
    };
    let ca = new_intermediate(root_key, &root, sub.public_key(), &spec).unwrap();
    let leaf = issue(sub, &ca, &spiffe_spec());
    let anchors = TrustBundle::new(vec![root]).unwrap();
    let chain = Chain::new(leaf.clone(), vec![ca]);
    verify(&chain, &anchors, Purpose::Client, now()).unwrap();
    let error = verify(&Chain::new(leaf, vec![]), &anchors, Purpose::Client, now());
    assert_eq!(error, Err(VerifyError::UnknownIssuer));
    let late = now() + SignedDuration::from_hours(2);
    let error = verify(&chain, &anchors, Purpose::Client, late);
    assert_eq!(
        error.unwrap_err().to_string(),
        "the certificate of CA CN=short,O=podcert tests has expired: \
         it was valid until 2026-11-21T12:58:00Z, now is 2026-11-21T14:00:00Z"
    );
}

#[test]
fn a_ca_is_no_leaf() {
    let root = root(0);
    let anchors = TrustBundle::new(vec![root.clone()]).unwrap();
    let chain = Chain::new(root.clone(), vec![]);
    assert_eq!(
        verify(&chain, &anchors, Purpose::Client, now()),
        Err(VerifyError::CaAsLeaf)
    );
    assert_eq!(spiffe_id(&root), Err(SvidError::Ca));
}

#[test]
fn leaves_that_are_no_svid() {
    let (chain, _) = issued(&server_spec());
    assert_eq!(spiffe_id(chain.leaf()), Err(SvidError::Uris { count: 0 }));

    use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
    let leaf = |uris: &[&str], usages: &[KeyUsagePurpose]| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = usages.to_vec();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::from_der(signed.der().to_vec()).unwrap()
    };
    let good = [KeyUsagePurpose::DigitalSignature];
    assert_eq!(
        spiffe_id(&leaf(&["spiffe://td/a"], &good)).unwrap().path(),
        "/a"
    );
    let two = leaf(&["spiffe://td/a", "https://example.org"], &good);
    assert_eq!(spiffe_id(&two), Err(SvidError::Uris { count: 2 }));
    let web = leaf(&["https://example.org/a"], &good);
    assert!(matches!(spiffe_id(&web), Err(SvidError::Id(_))));
    let domain = leaf(&["spiffe://td"], &good);
    assert!(matches!(spiffe_id(&domain), Err(SvidError::NoPath(_))));
    let none = leaf(&["spiffe://td/a"], &[]);
    assert_eq!(spiffe_id(&none), Err(SvidError::NoDigitalSignature));
    let signs = leaf(&["spiffe://td/a"], &[good[0], KeyUsagePurpose::KeyCertSign]);
    assert_eq!(spiffe_id(&signs), Err(SvidError::MaySign));
}

#[test]
fn one_unreadable_anchor_does_not_hide_the_others() {
    // An unknown critical extension: a ClusterTrustBundle may hold such a root, webpki refuses it.
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let mut odd =
        rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], vec![5, 0]);
    odd.set_criticality(true);
    params.custom_extensions.push(odd);
    let odd = params
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap();
    let odd = Certificate::from_der(odd.der().to_vec()).unwrap();
    let (chain, anchors) = issued(&spiffe_spec());
    let both = [vec![odd], anchors.anchors().to_vec()].concat();
    verify(
        &chain,
        &TrustBundle::new(both).unwrap(),
        Purpose::Client,
        now(),
    )
    .unwrap();
}

#[test]
fn a_dns_client_leaf_is_for_clients_only() {
    let key = key(KeyType::EcdsaP256, 7).public_key().clone();
    let names = LeafNames::Dns(vec![name("a.b.svc")]);
    let spec = LeafSpec::new(key, names, ExtKeyUsages::CLIENT, valid_for(1)).unwrap();
    let (chain, anchors) = issued(&spec);
    verify(&chain, &anchors, Purpose::Client, now()).unwrap();
    let error = verify(
        &chain,
        &anchors,
        Purpose::Server(Some(&name("a.b.svc"))),
        now(),
    );
    assert_eq!(error, Err(VerifyError::WrongUsage));
}

#[test]
fn an_anchor_outside_its_validity_is_none() {
    let (root_key, day) = (key(KeyType::EcdsaP256, 0), SignedDuration::from_hours(24));
    let root = |from, to| {
        let validity = Validity::new(from, to).unwrap();
        crate::ca::new_root(
            root_key,
            &CaSpec {
                validity,
                ..ca_spec("root 0")
            },
        )
        .unwrap()
    };
    let past = root(now() - day * 2, now() - day);
    let future = root(now() + day, now() + day * 2);
    let chain = Chain::new(issue(root_key, &past, &spiffe_spec()), vec![]);
    let check = |anchors: &[&Certificate]| {
        let anchors = TrustBundle::new(anchors.iter().map(|a| (*a).clone()).collect()).unwrap();
        verify(&chain, &anchors, Purpose::Client, now())
    };
    let error = check(&[&past]).unwrap_err().to_string();
    assert!(
        error.starts_with("the certificate of CA CN=root 0,O=podcert tests has expired"),
        "{error}"
    );
    let error = check(&[&future]).unwrap_err().to_string();
    assert!(error.contains("is not valid yet"), "{error}");
    // A renewed certificate of the same CA beside the expired one is enough, in any order.
    let renewed = root(now() - day, now() + day);
    check(&[&past, &renewed]).unwrap();
    check(&[&renewed, &past]).unwrap();
}

#[test]
fn issuers_must_be_allowed_to_sign() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    let usages = |usage| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![usage];
        params
    };
    let chain_of = |root_usage, ca_usage| {
        let pem = key(KeyType::EcdsaP256, 0).to_pkcs8_pem().unwrap();
        let root_key = KeyPair::from_pem(&pem).unwrap();
        let root = usages(root_usage);
        let root_certificate = root.self_signed(&root_key).unwrap();
        let sub_key = KeyPair::generate().unwrap();
        let mut ca = usages(ca_usage);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "sub");
        let ca_certificate = ca
            .signed_by(&sub_key, &Issuer::new(root, &root_key))
            .unwrap();
        let mut leaf = CertificateParams::new(vec!["a.b.svc".to_owned()]).unwrap();
        leaf.distinguished_name
            .push(rcgen::DnType::CommonName, "leaf");
        let leaf = leaf
            .signed_by(&KeyPair::generate().unwrap(), &Issuer::new(ca, &sub_key))
            .unwrap();
        let read = |certificate: rcgen::Certificate| {
            Certificate::from_der(certificate.der().to_vec()).unwrap()
        };
        let chain = Chain::new(read(leaf), vec![read(ca_certificate)]);
        (
            chain,
            TrustBundle::new(vec![read(root_certificate)]).unwrap(),
        )
    };
    let (signs, not) = (KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign);
    let check = |(chain, anchors): (Chain, TrustBundle)| {
        verify(
            &chain,
            &anchors,
            Purpose::Server(Some(&name("a.b.svc"))),
            now(),
        )
    };
    check(chain_of(signs, signs)).unwrap();
    assert_eq!(check(chain_of(signs, not)), Err(VerifyError::MayNotSign));
    assert_eq!(check(chain_of(not, signs)), Err(VerifyError::MayNotSign));
}

#[test]
fn a_signature_is_the_issuers_or_nobodys() {
    let other = root(1);
    for key_type in KeyType::ALL {
        let root = crate::ca::new_root(key(key_type, 0), &ca_spec("signed")).unwrap();
        assert_eq!(signature(&root, &root), Ok(()), "{key_type}");
        let subject = key(KeyType::EcdsaP256, 2).public_key();
        let below = new_intermediate(key(key_type, 0), &root, subject, &ca_spec("below")).unwrap();
        assert_eq!(signature(&below, &root), Ok(()), "{key_type}");
        assert!(signature(&below, &below).is_err(), "{key_type}");
        assert!(signature(&root, &other).is_err(), "{key_type}");
    }
    let again = crate::ca::new_root(key(KeyType::EcdsaP256, 2), &ca_spec("again")).unwrap();
    assert_eq!(signature(&other, &again), Err(SignatureError::Wrong));
    // One bit of the serial number, changed after the signature was made.
    let mut changed = other.der().to_vec();
    let serial = other.serial();
    let at = changed
        .windows(serial.len())
        .position(|window| window == serial)
        .unwrap();
    changed[at + 5] ^= 1;
    let changed = Certificate::from_der(changed).unwrap();
    assert_eq!(signature(&changed, &changed), Err(SignatureError::Wrong));
}

#[test]
fn an_algorithm_nobody_checks_is_named() {
    let root = with_sha224(&root(1));
    assert_eq!(
        signature(&root, &root),
        Err(SignatureError::Unsupported {
            oid: "1.2.840.10045.4.3.1".to_owned()
        })
    );
}

/// The same certificate, claiming to be signed with ecdsa-with-SHA224.
fn with_sha224(certificate: &Certificate) -> Certificate {
    let mut der = certificate.der().to_vec();
    let sha256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let places: Vec<_> = der
        .windows(sha256.len())
        .enumerate()
        .filter_map(|(at, window)| (window == sha256).then_some(at))
        .collect();
    assert_eq!(places.len(), 2);
    for at in places {
        der[at + sha256.len() - 1] = 1;
    }
    Certificate::from_der(der).unwrap()
}
