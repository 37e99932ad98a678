//! When a request that waits for its endpoint asks a second one: hedging.
//!
//! Definition (Dean and Barroso, "The Tail at Scale", 2013): a request that has waited longer than most do
//! is sent to another endpoint as well; who answers first serves it. "Longer than most" is a quantile of
//! what requests of the same pool waited for their heads lately, or a fixed time.
//!
//! Bound: over ten seconds, second requests are at most `percent` of the requests. Those a little late
//! would leave nothing for those that hang, so the later a request is, the more of that it may use. In a
//! model of eight endpoints (exponential service, 65 % load, one ten times slower or freezing) the shares
//! and moments of [`Lateness`] gave the least p99 among those that let p99.9 be.
//! A cancelled attempt goes on counting, and waiting, for a moment ([`let_go`]).
//! Process-lived, one for each pool, so that a reload neither forgets the waits nor grants anew. Pure:
//! `now` is passed in. Asked by `proxy::hedge`.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::{Instant as Clock, timeout};

use super::members::Pick;
use super::retry_budget::RetryBudget;
use crate::config::model::HedgeAfter;

/// Each window counts so long; a quantile is of the running window and the one before.
const WINDOW: Duration = Duration::from_secs(10);
/// A cancelled attempt counts as in flight for so long at most.
const AT_WORK_MAX: Duration = Duration::from_secs(1);
/// With fewer, a quantile would be a guess.
const WAITS_MIN: u32 = 100;

pub struct Hedging {
    waits: Mutex<Waits>,
    budget: RetryBudget,
}

/// How long a request has waited that asks for a second endpoint; refused, it asks again when it is
/// later still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lateness {
    Late,
    /// A fifth more than that.
    Later,
    /// Twice as long.
    Hanging,
}

// === impl Lateness ===

impl Lateness {
    /// How long a request has waited then, if it is late after `delay`.
    pub fn wait(self, delay: Duration) -> Duration {
        match self {
            Lateness::Late => delay,
            Lateness::Later => delay.saturating_add(delay / 5),
            Lateness::Hanging => delay.saturating_mul(2),
        }
    }

    /// Percent of the second requests that it may use.
    fn share(self) -> u64 {
        match self {
            Lateness::Late => 60,
            Lateness::Later => 95,
            Lateness::Hanging => 100,
        }
    }

    /// When one that was refused asks again; `None`: never.
    pub fn next(self) -> Option<Lateness> {
        match self {
            Lateness::Late => Some(Lateness::Later),
            Lateness::Later => Some(Lateness::Hanging),
            Lateness::Hanging => None,
        }
    }
}

// === impl Hedging ===

impl Hedging {
    pub fn new(now: Instant) -> Hedging {
        Hedging {
            waits: Mutex::new(Waits::new(now)),
            budget: RetryBudget::new(now),
        }
    }

    /// A request has come that may be hedged.
    pub fn deposit(&self, now: Instant) {
        self.budget.deposit(now);
    }

    /// A request waited so long for its first endpoint, or gave up waiting.
    pub fn learn(&self, wait: Duration, now: Instant) {
        self.waits.lock().add(wait, now);
    }

    /// How long a request waits before it is late; `None`: nobody knows yet.
    pub fn delay(&self, after: HedgeAfter, now: Instant) -> Option<Duration> {
        match after {
            HedgeAfter::Time(time) => Some(time),
            HedgeAfter::Percentile(percent) => self.waits.lock().quantile(percent, now),
        }
    }

    /// Asks for a second request; false: the budget has none for it.
    pub fn withdraw(&self, percent: u32, lateness: Lateness, now: Instant) -> bool {
        let percent = u64::from(percent);
        let afforded = |requests: u64| requests * percent * lateness.share() / 10_000;
        self.budget.grant(now, afforded)
    }
}

/// Counts a cancelled attempt as in flight until its endpoint answers somebody: it may be at work on it
/// still, and one that hangs must not look idle because those who waited for it are gone. Nor fast: as
/// long it goes on waiting. Nor well, if this was its trial. `outwaited`: since when, if another endpoint
/// was faster.
pub async fn let_go(mut pick: Pick, outwaited: Option<Instant>) {
    let endpoint = pick.lease.endpoint().clone();
    // Whether it has answered or not, it has taken so long.
    let answered = timeout(AT_WORK_MAX, endpoint.answers()).await;
    if let Some(since) = outwaited {
        if answered.is_err() {
            pick.lease.hangs();
        }
        let now = Clock::now().into_std();
        endpoint.outwaited(now.saturating_duration_since(since), now);
    }
    drop(pick);
}

