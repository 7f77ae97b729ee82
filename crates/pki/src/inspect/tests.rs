use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::*;
use crate::{
    Chain, CredentialBundle, KeyType,
    ca::new_intermediate,
    fixtures::{ca_spec, issue, issued, key, now, root, server_spec, spiffe_spec, three},
};

/// The checks that found something, in order of their names.
fn found(inspection: &Inspection) -> Vec<&'static str> {
    let words: BTreeSet<_> = inspection
        .findings
        .iter()
        .map(|f| f.check.as_str())
        .collect();
    words.into_iter().collect()
}

fn look(kind: Kind, list: &[Certificate]) -> Vec<&'static str> {
    found(&certificates(kind, list.to_vec(), now()))
}

/// A leaf below a CA, both by rcgen, after `leaf` and `ca` have had their way with them.
fn made(
    leaf: impl FnOnce(&mut CertificateParams),
    ca: impl FnOnce(&mut CertificateParams),
) -> (Certificate, Certificate) {
    let dates = |params: &mut CertificateParams, days: i64| {
        let at = |days: i64| {
            let day = std::time::Duration::from_secs(86_400);
            rcgen::date_time_ymd(2026, 11, 21) + day * u32::try_from(days).unwrap()
        };
        params.not_before = rcgen::date_time_ymd(2026, 11, 1);
        params.not_after = at(days);
    };
    let (ca_key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca_params = CertificateParams::default();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca_params.distinguished_name.push(DnType::CommonName, "ca");
    dates(&mut ca_params, 300);
    ca(&mut ca_params);
    let mut leaf_params = CertificateParams::new(vec!["a.shop.svc".to_owned()]).unwrap();
    leaf_params.is_ca = IsCa::ExplicitNoCa;
    leaf_params.use_authority_key_identifier_extension = true;
    leaf_params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf_params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    dates(&mut leaf_params, 7);
    leaf(&mut leaf_params);
    let ca_certificate = ca_params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca_params, ca_key);
    let leaf_certificate = leaf_params.signed_by(&leaf_key, &issuer).unwrap();
    (
        Certificate::from_der(leaf_certificate.der().to_vec()).unwrap(),
        Certificate::from_der(ca_certificate.der().to_vec()).unwrap(),
    )
}

fn leaf_with(change: impl FnOnce(&mut CertificateParams)) -> Vec<&'static str> {
    look(Kind::Certificate, &[made(change, |_| {}).0])
}

fn ca_with(change: impl FnOnce(&mut CertificateParams)) -> Vec<&'static str> {
    look(Kind::Certificate, &[made(|_| {}, change).1])
}

fn uris(params: &mut CertificateParams, uris: &[&str]) {
    params.subject_alt_names = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .collect();
}

#[test]
fn what_podcert_makes_has_nothing_wrong() {
    for spec in [server_spec(), spiffe_spec()] {
        let (chain, anchors) = issued(&spec);
        let leaf = chain.leaf().clone();
        assert_eq!(
            look(Kind::Certificate, std::slice::from_ref(&leaf)),
            [""; 0]
        );
        assert_eq!(look(Kind::Chain, &[leaf]), [""; 0]);
        assert_eq!(look(Kind::TrustBundle, anchors.anchors()), [""; 0]);
        let key = key(KeyType::EcdsaP256, 7).to_pkcs8_pem().unwrap();
        let bundle = CredentialBundle::from_pem(format!("{}{}", *key, chain.to_pem())).unwrap();
        let seen = text(bundle.to_pem().unwrap().as_bytes(), None, now()).unwrap();
        assert_eq!(seen.kind, Kind::CredentialBundle);
        assert_eq!(found(&seen), [""; 0]);
        let facts = seen.private_key.unwrap();
        assert_eq!(facts.key_type, "ECDSAP256");
        assert_eq!(facts.matches_leaf, Some(true));
    }
    assert_eq!(leaf_with(|_| {}), [""; 0]);
    assert_eq!(ca_with(|_| {}), [""; 0]);
}

