//! Active health: every member of a pool is probed in its own task, and its state follows.
//!
//! One [`run`] per pool and snapshot owns the states of the pool's endpoints; dropping its future
//! ends all its tasks. No probe waits for a slow one: each has its own task and timeout, and a
//! permit bounds how many run at once over all pools. A pool without `health` has one rule: all its
//! endpoints are healthy, also those an earlier configuration had found unhealthy.
//!
//! Times: the first probe comes at a random point of the interval (a pending endpoint's within
//! 100 ms, since it waits for it), later ones an interval ±20 % after the start of the last, or a
//! fast interval while results contradict the state.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::probe::{Check, Prober, describe};
use super::{History, Verdict};
use crate::config::model::Health;
use crate::upstream::Pool;
use crate::upstream::endpoint::{Endpoint, State};
use crate::upstream::member::Member;

#[cfg(test)]
mod tests;

/// Spreads first probes of pending endpoints a little.
const PENDING_DELAY_MAX: Duration = Duration::from_millis(100);

/// Keeps the states of the pool's endpoints true, for as long as the future is held. Start it when
/// the pool's snapshot is published, after the loops of the pool before have been dropped.
pub async fn run(pool: Arc<Pool>, prober: Arc<Prober>) {
    match pool.config().health.clone() {
        Some(health) => {
            let check = prober.check(&pool, &health);
            probe_all(
                &pool,
                &Plan {
                    health,
                    check,
                    prober,
                },
            )
            .await;
        }
        None => trust_all(&pool).await,
    }
}

async fn trust_all(pool: &Pool) {
    let mut changes = pool.changes();
    loop {
        for member in pool.members().all() {
            let reason = "because its pool has no health probe";
            member.endpoint.set_state(State::Healthy, reason);
        }
        follow(&mut changes).await;
    }
}

/// How the endpoints of one pool are probed.
#[derive(Clone)]
struct Plan {
    health: Health,
    check: Check,
    prober: Arc<Prober>,
}

async fn probe_all(pool: &Pool, plan: &Plan) {
    let mut changes = pool.changes();
    let mut tasks = Tasks::default();
    loop {
        tasks.follow(pool.members().all(), plan);
        tokio::select! {
            () = follow(&mut changes) => {}
            // A task ends when its member left, or by a panic: then it is begun again.
            Some(_) = tasks.running.join_next() => {}
        }
    }
}

/// Waits for a change of membership. A pool that is gone changes no more.
async fn follow(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The probe loops of a pool; dropped, they end.
#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    by_member: HashMap<Key, AbortHandle>,
}

/// A member of another host name is probed with another `Host` and SNI.
type Key = (SocketAddr, Option<Arc<str>>);

impl Tasks {
    /// Ends the loops of members that left, and starts those that are missing.
    fn follow(&mut self, members: &[Arc<Member>], plan: &Plan) {
        let wanted: HashMap<Key, &Arc<Member>> =
            members.iter().map(|member| (key(member), member)).collect();
        self.by_member.retain(|key, task| {
            let keep = wanted.contains_key(key) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, member) in wanted {
            let running = &mut self.running;
            self.by_member
                .entry(key)
                .or_insert_with(|| running.spawn(probe_one(member.clone(), plan.clone())));
        }
    }
}

fn key(member: &Member) -> Key {
    (member.endpoint.address(), member.host.clone())
}

async fn probe_one(member: Arc<Member>, plan: Plan) {
    let endpoint = &member.endpoint;
    let backend = member.backend();
    let mut history = History::default();
    sleep(first_delay(endpoint.state(), plan.health.interval)).await;
    loop {
        let permit = plan.prober.permits.acquire().await;
        let started = Instant::now();
        let result = match timeout(plan.health.timeout, plan.check.check(&backend)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err(format!("no answer within {:?}", plan.health.timeout)),
        };
        drop(permit);
        let pause = record(endpoint, &mut history, result, &plan.health);
        sleep_until(started + jittered(pause)).await;
    }
}

/// Acts on a probe's result, and says when to probe again.
fn record(
    endpoint: &Endpoint,
    history: &mut History,
    result: Result<(), String>,
    health: &Health,
) -> Duration {
    endpoint.probed(result.is_ok());
    match history.observe(endpoint.state(), result.is_ok(), health) {
        Verdict::Steady => health.interval,
        Verdict::Wavering => health.fast_interval,
        Verdict::Becomes(state, count) => {
            match result {
                Ok(()) => endpoint.set_state(
                    state,
                    format_args!("after {}", counted(count, "pass", "es")),
                ),
                Err(error) => endpoint.set_state(
                    state,
                    format_args!("after {}: {error}", counted(count, "failure", "s")),
                ),
            };
            health.interval
        }
    }
}

/// `1 pass`, `3 failures`.
fn counted(count: u32, one: &str, plural: &str) -> String {
    let ending = if count == 1 { "" } else { plural };
    format!("{count} {one}{ending}")
}

fn first_delay(state: State, interval: Duration) -> Duration {
    let longest = match state {
        State::Pending => interval.min(PENDING_DELAY_MAX),
        State::Unproven | State::Healthy | State::Unhealthy => interval,
    };
    longest.mul_f64(fastrand::f64())
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * fastrand::f64())
}