/// Bounds of the histogram's buckets grow by a 24th of a doubling, 3 %, from 100 µs to two hours.
const BUCKETS: usize = 640;
const FIRST_BOUND: f64 = 100e-6;
const PER_DOUBLING: f64 = 24.0;

/// Two windows' histograms of waits.
struct Waits {
    began: Instant,
    running: Histogram,
    before: Histogram,
}

struct Histogram {
    count: u32,
    buckets: Box<[u32; BUCKETS]>,
}

// === impl Waits ===

impl Waits {
    fn new(now: Instant) -> Waits {
        Waits {
            began: now,
            running: Histogram::new(),
            before: Histogram::new(),
        }
    }

    fn add(&mut self, wait: Duration, now: Instant) {
        self.turn(now);
        self.running.add(wait);
    }

    fn quantile(&mut self, percent: u32, now: Instant) -> Option<Duration> {
        self.turn(now);
        let count = self.running.count + self.before.count;
        if count < WAITS_MIN {
            return None;
        }
        let rank = (u64::from(count) * u64::from(percent)).div_ceil(100);
        let both = self.running.buckets.iter().zip(self.before.buckets.iter());
        let mut below = 0;
        let found = both
            .map(|(one, other)| u64::from(one + other))
            .position(|waits| {
                below += waits;
                below >= rank
            });
        found.map(upper_bound)
    }

    /// Begins a new window when the running one is over.
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age < WINDOW {
            return;
        }
        self.began = now;
        std::mem::swap(&mut self.running, &mut self.before);
        self.running.clear();
        if age >= 2 * WINDOW {
            self.before.clear();
        }
    }
}

// === impl Histogram ===

impl Histogram {
    fn new() -> Histogram {
        Histogram {
            count: 0,
            buckets: Box::new([0; BUCKETS]),
        }
    }

    fn add(&mut self, wait: Duration) {
        self.count += 1;
        self.buckets[bucket(wait)] += 1;
    }

    fn clear(&mut self) {
        self.count = 0;
        self.buckets.fill(0);
    }
}

fn bucket(wait: Duration) -> usize {
    let doublings = (wait.as_secs_f64() / FIRST_BOUND).max(1.0).log2();
    ((doublings * PER_DOUBLING).ceil() as usize).min(BUCKETS - 1)
}

