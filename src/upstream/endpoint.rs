//! One upstream address of one pool: what is known of it, and the lease that counts an attempt on it.
//!
//! An [`Endpoint`] lives for the process: a reload or a new DNS answer finds the same one in the
//! [`Registry`](super::registry::Registry), so its in-flight count and its health outlive every
//! configuration. What a configuration says about it (weight, backup, host name) is in
//! [`Member`](super::member::Member).
//!
//! Invariants: in-flight is the number of live [`Lease`]s; a change of state is logged once and
//! counted once, here and nowhere else. Selectors read, `health` writes state and circuit, the proxy
//! leases. A half-open circuit admits one lease, the trial; given back untried, it admits another.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::adaptive_limit::{self, AdaptiveLimit};
use super::circuit::{Circuit, Gate, Phase};
use super::latency::Latency;
use super::load_report::LoadReport;
use super::observation::Observation;
use super::record::{Record, Trial};
use super::room::Account;
use super::signals::Signals;
use super::stamp::Stamp;
use super::turns::{Turn, Turns};
use super::warmth::{WARM, Warmth};
use crate::config::model;
use crate::telemetry::metrics::EndpointMetrics;

mod learning;
mod lease;
mod state;

pub use lease::Lease;
pub use state::State;

pub struct Endpoint {
    load: Load,
    pool_load: Arc<PoolLoad>,
    latency: Latency,
    /// Kept from when a selector first asks for them.
    signals: OnceLock<Box<Signals>>,
    pool: Arc<str>,
    address: SocketAddr,
    name: String,
    metrics: EndpointMetrics,
    record: Record,
    /// Until when it asks to be spared retries: a [`Stamp`].
    pauses_until: AtomicU64,
    circuit: Mutex<Circuit>,
    warmth: Mutex<Warmth>,
    /// Told when there is something for `health::passive` to look at.
    alert: Arc<Notify>,
    /// Outcomes that were counted, so that their series can be forgotten.
    outcomes: Mutex<Vec<&'static str>>,
    adaptive: Mutex<AdaptiveLimit>,
    /// Told of each answer.
    answered: Notify,
    /// Told when a place becomes free, or the endpoint ready; `None` in tests only.
    turns: Option<Arc<Turns>>,
    /// What is taken of its resources, by dimension.
    accounts: Mutex<BTreeMap<String, Arc<Account>>>,
}

/// What selectors read in their loops; together, so that one cache line holds it.
struct Load {
    in_flight: AtomicU32,
    state: AtomicU8,
    gate: AtomicU8,
    /// The pool panics: what is known of the endpoint does not matter.
    trusted: AtomicBool,
    /// Percent of the picks it would get.
    warmth: AtomicU8,
    /// What `adaptive` says; counts only in pools that ask for it.
    limit: AtomicU32,
}

/// Attempts running on all endpoints of a pool, counted by their leases.
#[derive(Default)]
pub struct PoolLoad(AtomicU32);

impl Endpoint {
    /// `pool_load` and `alert` are the pool's.
    pub fn new(
        pool: &str,
        pool_load: Arc<PoolLoad>,
        address: SocketAddr,
        state: State,
        metrics: EndpointMetrics,
        alert: Arc<Notify>,
    ) -> Self {
        metrics.ready.set(i64::from(state.is_ready()));
        Endpoint {
            load: Load {
                in_flight: AtomicU32::new(0),
                state: AtomicU8::new(state as u8),
                gate: AtomicU8::new(Gate::Open as u8),
                trusted: AtomicBool::new(false),
                warmth: AtomicU8::new(WARM),
                limit: AtomicU32::new(adaptive_limit::INITIAL),
            },
            latency: Latency::new(Instant::now()),
            signals: OnceLock::new(),
            pool_load,
            pool: pool.into(),
            address,
            name: address.to_string(),
            metrics,
            record: Record::default(),
            pauses_until: AtomicU64::new(0),
            circuit: Mutex::new(Circuit::new(Instant::now())),
            warmth: Mutex::default(),
            alert,
            outcomes: Mutex::default(),
            adaptive: Mutex::default(),
            answered: Notify::new(),
            turns: None,
            accounts: Mutex::default(),
        }
    }

