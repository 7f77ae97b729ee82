//! Which replica an item belongs to: rendezvous hashing, as meshtool has it. Pure.
//!
//! Of all holders the one with the highest hash of item and holder owns the item; of two with the
//! same, the one whose name comes first. So a holder that leaves gives up its own items and no
//! others change hands. The hash is FNV-1 (not 1a) of 64 bits. It mixes the last byte into the
//! lowest bits alone: holders that differ in nothing but their last letter get uneven shares (of
//! `a-0`, `a-1` and `a-2` one has half), which the random names of a Deployment's pods do not.

use std::cmp::Reverse;

/// The owner among `holders` of the item whose name is `item`, read in one.
pub(super) fn owner<'a>(
    item: &[&str],
    holders: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let item = Fnv1::of(item);
    holders
        .into_iter()
        .max_by_key(|holder| (item.and(holder), Reverse(*holder)))
}

/// Whose turn it is after the owner and others let the item lie, `passed` in all: who would own it
/// without them. After the last it is the owner's again.
pub(super) fn in_turn<'a>(
    item: &[&str],
    holders: impl IntoIterator<Item = &'a str>,
    passed: usize,
) -> Option<&'a str> {
    let item = Fnv1::of(item);
    let mut ranked: Vec<_> = holders.into_iter().collect();
    ranked.sort_unstable_by_key(|holder| (Reverse(item.and(holder)), *holder));
    let turn = passed.checked_rem(ranked.len())?;
    ranked.get(turn).copied()
}

/// The part of all items that `me` owns among `holders`, measured on some items.
pub(super) fn share_of(me: &str, holders: &[impl AsRef<str>]) -> f64 {
    let owns = |number: &u32| {
        let holders = holders.iter().map(AsRef::as_ref);
        owner(&["sample/", &number.to_string()], holders) == Some(me)
    };
    let owned = (0..SAMPLE).filter(owns).count();
    owned as f64 / f64::from(SAMPLE)
}

const SAMPLE: u32 = 1000;

/// FNV-1, 64 bits: multiplied first, then exclusive or.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Fnv1(u64);

impl Fnv1 {
    const OFFSET: Self = Self(14_695_981_039_346_656_037);
    const PRIME: u64 = 1_099_511_628_211;

    fn of(parts: &[&str]) -> Self {
        parts.iter().fold(Self::OFFSET, |hash, part| hash.and(part))
    }

