use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::encode::encoded_len;
use super::*;
use crate::testing::run_go;

/// Documents and what Go reads in them, written again (`nil` and empty alike).
const HABITS: &[(&str, &str, &str)] = &[
    (
        "what meshtool writes",
        r#"{"CAs":[{"ID":"1","SigningKeyPKCS8":"a2V5","RootCertificateDER":"cm9vdA==","IntermediateCertificatesDER":null}]}"#,
        r#"{"CAs":[{"ID":"1","SigningKeyPKCS8":"a2V5","RootCertificateDER":"cm9vdA==","IntermediateCertificatesDER":null}]}"#,
    ),
    ("nothing", "null", r#"{"CAs":null}"#),
    ("an empty object", " {} \n", r#"{"CAs":null}"#),
    ("no CAs", r#"{"CAs":null}"#, r#"{"CAs":null}"#),
    ("an empty array", r#"{"CAs":[]}"#, r#"{"CAs":null}"#),
    (
        "names in any case, even beyond ASCII",
        "{\"ca\u{17f}\":[{\"id\":\"1\",\"signing\u{212a}eypkcs8\":\"a2V5\",\"ROOTCERTIFICATEDER\":\"\"}]}",
        r#"{"CAs":[{"ID":"1","SigningKeyPKCS8":"a2V5","RootCertificateDER":"","IntermediateCertificatesDER":null}]}"#,
    ),
    (
        "escapes in names",
        r#"{"\u0043As":[{"I\u0044":"1"}]}"#,
        r#"{"CAs":[{"ID":"1","SigningKeyPKCS8":"","RootCertificateDER":"","IntermediateCertificatesDER":null}]}"#,
    ),
    (
        "unknown fields of any shape",
        r#"{"Version":1e999,"x":[[{"CAs":"a"}]],"CAs":[{"ID":"1","Comment":{"ID":"2"},"":null}]}"#,
        r#"{"CAs":[{"ID":"1","SigningKeyPKCS8":"","RootCertificateDER":"","IntermediateCertificatesDER":null}]}"#,
    ),
    (
        "the last of two",
        r#"{"CAs":[{"ID":"1","id":"2","SigningKeyPKCS8":"a2V5","SigningKeyPKCS8":"eWVr"}]}"#,
        r#"{"CAs":[{"ID":"2","SigningKeyPKCS8":"eWVr","RootCertificateDER":"","IntermediateCertificatesDER":null}]}"#,
    ),
    (
        "null empties a byte slice and leaves a string alone",
        r#"{"CAs":[{"ID":"1","ID":null,"SigningKeyPKCS8":"a2V5","SigningKeyPKCS8":null}]}"#,
        r#"{"CAs":[{"ID":"1","SigningKeyPKCS8":"","RootCertificateDER":"","IntermediateCertificatesDER":null}]}"#,
    ),
    (
        "null among CAs and among intermediates",
        r#"{"CAs":[null,{"IntermediateCertificatesDER":[null,"YQ=="]}]}"#,
        r#"{"CAs":[{"ID":"","SigningKeyPKCS8":"","RootCertificateDER":"","IntermediateCertificatesDER":null},{"ID":"","SigningKeyPKCS8":"","RootCertificateDER":"","IntermediateCertificatesDER":["","YQ=="]}]}"#,
    ),
    (
        "base64 in lines",
        r#"{"CAs":[{"SigningKeyPKCS8":"a2\r\nV5\n","RootCertificateDER":"cm9vdA=\n="}]}"#,
        r#"{"CAs":[{"ID":"","SigningKeyPKCS8":"a2V5","RootCertificateDER":"cm9vdA==","IntermediateCertificatesDER":null}]}"#,
    ),
    (
        "base64 with bits left over",
        r#"{"CAs":[{"SigningKeyPKCS8":"YR=="}]}"#,
        r#"{"CAs":[{"ID":"","SigningKeyPKCS8":"YQ==","RootCertificateDER":"","IntermediateCertificatesDER":null}]}"#,
    ),
    (
        "bytes as numbers",
        r#"{"CAs":[{"SigningKeyPKCS8":[107,101,121],"RootCertificateDER":[0,255,null]}]}"#,
        r#"{"CAs":[{"ID":"","SigningKeyPKCS8":"a2V5","RootCertificateDER":"AP8A","IntermediateCertificatesDER":null}]}"#,
    ),
    (
        "surrogates without partner",
        r#"{"CAs":[{"ID":"\ud800 \udc00\ud800x \ud83d\ude00"}]}"#,
        "{\"CAs\":[{\"ID\":\"\u{fffd} \u{fffd}\u{fffd}x \u{1f600}\",\"SigningKeyPKCS8\":\"\",\"RootCertificateDER\":\"\",\"IntermediateCertificatesDER\":null}]}",
    ),
    (
        "what HTML and JavaScript would trip over",
        "{\"CAs\":[{\"ID\":\"<a&b>\u{2028}\\u2029\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\\\/\u{7f}\"}]}",
        "{\"CAs\":[{\"ID\":\"\\u003ca\\u0026b\\u003e\\u2028\\u2029\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\u{7f}\",\"SigningKeyPKCS8\":\"\",\"RootCertificateDER\":\"\",\"IntermediateCertificatesDER\":null}]}",
    ),
];

/// Documents and what is said about them.
const REFUSED: &[(&str, &str)] = &[
    ("", "cut short at line 1 column 0"),
    ("{\"CAs\":[{\"ID\":\"1\",", "cut short at line 1 column 18"),
    ("{\"CAs\":[{\"ID\":\"1", "cut short at line 1 column 16"),
    ("{} {}", "not JSON from line 1 column 4 on"),
    ("{}x", "not JSON from line 1 column 3 on"),
    ("not json", "not JSON from line 1 column 2 on"),
    ("{\"CAs\":[],}", "not JSON from line 1 column 11 on"),
    (
        "{\"CAs\":[{\"SigningKeyPKCS8\":\"a2\nV5\"}]}",
        "not JSON from line 1 column 30 on",
    ),
    ("[]", "the pool must be an object (line 1 column"),
    ("\"CAs\"", "the pool must be an object (line 1 column"),
    (r#"{"CAs":{}}"#, "CAs must be an array (line 1 column"),
    (r#"{"CAs":"a2V5"}"#, "CAs must be an array (line 1 column"),
    (
        r#"{"CAs":[{},5]}"#,
        "CAs[1] must be an object (line 1 column",
    ),
    (
        r#"{"CAs":[{"ID":5}]}"#,
        "CAs[0].ID must be a string (line 1 column",
    ),
    (
        r#"{"CAs":[{"ID":[]}]}"#,
        "CAs[0].ID must be a string (line 1 column",
    ),
    (
        r#"{"CAs":[{},{"signingkeypkcs8":"a2V5*"}]}"#,
        "CAs[1].SigningKeyPKCS8 must be base64 in a string (line 1 column",
    ),
    (
        r#"{"CAs":[{"SigningKeyPKCS8":"a2V"}]}"#,
        "CAs[0].SigningKeyPKCS8 must be base64 in a string (line 1 column",
    ),
    (
        r#"{"CAs":[{"RootCertificateDER":true}]}"#,
        "CAs[0].RootCertificateDER must be base64 in a string (line 1 column",
    ),
    (
        r#"{"CAs":[{"RootCertificateDER":[256]}]}"#,
        "CAs[0].RootCertificateDER must be base64 in a string (line 1 column",
    ),
    (
        r#"{"CAs":[{"IntermediateCertificatesDER":"YQ=="}]}"#,
        "CAs[0].IntermediateCertificatesDER must be an array (line 1 column",
    ),
    (
        r#"{"CAs":[{"IntermediateCertificatesDER":["YQ==","Y Q="]}]}"#,
        "CAs[0].IntermediateCertificatesDER[1] must be base64 in a string (line 1 column",
    ),
];

#[test]
fn reads_with_the_habits_of_go() {
    for (habit, given, expected) in HABITS {
        let written = rewritten(given.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&written), *expected, "{habit}");
    }
}

#[test]
fn says_where_a_text_stops_being_a_pool() {
    for (given, expected) in REFUSED {
        let error = decode(given.as_bytes())
            .err()
            .map(|error| error.to_string());
        let error = error.unwrap_or_else(|| panic!("{given} was read"));
        assert!(error.starts_with(expected), "{given}: {error}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    let given = b"{\"CAs\":[{\"ID\":\"a\xff\xfe\xe2\x82b\",\"\xff\":1}]}";
    let pool = decode(given).ok().unwrap();
    assert_eq!(pool.cas[0].id, "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b");
}

#[test]
fn of_two_lists_of_cas_the_last_one_counts_whole() {
    // Go would give the CA "2" the key of the CA "1".
    let given = r#"{"CAs":[{"ID":"1","SigningKeyPKCS8":"a2V5"}],"cas":[{"ID":"2"}]}"#;
    let pool = decode(given.as_bytes()).ok().unwrap();
    assert_eq!(pool.cas.len(), 1);
    assert_eq!(pool.cas[0].id, "2");
    assert!(pool.cas[0].signing_key_pkcs8.is_empty());
}

#[test]
fn errors_repeat_nothing_of_a_key_in_the_wrong_place() {
    for given in [
        r#""c2VjcmV0""#,
        r#"{"CAs":"c2VjcmV0"}"#,
        r#"{"CAs":["c2VjcmV0"]}"#,
        r#"{"CAs":[{"SigningKeyPKCS8":"c2VjcmV0*"}]}"#,
        r#"{"CAs":[{"SigningKeyPKCS8":{"c2VjcmV0":1}}]}"#,
        r#"{"CAs":[{"IntermediateCertificatesDER":"c2VjcmV0"}]}"#,
        r#"{"CAs":[{"IntermediateCertificatesDER":"c2VjcmV0"#,
    ] {
        let error = decode(given.as_bytes()).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("c2Vj"), "{error:?}");
    }
}

#[test]
fn go_reads_every_document_alike() {
    let mut documents: Vec<Vec<u8>> = Vec::new();
    documents.extend(HABITS.iter().map(|(_, given, _)| given.as_bytes().to_vec()));
    documents.extend(REFUSED.iter().map(|(given, _)| given.as_bytes().to_vec()));
    documents.push(b"{\"CAs\":[{\"ID\":\"a\xff\xfe\xe2\x82b\",\"\xff\":1}]}".to_vec());
    // Each document with each of its bytes changed or left out.
    let whole = documents.clone();
    for document in &whole {
        for (index, replacement) in
            (0..document.len()).zip(b"\"{}[]:,\\n0au5= \x01\xff".iter().cycle())
        {
            let mut changed = document.clone();
            changed[index] = *replacement;
            documents.push(changed);
            let mut shorter = document.clone();
            shorter.remove(index);
            documents.push(shorter);
        }
    }
    let mut lines = String::new();
    for document in &documents {
        lines += &STANDARD.encode(document);
        lines.push('\n');
    }
    let Some(answers) = run_go(&["decode"], lines.as_bytes()) else {
        return;
    };
    let answers: Vec<_> = answers.split(|byte| *byte == b'\n').collect();
    assert_eq!(answers.len(), documents.len() + 1);
    for (document, expected) in documents.iter().zip(answers) {
        let text = String::from_utf8_lossy(document);
        match rewritten(document) {
            Ok(written) => assert_eq!(
                String::from_utf8_lossy(&written),
                String::from_utf8_lossy(expected),
                "{text}"
            ),
            Err(error) => assert_eq!(expected, b"error", "{text}: {error}"),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(cas in proptest::collection::vec(any_ca(), 0..4)) {
        let write = |cas: &[Parts]| encode(&cas.iter().map(to_write).collect::<Vec<_>>());
        let written = write(&cas);
        let read = decode(&written).unwrap();
        let again: Vec<Parts> = read
            .cas
            .into_iter()
            .map(|ca| (ca.id, ca.signing_key_pkcs8.to_vec(), ca.root_certificate_der, ca.intermediate_certificates_der))
            .collect();
        prop_assert_eq!(again, cas);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn encoding_never_outgrows_its_buffer(cas in proptest::collection::vec(any_ca(), 0..4)) {
        let cas = cas.iter().map(to_write).collect::<Vec<_>>();
        let room = cas.iter().map(encoded_len).sum::<usize>() + 16;
        prop_assert!(encode(&cas).len() <= room);
    }
}

type Parts = (String, Vec<u8>, Vec<u8>, Vec<Vec<u8>>);

fn any_ca() -> impl Strategy<Value = Parts> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    (
        any::<String>(),
        bytes(),
        bytes(),
        proptest::collection::vec(bytes(), 0..3),
    )
}

fn to_write((id, key, root, intermediates): &Parts) -> CaToWrite<'_> {
    CaToWrite {
        id,
        signing_key_pkcs8: key,
        root_certificate_der: root,
        intermediate_certificates_der: intermediates.iter().map(Vec::as_slice).collect(),
    }
}

fn rewritten(json: &[u8]) -> Result<Zeroizing<Vec<u8>>, JsonError> {
    let pool = decode(json)?;
    let cas = pool.cas.iter().map(|ca| CaToWrite {
        id: &ca.id,
        signing_key_pkcs8: &ca.signing_key_pkcs8,
        root_certificate_der: &ca.root_certificate_der,
        intermediate_certificates_der: ca
            .intermediate_certificates_der
            .iter()
            .map(Vec::as_slice)
            .collect(),
    });
    Ok(encode(&cas.collect::<Vec<_>>()))
}
