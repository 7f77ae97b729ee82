use podcert_pki::{CredentialBundle, ExtKeyUsages, KeyType, LeafNames, TrustBundle};

use super::*;
use crate::fixtures::{CLIENT, Ca, hours, start};

fn anchors(cas: &[&Ca]) -> Anchors {
    let roots = cas.iter().map(|ca| ca.root.clone()).collect();
    Anchors::new(TrustBundle::new(roots).unwrap()).unwrap()
}

fn presented(credential: &CredentialBundle) -> Vec<CertificateDer<'static>> {
    let certificates = credential.chain().certificates();
    certificates
        .map(|certificate| certificate.der().to_vec().into())
        .collect()
}

#[test]
fn a_verified_svid_tells_its_id() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let client = presented(&ca.client());
    let id = spiffe_id(&client, &anchors(&[&other, &ca]), start()).unwrap();
    assert_eq!(id.as_str(), CLIENT);
}

#[test]
fn nobody_else_has_one() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let ours = anchors(&[&ca]);
    let error = |presented: &[CertificateDer<'_>], at| spiffe_id(presented, &ours, at).unwrap_err();
    assert!(matches!(error(&[], start()), PeerError::NoCertificate));
    assert!(matches!(
        error(&[vec![1, 2, 3].into()], start()),
        PeerError::Unreadable(_)
    ));
    assert!(matches!(
        error(&presented(&other.client()), start()),
        PeerError::Unverified(VerifyError::UnknownIssuer)
    ));
    let client = presented(&ca.client());
    assert!(matches!(
        error(&client, start() + hours(25)),
        PeerError::Unverified(VerifyError::Expired { .. })
    ));
    assert!(matches!(
        error(&client, start() - hours(2)),
        PeerError::Unverified(VerifyError::NotYetValid { .. })
    ));
    assert!(matches!(
        error(&presented(&ca.server()), start()),
        PeerError::NotSvid(SvidError::Uris { count: 0 })
    ));
    let root = vec![ca.root.der().to_vec().into()];
    assert!(matches!(
        error(&root, start()),
        PeerError::Unverified(VerifyError::CaAsLeaf)
    ));
}

#[test]
fn either_purpose_will_do() {
    let ca = Ca::new("root");
    for usages in [ExtKeyUsages::SERVER, ExtKeyUsages::CLIENT] {
        // Only a leaf with both can carry a SPIFFE ID of ours, so the answer for one with a single
        // purpose is that it is verified and names nobody.
        let names = LeafNames::Dns(vec!["client.demo.svc".parse().unwrap()]);
        let leaf = ca.leaf(KeyType::EcdsaP256, names, usages, start() + hours(1));
        let error = spiffe_id(&presented(&leaf), &anchors(&[&ca]), start()).unwrap_err();
        assert!(
            matches!(error, PeerError::NotSvid(_)),
            "{usages:?}: {error:?}"
        );
    }
}
