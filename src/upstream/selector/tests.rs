//! One contract, run over every selector, and the bench the algorithms' own tests stand on.

use std::sync::Arc;

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use super::*;
use crate::telemetry::metrics::Metrics;
use crate::upstream::endpoint::{Lease, State};
use crate::upstream::latency::COLD;
use crate::upstream::member::{Member, member_of};
use crate::upstream::observation::{Answer, Observation};
use crate::upstream::registry::Registry;
use crate::upstream::warmth::Warmth;

/// Endpoints 10.0.x.y:80 with the given weights, known by place.
pub(super) struct Bench {
    table: Arc<EndpointTable>,
}

impl Bench {
    pub(super) fn new(weights: &[u32]) -> Self {
        let registry = Registry::new(Metrics::new());
        let member = |(place, &weight): (usize, &u32)| {
            let address = ([10, 0, (place / 256) as u8, (place % 256) as u8], 80);
            Arc::new(Member {
                endpoint: registry.endpoint("test", address.into(), || State::Healthy),
                weight,
                backup: false,
                max_in_flight: None,
                adaptive_limit: None,
                host: None,
                room: Room::default(),
                tokens: Box::default(),
            })
        };
        let table = EndpointTable::new(weights.iter().enumerate().map(member));
        let now = Instant::now();
        for member in table.members() {
            // As old as the others, however long it took to make them.
            member.endpoint.latency().punish(COLD, now);
        }
        Bench {
            table: Arc::new(table),
        }
    }

    /// The same endpoints in the opposite order.
    pub(super) fn reversed(&self) -> Self {
        let members = self.table.members().iter().rev().cloned();
        Bench {
            table: Arc::new(EndpointTable::new(members)),
        }
    }

    pub(super) fn selector_with<A: Algorithm>(
        &self,
        algorithm: impl FnOnce(&Slots) -> A,
    ) -> Arc<Selector<A>> {
        let backends = self.table.backends();
        Arc::new(Selector::with(&backends, &self.table, algorithm))
    }

    pub(super) fn slots(&self) -> Slots {
        Selector::<RoundRobin>::with_seed(&self.table.backends(), &self.table, 1).slots
    }

    pub(super) fn selector<A: Algorithm>(&self, seed: u64) -> Arc<Selector<A>> {
        let backends = self.table.backends();
        Arc::new(Selector::with_seed(&backends, &self.table, seed))
    }

    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let members = self.table.members().iter();
        members.map(|member| member.endpoint.clone()).collect()
    }

    pub(super) fn fail(&self, place: usize) {
        self.endpoints()[place].set_state(State::Unhealthy, "for the test");
    }

    pub(super) fn recover(&self, place: usize) {
        self.endpoints()[place].set_state(State::Healthy, "for the test");
    }

    /// First picks of `count` requests, none of which holds a lease.
    pub(super) fn picks<A: Algorithm>(
        &self,
        selector: &Arc<Selector<A>>,
        count: usize,
    ) -> Vec<usize> {
        let first = |_| place(selector.iter(b"").next().expect("an endpoint is ready"));
        (0..count).map(first).collect()
    }

    /// The first pick of a request at that time, which holds no lease.
    pub(super) fn pick_at<A: Algorithm>(&self, selector: &Arc<Selector<A>>, now: Instant) -> usize {
        let context = PickContext {
            now,
            ..PickContext::default()
        };
        place(
            selector
                .walk(&context)
                .next()
                .expect("an endpoint is ready"),
        )
    }

    /// An attempt that was answered 200 after `wait`, or failed.
    pub(super) fn observe(&self, place: usize, wait: Option<Duration>, now: Instant) {
        let headers = HeaderMap::new();
        let answer = match wait {
            Some(_) => Answer::Response(StatusCode::OK, &headers),
            None => Answer::Failed("reset"),
        };
        self.endpoints()[place].observe(&Observation {
            answer,
            took: wait.unwrap_or_default(),
            is_measured: true,
            is_stale: false,
            in_flight: 1,
            now,
        });
    }

    /// First picks of `count` requests, all held.
    pub(super) fn hold<A: Algorithm>(
        &self,
        selector: &Arc<Selector<A>>,
        count: usize,
    ) -> Vec<Lease> {
        (0..count).map(|_| lease(selector)).collect()
    }

    pub(super) fn counts(&self, picks: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.table.members().len()];
        picks.iter().for_each(|&place| counts[place] += 1);
        counts
    }

    pub(super) fn in_flight(&self) -> Vec<u32> {
        let endpoints = self.endpoints();
        endpoints
            .iter()
            .map(|endpoint| endpoint.in_flight())
            .collect()
    }
}