    /// The same, one of those that `turns` are for.
    pub(super) fn in_turns(self, turns: Arc<Turns>) -> Self {
        Endpoint {
            turns: Some(turns),
            ..self
        }
    }

    pub fn pool(&self) -> &str {
        &self.pool
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as text, made once: the log word and the `endpoint` label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Attempts running now.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight.load(Relaxed)
    }

    /// Brings the gauges of what is in flight and what it takes up to date. Told when somebody looks: a
    /// gauge that follows each lease costs a pick as much as its count does.
    pub(super) fn show_load(&self) {
        self.metrics.in_flight.set(i64::from(self.in_flight()));
        self.accounts
            .lock()
            .values()
            .for_each(|account| account.show());
    }

    /// Attempts running now on all endpoints of the pool.
    #[inline]
    pub fn pool_in_flight(&self) -> u32 {
        self.pool_load.0.load(Relaxed)
    }

    /// Leases ever granted.
    pub fn picks(&self) -> u64 {
        self.metrics.picks.get()
    }

    #[inline]
    pub fn state(&self) -> State {
        State::numbered(self.load.state.load(Relaxed))
    }

    /// Whether it may be picked now.
    #[inline]
    pub fn is_ready(&self) -> bool {
        (self.state().is_ready() && self.gate().admits()) || self.is_trusted()
    }

    #[inline]
    fn gate(&self) -> Gate {
        Gate::numbered(self.load.gate.load(Relaxed))
    }

    /// Whether it may be picked whatever is known of it.
    #[inline]
    pub fn is_trusted(&self) -> bool {
        self.load.trusted.load(Relaxed)
    }

    pub fn set_trusted(&self, trusted: bool) {
        if self.load.trusted.swap(trusted, Relaxed) != trusted {
            self.changed();
        }
    }

    /// Percent of the picks that would be its own which it gets while it begins to serve. 10..=100.
    #[inline]
    pub fn warm_percent(&self) -> u8 {
        self.load.warmth.load(Relaxed)
    }

    pub fn warmth(&self) -> Warmth {
        *self.warmth.lock()
    }

    pub fn set_warmth(&self, warmth: Warmth, percent: u8) {
        *self.warmth.lock() = warmth;
        if self.load.warmth.swap(percent, Relaxed) < percent {
            self.changed();
        }
    }

    pub fn circuit(&self) -> Circuit {
        *self.circuit.lock()
    }

    /// What its requests came to.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Puts the endpoint into `state`; true when that is a change. A change is logged with `reason`
    /// (`endpoint 10.0.0.3:80 of pool api unhealthy after 3 failures: connection refused`) and
    /// counted.
    pub fn set_state(&self, state: State, reason: impl Display) -> bool {
        let before = self.load.state.swap(state as u8, Relaxed);
        if before == state as u8 {
            return false;
        }
        let (name, pool, word) = (&self.name, &self.pool, state.word());
        if state == State::Unhealthy {
            warn!("endpoint {name} of pool {pool} {word} {reason}");
        } else {
            info!("endpoint {name} of pool {pool} {word} {reason}");
        }
        self.readiness_changed();
        self.metrics.went(pool, name, word);
        true
    }

    /// Whether it has asked to be spared retries for longer than until `now`.
    pub fn is_pausing(&self, now: Instant) -> bool {
        Stamp::of(now).number() < self.pauses_until.load(Relaxed)
    }

    /// How long the next response is expected to take to its first byte.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Those who wait for a turn look again.
    fn changed(&self) {
        if let Some(turns) = &self.turns {
            turns.changed();
        }
    }

