//! The chain of an issued certificate: PEM, DER, the leaf's key and names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::CustomExtension;
use serde_json::Value;

use super::scene::{Scene, accepted, refused};
use super::status::case;
use super::{invalid, vectors};
use crate::material::{KeyType, ca, key, leaf_with};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    [pem(), keys(), names()].concat()
}

fn pem() -> Vec<Case> {
    vec![
        refused(
            "status-chain/is-required",
            |_, status| status["certificateChain"] = "".into(),
            &[(
                CHAIN,
                "Invalid value: \"\": issued certificate chain must contain at least one certificate",
            )],
        ),
        refused(
            "status-chain/may-not-be-absent",
            |_, status| drop(status.as_object_mut().unwrap().remove("certificateChain")),
            &[(
                CHAIN,
                "Invalid value: \"\": issued certificate chain must contain at least one certificate",
            )],
        ),
        refused(
            "status-chain/is-pem",
            |_, status| status["certificateChain"] = "garbage".into(),
            &[(
                CHAIN,
                "Invalid value: \"garbage\": issued certificate chain must contain at least one certificate",
            )],
        ),
        refused(
            "status-chain/is-not-bare-base64",
            |_, status| {
                let chain = chain(status).replace("-----BEGIN CERTIFICATE-----", "");
                status["certificateChain"] = chain.replace("-----END CERTIFICATE-----", "").into();
            },
            &[(
                CHAIN,
                "Invalid value: {}: issued certificate chain must contain at least one certificate",
            )],
        ),
        refused(
            "status-chain/needs-its-end-line",
            |_, status| {
                let chain = chain(status).replace("-----END CERTIFICATE-----", "");
                status["certificateChain"] = chain.into();
            },
            &[(
                CHAIN,
                "Invalid value: {}: issued certificate chain must contain at least one certificate",
            )],
        ),
        refused(
            "status-chain/has-100-kib-at-most",
            |_, status| fill(status, 100 * 1024 + 1),
            &[(CHAIN, "Too long: may not be more than 102400 bytes")],
        ),
        accepted("status-chain/may-have-100-kib", |_, status| {
            fill(status, 100 * 1024);
        }),
        refused(
            "status-chain/first-block-is-a-certificate",
            |scene, status| status["certificateChain"] = scene.key.serialize_pem().into(),
            &[(
                CHAIN,
                "Invalid value: {}: issued certificate chain must consist entirely of CERTIFICATE PEM blocks",
            )],
        ),
        refused(
            "status-chain/key-before-the-leaf-is-refused",
            |scene, status| {
                status["certificateChain"] =
                    format!("{}{}", scene.key.serialize_pem(), chain(status)).into();
            },
            &[(
                CHAIN,
                "Invalid value: {}: issued certificate chain must consist entirely of CERTIFICATE PEM blocks",
            )],
        ),
        refused(
            "status-chain/other-names-of-certificates-are-refused",
            |_, status| {
                let chain = chain(status).replace(" CERTIFICATE", " X509 CERTIFICATE");
                status["certificateChain"] = chain.into();
            },
            &[(
                CHAIN,
                "Invalid value: {}: issued certificate chain must consist entirely of CERTIFICATE PEM blocks",
            )],
        ),
        refused(
            "status-chain/leaf-is-x509",
            |_, status| status["certificateChain"] = block(&[0, 0, 0]).into(),
            &[(
                CHAIN,
                "Invalid value: {}: leaf certificate does not parse as valid X.509",
            )],
        ),
        refused(
            "status-chain/leaf-has-no-trailing-bytes",
            |_, status| {
                let mut der = der(chain(status));
                der.push(0);
                status["certificateChain"] = block(&der).into();
            },
            &[(
                CHAIN,
                "Invalid value: {}: leaf certificate does not parse as valid X.509",
            )],
        ),
        refused(
            "status-chain/empty-block-is-no-leaf",
            |_, status| status["certificateChain"] = block(&[]).into(),
            &[(
                CHAIN,
                "Invalid value: {}: leaf certificate does not parse as valid X.509",
            )],
        ),
        refused(
            "status-chain/request-is-no-leaf",
            |_, status| {
                let request = STANDARD.decode(vectors::P224_REQUEST).unwrap();
                status["certificateChain"] = block(&request).into();
            },
            &[(
                CHAIN,
                "Invalid value: {}: leaf certificate does not parse as valid X.509",
            )],
        ),
        refused(
            "status-chain/further-blocks-are-certificates",
            |scene, status| append(status, &scene.key.serialize_pem()),
            // The release's own spelling.
            &[(
                CHAIN,
                "Invalid value: {}: issued certificate chain must consist entirely of CERTFICATE PEM blocks",
            )],
        ),
        refused(
            "status-chain/further-certificates-are-x509",
            |_, status| append(status, &block(&[0, 0, 0])),
            &[(
                CHAIN,
                "Invalid value: {}: intermediate certificate does not parse as valid X.509",
            )],
        ),
        refused(
            "status-chain/is-read-to-its-end",
            |scene, status| {
                append(status, &scene.ca.pem);
                append(status, &block(&[1]));
            },
            &[(
                CHAIN,
                "Invalid value: {}: intermediate certificate does not parse as valid X.509",
            )],
        ),
        accepted("status-chain/may-hold-the-issuer", |scene, status| {
            append(status, &scene.ca.pem);
        }),
        accepted("status-chain/need-not-be-linked", |_, status| {
            append(status, &ca("stranger").pem);
        }),
        accepted("status-chain/may-hold-the-leaf-twice", |_, status| {
            let again = chain(status).to_owned();
            append(status, &again);
        }),
        accepted("status-chain/may-begin-with-text", |_, status| {
            status["certificateChain"] = format!("Subject: web\n\n{}", chain(status)).into();
        }),
        accepted("status-chain/may-end-with-text", |_, status| {
            append(status, "the end");
        }),
        accepted("status-chain/may-have-text-between", |scene, status| {
            append(status, "# issuer\n");
            append(status, &scene.ca.pem);
        }),
        accepted("status-chain/may-end-lines-as-windows-does", |_, status| {
            status["certificateChain"] = chain(status).replace('\n', "\r\n").into();
        }),
        accepted("status-chain/may-lack-the-last-line-break", |_, status| {
            status["certificateChain"] = chain(status).trim_end().into();
        }),
        accepted("status-chain/may-have-headers", |_, status| {
            let begin = "-----BEGIN CERTIFICATE-----\n";
            let with = format!("{begin}Serial: 7\n\n");
            status["certificateChain"] = chain(status).replace(begin, &with).into();
        }),
        accepted("status-chain/broken-blocks-are-skipped", |_, status| {
            let broken = "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n";
            status["certificateChain"] = format!("{broken}{}{broken}", chain(status)).into();
        }),
        accepted("status-chain/may-be-one-long-line", |_, status| {
            let base64 = STANDARD.encode(der(chain(status)));
            status["certificateChain"] =
                format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
                    .into();
        }),
        accepted("status-chain/signature-is-not-verified", |_, status| {
            let mut der = der(chain(status));
            *der.last_mut().unwrap() ^= 1;
            status["certificateChain"] = block(&der).into();
        }),
    ]
}

