use std::sync::LazyLock;
use std::time::Duration;

use podcert_pki::ca::{CaSpec, SubjectName, new_intermediate, new_root};
use podcert_pki::verify::{Purpose, verify};
use podcert_pki::{DnsName, KeyType, Serial};
use proptest::prelude::*;

use super::*;
use crate::testing::{
    at, fixture, generated, now, run_go, server_leaf, spiffe_leaf, today, validity,
};
use crate::{Authority, Retry};

/// Pools that Go wrote, and the warnings they deserve.
const USABLE: &[(&str, &[&str])] = &[
    ("ed25519", MESHTOOL),
    ("ecdsap256", MESHTOOL),
    ("ecdsap384", MESHTOOL),
    ("ecdsap521", MESHTOOL),
    ("rsa2048", MESHTOOL),
    ("rsa3072", MESHTOOL),
    ("rsa4096", MESHTOOL),
    ("chain-order", &[]),
    ("other-order", &[]),
    ("uri-constraints", &["CaUriNameConstraints"]),
];

const MESHTOOL: &[&str] = &["CaEmptySubject", "CaDigitalSignature"];

/// Pools that Go wrote and that can sign nothing that verifies.
const UNUSABLE: &[(&str, &str, &str)] = &[
    (
        "path-too-long",
        "PoolPathTooLong",
        "CA pool: certificate CN=upper",
    ),
    (
        "never-valid",
        "PoolNeverValid",
        "CA pool: the certificates of CAs[0] (ID \"late\") are never valid all at once",
    ),
    (
        "forged",
        "PoolDoesNotVerify",
        "CA pool: what CAs[0] (ID \"forged\") signs does not verify against its root",
    ),
    (
        "no-cert-sign",
        "PoolCertificateMayNotSign",
        "CA pool: a certificate of CAs[0] (ID \"mute\") may not sign",
    ),
];

#[test]
fn pools_of_go_load_sign_and_are_written_unchanged() {
    for (name, expected) in USABLE {
        let json = fixture(name);
        assert_usable(name, &json, expected);
    }
}

#[test]
fn pools_of_go_that_cannot_sign_are_refused() {
    for (name, reason, message) in UNUSABLE {
        assert_unusable(name, &fixture(name), reason, message);
    }
}