#[test]
fn time() {
    let leaf = issued(&server_spec()).0.leaf().clone();
    let at = |at| found(&certificates(Kind::Certificate, vec![leaf.clone()], at));
    assert_eq!(at(leaf.not_before()), [""; 0]);
    assert_eq!(at(leaf.not_after()), [""; 0]);
    assert_eq!(
        at(leaf.not_after() + SignedDuration::from_millis(999)),
        [""; 0]
    );
    let late = certificates(
        Kind::Certificate,
        vec![leaf.clone()],
        leaf.not_after() + SignedDuration::from_hours(3),
    );
    assert_eq!(found(&late), ["Expired"]);
    assert_eq!(
        late.findings[0].message,
        "it expired at 2026-11-22T11:58:00Z, 3 h ago"
    );
    assert_eq!(
        at(leaf.not_before() - SignedDuration::from_secs(1)),
        ["NotYetValid"]
    );
    assert_eq!(
        leaf_with(|leaf| leaf.not_after = rcgen::date_time_ymd(2026, 10, 1)),
        ["ValidityReversed"]
    );
}

#[test]
fn names() {
    assert_eq!(leaf_with(|leaf| leaf.subject_alt_names.clear()), ["NoName"]);
    assert_eq!(
        leaf_with(|leaf| {
            let names = vec![SanType::DnsName("a_b.shop.svc".try_into().unwrap())];
            leaf.subject_alt_names = names;
        }),
        ["BadDnsName"]
    );
    assert_eq!(
        leaf_with(|leaf| {
            leaf.subject_alt_names = vec![SanType::DnsName("*.shop.svc".try_into().unwrap())];
        }),
        [""; 0]
    );
    for (list, expected) in [
        (&["spiffe://td/a"][..], &[][..]),
        (&["https://example.com/a"], &[]),
        (&["https://example.com/a", "https://example.com/b"], &[]),
        (&["spiffe://td/a", "spiffe://td/b"], &["MultipleUris"]),
        (&["spiffe://td/a", "https://b"], &["MultipleUris"]),
        (&["spiffe://TD/a"], &["BadSpiffeId"]),
        (&["SPIFFE://td/a"], &["BadSpiffeId"]),
        (&["spiffe://td/a/"], &["BadSpiffeId"]),
        (&["spiffe://td"], &["SpiffeIdWithoutPath"]),
    ] {
        assert_eq!(leaf_with(|leaf| uris(leaf, list)), expected, "{list:?}");
    }
    assert_eq!(ca_with(|ca| uris(ca, &["spiffe://td/a"])), ["SpiffeCaPath"]);
    assert_eq!(ca_with(|ca| uris(ca, &["spiffe://td"])), [""; 0]);
    assert_eq!(
        ca_with(|ca| ca.distinguished_name = rcgen::DistinguishedName::new()),
        ["EmptyCaSubject"]
    );
}

#[test]
fn an_empty_subject_wants_a_critical_name() {
    // rcgen marks its own critical, so this one is written by hand.
    let san = b"\x30\x11\x82\x0fserver.shop.svc";
    let (leaf, _) = made(
        |leaf| {
            leaf.distinguished_name = rcgen::DistinguishedName::new();
            leaf.subject_alt_names.clear();
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], san.to_vec());
            leaf.custom_extensions.push(extension);
        },
        |_| {},
    );
    assert_eq!(look(Kind::Certificate, &[leaf]), ["SanNotCritical"]);
}