fn keys() -> Vec<Case> {
    macro_rules! kind {
        ($name:literal, $kind:expr) => {
            Case::new($name, |world: World| async move {
                let wanted = key($kind);
                let scene = Scene::begin_with_key(world, wanted).await;
                let mut status = scene.issued();
                status["certificateChain"] = scene.leaf_for(&key($kind), &[]).into();
                invalid(&scene.put(status).await, OTHER_KEY);
                scene.put(scene.issued()).await.ok();
            })
        };
    }
    vec![
        kind!(
            "status-key/is-the-requested-rsa-3072-key",
            KeyType::Rsa(3072)
        ),
        kind!(
            "status-key/is-the-requested-rsa-4096-key",
            KeyType::Rsa(4096)
        ),
        kind!("status-key/is-the-requested-p256-key", KeyType::P256),
        kind!("status-key/is-the-requested-p384-key", KeyType::P384),
        kind!("status-key/is-the-requested-p521-key", KeyType::P521),
        kind!("status-key/is-the-requested-ed25519-key", KeyType::Ed25519),
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
    ]
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
        bad_name(
            "status-names/email-has-a-mailbox",
            &["@nobody"],
            &[(CHAIN, NO_EMAIL)],
        ),
        bad_name(
            "status-names/email-has-a-domain",
            &["nobody@"],
            &[(CHAIN, NO_EMAIL)],
        ),
        bad_name(
            "status-names/email-has-one-at-sign",
            &["a@b@c"],
            &[(CHAIN, NO_EMAIL)],
        ),
        bad_name(
            "status-names/email-mailbox-is-of-atoms",
            &["a b@c"],
            &[(CHAIN, NO_EMAIL)],
        ),
        bad_name(
            "status-names/email-mailbox-has-no-double-dots",
            &["a..b@c"],
            &[(CHAIN, NO_EMAIL)],
        ),
        bad_name(
            "status-names/email-domain-has-no-double-dots",
            &["a@b..c"],
            &[(CHAIN, NO_EMAIL)],
        ),
        bad_name(
            "status-names/email-is-one",
            &["a@b, c@d"],
            &[(CHAIN, NO_EMAIL)],
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
fn bad_name(
    name: &'static str,
    sans: &'static [&'static str],
    causes: &'static [super::Cause],
) -> Case {
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
            Parsing::Fails => {
                let why = "Invalid value: {}: leaf certificate does not parse as valid X.509";
                invalid(&answer, &[(CHAIN, why)]);
            }
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

fn chain(status: &Value) -> &str {
    status["certificateChain"].as_str().expect("a chain")
}

fn append(status: &mut Value, more: &str) {
    status["certificateChain"] = format!("{}{more}", chain(status)).into();
}

/// Fills the chain up to so many bytes with text.
fn fill(status: &mut Value, size: usize) {
    let more = "x".repeat(size - chain(status).len());
    append(status, &more);
}

/// Bytes as a PEM block of a certificate.
fn block(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64"))
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// The bytes of the one block of a chain.
fn der(chain: &str) -> Vec<u8> {
    let base64: String = chain
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    STANDARD.decode(base64).expect("base64")
}

const CHAIN: &str = "status.certificateChain";
const NO_EMAIL: &str =
    "Invalid value: \"{}\": leaf certificate should not contain invalid EmailAddress";
const OTHER_KEY: &[super::Cause] = &[(
    CHAIN,
    "Invalid value: {}: leaf certificate was not issued to the requested public key",
)];
/// subjectAltName
const SAN: &[u64] = &[2, 5, 29, 17];
