//! Whose a request is, worked out apart from podcert.
//!
//! The Go replica of the step `replicas` works it out with `hash/fnv`, and is held against this.

/// Of all holders the one whose FNV-1 hash (64 bits) behind the item is the highest; of two with the
/// same the one whose name comes first.
pub(crate) fn owner<'a>(item: &str, holders: &[&'a str]) -> &'a str {
    let mut best = "";
    let mut most = None;
    for holder in holders {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in item.bytes().chain(holder.bytes()) {
            hash = hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
        }
        if most < Some(hash) || most == Some(hash) && *holder < best {
            (best, most) = (holder, Some(hash));
        }
    }
    best
}

/// The item that stands for all bundles.
pub(crate) const BUNDLES: &str = "maintain-trust-bundles";

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Go program with `hash/fnv`'s `New64` gives them.
    #[test]
    fn owners_are_gos() {
        let three = [
            "mesh-controller-6d5f9c7b8-x2k4q",
            "mesh-controller-6d5f9c7b8-7rm9z",
            "mesh-controller-6d5f9c7b8-bq5lw",
        ];
        assert_eq!(owner(BUNDLES, &three), three[2]);
        assert_eq!(owner(BUNDLES, &three[..2]), three[1]);
        assert_eq!(owner("shop/req-9fpqz", &three), three[0]);
        assert_eq!(owner("kube-system/req-t5v8n", &three), three[1]);
        assert_eq!(owner("a/b", &[]), "");
    }
}
