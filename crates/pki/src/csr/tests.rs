use proptest::prelude::*;

use super::*;
use crate::fixtures::key;

#[test]
fn an_empty_request_is_read_and_verified() {
    for key_type in KeyType::ALL {
        let key = key(key_type, 0);
        let der = empty_csr(key).unwrap();
        let request = CertificationRequest::from_der(&der).unwrap();
        assert_eq!(request.public_key(), key.public_key());
        request.verify().unwrap();
    }
}

#[test]
fn requests_of_rcgen_with_names_and_extensions_yield_their_key() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    let der = params.serialize_request(&pair).unwrap();
    let request = CertificationRequest::from_der(der.der()).unwrap();
    assert_eq!(request.public_key().key_type(), KeyType::EcdsaP256);
    request.verify().unwrap();
}

#[test]
fn a_request_signed_by_another_key_is_no_proof() {
    let (mine, other) = (key(KeyType::EcdsaP256, 0), key(KeyType::EcdsaP256, 1));
    let (a, b) = (empty_csr(mine).unwrap(), empty_csr(other).unwrap());
    let mut mixed = CertificationRequest::from_der(&a).unwrap();
    mixed.signature = CertificationRequest::from_der(&b).unwrap().signature;
    assert_eq!(mixed.verify(), Err(CsrError::Signature));
    mixed.algorithm = KeyType::Ed25519
        .signature_algorithm()
        .identifier_der()
        .to_vec();
    assert_eq!(
        mixed.verify().unwrap_err().to_string(),
        "certification request signed with algorithm 1.3.101.112, unsupported for ECDSAP256"
    );
}

#[test]
fn malformed_requests_have_named_errors() {
    let der = empty_csr(key(KeyType::Ed25519, 0)).unwrap();
    let mut trailing = der.clone();
    trailing.push(0);
    for bytes in [&[][..], b"not a request", &trailing, &der[..der.len() - 1]] {
        assert!(matches!(
            CertificationRequest::from_der(bytes),
            Err(CsrError::Malformed(_))
        ));
    }
    // X25519 in place of Ed25519 inside the SubjectPublicKeyInfo: sound, but no key of ours.
    let mut other = der.clone();
    let oid = other
        .windows(3)
        .position(|window| window == [0x2b, 0x65, 0x70])
        .unwrap();
    other[oid + 2] = 0x6e;
    let error = CertificationRequest::from_der(&other).unwrap_err();
    assert!(
        matches!(error, CsrError::Key(KeyError::Unsupported(_))),
        "{error:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn changed_requests_never_panic_and_never_verify(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let der = empty_csr(key(KeyType::EcdsaP256, 0)).unwrap();
        let mut changed = der.clone();
        let at = at.index(der.len());
        changed[at] = to;
        if let Ok(request) = CertificationRequest::from_der(&changed) {
            prop_assert!(der[at] == to || request.verify().is_err(), "byte {} to {}", at, to);
        }
        prop_assert!(CertificationRequest::from_der(&der[..cut.index(der.len())]).is_err());
        let _ = CertificationRequest::from_der(&noise);
    }
}
