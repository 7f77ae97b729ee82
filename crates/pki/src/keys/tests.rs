use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::csr::{CertificationRequest, empty_csr};

/// One key of each type; RSA keys take time, so they are made once.
fn keys() -> &'static [PrivateKey] {
    static KEYS: OnceLock<Vec<PrivateKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        KeyType::ALL
            .into_iter()
            .map(|key_type| PrivateKey::generate(key_type).unwrap())
            .collect()
    })
}

#[test]
fn key_types_have_the_names_kubernetes_uses() {
    for key_type in KeyType::ALL {
        assert_eq!(key_type.to_string().parse::<KeyType>().unwrap(), key_type);
    }
    let error = "RSA1024".parse::<KeyType>().unwrap_err().to_string();
    assert!(
        error.starts_with("unknown key type \"RSA1024\": expected ECDSAP256"),
        "{error}"
    );
    assert!("ecdsap256".parse::<KeyType>().is_err());
}

#[test]
fn every_type_survives_pkcs8_and_spki() {
    for key in keys() {
        let key_type = key.public_key().key_type();
        let again = PrivateKey::from_pkcs8_der(&key.to_pkcs8_der().unwrap()).unwrap();
        assert_eq!(again.public_key(), key.public_key(), "{key_type}");
        let again = PrivateKey::from_pkcs8_pem(key.to_pkcs8_pem().unwrap().as_str()).unwrap();
        assert_eq!(again.public_key(), key.public_key(), "{key_type}");
        let public = PublicKey::from_spki_der(key.public_key().spki_der()).unwrap();
        assert_eq!(&public, key.public_key());
        assert_eq!(public.key_type(), key_type);
    }
}

/// The key of RFC 8410 §10.1 and the first 160 bits of SHA-256 over its 32 bytes.
#[test]
fn key_identifiers_are_those_of_rfc_7093() {
    let spki = "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad70316\
                6e1";
    let key = PublicKey::from_spki_der(&hex(spki)).unwrap();
    let expected = hex("e744c0791320c3285460eddb523f14c88d857ada");
    assert_eq!(key.key_id().as_slice(), expected);
}

#[test]
fn parameters_are_null_for_rsa_and_absent_for_all_else() {
    for key in keys() {
        let spki = key.public_key().spki_der();
        let identifier = key.signature_algorithm().identifier_der();
        // RFC 4055 §5 and §1.2; RFC 5758 §3.2; RFC 8410 §3; RFC 5480 §2.1.1 names the curve.
        match key.public_key().key_type() {
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
                assert_eq!(identifier, hex("300d06092a864886f70d01010b0500"));
                let algorithm = hex("300d06092a864886f70d0101010500");
                assert_eq!(spki[4..4 + algorithm.len()], algorithm);
            }
            KeyType::Ed25519 => {
                assert_eq!(identifier, hex("300506032b6570"));
                assert_eq!(spki[2..9], hex("300506032b6570"));
            }
            ecdsa => {
                let digest = match ecdsa {
                    KeyType::EcdsaP256 => "02",
                    KeyType::EcdsaP384 => "03",
                    _ => "04",
                };
                let expected = hex(&format!("300a06082a8648ce3d0403{digest}"));
                assert_eq!(identifier, expected, "{ecdsa}");
            }
        }
    }
}

#[test]
fn signatures_are_the_keys_own() {
    for key in keys() {
        // A request carries a signature and the key that checks it.
        let request = empty_csr(key).unwrap();
        CertificationRequest::from_der(&request)
            .unwrap()
            .verify()
            .unwrap();
    }
}

#[test]
fn keys_do_not_show_themselves() {
    for key in keys() {
        let shown = format!("{key:?}");
        assert_eq!(
            shown,
            format!("PrivateKey({}, <redacted>)", key.public_key().key_type())
        );
    }
}

#[test]
fn trailing_bytes_are_refused() {
    for key in keys() {
        let mut pkcs8 = key.to_pkcs8_der().unwrap().to_vec();
        pkcs8.push(0);
        assert!(matches!(
            PrivateKey::from_pkcs8_der(&pkcs8),
            Err(KeyError::Malformed { .. })
        ));
        let mut spki = key.public_key().spki_der().to_vec();
        spki.push(0);
        assert!(matches!(
            PublicKey::from_spki_der(&spki),
            Err(KeyError::Malformed { .. })
        ));
    }
}

#[test]
fn other_algorithms_are_named() {
    // X25519, from RFC 8410 §10.1 with its algorithm changed.
    let mut x25519 = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00".to_vec();
    x25519.extend([9; 32]);
    let error = PublicKey::from_spki_der(&x25519).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unsupported key: algorithm 1.3.101.110, expected RSA, ECDSA or Ed25519"
    );
    // P-224: secp224r1 is 1.3.132.0.33.
    let mut p224 = hex("304e301006072a8648ce3d020106052b81040021033a0004");
    p224.extend([1; 56]);
    let error = PublicKey::from_spki_der(&p224).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unsupported key: curve 1.3.132.0.33, expected P-256, P-384 or P-521"
    );
    // Explicit curve parameters instead of a name.
    let explicit = hex("3017301106072a8648ce3d0201300602010102010303020004");
    let error = PublicKey::from_spki_der(&explicit).unwrap_err().to_string();
    assert!(error.contains("explicit parameters"), "{error}");
}