fn lease<A: Algorithm>(selector: &Arc<Selector<A>>) -> Lease {
    let mut iter = selector.iter(b"");
    let member = member_of(iter.next().expect("an endpoint is ready"));
    member
        .expect("a backend carries its member")
        .endpoint
        .lease()
}

pub(super) fn place(backend: &Backend) -> usize {
    let address = backend.addr.as_inet().expect("an IP address");
    match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[2] as usize * 256 + ip.octets()[3] as usize,
        std::net::IpAddr::V6(_) => panic!("the bench has IPv4 addresses only"),
    }
}

/// a, b, c for places 0, 1, 2.
pub(super) fn names(places: &[usize]) -> Vec<&'static str> {
    places.iter().map(|&place| ["a", "b", "c"][place]).collect()
}

/// All that one request would be offered.
fn offers<A: Algorithm>(selector: &Arc<Selector<A>>) -> Vec<usize> {
    let mut iter = selector.iter(b"");
    std::iter::from_fn(|| iter.next().map(place)).collect()
}

fn no_endpoints_give_none<A: Algorithm>() {
    for weights in [&[][..], &[0, 0]] {
        let selector = Bench::new(weights).selector::<A>(1);
        assert!(offers(&selector).is_empty());
    }
    let bench = Bench::new(&[1, 1]);
    let selector = bench.selector::<A>(1);
    bench.fail(0);
    bench.fail(1);
    assert!(offers(&selector).is_empty());
}

fn each_ready_endpoint_is_offered_once<A: Algorithm>() {
    let weights: Vec<u32> = (0..200).map(|place| place % 5).collect();
    let bench = Bench::new(&weights);
    (0..200).step_by(7).for_each(|place| bench.fail(place));
    for seed in 0..5 {
        let mut offered = offers(&bench.selector::<A>(seed));
        offered.sort_unstable();
        let ready = |&place: &usize| place % 5 > 0 && place % 7 > 0;
        let expected: Vec<usize> = (0..200).filter(ready).collect();
        assert_eq!(offered, expected);
    }
}

fn readiness_is_read_at_each_step<A: Algorithm>() {
    let bench = Bench::new(&[1, 1]);
    let selector = bench.selector::<A>(1);
    bench.fail(1);
    let mut iter = selector.iter(b"");
    assert_eq!(iter.next().map(place), Some(0));
    assert_eq!(iter.next().map(place), None);
    bench.recover(1);
    assert_eq!(iter.next().map(place), Some(1));
    assert_eq!(iter.next().map(place), None);
}

fn shares_follow_the_weights<A: Algorithm>() {
    let bench = Bench::new(&[5, 3, 0, 2]);
    let selector = bench.selector::<A>(42);
    let counts = bench.counts(&bench.picks(&selector, 10_000));
    for (count, expected) in counts.into_iter().zip([5000_usize, 3000, 0, 2000]) {
        // Random's standard deviation is at most 50 here.
        assert!(
            count.abs_diff(expected) <= expected.min(200),
            "{count} for {expected}"
        );
    }
}

