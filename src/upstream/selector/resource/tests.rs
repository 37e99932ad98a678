//! `resource` beyond the shared contract: what goes where, how even it is, and that it comes back.

use std::sync::Arc;

use pingora_load_balancing::selection::BackendIter;
use proptest::prelude::*;

use super::*;
use crate::config::amounts::{Amounts, millionths};
use crate::upstream::member::{EndpointTable, Member, Reservation, member_of};
use crate::upstream::pick_context::{PickContext, Wanted};
use crate::upstream::registry::Registry;
use crate::upstream::room::Room;
use crate::upstream::selector::Selector;

/// Endpoints with capacities of two dimensions, known by place, and the selector over them.
struct Bench {
    table: EndpointTable,
    selector: Arc<Selector<Resource>>,
}

fn amounts(pair: [f64; 2]) -> Amounts {
    let mut amounts = Amounts::default();
    for (place, units) in pair.into_iter().enumerate() {
        amounts.set(place, millionths(units).unwrap_or(0));
    }
    amounts
}

impl Bench {
    fn new(capacities: &[[f64; 2]], seed: u64) -> Bench {
        let registry = Registry::new(crate::telemetry::metrics::Metrics::new());
        let member = |(place, &capacity): (usize, &[f64; 2])| {
            let address = ([10, 0, 0, place as u8], 80).into();
            let healthy = || crate::upstream::endpoint::State::Healthy;
            let endpoint = registry.endpoint("test", address, healthy);
            let accounts = ["compute", "storage"].map(|name| endpoint.account(name));
            Arc::new(Member {
                endpoint,
                weight: 1,
                backup: false,
                max_in_flight: None,
                adaptive_limit: None,
                host: None,
                room: Room::new(&amounts(capacity), accounts),
                tokens: Box::default(),
            })
        };
        let table = EndpointTable::new(capacities.iter().enumerate().map(member));
        let selector = Arc::new(Selector::with_seed(&table.backends(), &table, seed));
        Bench { table, selector }
    }

    /// The place that is picked, and what it takes there.
    fn place(&self, demand: [f64; 2], may_exceed: bool) -> Option<(usize, Reservation)> {
        let demand = amounts(demand);
        let wanted = Wanted {
            demand,
            may_exceed,
            may_wait: false,
        };
        let mut walk = self.selector.walk(&PickContext {
            wanted,
            ..PickContext::default()
        });
        let member = member_of(walk.next()?)?;
        let members = self.table.members();
        let place = members.iter().position(|known| Arc::ptr_eq(known, member));
        Some((place?, member.clone().reserve(&demand)))
    }

    fn shares(&self) -> Vec<f64> {
        let nothing = Amounts::default();
        let members = self.table.members().iter();
        members
            .map(|member| member.room.filled(&nothing).dominant_share)
            .collect()
    }

    fn taken(&self) -> Vec<u64> {
        let members = self.table.members().iter();
        let accounts = members.flat_map(|member| {
            ["compute", "storage"].map(|name| member.endpoint.account(name).taken())
        });
        accounts.collect()
    }
}

const A: [f64; 2] = [20.0, 5.0];
const B: [f64; 2] = [20.0, 20.0];
const C: [f64; 2] = [20.0, 40.0];

#[test]
fn an_idle_pool_places_by_likeness() {
    for seed in 0..10 {
        let bench = Bench::new(&[A, B, C], seed);
        let place = |demand| bench.place(demand, false).map(|(place, _)| place);
        assert_eq!(place([8.0, 2.0]), Some(0));
        assert_eq!(place([5.0, 5.0]), Some(1));
        assert_eq!(place([2.0, 4.0]), Some(2));
    }
}

#[test]
fn what_fits_nowhere_is_not_placed_unless_it_may_be_squeezed_in() {
    let bench = Bench::new(&[[10.0, 10.0], [20.0, 10.0]], 1);
    let held: Vec<_> = (0..3)
        .map_while(|_| bench.place([10.0, 1.0], false))
        .collect();
    assert_eq!(held.len(), 3);
    assert!(bench.place([1.0, 1.0], false).is_none());
    let (place, squeezed) = bench.place([10.0, 1.0], true).unwrap();
    assert_eq!(place, 1, "1.5 is less than 2.0");
    drop((held, squeezed));
    assert_eq!(bench.taken(), [0; 4]);
}

