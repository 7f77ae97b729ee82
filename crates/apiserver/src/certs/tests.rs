use proptest::prelude::*;

use super::*;

fn blocks(text: &str) -> Vec<(String, Headers, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((block, after)) = next_pem(rest) {
        found.push((block.label, block.headers, block.der));
        rest = after;
    }
    found
}

/// The cases of Go's `encoding/pem` that decide what a trust bundle contains.
#[test]
fn pem_is_read_as_go_reads_it() {
    let plain = ("X".to_owned(), Headers::None, vec![0, 0, 0]);
    for (text, expected) in [
        (
            "-----BEGIN X-----\nAAAA\n-----END X-----\n",
            vec![plain.clone()],
        ),
        (
            "-----BEGIN X-----\r\nAAAA\r\n-----END X-----",
            vec![plain.clone()],
        ),
        (
            "text before\n-----BEGIN X-----\nAA AA\n-----END X----- \t\nafter",
            vec![plain.clone()],
        ),
        // A BEGIN that has no END of its own is skipped.
        (
            "-----BEGIN Y-----\n-----BEGIN X-----\nAAAA\n-----END X-----\n",
            vec![plain.clone()],
        ),
        // Malformed blocks are skipped, whole.
        (
            "-----BEGIN X-----\n%\n-----END X-----\n-----BEGIN X-----\nAAAA\n-----END X-----\n",
            vec![plain.clone()],
        ),
        ("-----BEGIN X-----\nAAAA\n-----END Y-----\n", vec![]),
        ("-----BEGIN X-----\nAAAA\n-----END X-----more\n", vec![]),
        (" -----BEGIN X-----\nAAAA\n-----END X-----\n", vec![]),
        ("-----BEGIN X-----\nAAA\n-----END X-----\n", vec![]),
        (
            "-----BEGIN X-----\nKey: value\n\nAAAA\n-----END X-----\n",
            vec![("X".to_owned(), Headers::Some, vec![0, 0, 0])],
        ),
        (
            "-----BEGIN X-----\n-----END X-----\n",
            vec![("X".to_owned(), Headers::None, vec![])],
        ),
    ] {
        assert_eq!(blocks(text), expected, "{text:?}");
    }
}

fn pem_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("-----BEGIN X-----"),
        Just("-----END X-----"),
        Just("-----BEGIN "),
        Just("\n-----END "),
        Just("-----"),
        Just("\n"),
        Just("\r\n"),
        Just("AAAA"),
        Just("Key: é"),
        Just(" "),
        Just("€"),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(text in pem_like()) {
        blocks(&text);
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_certificate(&bytes);
        let _ = read_request(&bytes, Depth::Signature);
    }
}

#[test]
fn a_request_with_any_bit_changed_is_refused_or_unsigned() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::default();
    let request = params.serialize_request(&key).expect("a request");
    let valid = |der: &[u8]| {
        read_request(der, Depth::Signature)
            .is_some_and(|request| request.signature == SignatureCheck::Valid)
    };
    assert!(valid(request.der()));
    for index in 0..request.der().len() {
        for bit in 0..8 {
            let mut der = request.der().to_vec();
            der[index] ^= 1 << bit;
            assert!(!valid(&der), "byte {index}, bit {bit}");
        }
    }
}