#[test]
fn pools_go_makes_today_are_alike() {
    let dir = std::env::temp_dir().join(format!("podcert-pools-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let made = run_go(&["make", dir.to_str().unwrap()], b"");
    if made.is_some() {
        let read = |name| std::fs::read(dir.join(format!("{name}.json"))).unwrap();
        for (name, expected) in USABLE {
            assert_usable(name, &read(name), expected);
        }
        for (name, reason, message) in UNUSABLE {
            assert_unusable(name, &read(name), reason, message);
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn new_pools_of_every_key_type_sign_and_survive_the_file() {
    for (key_type, json) in &*NEW_POOLS {
        let pool = Pool::from_json(json).unwrap();
        assert_eq!(pool.cas()[0].key().public_key().key_type(), *key_type);
        assert_usable(key_type.as_str(), json, &[]);
    }
}

#[test]
fn go_loads_what_is_made_here_and_would_write_the_same() {
    let mut lines = Vec::new();
    for (_, json) in &*NEW_POOLS {
        lines.extend_from_slice(json);
        lines.push(b'\n');
    }
    lines.extend_from_slice(&merged(&[&generated("a"), &generated("b")]));
    lines.push(b'\n');
    let Some(answers) = run_go(&["load"], &lines) else {
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&answers),
        "ok\n".repeat(NEW_POOLS.len() + 1)
    );
}

/// One new pool of each key type, made once: RSA takes its time.
static NEW_POOLS: LazyLock<Vec<(KeyType, Zeroizing<Vec<u8>>)>> = LazyLock::new(|| {
    let new = |key_type| {
        let options = CaOptions {
            key_type,
            organization: Some("Example <&> Ltd".to_owned()),
            ..CaOptions::new(CaId::new("2026 <a&b>\u{2028}\"\\"))
        };
        (key_type, Pool::generate(&options, now()).unwrap().to_json())
    };
    KeyType::ALL.into_iter().map(new).collect()
});

#[test]
fn a_new_ca_is_as_ordered() {
    let options = CaOptions {
        lifetime: Duration::from_secs(90 * 86_400),
        backdate: Duration::from_secs(60),
        common_name: "shop".to_owned(),
        organization: Some("Example <&> Ltd".to_owned()),
        ..CaOptions::new(CaId::new("2026-11"))
    };
    let pool = Pool::generate(&options, now()).unwrap();
    let [ca] = pool.cas() else { panic!("one CA") };
    assert_eq!(ca.id().as_str(), "2026-11");
    assert_eq!(ca.root().not_before(), at("2026-11-21T11:59:00Z"));
    assert_eq!(ca.root().not_after(), at("2027-02-19T12:00:00Z"));
    assert_eq!(ca.chain_not_after(), ca.root().not_after());
    assert!(ca.root().is_ca());
    let subject = ca.root().subject().to_string();
    assert!(
        subject.contains("CN=shop ") && subject.contains("O=Example"),
        "{subject}"
    );
    assert!(ca.chain().is_empty());
    assert_eq!(ca.issuer_certificate(), ca.root());

    let other = Pool::generate(&options, now()).unwrap();
    assert_ne!(
        other.cas()[0].root().subject(),
        ca.root().subject(),
        "each key has its subject"
    );
}

#[test]
fn a_new_ca_cannot_be_just_anything() {
    let options = CaOptions::new(CaId::new("1"));
    let refuse = |options: CaOptions, at: Timestamp| {
        Pool::generate(&options, at)
            .err()
            .map(|error| error.to_string())
            .unwrap()
    };
    let hour = CaOptions {
        lifetime: Duration::from_secs(3_600),
        ..options.clone()
    };
    assert!(refuse(hour, now()).starts_with("a CA must live for at least 2 hours"));
    let endless = CaOptions {
        lifetime: Duration::MAX,
        ..options.clone()
    };
    assert_eq!(
        refuse(endless, now()),
        "a CA cannot be valid for these times"
    );
    let early = CaOptions {
        backdate: Duration::MAX,
        ..options.clone()
    };
    assert_eq!(refuse(early, now()), "a CA cannot be valid for these times");
    assert_eq!(
        refuse(options.clone(), Timestamp::MIN),
        "a CA cannot be valid for these times"
    );
    for common_name in [String::new(), "x".repeat(56)] {
        let unnamed = CaOptions {
            common_name,
            ..options.clone()
        };
        let error = Pool::generate(&unnamed, now());
        // The hash of the key follows, so that even an empty beginning makes a subject.
        assert_eq!(
            error.is_err(),
            unnamed.common_name.len() > 55,
            "{:?}",
            unnamed.common_name
        );
    }
}

#[test]
fn an_empty_pool_is_named() {
    for json in ["null", "{}", r#"{"CAs":null}"#, r#"{"CAs":[]}"#] {
        let error = Pool::from_json(json.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CA pool is empty: CAs must hold at least one CA"
        );
        assert_eq!(error.reason(), "PoolEmpty");
        assert_eq!(error.retry(), Retry::OnChange);
    }
}

#[test]
fn a_pool_cut_short_is_named() {
    let json = generated("1").to_json();
    for len in 0..json.len() {
        let error = Pool::from_json(&json[..len]).unwrap_err();
        assert_eq!(
            error.reason(),
            "PoolTruncated",
            "{len} of {}: {error}",
            json.len()
        );
    }
}

#[test]
fn ids_that_are_there_twice_are_named() {
    let (a, b) = (generated("same"), generated("same"));
    let error = Pool::from_json(&merged(&[&a, &b])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CA pool has the ID \"same\" twice, in CAs[0] and CAs[1]"
    );
    assert_eq!(error.reason(), "PoolDuplicateId");
}

#[test]
fn fields_that_are_missing_are_named() {
    let pool = generated("1");
    let raw = pool.cas()[0].to_write();
    let without_key = json::encode(&[json::CaToWrite {
        signing_key_pkcs8: b"",
        ..raw
    }]);
    let error = Pool::from_json(&without_key).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CA pool: CAs[0] (ID \"1\") has no SigningKeyPKCS8"
    );
    let raw = pool.cas()[0].to_write();
    let without_root = json::encode(&[json::CaToWrite {
        root_certificate_der: b"",
        ..raw
    }]);
    let error = Pool::from_json(&without_root).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CA pool: CAs[0] (ID \"1\") has no RootCertificateDER"
    );
    let error = Pool::from_json(br#"{"CAs":[null]}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CA pool: CAs[0] (ID \"\") has no SigningKeyPKCS8"
    );
}

#[test]
fn der_cut_short_is_named() {
    let pool = generated("1");
    let ca = &pool.cas()[0];
    let (key, root) = (ca.pkcs8.to_vec(), ca.root.der().to_vec());
    let load = |key: &[u8], root: &[u8], intermediate: Option<&[u8]>| {
        let ca = json::CaToWrite {
            id: "1",
            signing_key_pkcs8: key,
            root_certificate_der: root,
            intermediate_certificates_der: intermediate.into_iter().collect(),
        };
        Pool::from_json(&json::encode(&[ca]))
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(load(&key, &root, None), Ok(()));
    for len in 1..key.len() {
        assert_eq!(
            load(&key[..len], &root, None).unwrap_err(),
            "CA pool: SigningKeyPKCS8 of CAs[0] (ID \"1\") is no usable private key"
        );
    }
    for len in 1..root.len() {
        assert_eq!(
            load(&key, &root[..len], None).unwrap_err(),
            "CA pool: RootCertificateDER of CAs[0] (ID \"1\") is no certificate"
        );
        assert_eq!(
            load(&key, &root, Some(&root[..len])).unwrap_err(),
            "CA pool: IntermediateCertificatesDER[0] of CAs[0] (ID \"1\") is no certificate"
        );
    }
}

#[test]
fn a_key_of_another_ca_is_named() {
    let (a, b) = (generated("1"), generated("2"));
    let mixed = json::CaToWrite {
        signing_key_pkcs8: &b.cas()[0].pkcs8,
        ..a.cas()[0].to_write()
    };
    let error = Pool::from_json(&json::encode(&[mixed])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CA pool: SigningKeyPKCS8 of CAs[0] (ID \"1\") is the key of none of its certificates"
    );
    assert_eq!(error.reason(), "PoolKeyMismatch");
}

#[test]
fn a_bad_ca_behind_a_good_one_is_named() {
    let (good, a, b) = (generated("good"), generated("bad"), generated("other"));
    let mixed = json::CaToWrite {
        signing_key_pkcs8: &b.cas()[0].pkcs8,
        ..a.cas()[0].to_write()
    };
    let error = Pool::from_json(&json::encode(&[good.cas()[0].to_write(), mixed])).unwrap_err();
    assert!(error.to_string().contains("CAs[1] (ID \"bad\")"), "{error}");
}

#[test]
fn an_expired_ca_loads_and_says_so() {
    let pool = generated("old");
    let later = at("2027-11-21T12:00:01Z");
    let pool = Pool::from_json(&pool.to_json()).unwrap();
    assert_eq!(reasons(&pool, later), ["CaExpired"]);
    assert_eq!(
        reasons(&pool, at("2027-11-21T12:00:00Z")),
        ["CaExpiresSoon"]
    );
    assert_eq!(
        reasons(&pool, at("2027-10-23T12:00:00Z")),
        ["CaExpiresSoon"]
    );
    assert!(reasons(&pool, at("2027-10-21T12:00:00Z")).is_empty());
    assert_eq!(
        reasons(&pool, at("2026-11-21T11:00:00Z")),
        ["CaNotYetValid"]
    );
    assert_eq!(
        pool.anchors().anchors().len(),
        1,
        "its root is published until it is removed"
    );
}

#[test]
fn the_certificate_that_holds_the_key_is_the_issuer() {
    let world = Intermediates::new();
    let pool = world.pool(&world.lower_key, &[&world.lower]);
    let ca = &pool.cas()[0];
    assert_eq!(ca.issuer_certificate(), &world.lower);
    assert_eq!(ca.chain(), std::slice::from_ref(&world.lower));
    assert_eq!(
        ca.chain_not_after(),
        world.lower.not_after(),
        "the shorter of the two"
    );
    let chain = Authority::from_pool(pool)
        .issue_now(&server_leaf(today()))
        .unwrap()
        .unwrap();
    assert_eq!(chain.leaf().issuer(), world.lower.subject());
    assert_eq!(chain.intermediates(), std::slice::from_ref(&world.lower));
}

#[test]
fn intermediates_on_no_way_to_the_root_are_left_out() {
    let (world, other) = (Intermediates::new(), Intermediates::new());
    // The root's own key: meshtool would send the intermediate all the same.
    let pool = world.pool(&world.root_key, &[&world.lower]);
    assert_eq!(pool.cas()[0].issuer_certificate(), &world.root);
    assert_eq!(reasons(&pool, now()), ["CaUnusedIntermediate"]);
    assert!(pool.cas()[0].chain().is_empty());

    let pool = world.pool(&world.lower_key, &[&other.lower, &world.lower, &world.root]);
    assert_eq!(pool.cas()[0].chain(), std::slice::from_ref(&world.lower));
    assert_eq!(
        reasons(&pool, now()),
        ["CaUnusedIntermediate", "CaUnusedIntermediate"]
    );
    assert_usable(
        "strays",
        &pool.to_json(),
        &["CaUnusedIntermediate", "CaUnusedIntermediate"],
    );
}

#[test]
fn a_key_whose_certificate_leads_nowhere_is_named() {
    let (world, other) = (Intermediates::new(), Intermediates::new());
    let error = Pool::from_json(&world.json(&other.lower_key, &[&other.lower])).unwrap_err();
    assert_eq!(error.reason(), "PoolChainBroken");
    assert!(
        error
            .to_string()
            .starts_with("CA pool: no way leads from certificate CN="),
        "{error}"
    );
}

#[test]
fn a_leaf_as_a_root_is_named() {
    let authority = Authority::from_pool(generated("1"));
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let spec = podcert_pki::LeafSpec::new(
        key.public_key().clone(),
        spiffe_leaf(today()).names().clone(),
        podcert_pki::ExtKeyUsages::SERVER_AND_CLIENT,
        today(),
    );
    let chain = authority.issue_now(&spec.unwrap()).unwrap().unwrap();
    let ca = json::CaToWrite {
        id: "leaf",
        signing_key_pkcs8: &key.to_pkcs8_der().unwrap(),
        root_certificate_der: chain.leaf().der(),
        intermediate_certificates_der: Vec::new(),
    };
    let error = Pool::from_json(&json::encode(&[ca])).unwrap_err();
    assert_eq!(error.reason(), "PoolCertificateMayNotSign");
}

fn alone(key: &PrivateKey, root: &[u8]) -> Zeroizing<Vec<u8>> {
    json::encode(&[json::CaToWrite {
        id: "1",
        signing_key_pkcs8: &key.to_pkcs8_der().unwrap(),
        root_certificate_der: root,
        intermediate_certificates_der: Vec::new(),
    }])
}

#[test]
fn a_root_its_own_key_did_not_sign_is_named() {
    for key_type in [KeyType::EcdsaP256, KeyType::Ed25519, KeyType::Rsa2048] {
        let options = CaOptions {
            key_type,
            ..CaOptions::new(CaId::new("1"))
        };
        let pool = Pool::generate(&options, now()).unwrap();
        let ca = &pool.cas()[0];
        let (mut root, serial) = (ca.root.der().to_vec(), ca.root.serial());
        let at = root.windows(serial.len()).position(|it| it == serial);
        root[at.unwrap() + 5] ^= 1;
        let error = Pool::from_json(&alone(&ca.key, &root)).unwrap_err();
        assert_eq!(error.reason(), "PoolRootSignature");
        assert_eq!(
            error.to_string(),
            "CA pool: RootCertificateDER of CAs[0] (ID \"1\") says that it is self-signed, and its \
             signature is not its key's"
        );
    }
}

#[test]
fn a_root_signed_in_a_way_nobody_checks_loads_and_says_so() {
    let pool = generated("1");
    let ca = &pool.cas()[0];
    let mut root = ca.root.der().to_vec();
    // ecdsa-with-SHA256 becomes ecdsa-with-SHA224, in both places.
    let sha256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    while let Some(at) = root.windows(sha256.len()).position(|it| it == sha256) {
        root[at + sha256.len() - 1] = 1;
    }
    assert_usable(
        "sha224",
        &alone(&ca.key, &root),
        &["CaRootSignatureUnchecked"],
    );
}

#[test]
fn a_cross_signed_root_is_an_anchor_all_the_same() {
    let world = Intermediates::new();
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let cross = |subject| {
        let spec = CaSpec {
            subject,
            validity: validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            serial: Serial::random().unwrap(),
        };
        new_intermediate(&world.root_key, &world.root, key.public_key(), &spec).unwrap()
    };
    let other_name = cross(SubjectName::for_key("new", None, key.public_key()).unwrap());
    // The next key of the same CA, signed by the one before: the names are equal, the keys not.
    let name = SubjectName::for_key("root", None, world.root_key.public_key());
    let same_name = cross(name.unwrap());
    assert!(same_name.is_self_issued());
    for root in [other_name, same_name] {
        let name = root.subject().to_string();
        assert_usable(&name, &alone(&key, root.der()), &["CaRootNotSelfSigned"]);
    }
}

#[test]
fn anchors_are_the_roots_in_order_each_once() {
    let (a, b, world) = (generated("a"), generated("b"), Intermediates::new());
    let below = |id| {
        let pool = world.pool(&world.lower_key, &[&world.lower]);
        let [mut ca]: [Ca; 1] = pool.cas.try_into().unwrap();
        ca.id = CaId::new(id);
        Pool::new(vec![ca]).unwrap()
    };
    let pool = Pool::from_json(&merged(&[&b, &below("c"), &a, &below("d")])).unwrap();
    let roots = [b.cas()[0].root(), &world.root, a.cas()[0].root()].map(Clone::clone);
    assert_eq!(pool.anchors().anchors(), roots);
    assert_eq!(Authority::from_pool(pool).anchors().anchors(), roots);
}

#[test]
fn what_is_printed_shows_no_key() {
    let pool = Pool::from_json(&merged(&[&generated("a"), &generated("b")])).unwrap();
    let keys = pool
        .cas()
        .iter()
        .map(|ca| ca.pkcs8.to_vec())
        .collect::<Vec<_>>();
    let json = pool.to_json();
    let mut printed = vec![format!("{pool:?} {pool:#?} {:?}", pool.warnings(now()))];
    // Every error a key can be near.
    let (a, b) = (pool.cas()[0].to_write(), pool.cas()[1].to_write());
    let mixed = json::CaToWrite {
        signing_key_pkcs8: b.signing_key_pkcs8,
        ..a
    };
    let text = String::from_utf8(json.to_vec()).unwrap();
    for bad in [
        json::encode(&[mixed]).to_vec(),
        json[..json.len() - 3].to_vec(),
        text.replace("SigningKeyPKCS8", "ID").into_bytes(),
        text.replace("RootCertificateDER", "SigningKeyPKCS8")
            .into_bytes(),
        text.replace("SigningKeyPKCS8\":\"", "SigningKeyPKCS8\":\"AAAA")
            .into_bytes(),
        text.replace("SigningKeyPKCS8\":\"", "SigningKeyPKCS8\":[\"")
            .into_bytes(),
        text.replace("SigningKeyPKCS8", "IntermediateCertificatesDER")
            .into_bytes(),
    ] {
        let error = Pool::from_json(&bad).unwrap_err();
        printed.push(format!("{error} {error:?} {error:#?}"));
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            printed.push(format!("{error} {error:?}"));
            source = error.source();
        }
    }
    printed.push(format!("{:?}", Authority::from_pool(pool)));
    for key in keys {
        // The scalar of a P-256 key lies somewhere in here; any eight bytes of it would be too much.
        for window in key[27..].windows(8) {
            let decimal = window
                .iter()
                .map(u8::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let hex = window
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>();
            let base64 =
                base64::Engine::encode(&base64::prelude::BASE64_STANDARD_NO_PAD, &window[..6]);
            for secret in [decimal, hex, base64] {
                for text in &printed {
                    assert!(!text.contains(&secret), "{secret} in {text}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn a_changed_pool_is_refused_or_signs_what_verifies(
        at in any::<proptest::sample::Index>(),
        to in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        static POOL: LazyLock<Vec<u8>> = LazyLock::new(|| generated("1").to_json().to_vec());
        let mut changed = POOL.clone();
        let at = at.index(changed.len());
        changed[at] = to;
        if let Ok(pool) = Pool::from_json(&changed) {
            let _ = (pool.warnings(now()), pool.to_json());
            let authority = Authority::from_pool(pool);
            let inside = authority.chain_validity();
            if let Some(Ok(chain)) = authority.issue_now(&server_leaf(inside)) {
                let from = inside.not_before();
                prop_assert_eq!(verify(&chain, authority.anchors(), Purpose::Server(None), from), Ok(()));
            }
        }
        prop_assert!(Pool::from_json(&POOL[..cut.index(POOL.len())]).is_err());
    }
}

fn assert_usable(name: &str, json: &[u8], warnings: &[&str]) {
    let pool = Pool::from_json(json).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(*pool.to_json(), json, "{name}: written as it was read");
    assert_eq!(reasons(&pool, now()), warnings, "{name}");
    let constrained = warnings.contains(&"CaUriNameConstraints");
    let authority = Authority::from_pool(pool);
    let chain = authority.issue_now(&server_leaf(today())).unwrap().unwrap();
    let name_in_it: DnsName = "web.shop.svc".parse().unwrap();
    verify(
        &chain,
        authority.anchors(),
        Purpose::Server(Some(&name_in_it)),
        now(),
    )
    .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(
        chain.leaf().authority_key_id(),
        authority.issuer_certificate().subject_key_id(),
        "{name}"
    );
    let chain = authority.issue_now(&spiffe_leaf(today())).unwrap().unwrap();
    let verified = verify(&chain, authority.anchors(), Purpose::Client, now());
    assert_eq!(verified.is_ok(), !constrained, "{name}");
}

fn assert_unusable(name: &str, json: &[u8], reason: &str, message: &str) {
    let error = Pool::from_json(json)
        .err()
        .unwrap_or_else(|| panic!("{name} loaded"));
    assert_eq!(error.reason(), reason, "{name}");
    assert!(error.to_string().starts_with(message), "{name}: {error}");
}

fn reasons(pool: &Pool, now: Timestamp) -> Vec<&'static str> {
    pool.warnings(now).iter().map(Warning::reason).collect()
}

fn merged(pools: &[&Pool]) -> Zeroizing<Vec<u8>> {
    let cas = pools
        .iter()
        .flat_map(|pool| pool.cas())
        .map(Ca::to_write)
        .collect::<Vec<_>>();
    json::encode(&cas)
}

/// A root for ten years and an intermediate below it for one.
struct Intermediates {
    root_key: PrivateKey,
    root: Certificate,
    lower_key: PrivateKey,
    lower: Certificate,
}

impl Intermediates {
    fn new() -> Self {
        let spec = |name, key: &PrivateKey, to| CaSpec {
            subject: SubjectName::for_key(name, None, key.public_key()).unwrap(),
            validity: validity("2026-01-01T00:00:00Z", to),
            serial: Serial::random().unwrap(),
        };
        let root_key = PrivateKey::generate(KeyType::EcdsaP384).unwrap();
        let root = new_root(&root_key, &spec("root", &root_key, "2036-01-01T00:00:00Z")).unwrap();
        let lower_key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let lower_spec = spec("lower", &lower_key, "2027-01-01T00:00:00Z");
        let lower =
            new_intermediate(&root_key, &root, lower_key.public_key(), &lower_spec).unwrap();
        Self {
            root_key,
            root,
            lower_key,
            lower,
        }
    }

    fn json(&self, key: &PrivateKey, intermediates: &[&Certificate]) -> Zeroizing<Vec<u8>> {
        json::encode(&[json::CaToWrite {
            id: "1",
            signing_key_pkcs8: &key.to_pkcs8_der().unwrap(),
            root_certificate_der: self.root.der(),
            intermediate_certificates_der: intermediates.iter().map(|it| it.der()).collect(),
        }])
    }

    fn pool(&self, key: &PrivateKey, intermediates: &[&Certificate]) -> Pool {
        Pool::from_json(&self.json(key, intermediates)).unwrap()
    }
}
