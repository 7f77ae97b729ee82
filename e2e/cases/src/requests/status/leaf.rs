//! The leaf of an issued certificate: whose key it has, which names, and what Go's parser makes of
//! its extensions.

use rcgen::CustomExtension;
use serde_json::Value;

use super::chain::chain;
use super::{CHAIN, NO_LEAF};
use crate::material::{KeyType, key, leaf_with};
use crate::requests::scene::{Scene, case, refused};
use crate::requests::{Cause, invalid};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    [keys(), names(), emails(), extensions()].concat()
}

fn keys() -> Vec<Case> {
    let kinds = [
        (
            "status-key/is-the-requested-rsa-3072-key",
            KeyType::Rsa(3072),
        ),
        (
            "status-key/is-the-requested-rsa-4096-key",
            KeyType::Rsa(4096),
        ),
        ("status-key/is-the-requested-p256-key", KeyType::P256),
        ("status-key/is-the-requested-p384-key", KeyType::P384),
        ("status-key/is-the-requested-p521-key", KeyType::P521),
        ("status-key/is-the-requested-ed25519-key", KeyType::Ed25519),
    ]
    .map(|(name, kind)| {
        Case::new(name, move |world: World| async move {
            let scene = Scene::begin_with_key(world, key(kind)).await;
            let mut status = scene.issued();
            status["certificateChain"] = scene.leaf_for(&key(kind), &[]).into();
            invalid(&scene.put(status).await, OTHER_KEY);
            scene.put(scene.issued()).await.ok();
        })
    });
    let others = [
        case("status-key/is-of-the-requested-kind", |scene| async move {
            for kind in [KeyType::P384, KeyType::Ed25519] {
                let mut status = scene.issued();
                status["certificateChain"] = scene.leaf_for(&key(kind), &[]).into();
                invalid(&scene.put(status).await, OTHER_KEY);
            }
        }),
        refused(
            "status-key/leaf-comes-first",
            |scene, status| {
                let chain = format!("{}{}", scene.ca.pem, chain(status));
                status["certificateChain"] = chain.into();
            },
            OTHER_KEY,
        ),
    ];
    kinds.into_iter().chain(others).collect()
}

fn names() -> Vec<Case> {
    vec![
        bad_name(
            "status-names/dns-is-not-empty",
            &[""],
            &[(
                CHAIN,
                "Invalid value: \"\": leaf certificate should not contain empty DNSName",
            )],
        ),
        bad_name(
            "status-names/dns-has-no-double-dots",
            &["a..b"],
            &[(
                CHAIN,
                "Invalid value: \"a..b\": leaf certificate's DNSName should not contain '..'",
            )],
        ),
        bad_name(
            "status-names/dns-does-not-begin-with-a-dot",
            &[".a"],
            &[(
                CHAIN,
                "Invalid value: \".a\": leaf certificate's DNSName should not start or end with '.'",
            )],
        ),
        bad_name(
            "status-names/dns-does-not-end-with-a-dot",
            &["a."],
            &[(
                CHAIN,
                "Invalid value: \"a.\": leaf certificate's DNSName should not start or end with '.'",
            )],
        ),
        bad_name(
            "status-names/dns-is-no-dots-alone",
            &[".."],
            &[
                (
                    CHAIN,
                    "Invalid value: \"..\": leaf certificate's DNSName should not contain '..'",
                ),
                (
                    CHAIN,
                    "Invalid value: \"..\": leaf certificate's DNSName should not start or end with '.'",
                ),
            ],
        ),
        bad_name(
            "status-names/all-bad-ones-are-told",
            &["good.example.com", "a..b", ".c", "@nobody"],
            &[
                (
                    CHAIN,
                    "Invalid value: \"a..b\": leaf certificate's DNSName should not contain '..'",
                ),
                (
                    CHAIN,
                    "Invalid value: \".c\": leaf certificate's DNSName should not start or end with '.'",
                ),
                (
                    CHAIN,
                    "Invalid value: \"@nobody\": leaf certificate should not contain invalid EmailAddress",
                ),
            ],
        ),
        good_name("status-names/none-are-needed", &[]),
        good_name("status-names/dns-may-be-a-wildcard", &["*.example.com"]),
        good_name(
            "status-names/dns-may-be-what-no-host-is-called",
            &["A_b.c-", "-", "a b", "ex*mple"],
        ),
        good_name(
            "status-names/dns-may-be-long",
            &["a123456789a123456789a123456789a123456789a123456789a123456789a123456789.com"],
        ),
        good_name("status-names/email-may-be-plain", &["web@example.com"]),
        good_name(
            "status-names/email-may-have-a-name",
            &["Web <web@example.com>"],
        ),
        good_name("status-names/email-may-be-quoted", &["\"a b\"@example.com"]),
        good_name(
            "status-names/email-may-be-dotted-and-tagged",
            &["a.b+c@d.e"],
        ),
        case(
            "status-names/bad-ones-are-told-with-what-is-missing",
            |scene| async move {
                let mut status = scene.issued();
                status["certificateChain"] = scene.leaf_for(&scene.key, &["a..b"]).into();
                status["notBefore"] = Value::Null;
                invalid(
                    &scene.put(status).await,
                    &[
                        (
                            CHAIN,
                            "Invalid value: \"a..b\": leaf certificate's DNSName should not contain '..'",
                        ),
                        (
                            "status.notBefore",
                            "Required value: must be present and consistent with the issued certificate",
                        ),
                    ],
                );
            },
        ),
        case(
            "status-names/bad-ones-are-told-with-another-key",
            |scene| async move {
                let mut status = scene.issued();
                status["certificateChain"] = scene.leaf_for(&key(KeyType::P256), &["a..b"]).into();
                invalid(
                    &scene.put(status).await,
                    &[
                        (
                            CHAIN,
                            "Invalid value: \"a..b\": leaf certificate's DNSName should not contain '..'",
                        ),
                        (
                            CHAIN,
                            "Invalid value: {}: leaf certificate was not issued to the requested public key",
                        ),
                    ],
                );
            },
        ),
    ]
}

