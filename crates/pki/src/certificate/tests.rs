use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName as RcgenName, DnType, GeneralSubtree,
    IsCa, KeyPair, NameConstraints,
};

use super::*;
use crate::{
    KeyType,
    fixtures::{issue, key, now, root, server_spec, spiffe_spec, valid_for},
};

#[test]
fn accessors_tell_what_was_built() {
    let root = root(0);
    assert_eq!(root.subject().to_string(), "CN=root 0,O=podcert tests");
    assert!(root.is_self_issued() && root.is_ca());
    assert_eq!(root.path_len(), None);
    assert_eq!(root.key_usage(), Some(KeyUsages::CA));
    assert!(root.key_usage().unwrap().key_cert_sign() && root.key_usage().unwrap().crl_sign());
    assert!(!root.key_usage().unwrap().digital_signature());
    assert_eq!(root.ext_key_usages(), None);
    assert_eq!(root.validity(), Some(valid_for(24 * 365)));
    assert_eq!(
        root.public_key().unwrap(),
        *key(KeyType::EcdsaP256, 0).public_key()
    );
    assert_eq!(
        root.subject_key_id().unwrap(),
        root.public_key().unwrap().key_id()
    );
    assert_eq!(root.authority_key_id(), None);

    let leaf = issue(key(KeyType::EcdsaP256, 0), &root, &server_spec());
    assert!(leaf.subject().is_empty() && !leaf.is_ca());
    assert_eq!(leaf.subject().to_string(), "(empty)");
    assert_eq!(leaf.issuer(), root.subject());
    assert_eq!(leaf.authority_key_id(), root.subject_key_id());
    assert_eq!(leaf.subject_key_id(), None);
    assert!(root.names_issuer_of(&leaf) && !leaf.names_issuer_of(&root));
    assert_eq!(leaf.dns_names().collect::<Vec<_>>(), ["server.shop.svc"]);
    assert_eq!(leaf.uris().count(), 0);
    assert_eq!(leaf.ext_key_usages(), Some(ExtKeyUsages::SERVER));
    assert_eq!(leaf.key_usage(), Some(KeyUsages::DIGITAL_SIGNATURE));
    assert_eq!(leaf.serial().len(), 20);
    assert!(leaf.not_before() < now() && now() < leaf.not_after());

    let svid = issue(key(KeyType::EcdsaP256, 0), &root, &spiffe_spec());
    assert_eq!(
        svid.uris().collect::<Vec<_>>(),
        ["spiffe://cluster.local/ns/shop/sa/web"]
    );
    assert_eq!(svid.ext_key_usages(), Some(ExtKeyUsages::SERVER_AND_CLIENT));
    let shown = format!("{svid:?}");
    assert!(
        shown.contains("spiffe://cluster.local/ns/shop/sa/web"),
        "{shown}"
    );
}

#[test]
fn pem_both_ways() {
    let (a, b) = (root(0), root(1));
    let text = a.to_pem() + &b.to_pem();
    assert_eq!(
        Certificate::from_pem_many(&text).unwrap(),
        [a.clone(), b.clone()]
    );
    assert!(Certificate::from_pem_many("nothing").is_err());
    let broken = a.to_pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = Certificate::from_pem_many(broken).unwrap_err();
    assert!(
        matches!(error, CertificateError::InBlock { block: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn certificates_of_others_are_read() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.distinguished_name = RcgenName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "a, \"b\"");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(3));
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let certificate =
        Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap();
    assert_eq!(certificate.subject().to_string(), "CN=a\\, \\\"b\\\"");
    assert_eq!(certificate.path_len(), Some(3));
    assert!(!certificate.has_uri_name_constraints());
    assert_eq!(
        certificate.not_after().to_string(),
        "9999-12-30T22:00:00.999999999Z"
    );
}

#[test]
fn name_constraints_on_uris_are_seen() {
    let constrained = |subtree: GeneralSubtree| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![subtree],
            excluded_subtrees: vec![],
        });
        params.self_signed(&key).unwrap().der().to_vec()
    };
    let dns = constrained(GeneralSubtree::DnsName("cluster.local".to_owned()));
    assert!(
        !Certificate::from_der(dns.clone())
            .unwrap()
            .has_uri_name_constraints()
    );
    // rcgen cannot write a URI subtree; a DNS one becomes one by its tag.
    let mut uri = dns;
    let at = uri
        .windows(13)
        .position(|window| window == b"cluster.local")
        .unwrap()
        - 2;
    assert_eq!(uri[at], 0x82);
    uri[at] = 0x86;
    assert!(
        Certificate::from_der(uri)
            .unwrap()
            .has_uri_name_constraints()
    );
}

#[test]
fn serial_numbers_go_does_not_parse_are_refused() {
    let root = root(0);
    let serial = root.serial();
    let at = root
        .der()
        .windows(serial.len())
        .position(|window| window == serial)
        .unwrap();
    for (first, second, fine) in [
        (0x7f, 0xff, true),
        (0x00, 0x80, true),
        (0x00, 0x7f, false),
        (0x80, 0x00, false),
        (0xff, 0xff, false),
    ] {
        let mut der = root.der().to_vec();
        (der[at], der[at + 1]) = (first, second);
        let read = Certificate::from_der(der);
        assert_eq!(read.is_ok(), fine, "{first:02x} {second:02x}: {read:?}");
        if let Err(error) = read {
            assert!(matches!(error, CertificateError::Malformed(_)), "{error:?}");
        }
    }
}

#[test]
fn an_extension_twice_is_refused() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let names = b"\x30\x0b\x82\x09b.example".to_vec();
    let twice = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
    params.custom_extensions.push(twice);
    let error =
        Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "certificate has extension 2.5.29.17 twice"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn changed_certificates_never_panic(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        static DER: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let der = DER.get_or_init(|| {
            issue(key(KeyType::EcdsaP256, 0), &root(0), &server_spec()).der().to_vec()
        });
        let mut changed = der.clone();
        changed[at.index(der.len())] = to;
        if let Ok(certificate) = Certificate::from_der(changed) {
            let _ = format!("{certificate:?}");
            let _ = certificate.public_key();
            let _ = certificate.has_uri_name_constraints();
        }
        prop_assert!(Certificate::from_der(&der[..cut.index(der.len())]).is_err());
        let _ = Certificate::from_der(noise);
    }
}
