use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use podcert_pki::verify::{Purpose, spiffe_id, verify};
use podcert_pki::{LeafNames, PrivateKey, SignatureAlgorithm};

use super::*;
use crate::Retry;
use crate::testing::{generated, now, server_leaf, spiffe_leaf, today, validity};

#[tokio::test]
async fn what_it_issues_says_what_was_decided_and_verifies() {
    let authority = Authority::from_pool(generated("1"));
    let spec = spiffe_leaf(today());
    let chain = authority.issue(&spec).await.unwrap();
    verify(&chain, authority.anchors(), Purpose::Client, now()).unwrap();
    verify(&chain, authority.anchors(), Purpose::Server(None), now()).unwrap();
    let LeafNames::Spiffe(id) = spec.names() else {
        panic!("a SPIFFE leaf")
    };
    assert_eq!(spiffe_id(chain.leaf()).unwrap(), *id);
    assert_eq!(chain.leaf().public_key().unwrap(), *spec.public_key());
    assert_eq!(chain.leaf().validity(), Some(today()));
    assert!(chain.intermediates().is_empty(), "the root is not sent");

    let again = authority.issue(&spec).await.unwrap();
    assert_ne!(again.leaf().serial(), chain.leaf().serial());
}

#[tokio::test]
async fn no_leaf_outlives_the_ca() {
    let authority = Authority::from_pool(generated("1"));
    let end = authority.chain_not_after();
    let to = |end: Timestamp| validity("2026-11-21T11:58:00Z", &end.to_string());
    authority.issue(&server_leaf(to(end))).await.unwrap();
    let beyond = server_leaf(to(end + Duration::from_secs(1)));
    let error = authority.issue(&beyond).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate would be valid until 2027-11-21T12:00:01Z, CA \"1\" only until \
         2027-11-21T12:00:00Z"
    );
    assert_eq!(
        (error.reason(), error.retry()),
        ("CertificateOutlivesCa", Retry::OnChange)
    );
    assert!(authority.issue_now(&beyond).unwrap().is_err());
}

#[tokio::test]
async fn a_back_end_far_away_signs_when_awaited() {
    let pool = generated("1");
    let key = PrivateKey::from_pkcs8_der(&pool.cas()[0].key().to_pkcs8_der().unwrap()).unwrap();
    let remote = Box::new(Remote {
        key,
        unavailable: AtomicUsize::new(1),
    });
    let authority = Authority::from_pool(pool).with_backend(remote);
    let spec = server_leaf(today());
    assert!(authority.issue_now(&spec).is_none(), "it takes its time");

    let error = authority.issue(&spec).await.unwrap_err();
    assert_eq!(error.to_string(), "the key of CA \"1\" did not sign");
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
    assert_eq!(error.reason(), "SigningBackendUnavailable");

    let chain = authority.issue(&spec).await.unwrap();
    verify(&chain, authority.anchors(), Purpose::Server(None), now()).unwrap();
}

#[tokio::test]
async fn a_back_end_that_answers_rubbish_is_caught() {
    #[derive(Debug)]
    struct Rubbish;

    #[async_trait]
    impl SigningBackend for Rubbish {
        fn signature_algorithm(&self) -> SignatureAlgorithm {
            SignatureAlgorithm::EcdsaSha256
        }

        async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, BackendError> {
            Ok(Vec::new())
        }
    }

    let authority = Authority::from_pool(generated("1")).with_backend(Box::new(Rubbish));
    let error = authority.issue(&server_leaf(today())).await.unwrap_err();
    assert_eq!(error.reason(), "SignatureDoesNotVerify");
    assert_eq!(error.retry(), Retry::OnChange);
}

#[derive(Debug)]
struct Remote {
    key: PrivateKey,
    unavailable: AtomicUsize,
}

#[async_trait]
impl SigningBackend for Remote {
    fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.key.signature_algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BackendError> {
        tokio::task::yield_now().await;
        if self.unavailable.load(Ordering::Relaxed) > 0 {
            self.unavailable.fetch_sub(1, Ordering::Relaxed);
            return Err(BackendError::Unavailable {
                retry_after: Duration::from_secs(7),
                source: "sealed".into(),
            });
        }
        self.key
            .sign(message)
            .map_err(|error| BackendError::Refused(error.into()))
    }
}