#[test]
fn what_it_may_do() {
    assert_eq!(
        leaf_with(|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ["LeafMaySign"]
    );
    assert_eq!(
        leaf_with(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
        ["NoTlsUsage"]
    );
    let svid = |change: fn(&mut CertificateParams)| {
        leaf_with(|leaf| {
            uris(leaf, &["spiffe://td/a"]);
            change(leaf);
        })
    };
    assert_eq!(
        svid(|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        ["SpiffeKeyUsage"]
    );
    assert_eq!(
        svid(|leaf| {
            leaf.extended_key_usages.pop();
        }),
        ["SpiffeExtKeyUsage"]
    );
    assert_eq!(
        leaf_with(|leaf| leaf.use_authority_key_identifier_extension = false),
        ["NoAuthorityKeyId"]
    );
    assert_eq!(
        leaf_with(|leaf| {
            let mut extension =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99, 7], vec![5, 0]);
            extension.set_criticality(true);
            leaf.custom_extensions.push(extension);
        }),
        ["UnknownCriticalExtension"]
    );
    assert_eq!(
        leaf_with(|leaf| leaf.serial_number = Some(vec![1; 21].into())),
        ["BadSerial"]
    );
    // Of 20 bytes, before which DER puts a zero.
    assert_eq!(
        leaf_with(|leaf| leaf.serial_number = Some(vec![0xff; 20].into())),
        [""; 0]
    );
    assert_eq!(
        ca_with(|ca| ca.key_usages.push(KeyUsagePurpose::DigitalSignature)),
        ["CaDigitalSignature"]
    );
    assert_eq!(
        ca_with(|ca| ca.key_usages = vec![KeyUsagePurpose::CrlSign]),
        ["CaMayNotSign"]
    );
    assert_eq!(ca_with(|ca| ca.key_usages.clear()), ["NoKeyUsage"]);
    assert_eq!(
        ca_with(|ca| {
            // permitted: URI "td"
            let content = b"\x30\x08\xa0\x06\x30\x04\x86\x02td".to_vec();
            let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
            extension.set_criticality(true);
            ca.custom_extensions.push(extension);
        }),
        ["UriConstraints"]
    );
    // basicConstraints by hand: not critical.
    assert_eq!(
        ca_with(|ca| {
            ca.is_ca = IsCa::NoCa;
            let content = b"\x30\x03\x01\x01\xff".to_vec();
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 19], content);
            ca.custom_extensions.push(extension);
        }),
        ["ConstraintsNotCritical", "NoSubjectKeyId"]
    );
}

/// Replaces bytes of the same length wherever they stand.
fn patched(certificate: &Certificate, from: &[u8], to: &[u8]) -> Certificate {
    assert_eq!(from.len(), to.len());
    let mut der = certificate.der().to_vec();
    let mut hits = 0;
    for start in 0..der.len() - from.len() {
        if der[start..].starts_with(from) {
            der[start..start + to.len()].copy_from_slice(to);
            hits += 1;
        }
    }
    assert!(hits > 0);
    Certificate::from_der(der).unwrap()
}

/// sha256WithRSAEncryption, then the same length with SHA-1 and MD5.
const RSA_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b";
const RSA_SHA1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05";
const RSA_MD5: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04";

#[test]
fn keys_and_signatures() {
    let rsa = key(KeyType::Rsa2048, 0);
    let root = crate::ca::new_root(rsa, &ca_spec("rsa")).unwrap();
    assert_eq!(
        look(Kind::Certificate, std::slice::from_ref(&root)),
        [""; 0]
    );
    let leaf = issue(rsa, &root, &server_spec());
    for weak in [RSA_SHA1, RSA_MD5] {
        let weak_root = patched(&root, RSA_SHA256, weak);
        assert_eq!(look(Kind::Certificate, &[weak_root]), ["WeakRootSignature"]);
        let weak_leaf = patched(&leaf, RSA_SHA256, weak);
        assert_eq!(look(Kind::Certificate, &[weak_leaf]), ["WeakSignature"]);
    }

    // A modulus of 1024 bits, written by hand: rcgen and aws-lc make none.
    let (leaf, ca) = made(|_| {}, |_| {});
    let spki = rsa_spki(1024);
    assert_eq!(
        look(Kind::Certificate, &[with_key(&leaf, &spki)]),
        ["WeakKey"]
    );
    assert_eq!(describe::key_type(&with_key(&leaf, &spki)), "RSA1024");
    let odd = with_key(&leaf, &rsa_spki(2560));
    assert_eq!(look(Kind::Certificate, &[odd]), ["UnusualKey"]);
    let mut broken = leaf.spki_der().to_vec();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(
        look(Kind::Certificate, &[with_key(&leaf, &broken)]),
        ["MalformedKey"]
    );

    // One bit of the signature's last byte.
    let mut der = ca.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let damaged = Certificate::from_der(der).unwrap();
    assert_eq!(look(Kind::Certificate, &[damaged]), ["WrongSignature"]);
}

