//! What everything is divided by: plain P-256 operations of aws-lc-rs.

use anyhow::{Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use rustix::time::{ClockId, clock_gettime};

/// A key and a message of about the size of a certificate's signed part.
pub(crate) struct Yardstick {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Yardstick {
    pub(crate) fn new() -> Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_| anyhow!("no key for the yardstick"))?;
        Ok(Self {
            key,
            random: SystemRandom::new(),
        })
    }

    /// Seconds of one signature, over `times` of them.
    pub(crate) fn sign(&self, times: u32) -> Result<f64> {
        seconds(times, || self.signature().map(drop))
    }

    /// Seconds of one signature and one verification, over `times` of each.
    pub(crate) fn sign_and_verify(&self, times: u32) -> Result<f64> {
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.key.public_key());
        seconds(times, || {
            let signature = self.signature()?;
            public
                .verify(MESSAGE, signature.as_ref())
                .map_err(|_| anyhow!("not verified"))
        })
    }

    fn signature(&self) -> Result<aws_lc_rs::signature::Signature> {
        self.key
            .sign(&self.random, MESSAGE)
            .map_err(|_| anyhow!("not signed"))
    }
}

/// CPU seconds of one `work` on this thread, over `times` of them. Not wall time: what the machine
/// does beside must not make the yardstick longer.
pub(crate) fn seconds(times: u32, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = cpu_time();
    for _ in 0..times {
        work()?;
    }
    Ok((cpu_time() - start) / f64::from(times))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of a few minutes fit"
)]
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The middle of them.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

const MESSAGE: &[u8] = &[0x30; 500];