/// What is no e-mail address.
fn emails() -> Vec<Case> {
    [
        ("status-names/email-has-a-mailbox", &["@nobody"]),
        ("status-names/email-has-a-domain", &["nobody@"]),
        ("status-names/email-has-one-at-sign", &["a@b@c"]),
        ("status-names/email-mailbox-is-of-atoms", &["a b@c"]),
        ("status-names/email-mailbox-has-no-double-dots", &["a..b@c"]),
        ("status-names/email-domain-has-no-double-dots", &["a@b..c"]),
        ("status-names/email-is-one", &["a@b, c@d"]),
    ]
    .map(|(name, sans)| bad_name(name, sans, &[(CHAIN, NO_EMAIL)]))
    .into()
}

/// What the server does not look at itself, but parses.
fn extensions() -> Vec<Case> {
    vec![
        extended(
            "status-names/uris-are-not-looked-at",
            SAN,
            |content| {
                content.extend(san(0x86, b"spiffe://example.com/ns/a/sa/b"));
            },
            Parsing::Succeeds,
        ),
        extended(
            "status-names/uri-parses",
            SAN,
            |content| content.extend(san(0x86, b"a://[")),
            Parsing::Fails,
        ),
        extended(
            "status-names/uri-host-is-a-domain",
            SAN,
            |content| {
                content.extend(san(0x86, b"spiffe://a..b/c"));
            },
            Parsing::Fails,
        ),
        extended(
            "status-names/address-has-4-or-16-bytes",
            SAN,
            |content| {
                content.extend(san(0x87, &[10, 0, 0]));
            },
            Parsing::Fails,
        ),
        extended(
            "status-names/addresses-are-not-looked-at",
            SAN,
            |content| {
                content.extend(san(0x87, &[10, 0, 0, 1]));
            },
            Parsing::Succeeds,
        ),
        extended(
            "status-names/dns-is-ascii",
            SAN,
            |content| {
                content.extend(san(0x82, "é.com".as_bytes()));
            },
            Parsing::Fails,
        ),
        extended(
            "status-names/may-be-of-other-kinds",
            SAN,
            |content| {
                content.extend(san(0x88, &[0x2a, 3]));
            },
            Parsing::Succeeds,
        ),
        extended(
            "status-chain/unknown-critical-extension-is-accepted",
            &[1, 3, 6, 1, 4, 1, 1, 1],
            |content| {
                *content = vec![5, 0];
            },
            Parsing::Succeeds,
        ),
        extended(
            "status-chain/broken-known-extension-is-refused",
            &[2, 5, 29, 15],
            |content| {
                *content = vec![5, 0];
            },
            Parsing::Fails,
        ),
    ]
}

/// A case: a leaf with these names is refused.
fn bad_name(name: &'static str, sans: &'static [&'static str], causes: &'static [Cause]) -> Case {
    case(name, move |scene| async move {
        let mut status = scene.issued();
        status["certificateChain"] = scene.leaf_for(&scene.key, sans).into();
        invalid(&scene.put(status).await, causes);
    })
}

/// A case: a leaf with these names is accepted.
fn good_name(name: &'static str, sans: &'static [&'static str]) -> Case {
    case(name, move |scene| async move {
        let mut status = scene.issued();
        status["certificateChain"] = scene.leaf_for(&scene.key, sans).into();
        scene.put(status).await.ok();
    })
}

/// What Go's parser makes of a leaf.
#[derive(Clone, Copy)]
enum Parsing {
    Fails,
    Succeeds,
}

/// A case: a leaf with this critical extension is accepted, or does not parse.
fn extended(
    name: &'static str,
    identifier: &'static [u64],
    content: fn(&mut Vec<u8>),
    parsing: Parsing,
) -> Case {
    case(name, move |scene| async move {
        let mut bytes = Vec::new();
        content(&mut bytes);
        if identifier == SAN {
            bytes = [vec![0x30, u8::try_from(bytes.len()).unwrap()], bytes].concat();
        }
        let mut extension = CustomExtension::from_oid_content(identifier, bytes);
        extension.set_criticality(true);
        let (from, until) = (scene.after(-120), scene.after(86_400 - 120));
        let mut status = scene.issued();
        status["certificateChain"] =
            leaf_with(&scene.ca, &scene.key, from, until, &[], vec![extension]).into();
        let answer = scene.put(status).await;
        match parsing {
            Parsing::Succeeds => drop(answer.ok()),
            Parsing::Fails => invalid(&answer, &[(CHAIN, NO_LEAF)]),
        }
    })
}

/// A name of a subject alternative name extension.
fn san(tag: u8, content: &[u8]) -> Vec<u8> {
    [
        &[tag, u8::try_from(content.len()).expect("a short name")],
        content,
    ]
    .concat()
}

const NO_EMAIL: &str =
    "Invalid value: \"{}\": leaf certificate should not contain invalid EmailAddress";

const OTHER_KEY: &[Cause] = &[(
    CHAIN,
    "Invalid value: {}: leaf certificate was not issued to the requested public key",
)];

/// subjectAltName
const SAN: &[u64] = &[2, 5, 29, 17];