fn upper_bound(bucket: usize) -> Duration {
    Duration::from_secs_f64(FIRST_BOUND * (bucket as f64 / PER_DOUBLING).exp2())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastrand::Rng;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::upstream::circuit::Gate;
    use crate::upstream::observation::{Answer, Observation};
    use crate::upstream::pick_context::PickContext;
    use crate::upstream::record::Trial;
    use crate::upstream::stamp::Stamp;
    use crate::upstream::tests::{config, registry};
    use crate::upstream::{Pool, members::Candidates};

    const P95: HedgeAfter = HedgeAfter::Percentile(95);

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_percentile_is_known_when_enough_have_waited_and_within_its_bucket() {
        let now = Instant::now();
        let hedging = Hedging::new(now);
        for wait in 1..=99 {
            hedging.learn(millis(wait), now);
        }
        assert_eq!(hedging.delay(P95, now), None);
        hedging.learn(millis(100), now);
        let delay = hedging.delay(P95, now).unwrap();
        assert!((millis(95)..millis(102)).contains(&delay), "{delay:?}");
        let half = hedging.delay(HedgeAfter::Percentile(50), now).unwrap();
        assert!((millis(50)..millis(54)).contains(&half), "{half:?}");
        assert_eq!(
            hedging.delay(HedgeAfter::Time(millis(7)), now),
            Some(millis(7))
        );
    }

    #[test]
    fn it_moves_with_the_last_ten_to_twenty_seconds() {
        let began = Instant::now();
        let hedging = Hedging::new(began);
        let learn =
            |wait, at| (0..1000).for_each(|_| hedging.learn(millis(wait), began + millis(at)));
        learn(1000, 0);
        learn(10, 10_000);
        let delay = |at| hedging.delay(P95, began + millis(at));
        assert!(delay(19_999).is_some_and(|delay| delay > millis(900)));
        assert!(delay(20_000).is_some_and(|delay| delay < millis(11)));
        assert_eq!(delay(60_000), None, "an idle pool forgets");
    }

    #[test]
    fn any_wait_has_a_bucket_whose_bound_is_not_below_it() {
        let mut rng = Rng::with_seed(5);
        for _ in 0..10_000 {
            let wait = Duration::from_secs_f64(10_f64.powf(rng.f64() * 7.0 - 4.0));
            let bound = upper_bound(bucket(wait)).as_secs_f64();
            let wait = wait.as_secs_f64();
            assert!(
                bound >= wait * 0.999 && bound <= wait * 1.035,
                "{wait} {bound}"
            );
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn second_requests_stay_within_their_share_whatever_is_asked_for() {
        for seed in 0..10_000 {
            let mut rng = Rng::with_seed(seed);
            let mut now = Instant::now();
            let hedging = Hedging::new(now);
            let percent = rng.u32(1..=20);
            let (mut requests, mut hedges, mut early) = (0_u32, 0_u32, 0_u32);
            let end = now + millis(9_900);
            while now < end {
                hedging.deposit(now);
                requests += 1;
                let lateness = match rng.u8(..3) {
                    0 => Lateness::Late,
                    1 => Lateness::Later,
                    _ => Lateness::Hanging,
                };
                let granted = hedging.withdraw(percent, lateness, now);
                hedges += u32::from(granted);
                early += u32::from(granted && lateness == Lateness::Late);
                now += millis(rng.u64(1..300));
            }
            assert!(
                hedges * 100 <= requests * percent,
                "seed {seed}: {hedges} of {requests}"
            );
            assert!(
                early * 10_000 <= requests * percent * 60,
                "seed {seed}: {early} early"
            );
        }
    }

    fn pool() -> Arc<Pool> {
        Pool::build(&config(&["10.0.0.1:1"]), &registry()).unwrap()
    }

    fn candidates() -> Candidates {
        pool().candidates(&PickContext::default())
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_answers_nobody_looks_as_slow_as_it_was_waited_for() {
        let began = Clock::now().into_std();
        let pick = candidates().lease_next().unwrap();
        let endpoint = pick.lease.endpoint().clone();
        tokio::time::advance(millis(200)).await;
        let_go(pick, Some(began)).await;
        assert_eq!(endpoint.in_flight(), 0);
        let expected = endpoint
            .latency()
            .seconds(Stamp::of(Clock::now().into_std()));
        assert!((1.2..1.21).contains(&expected), "{expected}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_fails_if_its_endpoint_goes_on_answering_nobody() {
        for (is_first, trial) in [(true, Some(Trial::Failed)), (false, None)] {
            let pool = pool();
            let endpoint = pool.members().all()[0].endpoint.clone();
            endpoint.set_gate(Gate::Trial);
            let pick = pool.candidates(&PickContext::default()).lease_next();
            assert!(!endpoint.is_ready(), "the trial is under way");
            let began = Clock::now().into_std();
            let_go(pick.unwrap(), is_first.then_some(began)).await;
            assert_eq!(endpoint.record().take_trial(), trial);
            // Given back untried, it admits another.
            assert_eq!(endpoint.is_ready(), trial.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_another_has_been_waited_for_until_then() {
        let began = Clock::now().into_std();
        let pick = candidates().lease_next().unwrap();
        let endpoint = pick.lease.endpoint().clone();
        tokio::time::advance(millis(200)).await;
        let other = Observation {
            answer: Answer::Response(StatusCode::OK, &HeaderMap::new()),
            took: millis(10),
            is_measured: true,
            is_stale: false,
            in_flight: 2,
            now: began + millis(210),
        };
        let answer = async {
            tokio::time::sleep(millis(10)).await;
            endpoint.lease().observe(&other);
        };
        tokio::join!(let_go(pick, Some(began)), answer);
        assert_eq!(endpoint.in_flight(), 0);
        let expected = endpoint.latency().seconds(Stamp::of(began + millis(210)));
        assert!((0.2..0.22).contains(&expected), "{expected}");
    }
}
