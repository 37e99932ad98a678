//! How many retries a pool affords: a share of its requests, and a few besides.
//!
//! Definition: over the last ten seconds, retries are at most `percent` of the requests plus
//! `per_second` for each of the seconds (Finagle's and linkerd's retry budget, 20 % and 10/s). Bound: in
//! a full outage the pool's endpoints see at most 1 + `percent` times the requests, and those few.
//! State is process-lived, so a reload does not grant it anew. Pure: `now` is passed in. The proxy
//! deposits each request and withdraws for each retry that an endpoint may have to work for.

use std::time::Instant;

use parking_lot::Mutex;

use crate::config::model;

/// The window, in seconds.
const SECONDS: u64 = 10;

pub struct RetryBudget {
    began: Instant,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    seconds: [Second; SECONDS as usize],
}

/// What happened in one second, numbered from the beginning.
#[derive(Clone, Copy, Default)]
struct Second {
    number: u64,
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    pub fn new(now: Instant) -> RetryBudget {
        RetryBudget {
            began: now,
            window: Mutex::default(),
        }
    }

    /// A request has come.
    pub fn deposit(&self, now: Instant) {
        let number = self.second(now);
        self.window.lock().at(number).requests += 1;
    }

    /// Asks for one retry; false: the budget is spent.
    pub fn withdraw(&self, allowed: &model::RetryBudget, now: Instant) -> bool {
        self.grant(now, |requests| {
            requests * u64::from(allowed.percent) / 100 + u64::from(allowed.per_second) * SECONDS
        })
    }

    /// As `withdraw`; `afforded` says how many so many requests pay for.
    pub(super) fn grant(&self, now: Instant, afforded: impl FnOnce(u64) -> u64) -> bool {
        let number = self.second(now);
        let mut window = self.window.lock();
        let recent = |second: &&Second| number.saturating_sub(second.number) < SECONDS;
        let (requests, retries) = window
            .seconds
            .iter()
            .filter(recent)
            .fold((0, 0), |sum, second| {
                (sum.0 + second.requests, sum.1 + second.retries)
            });
        let granted = retries < afforded(requests);
        window.at(number).retries += u64::from(granted);
        granted
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }
}

impl Window {
    /// The counts of that second; those of the one before it in its place are over.
    fn at(&mut self, number: u64) -> &mut Second {
        let second = &mut self.seconds[(number % SECONDS) as usize];
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        second
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fastrand::Rng;

    use super::*;

    const ALLOWED: model::RetryBudget = model::RetryBudget {
        percent: 20,
        per_second: 10,
    };

    #[test]
    fn a_quiet_pool_affords_a_few_retries() {
        let now = Instant::now();
        let budget = RetryBudget::new(now);
        let granted = (0..1000).filter(|_| budget.withdraw(&ALLOWED, now)).count();
        assert_eq!(granted, 100);
        let later = now + Duration::from_secs(10);
        assert!(budget.withdraw(&ALLOWED, later), "the window has passed");
    }

    #[test]
    fn a_full_outage_is_amplified_by_no_more_than_a_fifth() {
        for seed in 0..10_000 {
            let mut rng = Rng::with_seed(seed);
            let began = Instant::now();
            let (budget, mut now) = (RetryBudget::new(began), began);
            let (mut requests, mut retries) = (0_u64, 0_u64);
            for _ in 0..rng.usize(1..200) {
                now += Duration::from_millis(rng.u64(0..300));
                budget.deposit(now);
                requests += 1;
                // Each fails, and so does each retry.
                while budget.withdraw(&ALLOWED, now) {
                    retries += 1;
                }
            }
            // A retry leaves the window with the request that paid for it, at the latest.
            let windows = (now - began).as_secs() / SECONDS + 1;
            let bound = requests / 5 + windows * 100;
            assert!(retries <= bound, "seed {seed}: {retries} of {requests}");
        }
    }

    #[test]
    fn nothing_is_afforded_where_nothing_is_allowed() {
        let none = model::RetryBudget {
            percent: 0,
            per_second: 0,
        };
        let now = Instant::now();
        let budget = RetryBudget::new(now);
        budget.deposit(now);
        assert!(!budget.withdraw(&none, now));
    }
}
