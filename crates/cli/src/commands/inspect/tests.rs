use proptest::prelude::*;

use super::*;
use crate::page::wrapped;

#[test]
fn times_on_the_command_line() {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    for (text, date) in [
        ("2026-11-22", "2026-11-22T00:00:00Z"),
        ("2026-11-22T01:02:03Z", "2026-11-22T01:02:03Z"),
        ("2026-11-22T01:02:03+01:00", "2026-11-22T00:02:03Z"),
        ("+30d", "2026-12-21T12:00:00Z"),
        ("+90m", "2026-11-21T13:30:00Z"),
    ] {
        assert_eq!(
            at(text).unwrap().date(now).unwrap().to_string(),
            date,
            "{text}"
        );
    }
    for text in ["", "+", "tomorrow", "2026-13-01", "30d", "+x"] {
        at(text).unwrap_err();
    }
    at("+9000y").unwrap_err();
    At::FromNow(SignedDuration::MAX).date(now).unwrap_err();
}

#[test]
fn names_cannot_command_a_terminal() {
    assert_eq!(clean("a\x1b[31mb"), "a\\u{1b}[31mb");
    assert_eq!(
        clean("a\u{202e}b\u{200b}\r\n"),
        "a\\u{202e}b\\u{200b}\\u{d}\\u{a}"
    );
    assert_eq!(clean("Grüße, 東京"), "Grüße, 東京");
}

#[test]
fn lines_are_broken_at_blanks() {
    let text = "word ".repeat(30);
    for line in wrapped(&text, 14).lines().skip(1) {
        assert!(line.starts_with(&" ".repeat(14)));
        assert!(line.chars().count() <= 80, "{line}");
    }
    let long = "x".repeat(200);
    assert_eq!(wrapped(&long, 14), long);
}

fn reading() -> source::Reading<'static> {
    source::Reading {
        kind: None,
        at: Timestamp::UNIX_EPOCH,
        kubeconfig: None,
    }
}

/// Manifests around whatever an outsider writes into them.
const MANIFEST: &str = r#"{"kind":"List","items":[{"kind":"Secret","metadata":{"name":"s"},
"data":{"pool":"eyJDQXMiOltdfQ==","tls.key":"AAAA","tls.crt":"AAAA"}},{"kind":"ConfigMap",
"data":{"a":"-----BEGIN CERTIFICATE-----"}},{"kind":"PodCertificateRequest","status":
{"beginRefreshAt":"2026-11-21T12:00:00Z","conditions":[{"type":"Denied"}]}}]}"#;

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for start in ["", "{", "kind: Secret\n", "{\"keys\":[", "{\"CAs\":[{"] {
            let _ = manifest::items(&[start.as_bytes(), &bytes].concat(), reading());
        }
        let page = crate::page::clean(&String::from_utf8_lossy(&bytes));
        prop_assert!(!page.chars().any(char::is_control));
        let _ = wrapped(&page, 14);
    }

    #[test]
    fn no_change_of_a_manifest_makes_it_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = MANIFEST.as_bytes().to_vec();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        let _ = manifest::items(&bytes, reading());
        bytes.truncate(cut.index(bytes.len()));
        let _ = manifest::items(&bytes, reading());
    }
}

/// An error tells where, never what: it may be a key.
#[test]
fn errors_repeat_nothing_of_a_key() {
    for text in [
        "{\"kind\":\"Secret\",\"data\":{\"pool\":\"s3cr3t-no-base64\"}}",
        "{\"kind\":\"Secret\",\"data\":\"s3cr3t\"}",
        "{\"kind\":\"Secret\",\"data\":{\"pool\":\"czNjcjN0\"}}",
        "kind: Secret\ndata: {pool: s3cr3t, pool: s3cr3t}",
        "kind: Secret\ndata: [s3cr3t]",
        "{\"CAs\":[{\"SigningKeyPKCS8\":\"s3cr3t\"}]}",
        "{\"keys\":\"s3cr3t\"}",
        "{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":\"s3cr3t\"}]}",
        "{s3cr3t",
    ] {
        let error = manifest::items(text.as_bytes(), reading()).unwrap_err();
        let told = format!("{error:#} {error:?}");
        assert!(!told.contains("s3cr3t"), "{told}");
    }
}
