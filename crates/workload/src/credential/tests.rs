use podcert_pki::{ExtKeyUsages, KeyType, LeafNames};

use super::*;
use crate::fixtures::{Ca, SERVER, bundle, hours, pem, start};

#[test]
fn each_key_type_a_leaf_can_have_serves_tls() {
    let ca = Ca::new("root");
    let key_types = [
        KeyType::Rsa2048,
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Ed25519,
    ];
    for key_type in key_types {
        let names = LeafNames::Dns(vec![SERVER.parse().unwrap()]);
        let made = ca.leaf(key_type, names, ExtKeyUsages::SERVER, start() + hours(1));
        let read = Credential::from_bundle_pem(pem(&made).as_bytes());
        assert_eq!(read.unwrap().not_after(), start() + hours(1), "{key_type}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let ca = Ca::new("root");
    let made = ca.server();
    let key = made.key().to_pkcs8_pem().unwrap();
    let chain = made.chain().to_pem();
    let error = |pem: &[u8]| Credential::from_bundle_pem(pem).unwrap_err();
    assert!(matches!(error(b""), CredentialError::NoPrivateKey));
    assert!(matches!(
        error(b"no PEM at all"),
        CredentialError::NoPrivateKey
    ));
    assert!(matches!(error(&[0xff; 64]), CredentialError::NoPrivateKey));
    assert!(matches!(
        error(chain.as_bytes()),
        CredentialError::NoPrivateKey
    ));
    assert!(matches!(
        error(key.as_bytes()),
        CredentialError::NoCertificates
    ));
    let pair = |key: &str, chain: &str| {
        Credential::from_key_and_chain_pem(key.as_bytes(), chain.as_bytes()).map(drop)
    };
    assert!(matches!(
        pair("", &chain),
        Err(CredentialError::NoPrivateKey)
    ));
    assert!(matches!(
        pair(&key, ""),
        Err(CredentialError::NoCertificates)
    ));
    assert!(pair(&key, &chain).is_ok());
    let other = ca.server();
    assert!(matches!(
        pair(&key, &other.chain().to_pem()),
        Err(CredentialError::Bundle(
            podcert_pki::CredentialError::WrongKey
        ))
    ));
}

#[test]
fn an_error_and_debug_output_hold_no_key() {
    let ca = Ca::new("root");
    let made = pem(&ca.server());
    let body: String = made.lines().skip(1).take(2).collect();
    let debug = format!(
        "{:?}",
        Credential::from_bundle_pem(made.as_bytes()).unwrap()
    );
    let damaged = made.replace("END PRIVATE KEY", "END PRIVAT KEY");
    let error = Credential::from_bundle_pem(damaged.as_bytes()).unwrap_err();
    let error = format!("{error:?} {error}");
    for part in body.as_bytes().chunks(16) {
        let part = std::str::from_utf8(part).unwrap();
        assert!(!debug.contains(part) && !error.contains(part));
    }
    assert!(debug.len() < 20_000, "{}", debug.len());
}

#[test]
fn anchors_must_be_anchors() {
    let ca = Ca::new("root");
    assert!(Anchors::from_pem(bundle(&[&ca]).as_bytes()).is_ok());
    assert!(matches!(
        Anchors::from_pem(b""),
        Err(AnchorsError::Bundle(BundleError::Empty))
    ));
    let leaf = ca.server().chain().to_pem();
    let error = Anchors::from_pem(leaf.as_bytes()).unwrap_err();
    assert!(matches!(
        error,
        AnchorsError::Bundle(BundleError::NotCa { .. })
    ));
}