    /// Puts the circuit into another phase, which is logged and counted, and sets the gate.
    pub fn set_circuit(&self, circuit: Circuit, gate: Gate, now: Instant) {
        let before = std::mem::replace(&mut *self.circuit.lock(), circuit);
        self.set_gate(gate);
        if before == circuit {
            return;
        }
        let (name, pool) = (&self.name, &self.pool);
        match circuit.phase {
            Phase::Closed => info!("endpoint {name} of pool {pool} is back after its ejection"),
            Phase::Open { reason, until } => {
                let time = until.saturating_duration_since(now);
                warn!("endpoint {name} of pool {pool} ejected for {time:.1?}: {reason}");
            }
            Phase::HalfOpen { reason } => {
                info!("endpoint {name} of pool {pool} is tried again, was ejected for {reason}");
            }
        }
        self.metrics.circuit_went(pool, name, circuit.phase.word());
    }

    /// What the circuit means in its pool. A trial that is under way goes on.
    pub fn set_gate(&self, gate: Gate) {
        let goes_on = |before| gate == Gate::Trial && before == Gate::Trying as u8;
        let next = |before| (!goes_on(before)).then_some(gate as u8);
        // In one step, or a trial that begins meanwhile would be followed by a second one.
        let _ = self.load.gate.fetch_update(Relaxed, Relaxed, next);
        self.readiness_changed();
    }

    fn readiness_changed(&self) {
        let is_ready = self.state().is_ready() && self.circuit().is_closed();
        self.metrics.ready.set(i64::from(is_ready));
        self.alert.notify_one();
        self.changed();
    }

    /// Waits for the next answer to anybody's request, or for a failure that is as good as one.
    pub async fn answers(&self) {
        self.answered.notified().await;
    }

    /// What `prequal` looks at; `None` before the first call of `watch_signals`.
    #[inline]
    pub fn signals(&self) -> Option<&Signals> {
        self.signals.get().map(|signals| &**signals)
    }

    pub fn watch_signals(&self) {
        self.signals.get_or_init(Box::default);
    }

    fn tried(&self, trial: Trial) {
        self.record.set_trial(trial);
        self.alert.notify_one();
    }

    /// How many attempts it can work on, by its response times.
    #[inline]
    pub fn adaptive_limit(&self) -> u32 {
        self.load.limit.load(Relaxed)
    }

    /// Attempts it gets at once now: `max_in_flight`, of which it has its part while it begins to
    /// serve, and within `bounds` what its response times say.
    #[inline]
    pub fn limit(&self, max_in_flight: u32, bounds: Option<model::AdaptiveLimit>) -> u32 {
        let percent = u32::from(self.warm_percent());
        let fixed = match percent < u32::from(WARM) {
            // Divided first: one without a limit must not overflow.
            true => (max_in_flight / 100 * percent + max_in_flight % 100 * percent / 100).max(1),
            false => max_in_flight,
        };
        let adaptive = bounds.map_or(u32::MAX, |bounds| {
            self.adaptive_limit().clamp(bounds.min, bounds.max)
        });
        fixed.min(adaptive)
    }

    /// Counts a failed attempt. `outcome` comes from an enum's words, so it is one of few.
    pub(super) fn failed(&self, outcome: &'static str) {
        self.metrics.failed(&self.pool, &self.name, outcome);
        let mut outcomes = self.outcomes.lock();
        if !outcomes.contains(&outcome) {
            outcomes.push(outcome);
        }
    }

    /// Counts a health probe.
    pub fn probed(&self, pass: bool) {
        self.metrics.probed(&self.pool, &self.name, pass);
        if pass && self.gate() == Gate::Shut {
            self.tried(Trial::Passed);
        }
    }

    /// Counts a load probe; `None`: it was not answered.
    pub fn load_probed(&self, report: Option<&LoadReport>) {
        let result = match report {
            None => "fail",
            Some(report) if *report == LoadReport::default() => "no_report",
            Some(_) => "report",
        };
        self.metrics.load_probed(&self.pool, &self.name, result);
    }