fn rsa_spki(bits: usize) -> Vec<u8> {
    let mut modulus = vec![0];
    modulus.extend(vec![0xc1; bits / 8]);
    let key = crate::asn1::sequence(&[
        &crate::asn1::tlv(der::Tag::Integer, &[&modulus]).unwrap(),
        b"\x02\x03\x01\x00\x01",
    ])
    .unwrap();
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    crate::asn1::sequence(&[algorithm, &crate::asn1::bit_string(&key).unwrap()]).unwrap()
}

/// The certificate with another key in it; its signature is then wrong.
fn with_key(certificate: &Certificate, spki: &[u8]) -> Certificate {
    use crate::asn1::{Fields, constructed, sequence, tlv};
    let (tbs, _, signature) = crate::certificate::signed_parts(certificate.der()).unwrap();
    let mut fields = Fields::of_sequence(tbs).unwrap();
    let mut parts = Vec::new();
    while !fields.is_finished() {
        let (tag, content) = fields.any().unwrap();
        let part = tlv(tag, &[content]).unwrap();
        let is_key = part == certificate.spki_der() && tag != constructed(3);
        parts.push(if is_key { spki.to_vec() } else { part });
    }
    let algorithm = parts[2].clone();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let tbs = sequence(&parts).unwrap();
    let signature = crate::asn1::bit_string(signature).unwrap();
    Certificate::from_der(sequence(&[&tbs, &algorithm, &signature]).unwrap()).unwrap()
}

#[test]
fn order_of_a_chain() {
    let [leaf, middle, root] = three();
    let c = |list: &[&Certificate]| {
        let list: Vec<_> = list.iter().map(|c| (*c).clone()).collect();
        look(Kind::Chain, &list)
    };
    assert_eq!(c(&[&leaf, &middle]), [""; 0]);
    assert_eq!(c(&[&middle, &leaf]), ["WrongOrder"]);
    assert_eq!(c(&[&leaf, &root, &middle]), ["WrongOrder"]);
    assert_eq!(c(&[&leaf, &middle, &root]), ["RootInChain"]);
    assert_eq!(c(&[&leaf, &middle, &middle]), ["DuplicateCertificate"]);
    assert_eq!(c(&[&leaf, &root]), ["IssuerMismatch", "RootInChain"]);
    assert_eq!(c(&[&leaf, &leaf]), ["DuplicateCertificate", "NotCa"]);
    assert_eq!(c(&[&middle]), ["CaAsLeaf"]);
    assert_eq!(c(&[&middle, &root]), ["CaAsLeaf", "RootInChain"]);
    let other = issued(&server_spec()).0.leaf().clone();
    assert_eq!(c(&[&leaf, &other]), ["IssuerMismatch", "NotCa"]);
    let order = certificates(
        Kind::Chain,
        vec![root.clone(), leaf.clone(), middle.clone()],
        now(),
    );
    assert_eq!(order.findings[0].message, "the order should be 2, 3, 1");

    // A CA of the same name and key identifier, whose key made another signature.
    let mut der = leaf.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let forged = Certificate::from_der(der).unwrap();
    assert_eq!(c(&[&forged, &middle]), ["WrongSignature"]);
    // Our intermediates are for leaves only.
    let pair = [key(KeyType::EcdsaP256, 1), key(KeyType::EcdsaP256, 2)];
    let lower_spec = ca_spec("lower");
    assert!(new_intermediate(pair[0], &middle, pair[1].public_key(), &lower_spec).is_err());
}