#[test]
fn one_dimension_that_is_full_is_enough() {
    let bench = Bench::new(&[A], 1);
    let _held = bench.place([1.0, 5.0], false).unwrap();
    assert!(bench.place([1.0, 0.000_001], false).is_none());
    assert!(bench.place([19.0, 0.0], false).is_some());
}

#[test]
fn four_equal_endpoints_at_70_percent_are_loaded_alike() {
    let bench = Bench::new(&[[100.0, 100.0]; 4], 1);
    let mut random = fastrand::Rng::with_seed(7);
    let mut held = Vec::new();
    let (mut largest, mut mean, mut worst) = (0.0, 0.0, 0.0_f64);
    const STEPS: usize = 20_000;
    for _ in 0..STEPS {
        while bench.shares().iter().sum::<f64>() / 4.0 < 0.7 {
            let mut units = || f64::from(random.u32(1..=8));
            held.push(bench.place([units(), units()], false).unwrap());
        }
        let shares = bench.shares();
        let (high, all) = (
            shares.iter().copied().fold(0.0, f64::max),
            shares.iter().sum::<f64>(),
        );
        worst = worst.max(high / (all / 4.0));
        largest += high;
        mean += all / 4.0;
        held.swap_remove(random.usize(..held.len()));
    }
    assert!(largest <= 1.15 * mean, "{}", largest / mean);
    assert!(worst <= 1.3, "{worst} at one moment");
    drop(held);
    assert_eq!(bench.taken(), [0; 8]);
}

#[derive(Clone, Debug)]
enum Step {
    Place([f64; 2], bool),
    End(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let units = || prop_oneof![Just(0.0), 1e-6..30.0, Just(1e6)];
    let place = ([units(), units()], any::<bool>());
    let step = prop_oneof![
        place.prop_map(|(demand, may_exceed)| Step::Place(demand, may_exceed)),
        any::<usize>().prop_map(Step::End),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn reservations_keep_within_capacity_and_return_to_exactly_zero(steps in steps()) {
        let bench = Bench::new(&[A, B, C], 1);
        let (mut held, mut squeezed) = (Vec::new(), false);
        for step in steps {
            match step {
                Step::Place(demand, may_exceed) => {
                    squeezed |= may_exceed;
                    held.extend(bench.place(demand, may_exceed));
                }
                Step::End(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Step::End(_) => {}
            }
            prop_assert!(squeezed || bench.shares().iter().all(|share| *share <= 1.0));
        }
        drop(held);
        prop_assert_eq!(bench.taken(), [0; 6]);
    }
}

#[test]
fn concurrent_attempts_give_back_all_they_took() {
    let bench = Bench::new(&[A, B, C], 1);
    std::thread::scope(|scope| {
        for thread in 1..=16 {
            let bench = &bench;
            let demand = [f64::from(thread) * 0.1, f64::from(17 - thread) * 0.3];
            scope.spawn(move || (0..500).for_each(|_| drop(bench.place(demand, true))));
        }
    });
    assert_eq!(bench.taken(), [0; 6]);
}

#[test]
fn a_pool_too_large_to_scan_finds_where_it_fits_and_is_loaded_evenly() {
    let mut capacities = vec![[10.0, 10.0]; 200];
    capacities[77] = [100.0, 100.0];
    let bench = Bench::new(&capacities, 3);
    let (place, _held) = bench.place([50.0, 50.0], false).unwrap();
    assert_eq!(place, 77);
    // Half of what all can take.
    let held: Vec<_> = (0..1000)
        .map(|_| bench.place([1.0, 0.5], false).unwrap())
        .collect();
    let most = (0..200).filter(|place| *place != 77).map(|place| {
        let here = held.iter().filter(|(held, _)| *held == place);
        here.count()
    });
    assert!(most.max() <= Some(7));
    // Full but for what is squeezed in.
    let _rest: Vec<_> = std::iter::from_fn(|| bench.place([1.0, 1.0], false)).collect();
    assert!(bench.place([2.0, 2.0], false).is_none());
    assert!(bench.place([2.0, 2.0], true).is_some());
}