    fn and(self, text: &str) -> Self {
        let step = |hash: u64, byte| hash.wrapping_mul(Self::PRIME) ^ u64::from(byte);
        Self(text.bytes().fold(self.0, step))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PODS: [&str; 3] = [
        "mesh-controller-6d5f9c7b8-x2k4q",
        "mesh-controller-6d5f9c7b8-7rm9z",
        "mesh-controller-6d5f9c7b8-bq5lw",
    ];
    const NUMBERED: [&str; 3] = ["podcert-0", "podcert-1", "podcert-2"];

    /// As Go's `hash/fnv` computes them with `New64`.
    #[test]
    fn the_hash_is_gos() {
        for (text, hash) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_bd4c_8601_b7be),
            ("foobar", 0x340d_8765_a4dd_a9c2),
            (
                "maintain-trust-bundlesmesh-controller-6d5f9c7b8-x2k4q",
                0x1def_420c_6a98_b915,
            ),
            ("shop/req-abcdemesh-controller-0", 0x21b1_9510_45a0_900d),
        ] {
            assert_eq!(Fnv1::OFFSET.and(text).0, hash, "{text:?}");
        }
    }

    /// As a Go program with meshtool's loop gives them: among three pods, the first two of them,
    /// three numbered ones, the first two of those.
    #[test]
    fn owners_are_meshtools() {
        let [x2k4q, m9z, bq5lw] = PODS;
        let [zero, one, two] = NUMBERED;
        for (item, of_pods, of_two_pods, of_numbered, of_two_numbered) in [
            ("maintain-trust-bundles", bq5lw, m9z, two, zero),
            ("shop/req-2b7xk", bq5lw, m9z, two, zero),
            ("shop/req-9fpqz", x2k4q, x2k4q, zero, zero),
            ("default/req-00000", x2k4q, x2k4q, one, one),
            ("mesh-controller/req-zzzzz", bq5lw, m9z, two, zero),
            ("a/b", x2k4q, x2k4q, zero, zero),
            ("kube-system/req-t5v8n", m9z, m9z, zero, zero),
        ] {
            assert_eq!(owner(&[item], PODS), Some(of_pods), "{item}");
            let split = item.split_at(3);
            assert_eq!(owner(&[split.0, split.1], PODS), Some(of_pods), "{item}");
            let first_two = PODS.into_iter().take(2);
            assert_eq!(owner(&[item], first_two), Some(of_two_pods), "{item}");
            assert_eq!(owner(&[item], NUMBERED), Some(of_numbered), "{item}");
            let first_two = NUMBERED.into_iter().take(2);
            assert_eq!(owner(&[item], first_two), Some(of_two_numbered), "{item}");
        }
    }

    #[test]
    fn shares_are_what_gos_are() {
        let count = |holders: [&str; 3], me: &str| {
            (0..1000)
                .filter(|n| owner(&[&format!("shop/req-{n:04}")], holders) == Some(me))
                .count()
        };
        assert_eq!(PODS.map(|me| count(PODS, me)), [348, 336, 316]);
        assert_eq!(NUMBERED.map(|me| count(NUMBERED, me)), [250, 250, 500]);
        let measured = PODS.map(|me| share_of(me, &PODS));
        assert!((measured.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(measured.iter().all(|share| (0.25..0.42).contains(share)));
    }

    #[test]
    fn nobody_owns_what_nobody_is_there_for() {
        assert_eq!(owner(&["a/b"], []), None);
        assert_eq!(in_turn(&["a/b"], [], 1), None);
        assert_eq!(owner(&["a/b"], ["one"]), Some("one"));
    }

    fn holders() -> impl Strategy<Value = BTreeSet<String>> {
        prop::collection::btree_set("[a-z0-9]{1,6}(-[a-z0-9]{1,5})?", 1..8)
    }

    fn names(holders: &BTreeSet<String>) -> impl Iterator<Item = &str> + Clone {
        holders.iter().map(String::as_str)
    }

    proptest! {
        #[test]
        fn an_item_has_one_owner_whatever_the_order(item in ".{0,20}", holders in holders()) {
            let forth = owner(&[&item], names(&holders));
            let reversed: Vec<_> = names(&holders).collect();
            let back = owner(&[&item], reversed.into_iter().rev());
            prop_assert!(forth.is_some());
            prop_assert_eq!(forth, back);
        }

        #[test]
        fn everybody_has_a_turn_and_the_next_is_who_would_own_it(
            item in ".{0,20}",
            mut holders in holders(),
        ) {
            let all = holders.clone();
            for passed in 0..all.len() {
                let turn = in_turn(&[&item], names(&all), passed);
                prop_assert_eq!(turn, owner(&[&item], names(&holders)));
                prop_assert_eq!(turn, in_turn(&[&item], names(&all), passed + all.len()));
                holders.remove(turn.unwrap());
            }
        }

        #[test]
        fn who_leaves_or_joins_moves_its_own_items_alone(
            items in prop::collection::vec("[a-z]{1,5}/req-[a-z0-9]{5}", 1..50),
            holders in holders(),
            moving in "[a-z0-9]{7}",
        ) {
            let mut with = holders.clone();
            with.insert(moving.clone());
            for item in &items {
                let without = owner(&[item], names(&holders));
                let with = owner(&[item], names(&with));
                prop_assert!(with == without || with == Some(&moving));
            }
        }
    }
}