#[test]
fn a_ca_ends_before_its_leaf_or_has_too_many_below() {
    let (leaf, ca) = made(
        |_| {},
        |ca| ca.not_after = rcgen::date_time_ymd(2026, 11, 25),
    );
    assert_eq!(look(Kind::Authority, std::slice::from_ref(&ca)), [""; 0]);
    assert_eq!(
        look(Kind::Authority, &[leaf, ca]),
        ["NotCa", "OutlivesIssuer"]
    );
    let (low, high) = made(
        |leaf| {
            leaf.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            leaf.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            leaf.distinguished_name.push(DnType::CommonName, "low");
        },
        |ca| ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
    );
    assert_eq!(look(Kind::Authority, &[low, high]), ["PathTooLong"]);
}

#[test]
fn anchors() {
    let (one, two) = (root(0), root(1));
    let [leaf, middle, _] = three();
    let b = |list: &[&Certificate], at| {
        let list = list.iter().map(|c| (*c).clone()).collect();
        found(&certificates(Kind::TrustBundle, list, at))
    };
    assert_eq!(b(&[&one, &two], now()), [""; 0]);
    assert_eq!(b(&[&one, &two, &one], now()), ["DuplicateAnchor"]);
    assert_eq!(b(&[&one, &middle], now()), ["AnchorNotSelfSigned"]);
    assert_eq!(b(&[&one, &leaf], now()), ["AnchorNotSelfSigned", "NotCa"]);
    let (_, short) = made(
        |_| {},
        |ca| ca.not_after = rcgen::date_time_ymd(2026, 11, 20),
    );
    assert_eq!(b(&[&one, &short], now()), ["ExpiredAnchor"]);
    assert_eq!(b(&[&short], now()), ["Expired"]);
}

#[test]
fn files() {
    let [leaf, middle, root] = three();
    let chain = Chain::new(leaf.clone(), vec![middle.clone()]).to_pem();
    let key_pem = |number| key(KeyType::EcdsaP256, number).to_pkcs8_pem().unwrap();
    let seen = |input: &str, kind| text(input.as_bytes(), kind, now()).unwrap();
    let own = key_pem(7);

    // What it is taken for.
    assert_eq!(seen(&leaf.to_pem(), None).kind, Kind::Certificate);
    assert_eq!(
        text(leaf.der(), None, now()).unwrap().kind,
        Kind::Certificate
    );
    assert_eq!(seen(&chain, None).kind, Kind::Chain);
    let roots = format!("{}{}", root.to_pem(), crate::fixtures::root(1).to_pem());
    assert_eq!(seen(&roots, None).kind, Kind::TrustBundle);
    assert_eq!(
        seen(&format!("{}{chain}", *own), None).kind,
        Kind::CredentialBundle
    );

    for (input, expected) in [
        (format!("{}{chain}", *own), &[][..]),
        (format!("{}{chain}", *key_pem(3)), &["KeyMismatch"]),
        (format!("{chain}{}", *own), &["KeyNotFirst"]),
        (format!("{}{}{chain}", *own, *own), &["SeveralPrivateKeys"]),
        (own.to_string(), &["NoCertificate"]),
        (
            format!("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n{chain}"),
            &["KeyFormat"],
        ),
        (
            format!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n{chain}"),
            &["KeyFormat"],
        ),
        (
            format!(
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\
                 \nAAAA\n-----END RSA PRIVATE KEY-----\n{chain}"
            ),
            &["KeyFormat"],
        ),
    ] {
        assert_eq!(found(&seen(&input, None)), expected, "{expected:?}");
    }
    let mixed = seen(&format!("{}{chain}", *key_pem(1)), None);
    assert_eq!(
        mixed.findings[0].message,
        "the private key is not that of the leaf but of certificate 2"
    );

    let with_key = format!("{}{}", *own, root.to_pem());
    assert_eq!(
        found(&seen(&with_key, Some(Kind::TrustBundle))),
        ["UnexpectedPrivateKey"]
    );
    let keyless = seen(&chain, Some(Kind::CredentialBundle));
    assert_eq!(found(&keyless), ["NoPrivateKey"]);
    let with_headers = root.to_pem().replace(
        "BEGIN CERTIFICATE-----\n",
        "BEGIN CERTIFICATE-----\nname: root\n\n",
    );
    assert_eq!(found(&seen(&with_headers, None)), ["PemHeaders"]);
    let with_crl = format!(
        "{}-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        root.to_pem()
    );
    assert_eq!(found(&seen(&with_crl, None)), ["OtherPemBlock"]);

    for unreadable in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ] {
        text(unreadable.as_bytes(), None, now()).unwrap_err();
    }
    let cut = chain.get(..chain.len() - 40).unwrap();
    assert!(matches!(
        text(cut.as_bytes(), None, now()),
        Err(InspectError::Pem(_))
    ));
}

