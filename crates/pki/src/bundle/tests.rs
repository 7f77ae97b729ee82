use std::error::Error;

use proptest::prelude::*;

use super::*;
use crate::{
    KeyType,
    fixtures::{issued, key, root, server_spec},
};

fn words(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", words(source)),
        None => error.to_string(),
    }
}

#[test]
fn trust_bundles_both_ways() {
    let (a, b) = (root(0), root(1));
    let bundle = TrustBundle::new(vec![a.clone(), b.clone()]).unwrap();
    assert_eq!(TrustBundle::from_pem(bundle.to_pem()).unwrap(), bundle);
    let shuffled = TrustBundle::new(vec![b.clone(), a.clone()]).unwrap();
    assert!(bundle.same_anchors(&shuffled) && bundle != shuffled);
    assert!(!bundle.same_anchors(&TrustBundle::new(vec![a]).unwrap()));
}

#[test]
fn trust_bundles_the_api_server_would_refuse() {
    let (a, b) = (root(0), root(1));
    let (chain, _) = issued(&server_spec());
    let cut = b.to_pem().replace("-----END CERTIFICATE-----\n", "");
    for (text, message) in [
        (String::new(), "trust bundle without a certificate"),
        (
            a.to_pem() + &b.to_pem() + &a.to_pem(),
            "trust bundle has certificate 3 (CN=root 0,O=podcert tests) twice",
        ),
        (
            a.to_pem() + &chain.to_pem(),
            "certificate 2 ((empty)) of the trust bundle is not a CA",
        ),
        (
            a.to_pem() + &cut,
            "trust bundle has a bad certificate: certificates are not readable PEM: \
             block 2 (CERTIFICATE) is cut short: it has no END line",
        ),
        (
            a.to_pem() + &key(KeyType::EcdsaP256, 0).to_pkcs8_pem().unwrap(),
            "trust bundle has a bad certificate: certificates are not readable PEM: \
             block 2 is PRIVATE KEY, expected CERTIFICATE",
        ),
        (
            a.to_pem().replacen('\n', "\nkey: value\n", 1),
            "trust bundle has a bad certificate: certificates are not readable PEM: \
             block 1 (CERTIFICATE) has headers, which are not allowed",
        ),
    ] {
        assert_eq!(words(&TrustBundle::from_pem(text).unwrap_err()), message);
    }
}

#[test]
fn what_can_be_read_of_a_bundle_is_not_lost() {
    let (a, b) = (root(0), root(1));
    let (chain, _) = issued(&server_spec());
    let both = TrustBundle::new(vec![a.clone(), b.clone()]).unwrap();
    let cut = |anchor: &Certificate| anchor.to_pem().replace("-----END CERTIFICATE-----\n", "");
    let other = a.to_pem().replace("CERTIFICATE", "X509 CRL");
    for between in [
        "---\n",
        "see ----- below\n",
        "-----BEGIN CERTIFICATE-----\nno base64\n-----END CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
        &cut(&root(2)),
        &other,
        &chain.to_pem(),
        &a.to_pem(),
    ] {
        let text = a.to_pem() + between + &b.to_pem();
        let (read, why) = TrustBundle::readable_part(&text);
        assert_eq!(read.as_ref(), Some(&both), "{text}");
        assert_eq!(why, Some(TrustBundle::from_pem(text).unwrap_err()));
    }
    let whole = TrustBundle::readable_part(both.to_pem());
    assert_eq!(whole, (Some(both), None));
    for nothing in ["", "some text"] {
        assert_eq!(TrustBundle::readable_part(nothing), (None, None));
    }
    let (read, why) = TrustBundle::readable_part(cut(&a));
    assert!(read.is_none() && why.is_some());
}

#[test]
fn credential_bundles_both_ways() {
    let (chain, _) = issued(&server_spec());
    let pkcs8 = key(KeyType::EcdsaP256, 7).to_pkcs8_pem().unwrap();
    let text = format!("{}{}", *pkcs8, chain.to_pem());
    let bundle = CredentialBundle::from_pem(&text).unwrap();
    assert_eq!(bundle.chain(), &chain);
    assert_eq!(
        bundle.key().public_key(),
        key(KeyType::EcdsaP256, 7).public_key()
    );
    assert_eq!(*bundle.to_pem().unwrap(), text);
    assert!(format!("{bundle:?}").contains("<redacted>"));
}

#[test]
fn credential_bundles_that_are_none() {
    let (chain, _) = issued(&server_spec());
    let pkcs8 = key(KeyType::EcdsaP256, 7).to_pkcs8_pem().unwrap();
    let other = key(KeyType::EcdsaP256, 6).to_pkcs8_pem().unwrap();
    for (text, message) in [
        (
            String::new(),
            "is not a private key followed by certificates: there is no PRIVATE KEY block",
        ),
        (
            chain.to_pem(),
            "block 1 is CERTIFICATE, expected PRIVATE KEY",
        ),
        (pkcs8.to_string(), "chain without a certificate"),
        (
            other.to_string() + &chain.to_pem(),
            "leaf certificate is for another key",
        ),
        (
            format!("{}{}{}", *pkcs8, chain.to_pem(), *pkcs8),
            "block 3 is PRIVATE KEY, expected CERTIFICATE",
        ),
        (
            pkcs8.to_string() + &chain.to_pem().replace("-----END CERTIFICATE-----\n", ""),
            "block 2 (CERTIFICATE) is cut short: it has no END line",
        ),
    ] {
        let error = words(&CredentialBundle::from_pem(text).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn damaged_files_never_panic_and_never_change_meaning(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let text = TEXT.get_or_init(|| {
            let (chain, _) = issued(&server_spec());
            key(KeyType::EcdsaP256, 7).to_pkcs8_pem().unwrap().to_string() + &chain.to_pem()
        });
        let mut bytes = text.clone().into_bytes();
        bytes[at.index(text.len())] = to;
        if let Ok(bundle) = CredentialBundle::from_pem(&bytes) {
            // A change that still reads is one of white space or of the leaf's unchecked parts.
            prop_assert_eq!(bundle.key().public_key(), key(KeyType::EcdsaP256, 7).public_key());
        }
        let _ = TrustBundle::from_pem(&bytes);
        let cut = cut.index(text.len() - 1);
        prop_assert!(CredentialBundle::from_pem(&text[..cut]).is_err());
        if cut > 0 {
            prop_assert!(CredentialBundle::from_pem(&text[cut..]).is_err());
        }
    }

    #[test]
    fn a_damaged_block_takes_no_other_with_it(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        static ROOTS: std::sync::OnceLock<[Certificate; 2]> = std::sync::OnceLock::new();
        let [a, b] = ROOTS.get_or_init(|| [root(0), root(1)]);
        let first = a.to_pem();
        let mut bytes = (first.clone() + &b.to_pem()).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        // Without the line end between them, both are damaged.
        let whole = if at < first.len() { b } else { a };
        if at != first.len() - 1 {
            let (read, _) = TrustBundle::readable_part(&bytes);
            prop_assert!(read.is_some_and(|read| read.anchors().contains(whole)));
        }
    }
}
