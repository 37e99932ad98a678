//! What consistent hashing promises, over both tables: few keys move, loads are bounded, everybody
//! agrees.

use std::sync::Arc;

use pingora_load_balancing::selection::BackendIter;
use proptest::prelude::*;

use super::super::Selector;
use super::super::tests::{Bench, place};
use super::maglev::Maglev;
use super::ring::Ring;
use super::*;
use crate::upstream::endpoint::Lease;
use crate::upstream::pick_context::PickContext;

const KEYS: usize = 2000;

fn walk<T: Table>(selector: &Arc<Selector<Hash<T>>>, key: usize) -> Vec<usize> {
    let key = format!("/item/{key}");
    let mut walk = selector.walk(&PickContext {
        hash_key: key.as_bytes(),
        ..PickContext::default()
    });
    std::iter::from_fn(|| walk.next().map(place)).collect()
}

fn owner<T: Table>(selector: &Arc<Selector<Hash<T>>>, key: usize) -> usize {
    walk(selector, key)[0]
}

fn owners<T: Table>(bench: &Bench) -> Vec<usize> {
    let selector = bench.selector::<Hash<T>>(1);
    (0..KEYS).map(|key| owner(&selector, key)).collect()
}

/// The share of keys that another endpoint than `left` owned and that move when it leaves.
fn strays<T: Table>(weights: &[u32], left: usize) -> f64 {
    let before = owners::<T>(&Bench::new(weights));
    let mut weights = weights.to_vec();
    weights[left] = 0;
    let after = owners::<T>(&Bench::new(&weights));
    let moved = before.iter().zip(&after);
    let strays = moved.filter(|(before, after)| **before != left && before != after);
    strays.count() as f64 / KEYS as f64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn on_the_ring_only_the_keys_of_the_one_that_leaves_move(
        weights in prop::collection::vec(1_u32..5, 2..24), left in 0_usize..24,
    ) {
        let left = left % weights.len();
        prop_assert_eq!(strays::<Ring>(&weights, left), 0.0);
    }

    #[test]
    fn with_maglev_two_in_a_hundred_others_move_at_most(
        size in 2_usize..24, left in 0_usize..24,
    ) {
        let strays = strays::<Maglev>(&vec![1; size], left % size);
        prop_assert!(strays <= 0.02, "{strays}");
    }

    #[test]
    fn no_endpoint_holds_more_than_its_bound(
        size in 2_usize..20, bound in 105_u32..300, dead in 0_usize..3, popular in 1_usize..40,
    ) {
        let bench = Bench::new(&vec![1; size]);
        let dead = dead.min(size - 1);
        (0..dead).for_each(|place| bench.fail(place));
        let selector = bench.selector_with(|slots| Hash::<Ring>::with_bound(slots, 1, Some(bound)));
        let mut leases: Vec<Lease> = Vec::new();
        // Few keys take all the traffic.
        for request in 0..300 {
            leases.push(bench.endpoints()[owner(&selector, request % popular)].lease());
            let mean = leases.len() as f64 / (size - dead) as f64;
            let most = (f64::from(bound) / 100.0 * mean).ceil();
            let busiest = bench.in_flight().into_iter().max();
            prop_assert!(busiest.map(f64::from) <= Some(most), "{busiest:?} of {most}");
        }
    }
}

fn everybody_agrees<T: Table>() {
    // Another process, another seed, another order: what matters is the address.
    let bench = Bench::new(&[2, 1, 1, 3, 1]);
    let reversed = bench.reversed();
    let (one, two) = (
        bench.selector::<Hash<T>>(1),
        reversed.selector::<Hash<T>>(99),
    );
    for key in 0..KEYS {
        assert_eq!(walk(&one, key), walk(&two, key), "{key}");
    }
}

#[test]
fn every_weir_finds_the_same_endpoint() {
    everybody_agrees::<Ring>();
    everybody_agrees::<Maglev>();
}

fn a_flap_moves_nobody_else<T: Table>() {
    let bench = Bench::new(&[1; 8]);
    let selector = bench.selector::<Hash<T>>(1);
    let owners = || {
        (0..KEYS)
            .map(|key| owner(&selector, key))
            .collect::<Vec<_>>()
    };
    let before = owners();
    bench.fail(3);
    let during = owners();
    bench.recover(3);
    assert_eq!(owners(), before);
    let mut heirs = [0; 8];
    for (before, during) in before.into_iter().zip(during) {
        match before {
            3 => heirs[during] += 1,
            other => assert_eq!(during, other),
        }
    }
    // Its 250 keys are spread over all others.
    assert_eq!(heirs[3], 0);
    assert!(
        heirs.iter().filter(|&&keys| keys > 10).count() == 7,
        "{heirs:?}"
    );
}

#[test]
fn the_keys_of_an_unready_endpoint_spread_and_come_back() {
    a_flap_moves_nobody_else::<Ring>();
    a_flap_moves_nobody_else::<Maglev>();
}

fn shares<T: Table>(tolerance: usize) {
    let owners = owners::<T>(&Bench::new(&[5, 3, 0, 2]));
    for (place, expected) in [1000_usize, 600, 0, 400].into_iter().enumerate() {
        let owned = owners.iter().filter(|&&owner| owner == place).count();
        assert!(
            owned.abs_diff(expected) <= tolerance,
            "{owned} for {expected}"
        );
    }
}

#[test]
fn keys_are_shared_out_by_weight() {
    // 2,000 keys alone deviate by 22.
    shares::<Maglev>(90);
    shares::<Ring>(110);
}

#[test]
fn without_a_bound_a_key_stays_where_it_is() {
    let bench = Bench::new(&[1; 4]);
    let selector = bench.selector_with(|slots| Hash::<Ring>::with_bound(slots, 1, None));
    let owner_of_7 = owner(&selector, 7);
    let _leases: Vec<_> = (0..100)
        .map(|_| bench.endpoints()[owner(&selector, 7)].lease())
        .collect();
    assert_eq!(bench.in_flight()[owner_of_7], 100);
}

#[test]
fn a_ring_of_great_weights_is_still_affordable() {
    let bench = Bench::new(&[1000; 300]);
    let selector = bench.selector::<Hash<Ring>>(1);
    assert_eq!(walk(&selector, 1).len(), 300);
}
