//! The queues by example, against what must always hold, and against LRU where scans pass.

use std::collections::BTreeMap;

use super::super::lru::Lru;
use super::*;
use proptest::prelude::*;

/// Fills `names`, each in the slot of its number, 10 bytes long.
fn filled(names: std::ops::Range<u32>) -> S3Fifo {
    let mut queues = S3Fifo::default();
    for name in names {
        queues.admit(name, name.into(), 10);
    }
    queues
}

fn evict(queues: &mut S3Fifo) -> u32 {
    let victim = queues.victim().unwrap();
    queues.evict(victim);
    victim
}

#[test]
fn what_is_used_more_than_once_stays_and_the_rest_goes_in_order() {
    let mut queues = filled(0..10);
    for slot in [1, 3, 3] {
        queues.touch(slot);
    }
    // One use is not enough; two are.
    let gone: Vec<u32> = (0..9).map(|_| evict(&mut queues)).collect();
    assert_eq!(gone, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(evict(&mut queues), 3);
    assert_eq!(queues.victim(), None);
    assert_eq!((queues.bytes, queues.small_bytes), (0, 0));
}

#[test]
fn who_returns_while_his_ghost_is_there_goes_to_main() {
    let mut queues = filled(0..10);
    assert_eq!(evict(&mut queues), 0);
    queues.admit(0, 0, 10);
    assert!(queues.residents[0].in_main);
    queues.admit(20, 20, 10);
    assert!(!queues.residents[20].in_main);
}

#[test]
fn a_scan_leaves_main_alone() {
    let mut queues = filled(0..10);
    for slot in 0..10 {
        queues.touch(slot);
        queues.touch(slot);
    }
    for scanned in 10..1_000 {
        queues.admit(scanned, scanned.into(), 10);
        if queues.objects > 12 {
            assert!(evict(&mut queues) >= 10);
        }
    }
}

proptest! {
    #[test]
    fn sums_and_bounds_hold_and_every_victim_is_there(steps in prop::collection::vec((0..6_u8, 0..40_u32, 1..100_usize), 1..300)) {
        let mut queues = S3Fifo::default();
        let mut known = BTreeMap::new();
        for (step, slot, bytes) in steps {
            let is_known = known.contains_key(&slot);
            match step {
                0 | 1 if !is_known => {
                    queues.admit(slot, u64::from(slot) % 7, bytes);
                    known.insert(slot, bytes);
                }
                2 if is_known => queues.touch(slot),
                3 if is_known => {
                    queues.remove(slot);
                    known.remove(&slot);
                }
                4 => {
                    if let Some(victim) = queues.victim() {
                        queues.spare(victim);
                    }
                }
                5 => {
                    let victim = queues.victim();
                    prop_assert_eq!(victim.is_some(), !known.is_empty());
                    if let Some(victim) = victim {
                        queues.evict(victim);
                        prop_assert!(known.remove(&victim).is_some());
                    }
                }
                _ => {}
            }
            prop_assert_eq!(queues.bytes, known.values().sum::<usize>());
            prop_assert!(queues.small_bytes <= queues.bytes);
            prop_assert_eq!(queues.objects, known.len());
            prop_assert!(queues.ghosts.queue.len() <= known.len());
            let counted: u32 = queues.ghosts.known.values().sum();
            prop_assert_eq!(counted as usize, queues.ghosts.queue.len());
        }
    }
}

/// Four of five requests for popular objects, the fifth for objects that never return.
fn trace() -> impl Iterator<Item = u32> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..60_000_u32).map(move |number| {
        let rank = (random.f64() * 1_000_f64.ln()).exp() as u32;
        if number % 5 == 0 {
            10_000 + number
        } else {
            rank
        }
    })
}

#[test]
fn it_hits_more_often_than_lru_when_a_fifth_is_scanned() {
    let places = 100;
    let (mut lru, mut lru_hits, mut in_lru) = (Lru::default(), 0, BTreeMap::new());
    let (mut s3, mut s3_hits, mut in_s3) = (S3Fifo::default(), 0, BTreeMap::new());
    for (tick, name) in (0..).zip(trace()) {
        if in_lru.insert(name, ()).is_some() {
            lru.touch(name, tick);
            lru_hits += 1;
        } else {
            lru.admit(name, tick);
        }
        if in_s3.insert(name, ()).is_some() {
            s3.touch(name);
            s3_hits += 1;
        } else {
            s3.admit(name, name.into(), 1);
        }
        if in_lru.len() > places {
            let victim = lru.victim().unwrap();
            lru.remove(victim);
            in_lru.remove(&victim);
        }
        if in_s3.len() > places {
            let victim = s3.victim().unwrap();
            s3.evict(victim);
            in_s3.remove(&victim);
        }
    }
    assert!(s3_hits > lru_hits + 2_000, "{s3_hits} against {lru_hits}");
}
