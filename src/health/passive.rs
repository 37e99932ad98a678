//! Passive health: what requests tell of endpoints, judged for each pool in one place.
//!
//! Attempts only count (`upstream::record`). One [`run`] for each pool and snapshot looks at the
//! counts when an endpoint tells that there is something to see, when an ejection is over, and
//! after each interval; `outlier`, `breaker` and `panic` say what follows, and it is done to the
//! endpoints, which keep it. As only this loop ejects, and it does one thing after the other, the
//! cap is exact.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::time::sleep_until;

use super::panic::{Tier, panics};
use super::slow_start::{self, Standing};
use super::{breaker, outlier};
use crate::config::model::Outlier;
use crate::upstream::Pool;
use crate::upstream::circuit::{Circuit, Phase, Reason};
use crate::upstream::endpoint::State;
use crate::upstream::member::Member;
use crate::upstream::warmth::{WARM, Warmth};

#[cfg(test)]
mod tests;

/// How often a pool without rules is looked at when nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// In how many steps an endpoint warms up.
const WARMING_STEPS: u32 = 100;

/// Keeps circuits, panic and warmth of the pool's endpoints true, for as long as the future is held. Start it when the
/// pool's snapshot is published, after the loop of the pool before has been dropped.
pub async fn run(pool: Arc<Pool>) {
    let mut changes = pool.changes();
    let mut watch = Watch::new(pool.clone(), now());
    loop {
        let next = watch.look(now());
        tokio::select! {
            () = pool.alerted() => {}
            Ok(()) = changes.changed() => {}
            () = sleep_until(next.into()) => {}
        }
    }
}

/// Tokio's clock, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// One pool under watch.
struct Watch {
    pool: Arc<Pool>,
    /// When the interval ends.
    compare_at: Instant,
    is_panicking: bool,
}

impl Watch {
    fn new(pool: Arc<Pool>, now: Instant) -> Watch {
        let members = pool.members();
        let has_probes = pool.config().health.is_some();
        for member in members.all() {
            let circuit = member.endpoint.circuit();
            member
                .endpoint
                .set_gate(breaker::gate(&circuit, has_probes));
        }
        let is_panicking = members.all().iter().any(|m| m.endpoint.is_trusted());
        let mut watch = Watch {
            pool,
            compare_at: now,
            is_panicking,
        };
        watch.compare_at = now + watch.interval();
        watch
    }

    fn rules(&self) -> Option<&Outlier> {
        self.pool.config().outlier.as_ref()
    }

    fn interval(&self) -> Duration {
        self.rules().map_or(IDLE, |rules| rules.interval)
    }

    /// Does what is due, and says when to look again at the latest.
    fn look(&mut self, now: Instant) -> Instant {
        let members = self.pool.members();
        let mut next = self.compare_at;
        for member in members.all() {
            self.advance(member, now);
            if let Phase::Open { until, .. } = member.endpoint.circuit().phase {
                next = next.min(until);
            }
        }
        let used = members.all().iter().filter(|member| member.weight > 0);
        let used: Vec<&Member> = used.map(Arc::as_ref).collect();
        for (place, reason) in self.outliers(&used, now) {
            if let Some(until) = self.eject(&used, place, reason, now) {
                next = next.min(until);
            }
        }
        self.panic(&used);
        if self.warm_up(members.all(), now) {
            next = next.min(now + self.pool.config().slow_start / WARMING_STEPS);
        }
        next.min(self.compare_at)
    }

    /// Moves a circuit on by the time and its trial.
    fn advance(&self, member: &Member, now: Instant) {
        let endpoint = &member.endpoint;
        let trial = endpoint.record().take_trial();
        let before = endpoint.circuit();
        let Some(rules) = self.rules() else {
            endpoint.record().set_alarm(None);
            return self.set(member, breaker::close(&before, now), now);
        };
        endpoint.record().set_alarm(rules.consecutive_failures);
        let after = breaker::advance(&before, trial, rules, now, fastrand::f64());
        self.set(member, after, now);
    }

    /// Gives the member's endpoint another circuit. One that closes begins with a clean record.
    fn set(&self, member: &Member, circuit: Circuit, now: Instant) {
        let endpoint = &member.endpoint;
        let before = endpoint.circuit();
        if before.phase == circuit.phase {
            return;
        }
        if circuit.is_closed() {
            endpoint.record().forgive();
            endpoint.record().take_interval();
        }
        let has_probes = self.pool.config().health.is_some();
        endpoint.set_circuit(circuit, breaker::gate(&circuit, has_probes), now);
    }

