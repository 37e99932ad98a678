//! Prequal against simulated endpoints: each serves one request after the other, and time is a
//! number.

use std::time::{Duration, Instant};

use fastrand::Rng;
use http::{HeaderMap, StatusCode};

use super::super::tests::Bench;
use super::super::{RoundRobin, Selector};
use super::*;
use crate::config::model::LoadProbe;
use crate::upstream::endpoint::Lease;
use crate::upstream::load_probes::Answer as Answered;
use crate::upstream::load_report::LoadReport;
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
    let selector = bench.selector::<A>(1);
    simulate_on(&bench, &selector, servers, requests, gap, |_, _| {})
}

/// The same with load probes, three for each request, each answered at once by `answer`.
fn simulate_probed(
    servers: &[Server],
    requests: usize,
    gap: Duration,
    answer: impl Fn(usize) -> Option<LoadReport>,
) -> Outcome {
    let bench = Bench::new(&vec![1; servers.len()]);
    let endpoints = bench.endpoints();
    let probes = probes();
    let algorithm = |slots: &Slots| Prequal::with_probes(slots, 1, Some(probes.clone()));
    let selector = bench.selector_with(algorithm);
    let ask = |rng: &mut Rng, now| {
        for place in rng.choose_multiple(0..endpoints.len(), PROBES) {
            if let Some(report) = answer(place) {
                endpoints[place].reported(&report, now);
                let address = endpoints[place].address();
                probes.answered(Answered { address, at: now });
            }
        }
    };
    simulate_on(&bench, &selector, servers, requests, gap, ask)
}

fn probes() -> Arc<LoadProbes> {
    Arc::new(LoadProbes::new(&LoadProbe {
        path: "/load".to_owned(),
        port: None,
        per_request: 300,
        timeout: Duration::from_millis(100),
    }))
}

fn simulate_on<A: Algorithm>(
    bench: &Bench,
    selector: &Arc<Selector<A>>,
    servers: &[Server],
    requests: usize,
    gap: Duration,
    came: impl Fn(&mut Rng, Instant),
) -> Outcome {
    let endpoints = bench.endpoints();
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
        let place = bench.pick_at(selector, now);
        came(&mut rng, now);
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
            is_stale: false,
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
fn those_that_say_they_are_saturated_repel_however_many_they_are() {
    let fair = 20_000 / 8;
    for saturated in [2, 4, 7] {
        let mut servers = vec![serving(10); 8];
        for server in &mut servers[..saturated] {
            server.says = Some("1e300");
        }
        // So that the others can do it alone.
        let gap = Duration::from_micros(20_000);
        let counts = simulate::<Prequal>(&servers, 20_000, gap).counts;
        let most = counts[..saturated].iter().max();
        assert!(most < Some(&(fair / 2)), "{saturated}: {counts:?}");
    }
}

#[test]
fn an_answer_to_a_probe_repels_and_a_lie_attracts_nothing() {
    let (fair, gap) = (20_000 / 8, Duration::from_micros(2000));
    let servers = vec![serving(10); 8];
    let says = |in_flight, latency_ms: Option<u64>| {
        Some(LoadReport {
            in_flight,
            latency: latency_ms.map(Duration::from_millis),
        })
    };
    let share = |of_first, of_others| {
        let answer = |place| if place == 0 { of_first } else { of_others };
        simulate_probed(&servers, 20_000, gap, answer).counts[0]
    };
    let honest = says(Some(1.0), Some(10));
    for lie in [says(Some(0.0), Some(0)), says(None, None)] {
        let got = share(lie, honest);
        assert!(got < fair * 3 / 2, "{lie:?}: {got} of {fair}");
        // Nor where the others have nothing to say.
        let got = share(lie, says(None, None));
        assert!(got < fair * 3 / 2, "{lie:?} alone: {got} of {fair}");
    }
    for complaint in [says(Some(65_535.0), None), says(None, Some(3_600_000))] {
        let got = share(complaint, honest);
        assert!(got < fair / 10, "{complaint:?}: {got} of {fair}");
    }
    // One that does not answer is left out while others do, and all are used when none does.
    assert!(share(None, honest) < fair / 10);
    assert!(share(None, None) > fair * 3 / 4);
}

#[test]
fn slow_endpoints_get_what_they_can_do_with_probes_as_well() {
    for (endpoints, slow) in [(10, 2), (100, 20)] {
        let mut servers = vec![serving(10); endpoints];
        servers[..slow].fill(serving(100));
        let gap = Duration::from_micros(20_300 / endpoints as u64);
        let silent = |_| Some(LoadReport::default());
        let outcome = simulate_probed(&servers, 20_000, gap, silent);
        let p99 = outcome.p99();
        assert!(p99 < Duration::from_millis(250), "{p99:?}");
    }
}

#[test]
fn an_answer_is_used_as_often_as_the_paper_says() {
    assert_eq!(uses(8, 3.0), 3.0);
    assert_eq!(uses(16, 3.0), 3.0);
    assert_eq!(uses(20, 3.0), 3.0);
    assert!((uses(100, 3.0) - 1.316).abs() < 0.001);
    assert_eq!(uses(1000, 10.0), 1.0);
    assert_eq!(uses(1000, 0.5), 3.0);
}

#[test]
fn cold_comes_before_hot_before_avoided() {
    let ranks = [
        Rank::cold(0.1),
        Rank::cold(9.0),
        Rank::hot(2.0),
        Rank::hot(3.0),
        Rank::avoided(0.0),
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