fn a_cold_endpoint_gets_its_part<A: Algorithm>() {
    let bench = Bench::new(&[1, 1, 1, 1]);
    bench.endpoints()[2].set_warmth(Warmth::Cold, 20);
    let selector = bench.selector::<A>(42);
    let counts = bench.counts(&bench.picks(&selector, 10_000));
    // A fifth of a quarter, five standard deviations (22) either way.
    assert!((390..=610).contains(&counts[2]), "{counts:?}");
    // It is still better than none.
    [0, 1, 3].into_iter().for_each(|place| bench.fail(place));
    assert_eq!(bench.picks(&selector, 50), [2; 50]);
}

fn the_same_seed_gives_the_same_picks<A: Algorithm>() {
    let bench = Bench::new(&[3, 1, 2, 1]);
    let picks = |seed| bench.picks(&bench.selector::<A>(seed), 50);
    assert_eq!(picks(9), picks(9));
    assert!((0..9).any(|seed| picks(seed) != picks(9)));
}

fn a_removed_endpoint_is_never_chosen<A: Algorithm>() {
    let bench = Bench::new(&[1, 1, 1]);
    let mut backends = bench.table.backends();
    backends.retain(|backend| place(backend) != 1);
    let selector = Arc::new(Selector::<A>::build_with_config(&backends, &bench.table));
    assert_eq!(bench.counts(&bench.picks(&selector, 100))[1], 0);
    let selector = Arc::new(Selector::<A>::build(&backends));
    assert_eq!(bench.counts(&bench.picks(&selector, 100))[1], 0);
}

fn in_flight_returns_to_zero<A: Algorithm>() {
    let bench = Bench::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let selector = bench.selector::<A>(1);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| (0..50).for_each(|_| drop(bench.hold(&selector, 10))));
        }
    });
    assert_eq!(bench.in_flight(), [0; 8]);
    let picks = bench
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.picks())
        .sum::<u64>();
    assert_eq!(picks, 64 * 50 * 10);
}

macro_rules! contract {
    ($($selector:ident: $algorithm:ty),*) => {$(
        mod $selector {
            use super::*;

            contract!(@ $algorithm:
                no_endpoints_give_none,
                each_ready_endpoint_is_offered_once,
                readiness_is_read_at_each_step,
                shares_follow_the_weights,
                a_cold_endpoint_gets_its_part,
                the_same_seed_gives_the_same_picks,
                a_removed_endpoint_is_never_chosen,
                in_flight_returns_to_zero
            );
        }
    )*};
    (@ $algorithm:ty: $($clause:ident),*) => {$(
        #[test]
        fn $clause() {
            super::$clause::<$algorithm>();
        }
    )*};
}

contract!(
    round_robin_keeps: RoundRobin,
    least_conn_keeps: LeastConn,
    random_keeps: Random,
    p2c_keeps: P2c,
    ewma_keeps: Ewma,
    resource_keeps: Resource,
    prequal_keeps: Prequal,
    hash_on_a_ring_keeps: Hash<Ring>,
    hash_with_maglev_keeps: Hash<Maglev>
);

#[test]
fn places_beyond_64_are_remembered_too() {
    let mut tried = Tried::default();
    for place in [0, 63, 64, 700] {
        assert!(!tried.contains(place));
        tried.insert(place);
        assert!(tried.contains(place));
    }
    assert!(!tried.contains(65) && !tried.contains(100_000));
}

#[test]
fn a_key_moves_to_a_warming_endpoint_once_and_keys_do_so_evenly() {
    let mut counts = [0; WARM as usize];
    for number in 0..10_000_u32 {
        let facts = Facts::of(&PickContext {
            hash_key: &number.to_be_bytes(),
            ..PickContext::default()
        });
        let chill = facts.chill();
        assert_eq!(facts.chill(), chill);
        counts[usize::from(chill)] += 1;
    }
    // 100 each, five standard deviations (10) either way.
    assert!(
        counts.iter().all(|count| (50..=150).contains(count)),
        "{counts:?}"
    );
}
