//! Signing, off the loop where it takes long.
//!
//! An ECDSA or Ed25519 signature takes microseconds, less than it costs to hand it to another
//! thread. An RSA key takes milliseconds, in which watches, health and all other signers would
//! stand still: it signs on tokio's blocking threads, on few of them at a time, so that the loop
//! is left a processor of its own.

use std::{sync::Arc, thread::available_parallelism};

use podcert_authority::{Authority, Retry};
use podcert_pki::{Chain, LeafSpec, SignatureAlgorithm};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::queue::{Outcome, RetryWhen};
use crate::{pools::with_sources, reasons::SIGNING_STOPPED};

/// How many slow signatures may be under way.
pub(crate) fn slots() -> Arc<Semaphore> {
    let processors = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(processors.saturating_sub(1).max(1)))
}

/// Signs a leaf.
///
/// # Cancel safety
/// When dropped, at worst a certificate nobody sees was signed.
///
/// # Errors
/// The outcome of a request that could not be signed for.
pub(super) async fn sign(
    authority: &Arc<Authority>,
    spec: LeafSpec,
    slots: &Semaphore,
) -> Result<Chain, Outcome> {
    let signed = match authority.signature_algorithm() {
        SignatureAlgorithm::RsaPkcs1Sha256 => {
            // Never closed; without a slot it would only be slower for the others.
            let slot = slots.acquire().await;
            let signer = Arc::clone(authority);
            let done = spawn_blocking(move || {
                let signed = signer.issue_now(&spec);
                (signed, spec)
            });
            let (signed, spec) = done.await.map_err(|error| Outcome::Retry {
                reason: SIGNING_STOPPED,
                message: format!("the signature was not finished: {error}"),
                when: RetryWhen::Soon,
            })?;
            drop(slot);
            match signed {
                Some(signed) => signed,
                // The key is far away.
                None => authority.issue(&spec).await,
            }
        }
        _ => authority.issue(&spec).await,
    };
    signed.map_err(|error| Outcome::Retry {
        reason: error.reason(),
        message: with_sources(&error),
        when: match error.retry() {
            Retry::After(least) => RetryWhen::After(least),
            Retry::OnChange => RetryWhen::OnPool,
            Retry::Never => RetryWhen::Refused,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::mpsc};

    use futures::poll;
    use podcert_authority::{CaId, CaOptions, Pool};
    use podcert_pki::{ExtKeyUsages, KeyType, LeafNames, PrivateKey, Validity};

    use super::*;

    fn authority(key_type: KeyType) -> Arc<Authority> {
        let options = CaOptions {
            key_type,
            ..CaOptions::new(CaId::new("1"))
        };
        let pool = Pool::generate(&options, "2026-11-21T12:00:00Z".parse().unwrap()).unwrap();
        Arc::new(Authority::from_pool(pool))
    }

    fn spec() -> LeafSpec {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        LeafSpec::new(
            key.public_key().clone(),
            LeafNames::Dns(vec!["web.shop.svc".parse().unwrap()]),
            ExtKeyUsages {
                client_auth: false,
                server_auth: true,
            },
            Validity::new(
                "2026-11-21T12:00:00Z".parse().unwrap(),
                "2026-11-22T12:00:00Z".parse().unwrap(),
            )
            .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn rsa_keys_sign_beside_the_loop_and_quick_keys_on_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (release, released) = mpsc::channel::<()>();
            let busy = spawn_blocking(move || released.recv());
            let slots = slots();

            let quick = authority(KeyType::EcdsaP256);
            assert!(poll!(pin!(sign(&quick, spec(), &slots))).is_ready());
            let slow = authority(KeyType::Rsa2048);
            let mut signing = pin!(sign(&slow, spec(), &slots));
            assert!(poll!(signing.as_mut()).is_pending(), "signed on the loop");

            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            let chain = signing.await.unwrap();
            assert_eq!(
                chain.leaf().dns_names().collect::<Vec<_>>(),
                ["web.shop.svc"]
            );
            assert_eq!(slots.available_permits(), self::slots().available_permits());
        });
    }
}
