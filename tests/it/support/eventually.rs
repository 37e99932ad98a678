//! Waiting for what must become true. The only place of the scenarios that sleeps.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long anything may take before a scenario fails: `WEIR_PATIENCE` in seconds, or 20.
pub fn patience() -> Duration {
    let seconds = std::env::var("WEIR_PATIENCE").map_or(20, |text| {
        text.parse().expect("WEIR_PATIENCE is a number of seconds")
    });
    Duration::from_secs(seconds)
}

/// What a probe may answer: `bool`, or `Option` where the value is wanted.
pub trait Answer {
    type Value;
    fn settled(self) -> Option<Self::Value>;
}

impl Answer for bool {
    type Value = ();
    fn settled(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Answer for Option<T> {
    type Value = T;
    fn settled(self) -> Option<T> {
        self
    }
}

/// Asks again until the answer is `true` or `Some`; panics when patience runs out.
#[track_caller]
pub fn eventually<A: Answer>(
    what: impl Into<String>,
    mut probe: impl AsyncFnMut() -> A,
) -> impl Future<Output = A::Value> {
    let asked_at = Location::caller();
    let what = what.into();
    async move {
        let start = Instant::now();
        loop {
            if let Some(value) = probe().await.settled() {
                return value;
            }
            let waited = start.elapsed();
            assert!(
                waited < patience(),
                "not within {waited:.1?}: {what} ({asked_at})"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Asks again for `time`, at its end too, and panics when the answer is once `false`: for what must
/// not happen.
#[track_caller]
pub fn steadily(
    what: impl Into<String>,
    time: Duration,
    mut probe: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let asked_at = Location::caller();
    let what = what.into();
    async move {
        let start = Instant::now();
        loop {
            let held = start.elapsed();
            assert!(
                probe().await,
                "no longer after {held:.1?}: {what} ({asked_at})"
            );
            if held >= time {
                return;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
