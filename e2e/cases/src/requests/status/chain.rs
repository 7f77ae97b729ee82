//! The chain of an issued certificate as text: PEM blocks of certificates, the leaf's first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{CHAIN, NO_LEAF};
use crate::Case;
use crate::material::ca;
use crate::requests::scene::{accepted, refused};
use crate::requests::vectors;

pub(super) fn cases() -> Vec<Case> {
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
            &[(CHAIN, OTHER_BLOCK)],
        ),
        refused(
            "status-chain/key-before-the-leaf-is-refused",
            |scene, status| {
                status["certificateChain"] =
                    format!("{}{}", scene.key.serialize_pem(), chain(status)).into();
            },
            &[(CHAIN, OTHER_BLOCK)],
        ),
        refused(
            "status-chain/other-names-of-certificates-are-refused",
            |_, status| {
                let chain = chain(status).replace(" CERTIFICATE", " X509 CERTIFICATE");
                status["certificateChain"] = chain.into();
            },
            &[(CHAIN, OTHER_BLOCK)],
        ),
        refused(
            "status-chain/leaf-is-x509",
            |_, status| status["certificateChain"] = block(&[0, 0, 0]).into(),
            &[(CHAIN, NO_LEAF)],
        ),
        refused(
            "status-chain/leaf-has-no-trailing-bytes",
            |_, status| {
                let mut der = der(chain(status));
                der.push(0);
                status["certificateChain"] = block(&der).into();
            },
            &[(CHAIN, NO_LEAF)],
        ),
        refused(
            "status-chain/empty-block-is-no-leaf",
            |_, status| status["certificateChain"] = block(&[]).into(),
            &[(CHAIN, NO_LEAF)],
        ),
        refused(
            "status-chain/request-is-no-leaf",
            |_, status| {
                let request = STANDARD.decode(vectors::P224_REQUEST).unwrap();
                status["certificateChain"] = block(&request).into();
            },
            &[(CHAIN, NO_LEAF)],
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
            &[(CHAIN, NO_INTERMEDIATE)],
        ),
        refused(
            "status-chain/is-read-to-its-end",
            |scene, status| {
                append(status, &scene.ca.pem);
                append(status, &block(&[1]));
            },
            &[(CHAIN, NO_INTERMEDIATE)],
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

pub(super) fn chain(status: &Value) -> &str {
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

const OTHER_BLOCK: &str =
    "Invalid value: {}: issued certificate chain must consist entirely of CERTIFICATE PEM blocks";

const NO_INTERMEDIATE: &str =
    "Invalid value: {}: intermediate certificate does not parse as valid X.509";
