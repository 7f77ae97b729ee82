use super::*;
use crate::{
    KeyType,
    ca::{CaSpec, new_intermediate},
    fixtures::{ca_spec, issue, key, root, server_spec, valid_for},
};

#[test]
fn pem_both_ways_and_the_earliest_end() {
    let (root_key, sub) = (key(KeyType::EcdsaP256, 0), key(KeyType::EcdsaP256, 1));
    let spec = CaSpec {
        validity: valid_for(12),
        ..ca_spec("short")
    };
    let ca = new_intermediate(root_key, &root(0), sub.public_key(), &spec).unwrap();
    let leaf = issue(sub, &ca, &server_spec());
    let chain = Chain::new(leaf.clone(), vec![ca.clone()]);
    assert_eq!(
        chain.not_after(),
        ca.not_after(),
        "the intermediate ends before the leaf"
    );
    assert_eq!(chain.to_pem(), leaf.to_pem() + &ca.to_pem());
    let again = Chain::from_pem(chain.to_pem()).unwrap();
    assert_eq!(again, chain);
    assert_eq!(again.certificates().count(), 2);
    assert_eq!(
        Chain::new(leaf.clone(), vec![]).not_after(),
        leaf.not_after()
    );
}

#[test]
fn what_is_no_chain_is_refused() {
    assert_eq!(Chain::from_pem("").unwrap_err(), ChainError::Empty);
    let text = root(0)
        .to_pem()
        .replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    assert!(matches!(
        Chain::from_pem(text),
        Err(ChainError::Certificate(_))
    ));
}
