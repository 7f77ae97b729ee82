//! RSASSA-PSS verification with SHA-256 and a salt of any length (RFC 8017, 8.1.2 and 9.1.2).
//!
//! Kubelets of 1.35 sign with the longest salt that fits, which Go's verifier finds out by itself;
//! aws-lc-rs verifies only salts as long as the digest. No secrets are involved.

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::der_parser::num_bigint::BigUint;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;

/// Whether `signature` is a signature over `message` by `key`, a PKCS#1 `RSAPublicKey`.
pub(super) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, key)) = RSAPublicKey::from_der(key) else {
        return false;
    };
    let modulus = BigUint::from_bytes_be(key.modulus);
    let exponent = BigUint::from_bytes_be(key.exponent);
    let number = BigUint::from_bytes_be(signature);
    let bits = modulus.bits();
    let size = usize::try_from(bits.div_ceil(8)).unwrap_or_default();
    if bits == 0 || signature.len() != size || number >= modulus {
        return false;
    }
    let encoded = number.modpow(&exponent, &modulus).to_bytes_be();
    // One bit less than the modulus, in whole bytes.
    let bits = bits - 1;
    let length = usize::try_from(bits.div_ceil(8)).unwrap_or_default();
    let Some(zeros) = length.checked_sub(encoded.len()) else {
        return false;
    };
    let encoded = [vec![0; zeros], encoded].concat();
    is_encoding_of(message, &encoded, bits).unwrap_or(false)
}

/// EMSA-PSS-VERIFY; `None` where the encoding is too short to be one.
fn is_encoding_of(message: &[u8], encoded: &[u8], bits: u64) -> Option<bool> {
    let hash = digest(&SHA256, message);
    let (body, trailer) = encoded.split_at_checked(encoded.len().checked_sub(1)?)?;
    let (masked, inner) = body.split_at_checked(body.len().checked_sub(SIZE)?)?;
    let unused = (8 - bits % 8) % 8;
    let mask = 0xff_u8 >> unused;
    let mut block: Vec<u8> = masked
        .iter()
        .zip(mask_of(inner, masked.len()))
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    let leading_zero = masked.first().is_some_and(|first| first & !mask == 0);
    *block.first_mut()? &= mask;
    // Zeros, a one, and what is left is the salt.
    let one = block.iter().position(|&byte| byte != 0)?;
    let salt = block.get(one + 1..)?;
    let again = digest(&SHA256, &[&[0; 8], hash.as_ref(), salt].concat());
    Some(trailer == [0xbc] && leading_zero && block.get(one) == Some(&1) && again.as_ref() == inner)
}

/// MGF1 with SHA-256.
fn mask_of(seed: &[u8], length: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|counter| {
            digest(&SHA256, &[seed, &counter.to_be_bytes()].concat())
                .as_ref()
                .to_vec()
        })
        .take(length)
        .collect()
}

/// Of a SHA-256 digest.
const SIZE: usize = 32;