#[test]
fn extensions_in_words() {
    let words = |certificate: &Certificate| {
        describe::extensions(certificate)
            .iter()
            .map(|e| {
                let critical = if e.critical { "!" } else { "" };
                format!("{}{critical}={}", e.label(), e.words.join("+"))
            })
            .filter(|line| !line.contains("KeyIdentifier"))
            .collect::<Vec<_>>()
    };
    let [leaf, middle, _] = three();
    assert_eq!(
        words(&leaf),
        [
            "basicConstraints!=not a CA",
            "keyUsage!=digitalSignature",
            "extKeyUsage=serverAuth+clientAuth",
            "subjectAltName!=URI:spiffe://cluster.local/ns/shop/sa/web",
        ]
    );
    assert_eq!(
        words(&middle),
        [
            "basicConstraints!=a CA, of leaves only (pathLen 0)",
            "keyUsage!=keyCertSign+cRLSign",
        ]
    );
    let custom = |oid: &[u64], content: &[u8]| {
        let (leaf, _) = made(
            |leaf| {
                let extension = CustomExtension::from_oid_content(oid, content.to_vec());
                leaf.custom_extensions.push(extension);
            },
            |_| {},
        );
        words(&leaf).pop().unwrap()
    };
    let own = &[1, 3, 6, 1, 4, 1, 99, 7][..];
    assert_eq!(custom(own, b"\x0c\x02hi"), "1.3.6.1.4.1.99.7=\"hi\"");
    assert_eq!(
        custom(own, b"\x0c\x02h\x1b"),
        "1.3.6.1.4.1.99.7=4 bytes: 0c02681b"
    );
    assert_eq!(
        custom(own, &[7; 30]),
        format!("1.3.6.1.4.1.99.7=30 bytes: {}...", "07".repeat(24))
    );
    assert_eq!(
        custom(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], b"\x0c\x0bhttps://a.b"),
        "serviceAccountIssuer=\"https://a.b\""
    );
    let json = br#"{"Namespace":"shop","ServiceAccountName":"web","ServiceAccountUID":"u1","PodName":"web-0","PodUID":"u2","NodeName":"n","NodeUID":"u3"}"#;
    for oid in [own, &[1, 3, 6, 1, 4, 1, 11129, 2, 12, 1]] {
        assert!(
            custom(oid, json)
                .ends_with("=pod shop/web-0 (UID u2)+service account web (UID u1)+node n (UID u3)"),
            "{}",
            custom(oid, json)
        );
    }
    let (leaf, _) = made(
        |leaf| {
            leaf.subject_alt_names.extend([
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
                SanType::IpAddress("fd00::1".parse().unwrap()),
                SanType::Rfc822Name("a@b".try_into().unwrap()),
            ]);
        },
        |_| {},
    );
    let san = "subjectAltName=DNS:a.shop.svc+IP:10.0.0.1+IP:fd00::1+email:a@b";
    assert!(words(&leaf).contains(&san.to_owned()), "{:?}", words(&leaf));
}