#[test]
fn rsa_of_another_size_is_named() {
    for (bytes, bits) in [(128, 1024), (257, 2056)] {
        let error = PublicKey::from_spki_der(&rsa_spki(&vec![0xc5; bytes])).unwrap_err();
        assert_eq!(
            error,
            KeyError::Unsupported(UnsupportedKey::RsaModulus { bits })
        );
    }
    // A modulus whose top bit is not set is a size smaller.
    let mut short = vec![0xc5; 256];
    short[0] = 0x45;
    let error = PublicKey::from_spki_der(&rsa_spki(&short)).unwrap_err();
    assert_eq!(
        error,
        KeyError::Unsupported(UnsupportedKey::RsaModulus { bits: 2047 })
    );
}

#[test]
fn an_even_modulus_is_no_key() {
    let error = PublicKey::from_spki_der(&rsa_spki(&[0xc4; 256])).unwrap_err();
    assert_eq!(error, KeyError::MalformedPublicKey(KeyType::Rsa2048));
}

#[test]
fn points_must_be_whole_and_on_the_curve() {
    for key in keys() {
        let key_type = key.public_key().key_type();
        if !key_type.as_str().starts_with("ECDSA") {
            continue;
        }
        let spki = key.public_key().spki_der();
        let mut off = spki.to_vec();
        *off.last_mut().unwrap() ^= 1;
        assert_eq!(
            PublicKey::from_spki_der(&off).unwrap_err(),
            KeyError::MalformedPublicKey(key_type)
        );
    }
    // A compressed point: Go, and so kube-apiserver, does not read them.
    let spki = keys()[0].public_key().spki_der();
    let (head, y) = spki.split_at(spki.len() - 32);
    let mut compressed = head.to_vec();
    compressed[1] -= 32;
    compressed[24] -= 32;
    compressed[26] = 2 + (y[31] & 1);
    assert_eq!(
        PublicKey::from_spki_der(&compressed).unwrap_err(),
        KeyError::MalformedPublicKey(KeyType::EcdsaP256)
    );
    let short = hex("3029300506032b6570032000");
    let short = [short, vec![1; 31]].concat();
    assert_eq!(
        PublicKey::from_spki_der(&short).unwrap_err(),
        KeyError::MalformedPublicKey(KeyType::Ed25519)
    );
}

#[test]
fn private_keys_of_other_kinds_are_named() {
    // PKCS#8 of an X25519 key, RFC 8410 §7 with the other algorithm.
    let mut x25519 = hex("302e020100300506032b656e04220420");
    x25519.extend([7; 32]);
    assert!(matches!(
        PrivateKey::from_pkcs8_der(&x25519),
        Err(KeyError::Unsupported(UnsupportedKey::Algorithm { .. }))
    ));
    let pem = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let error = PrivateKey::from_pkcs8_pem(pem).unwrap_err();
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "block 1 is EC PRIVATE KEY, expected PRIVATE KEY"
    );
    assert!(PrivateKey::from_pkcs8_pem("").is_err());
    let key = keys()[0].to_pkcs8_pem().unwrap();
    assert!(
        PrivateKey::from_pkcs8_pem(format!("{}{}", *key, *key)).is_err(),
        "one key only"
    );
}

#[test]
fn halves_that_do_not_match_are_rejected() {
    let (a, b) = (
        &keys()[0],
        PrivateKey::generate(KeyType::EcdsaP256).unwrap(),
    );
    let (mut mixed, other) = (a.to_pkcs8_der().unwrap(), b.to_pkcs8_der().unwrap());
    // The public point stands last.
    let point = mixed.len() - 64;
    mixed[point..].copy_from_slice(&other[point..]);
    let error = PrivateKey::from_pkcs8_der(&mixed).unwrap_err();
    assert!(matches!(error, KeyError::Rejected { .. }), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = PublicKey::from_spki_der(&bytes);
        let _ = PrivateKey::from_pkcs8_der(&bytes);
    }

    #[test]
    fn changed_keys_never_panic(
        which in 0..7usize,
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let key = &keys()[which];
        for der in [key.public_key().spki_der().to_vec(), key.to_pkcs8_der().unwrap().to_vec()] {
            let mut changed = der.clone();
            changed[at.index(der.len())] = to;
            let _ = PublicKey::from_spki_der(&changed);
            let _ = PrivateKey::from_pkcs8_der(&changed);
            let cut = &der[..cut.index(der.len())];
            prop_assert!(PublicKey::from_spki_der(cut).is_err());
            prop_assert!(PrivateKey::from_pkcs8_der(cut).is_err());
        }
    }
}

fn rsa_spki(modulus: &[u8]) -> Vec<u8> {
    use crate::asn1::{bit_string, sequence, tlv};
    let pad: &[u8] = if modulus[0] >= 0x80 { &[0] } else { &[] };
    let modulus = tlv(der::Tag::Integer, &[pad, modulus]).unwrap();
    let exponent = hex("0203010001");
    let key = bit_string(&sequence(&[&modulus, &exponent]).unwrap()).unwrap();
    let algorithm = hex("300d06092a864886f70d0101010500");
    sequence(&[&algorithm, &key]).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text
        .chars()
        .map(|c| c.to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
