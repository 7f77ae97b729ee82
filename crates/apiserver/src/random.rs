//! The server's randomness: UIDs, generated name suffixes, faults drawn by probability.
//!
//! Nothing here guards a secret, so a small generator (SplitMix64) is enough, and a seed given to
//! the builder makes a whole run repeat, names and all.

use std::sync::Mutex;

/// A seeded source, shared by all requests.
#[derive(Debug)]
pub(crate) struct Randomness(Mutex<u64>);

impl Randomness {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A seed from the operating system.
    pub(crate) fn from_entropy() -> Self {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self::from_seed(high ^ low)
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 if the bound is 0.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// True with this probability (clamped to 0..=1).
    pub(crate) fn chance(&self, probability: f64) -> bool {
        // 53 bits are what an f64 in 0..1 holds exactly.
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < probability
    }

    /// A version 4 UUID.
    pub(crate) fn uid(&self) -> String {
        let bytes = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes())
            .into_uuid()
            .to_string()
    }

    /// `base` with five random letters, cut so that the whole fits 63 characters.
    pub(crate) fn generated_name(&self, base: &str) -> String {
        let mut name: String = base.chars().take(MAX_NAME - SUFFIX).collect();
        for _ in 0..SUFFIX {
            let drawn = self.below(ALPHABET.len() as u64) as usize;
            name.push(ALPHABET.get(drawn).copied().map_or('x', char::from));
        }
        name
    }
}

/// `apimachinery/pkg/util/rand`: no vowels and no look-alikes, so that no words appear.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const MAX_NAME: usize = 63;
const SUFFIX: usize = 5;