    /// The members to eject, those that fail in a row first.
    fn outliers(&mut self, members: &[&Member], now: Instant) -> Vec<(usize, Reason)> {
        let is_over = self.compare_at <= now;
        if is_over {
            self.compare_at = now + self.interval();
        }
        let Some(rules) = self.rules() else {
            return Vec::new();
        };
        let failing = |(place, member): (usize, &&Member)| {
            let failures = member.endpoint.record().failures_in_a_row();
            Some((place, outlier::failing(failures, rules)?))
        };
        let mut found: Vec<_> = members.iter().enumerate().filter_map(failing).collect();
        if is_over {
            let intervals = members.iter().map(|m| m.endpoint.record().take_interval());
            let intervals: Vec<_> = intervals.collect();
            found.extend(outlier::standing_out(&intervals, rules));
        }
        found
    }

    /// Ejects a member if it may be ejected, and says until when.
    fn eject(
        &self,
        members: &[&Member],
        place: usize,
        reason: Reason,
        now: Instant,
    ) -> Option<Instant> {
        let rules = self.rules()?;
        let member = members[place];
        let circuit = member.endpoint.circuit();
        let ejected = members.iter().filter(|member| is_ejected(member)).count();
        let others = members.iter().enumerate();
        let others = others.filter(|(other, member)| *other != place && is_serving(member));
        if !circuit.is_closed()
            || !outlier::may_eject(members.len(), ejected, others.count(), rules)
        {
            return None;
        }
        let circuit = breaker::open(&circuit, reason, rules, now, fastrand::f64());
        self.set(member, circuit, now);
        circuit.time_left(now).map(|left| now + left)
    }

    /// Lets endpoints warm up; true while some do.
    fn warm_up(&self, members: &[Arc<Member>], now: Instant) -> bool {
        let window = self.pool.config().slow_start;
        let is_known = |member: &Arc<Member>| member.endpoint.warmth() != Warmth::New;
        let joins = members.iter().any(is_known);
        let mut any_warming = false;
        for Member { endpoint, .. } in members.iter().map(Arc::as_ref) {
            let circuit = endpoint.circuit();
            let standing = match endpoint.state() {
                State::Pending => Standing::Pending,
                state if state.is_ready() && circuit.is_closed() => Standing::Serving,
                _ => Standing::Out,
            };
            let warmth = slow_start::advance(endpoint.warmth(), standing, joins, window, now);
            // Neither panic nor a trial is to wait for an endpoint to be warm.
            let is_exempt = self.is_panicking || matches!(circuit.phase, Phase::HalfOpen { .. });
            let percent = slow_start::percent(warmth, window, now);
            endpoint.set_warmth(warmth, if is_exempt { WARM } else { percent });
            any_warming |= matches!(warmth, Warmth::Warming(_));
        }
        any_warming
    }

    /// Begins or ends panic.
    fn panic(&mut self, members: &[&Member]) {
        let mut tiers = [Tier::default(); 2];
        for member in members {
            let tier = &mut tiers[usize::from(member.backup)];
            tier.total += usize::from(is_known(member));
            tier.healthy += usize::from(member.endpoint.state().is_ready());
            tier.ready += usize::from(is_serving(member));
        }
        let is_panicking = panics(&tiers, self.pool.config().panic_threshold);
        for member in members {
            member
                .endpoint
                .set_trusted(is_panicking && is_known(member));
        }
        if is_panicking != self.is_panicking {
            self.is_panicking = is_panicking;
            self.tell_of_panic(&tiers);
        }
    }

    fn tell_of_panic(&self, tiers: &[Tier]) {
        let name = self.pool.name();
        let ready: usize = tiers.iter().map(|tier| tier.ready).sum();
        let total: usize = tiers.iter().map(|tier| tier.total).sum();
        if self.is_panicking {
            warn!("pool {name} panics: {ready} of {total} endpoints ready, all get requests");
        } else {
            info!("pool {name} panics no more: {ready} of {total} endpoints ready");
        }
        self.pool.metrics().panicking(name, self.is_panicking);
    }
}

/// Probes have said what it is, or there are none.
fn is_known(member: &Member) -> bool {
    member.endpoint.state() != State::Pending
}

fn is_ejected(member: &Member) -> bool {
    !member.endpoint.circuit().is_closed()
}

fn is_serving(member: &Member) -> bool {
    member.endpoint.state().is_ready() && !is_ejected(member)
}
