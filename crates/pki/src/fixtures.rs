//! What the unit tests share: keys made once per process, and small CAs.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};

use crate::{
    Certificate, Chain, ExtKeyUsages, IssuerContext, KeyType, LeafNames, LeafSpec, PrivateKey,
    Serial, TrustBundle, Validity,
    ca::{self, CaSpec, SubjectName},
    check,
};

/// The time at which the tests play.
pub(crate) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// From two minutes ago for `hours`.
pub(crate) fn valid_for(hours: i64) -> Validity {
    let from = now() - SignedDuration::from_mins(2);
    Validity::new(from, from + SignedDuration::from_hours(hours)).unwrap()
}

/// One of eight keys per type, made on first use; only the first for RSA.
pub(crate) fn key(key_type: KeyType, number: usize) -> &'static PrivateKey {
    static KEYS: [[OnceLock<PrivateKey>; 8]; 7] = [const { [const { OnceLock::new() }; 8] }; 7];
    let row = KeyType::ALL
        .iter()
        .position(|known| *known == key_type)
        .unwrap();
    KEYS[row][number].get_or_init(|| PrivateKey::generate(key_type).unwrap())
}

pub(crate) fn ca_spec(name: &str) -> CaSpec {
    CaSpec {
        subject: SubjectName::new(name, Some("podcert tests")).unwrap(),
        validity: valid_for(24 * 365),
        serial: Serial::random().unwrap(),
    }
}

/// A root with the P-256 key of this number.
pub(crate) fn root(number: usize) -> Certificate {
    let name = format!("root {number}");
    ca::new_root(key(KeyType::EcdsaP256, number), &ca_spec(&name)).unwrap()
}

/// A server leaf for `server.shop.svc` with the P-256 key number 7.
pub(crate) fn server_spec() -> LeafSpec {
    let names = LeafNames::Dns(vec!["server.shop.svc".parse().unwrap()]);
    let key = key(KeyType::EcdsaP256, 7).public_key().clone();
    LeafSpec::new(key, names, ExtKeyUsages::SERVER, valid_for(24)).unwrap()
}

/// An X509-SVID for `spiffe://cluster.local/ns/shop/sa/web` with the P-256 key number 7.
pub(crate) fn spiffe_spec() -> LeafSpec {
    let names = LeafNames::Spiffe("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap());
    let key = key(KeyType::EcdsaP256, 7).public_key().clone();
    LeafSpec::new(key, names, ExtKeyUsages::SERVER_AND_CLIENT, valid_for(24)).unwrap()
}

/// The leaf that `issuer_key`, certified by `issuer`, signs for `spec`.
pub(crate) fn issue(issuer_key: &PrivateKey, issuer: &Certificate, spec: &LeafSpec) -> Certificate {
    let context = IssuerContext::new(issuer, issuer_key.signature_algorithm()).unwrap();
    let tbs = context.leaf_tbs(spec, &Serial::random().unwrap()).unwrap();
    let signature = issuer_key.sign(tbs.to_be_signed()).unwrap();
    check::leaf(tbs.assemble(&signature).unwrap(), spec).unwrap()
}

/// Leaf, intermediate and root.
pub(crate) fn three() -> [Certificate; 3] {
    let root = root(0);
    let (root_key, middle_key) = (key(KeyType::EcdsaP256, 0), key(KeyType::EcdsaP256, 1));
    let middle =
        ca::new_intermediate(root_key, &root, middle_key.public_key(), &ca_spec("middle")).unwrap();
    let leaf = issue(middle_key, &middle, &spiffe_spec());
    [leaf, middle, root]
}

/// A chain for `spec` below root number 0, and the bundle that trusts it.
pub(crate) fn issued(spec: &LeafSpec) -> (Chain, TrustBundle) {
    let root = root(0);
    let leaf = issue(key(KeyType::EcdsaP256, 0), &root, spec);
    (
        Chain::new(leaf, vec![]),
        TrustBundle::new(vec![root]).unwrap(),
    )
}