#[test]
fn spans_of_time() {
    let after = |seconds| describe::span(now(), now() + SignedDuration::from_secs(seconds));
    for (seconds, words) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (86_400 * 364, "364 d"),
        (86_400 * 730, "2 years"),
        (-7200, "2 h"),
    ] {
        assert_eq!(after(seconds), words);
    }
}

/// Each check is found by a test here or in the crate that finds it, and has a row in the page.
#[test]
fn every_check_has_a_row_and_a_test() {
    let read = |path: &str| {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        std::fs::read_to_string(root.join(path)).unwrap()
    };
    let page = read("docs/inspect.md");
    let tests = include_str!("tests.rs").to_owned() + &read("crates/cli/tests/inspect.rs");
    let mut rows = 0;
    for check in Check::ALL {
        let row = format!(
            "| `{}` | {} | {} | {} |",
            check.as_str(),
            check.severity(),
            check.meaning(),
            check.cure()
        );
        assert!(page.contains(&row), "docs/inspect.md lacks\n{row}");
        let word = format!("\"{}\"", check.as_str());
        assert!(tests.contains(&word), "no test finds {word}");
        rows += 1;
    }
    for check in crate::verify::RefusedBy::ALL {
        let row = format!(
            "| `{}` | {} | {} |",
            check.as_str(),
            check.meaning(),
            check.cure()
        );
        assert!(page.contains(&row), "docs/inspect.md lacks\n{row}");
        rows += 1;
    }
    // And none that is not in the code any more; two sources are code too.
    let others = page.matches("\n| `https").count() + page.matches("\n| `pod/").count();
    assert_eq!(
        page.matches("\n| `").count() - others,
        rows,
        "rows of no check"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = text(&bytes, None, now());
        let mut der = vec![0x30];
        der.extend(&bytes);
        let _ = text(&der, None, now());
        for name in ["keyUsage", "subjectAltName", "nameConstraints", "basicConstraints", "extKeyUsage"] {
            let _ = describe::in_words(name, &bytes);
        }
    }

    #[test]
    fn no_mutation_of_a_file_makes_it_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        times in 0_usize..3,
    ) {
        let [leaf, middle, _] = three_once();
        let own = key(KeyType::EcdsaP256, 7).to_pkcs8_pem().unwrap();
        let secret = own.lines().nth(1).unwrap().to_owned();
        let mut pem = format!("{}{}{}", *own, leaf.to_pem(), middle.to_pem()).into_bytes();
        if times > 0 {
            let index = at.index(pem.len());
            pem[index] = byte;
        }
        if times > 1 {
            pem.truncate(cut.index(pem.len()));
        }
        for kind in [None, Some(Kind::TrustBundle), Some(Kind::Chain)] {
            let told = match text(&pem, kind, now()) {
                Ok(inspection) => format!("{inspection:?}"),
                Err(error) => format!("{error:?}"),
            };
            prop_assert!(!told.contains(&secret), "key material was told");
        }
        let mut der = leaf.der().to_vec();
        let index = at.index(der.len());
        der[index] = byte;
        if let Ok(inspection) = text(&der, None, now()) {
            let one = &inspection.certificates[0];
            let _ = (describe::extensions(one), describe::key_type(one), describe::fingerprint(one));
        }
    }
}

fn three_once() -> &'static [Certificate; 3] {
    static THREE: std::sync::OnceLock<[Certificate; 3]> = std::sync::OnceLock::new();
    THREE.get_or_init(three)
}