    /// The outcomes that were counted.
    pub fn outcomes(&self) -> Vec<&'static str> {
        self.outcomes.lock().clone()
    }

    /// What is taken of one dimension: the same account for every membership.
    pub fn account(&self, dimension: &str) -> Arc<Account> {
        let mut accounts = self.accounts.lock();
        if let Some(account) = accounts.get(dimension) {
            return account.clone();
        }
        let shown = self.metrics.reserved(&self.pool, &self.name, dimension);
        let account = Arc::new(Account::new(shown));
        accounts.insert(dimension.to_owned(), account.clone());
        account
    }

    /// The dimensions of which something was ever to be taken.
    pub fn dimensions(&self) -> Vec<String> {
        self.accounts.lock().keys().cloned().collect()
    }

    pub fn lease(self: &Arc<Self>) -> Lease {
        let before = self.load.in_flight.fetch_add(1, Relaxed);
        self.pool_load.0.fetch_add(1, Relaxed);
        self.metrics.picks.inc();
        Lease {
            endpoint: self.clone(),
            in_flight: before + 1,
            turn: None,
            is_trial: self.begin_trial(),
        }
    }

    fn begin_trial(&self) -> bool {
        self.gate() == Gate::Trial && self.move_gate(Gate::Trial, Gate::Trying)
    }

    fn move_gate(&self, from: Gate, to: Gate) -> bool {
        let gate = &self.load.gate;
        gate.compare_exchange(from as u8, to as u8, Relaxed, Relaxed)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    const NAME: &str = "10.0.0.3:80";

    fn endpoint(metrics: &Metrics, state: State) -> Arc<Endpoint> {
        let address = NAME.parse().unwrap();
        Arc::new(Endpoint::new(
            "api",
            Arc::default(),
            address,
            state,
            metrics.endpoint("api", NAME),
            Arc::default(),
        ))
    }

    #[test]
    fn a_dropped_lease_gives_its_count_back() {
        let metrics = Metrics::new();
        let endpoint = endpoint(&metrics, State::Healthy);
        let leases = [endpoint.lease(), endpoint.lease()];
        assert_eq!((endpoint.in_flight(), endpoint.picks()), (2, 2));
        drop(leases);
        assert_eq!((endpoint.in_flight(), endpoint.picks()), (0, 2));
        let shown = |count| {
            endpoint.show_load();
            let line =
                format!(r#"weir_endpoint_in_flight{{endpoint="{NAME}",pool="api"}} {count}"#);
            metrics.text().contains(&line)
        };
        assert!(shown(0));
        let _lease = endpoint.lease();
        assert!(shown(1));
    }

    #[test]
    fn a_state_is_counted_when_it_changes_and_not_when_it_is_repeated() {
        let metrics = Metrics::new();
        let endpoint = endpoint(&metrics, State::Pending);
        let ready = |is| format!(r#"weir_endpoint_ready{{endpoint="{NAME}",pool="api"}} {is}"#);
        assert!(metrics.text().contains(&ready(0)));
        assert!(endpoint.set_state(State::Healthy, "after its first pass"));
        assert!(!endpoint.set_state(State::Healthy, "again"));
        assert!(metrics.text().contains(&ready(1)));
        assert!(endpoint.set_state(State::Unhealthy, "after 3 failures"));
        assert!(metrics.text().contains(&ready(0)));
        let to = r#"weir_endpoint_transitions_total{endpoint="10.0.0.3:80",pool="api",to="#;
        for word in ["healthy", "unhealthy"] {
            assert!(metrics.text().contains(&format!("{to}\"{word}\"}} 1")));
        }
    }

    #[test]
    fn every_state_survives_the_way_through_its_number() {
        let metrics = Metrics::new();
        let endpoint = endpoint(&metrics, State::Healthy);
        for state in State::ALL {
            endpoint.set_state(state, "for the test");
            assert_eq!(endpoint.state(), state);
        }
    }
}
