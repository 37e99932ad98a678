//! Prequal against simulated endpoints: each serves one request after the other, and time is a
//! number.

use std::time::Duration;

use fastrand::Rng;
use http::{HeaderMap, StatusCode};

use super::super::RoundRobin;
use super::super::tests::Bench;
use super::*;
use crate::upstream::endpoint::Lease;
use crate::upstream::observation::{Answer, Observation};

const SEED: u64 = 0x9ec1;

/// One endpoint of the simulation.
#[derive(Clone, Copy)]
struct Server {
    /// Time for one request; `None`: fails at once.
    service: Option<Duration>,
    /// What it says in `X-Weir-Load`.
    says: Option<&'static str>,
}

const fn serving(millis: u64) -> Server {
    Server {
        service: Some(Duration::from_millis(millis)),
        says: None,
    }
}

struct Running {
    ends: Instant,
    began: Instant,
    place: usize,
    lease: Lease,
}

struct Outcome {
    /// Requests each endpoint got.
    counts: Vec<usize>,
    /// Of those answered, in order.
    waits: Vec<Duration>,
}

impl Outcome {
    fn p99(&self) -> Duration {
        self.waits[self.waits.len() * 99 / 100]
    }
}

fn simulate<A: Algorithm>(servers: &[Server], requests: usize, gap: Duration) -> Outcome {
    let bench = Bench::new(&vec![1; servers.len()]);
    let (endpoints, selector) = (bench.endpoints(), bench.selector::<A>(1));
    let mut rng = Rng::with_seed(SEED);
    let mut now = Instant::now();
    let mut free_at = vec![now; servers.len()];
    let mut running: Vec<Running> = Vec::new();
    let mut outcome = Outcome {
        counts: vec![0; servers.len()],
        waits: Vec::new(),
    };
    for _ in 0..requests {
        now += gap.mul_f64(rng.f64() * 2.0);
        end(&mut running, servers, now, &mut outcome);
        let place = bench.pick_at(&selector, now);
        outcome.counts[place] += 1;
        let service = servers[place].service.unwrap_or_default();
        free_at[place] = free_at[place].max(now) + service.mul_f64(0.5 + rng.f64());
        running.push(Running {
            ends: free_at[place],
            began: now,
            place,
            lease: endpoints[place].lease(),
        });
    }
    outcome.waits.sort_unstable();
    outcome
}

/// Ends what has ended by now, earliest first.
fn end(running: &mut Vec<Running>, servers: &[Server], now: Instant, outcome: &mut Outcome) {
    running.sort_by_key(|one| std::cmp::Reverse(one.ends));
    while running.last().is_some_and(|last| last.ends <= now) {
        let Some(one) = running.pop() else { return };
        let server = servers[one.place];
        let mut headers = HeaderMap::new();
        if let Some(load) = server.says {
            headers.insert("x-weir-load", load.parse().unwrap());
        }
        let status = match server.service {
            Some(_) => StatusCode::OK,
            None => StatusCode::SERVICE_UNAVAILABLE,
        };
        one.lease.endpoint().observe(&Observation {
            answer: Answer::Response(status, &headers),
            took: one.ends - one.began,
            is_measured: true,
            in_flight: one.lease.in_flight(),
            now: one.ends,
        });
        if server.service.is_some() {
            outcome.waits.push(one.ends - one.began);
        }
    }
}

#[test]
fn slow_endpoints_get_what_they_can_do() {
    for (endpoints, slow) in [(10, 2), (100, 20)] {
        let mut servers = vec![serving(10); endpoints];
        servers[..slow].fill(serving(100));
        // 60 % of what all can do together.
        let gap = Duration::from_micros(20_300 / endpoints as u64);
        let outcome = simulate::<Prequal>(&servers, 20_000, gap);
        let in_turn = simulate::<RoundRobin>(&servers, 20_000, gap);
        let (p99, in_turn) = (outcome.p99(), in_turn.p99());
        assert!(
            p99 < Duration::from_millis(250) && p99 * 8 < in_turn,
            "seed {SEED:#x}: {p99:?} against {in_turn:?}, {:?}",
            outcome.counts
        );
        let to_slow: usize = outcome.counts[..slow].iter().sum();
        assert!(to_slow < 20_000 * 4 / 100, "{to_slow} of 20000");
    }
}

#[test]
fn an_endpoint_that_fails_fast_gets_one_request_a_penalty() {
    for endpoints in [8, 40] {
        let mut servers = vec![serving(20); endpoints];
        servers[0].service = None;
        // 60 s; a penalty is 5 s.
        let outcome = simulate::<Prequal>(&servers, 6000, Duration::from_millis(10));
        // One at a time, but several may be under way when the time is over.
        assert!(outcome.counts[0] <= 24, "{:?}", outcome.counts);
    }
}

#[test]
fn a_lie_attracts_nothing_and_reports_of_load_repel() {
    let fair = 20_000 / 8;
    let mut servers = vec![serving(10); 8];
    for lie in ["0", "-5", "NaN"] {
        servers[0].says = Some(lie);
        let got = simulate::<Prequal>(&servers, 20_000, Duration::from_micros(2000)).counts[0];
        assert!(got < fair * 3 / 2, "{lie}: {got} of {fair}");
    }
    servers[0].says = Some("1e300");
    let got = simulate::<Prequal>(&servers, 20_000, Duration::from_micros(2000)).counts[0];
    assert!(got < fair / 2, "{got} of {fair}");
}

#[test]
fn cold_comes_before_hot_before_avoided() {
    let ranks = [
        Rank::Cold { seconds: 0.1 },
        Rank::Cold { seconds: 9.0 },
        Rank::Hot { load: 2.0 },
        Rank::Hot { load: 3.0 },
        Rank::Avoided { load: 0.0 },
    ];
    assert!(ranks.is_sorted());
}

#[test]
fn with_few_probes_left_the_pick_is_by_load() {
    let bench = Bench::new(&[1; 40]);
    (1..40).for_each(|place| bench.fail(place));
    let selector = bench.selector::<Prequal>(1);
    assert_eq!(bench.picks(&selector, 20), [0; 20]);
}
