//! CA pools, in meshtool's JSON.

use podcert_authority::{Authority, Pool};

/// The content of a pool file.
///
/// # Panics
/// When a pool is not written as it was read.
pub fn pool(data: &[u8]) {
    let pool = match Pool::from_json(data) {
        Ok(pool) => pool,
        Err(error) => {
            // For the log: nothing of a key may be in it, and it must be words.
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let written = pool.to_json();
    let again = Pool::from_json(&written).expect("what was written is read");
    assert_eq!(*again.to_json(), *written);
    let authority = Authority::from_pool(pool);
    let _ = authority.signature_algorithm();
}
