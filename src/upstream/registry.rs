//! What outlives a configuration: every endpoint by pool and address, the turns of every pool, and
//! every name's last answer.
//!
//! Pools borrow from it when they are built, so a reload, a new DNS answer or a re-added address
//! finds what is known already. Something nobody holds any more (no pool, no running request) is
//! forgotten by [`Registry::sweep`], with its metric series; until then it is the same object.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::circuit::Phase;
use super::endpoint::{Endpoint, PoolLoad, State};
use super::hedging::Hedging;
use super::name::Name;
use super::retry_budget::RetryBudget;
use super::turns::Turns;
use crate::telemetry::metrics::Metrics;

pub struct Registry {
    metrics: Arc<Metrics>,
    pools: Mutex<HashMap<String, Known>>,
    names: Mutex<HashMap<String, Arc<Name>>>,
    turns: Mutex<HashMap<String, Arc<Turns>>>,
    budgets: Mutex<HashMap<String, Arc<RetryBudget>>>,
    hedgings: Mutex<HashMap<String, Arc<Hedging>>>,
    alerts: Mutex<HashMap<String, Arc<Notify>>>,
    pickings: Mutex<HashMap<String, Picking>>,
}

/// Held while an endpoint is picked and leased, so that no two picks count on the same room.
pub(super) type Picking = Arc<Mutex<()>>;

/// What is known of one pool.
#[derive(Default)]
struct Known {
    load: Arc<PoolLoad>,
    endpoints: HashMap<SocketAddr, Arc<Endpoint>>,
}

impl Registry {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Registry {
            metrics,
            pools: Mutex::default(),
            names: Mutex::default(),
            turns: Mutex::default(),
            budgets: Mutex::default(),
            hedgings: Mutex::default(),
            alerts: Mutex::default(),
            pickings: Mutex::default(),
        }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What is left of the pool's retries: a reload grants none anew.
    pub fn retry_budget(&self, pool: &str) -> Arc<RetryBudget> {
        let mut budgets = self.budgets.lock();
        let budget = budgets.entry(pool.to_owned());
        let new = || Arc::new(RetryBudget::new(Instant::now()));
        budget.or_insert_with(new).clone()
    }

    /// What is known of the pool's waits, and left of its second requests.
    pub fn hedging(&self, pool: &str) -> Arc<Hedging> {
        let mut hedgings = self.hedgings.lock();
        let hedging = hedgings.entry(pool.to_owned());
        let new = || Arc::new(Hedging::new(Instant::now()));
        hedging.or_insert_with(new).clone()
    }

    /// The endpoint of that pool and address: the live one, or a new one in state `initial`.
    pub fn endpoint(
        &self,
        pool: &str,
        address: SocketAddr,
        initial: impl FnOnce() -> State,
    ) -> Arc<Endpoint> {
        let alert = self.alert(pool);
        let mut pools = self.pools.lock();
        if !pools.contains_key(pool) {
            pools.insert(pool.to_owned(), Known::default());
        }
        let known = pools.get_mut(pool).expect("the pool was just inserted");
        let create = || {
            let metrics = self.metrics.endpoint(pool, &address.to_string());
            let load = known.load.clone();
            let endpoint = Endpoint::new(pool, load, address, initial(), metrics, alert);
            Arc::new(endpoint.in_turns(self.turns(pool)))
        };
        known
            .endpoints
            .entry(address)
            .or_insert_with(create)
            .clone()
    }

    /// The live endpoint of that pool and address.
    pub fn find(&self, pool: &str, address: SocketAddr) -> Option<Arc<Endpoint>> {
        let pools = self.pools.lock();
        pools.get(pool)?.endpoints.get(&address).cloned()
    }

    /// The name's entry, shared by all pools that use it.
    pub fn name(&self, host: &str) -> Arc<Name> {
        let mut names = self.names.lock();
        if let Some(name) = names.get(host) {
            return name.clone();
        }
        let name = Arc::new(Name::new(host));
        names.insert(host.to_owned(), name.clone());
        name
    }

    /// The turns of that pool, shared by all its generations.
    pub fn turns(&self, pool: &str) -> Arc<Turns> {
        let mut turns = self.turns.lock();
        if let Some(turns) = turns.get(pool) {
            return turns.clone();
        }
        let new = Arc::new(Turns::default());
        turns.insert(pool.to_owned(), new.clone());
        new
    }

    /// Lets those who wait look again: time alone may have made an endpoint ready.
    pub fn look_again(&self) {
        let turns: Vec<_> = self.turns.lock().values().cloned().collect();
        turns.iter().for_each(|turns| turns.changed());
    }

    /// What the pool's endpoints tell that there is something to look at.
    pub fn alert(&self, pool: &str) -> Arc<Notify> {
        let mut alerts = self.alerts.lock();
        if let Some(alert) = alerts.get(pool) {
            return alert.clone();
        }
        let alert = Arc::new(Notify::new());
        alerts.insert(pool.to_owned(), alert.clone());
        alert
    }

    /// The lock of the pool's picks, whatever its membership.
    pub(super) fn picking(&self, pool: &str) -> Picking {
        let mut pickings = self.pickings.lock();
        pickings.entry(pool.to_owned()).or_default().clone()
    }

    /// Brings the gauges of what endpoints have to do up to date, for who looks at them now.
    pub fn show_load(&self) {
        for known in self.pools.lock().values() {
            known.endpoints.values().for_each(|it| it.show_load());
        }
    }

    /// Forgets the endpoints and names nobody holds any more, and their metric series. Call it
    /// after a reload and after a change of membership; what requests still hold goes next time.
    pub fn sweep(&self) {
        self.pools.lock().retain(|pool, known| {
            known.endpoints.retain(|_, endpoint| self.keep(endpoint));
            if known.endpoints.is_empty() {
                self.metrics.forget_pool(pool);
            }
            !known.endpoints.is_empty()
        });
        let mut alerts = self.alerts.lock();
        alerts.retain(|_, alert| Arc::strong_count(alert) > 1);
        let mut names = self.names.lock();
        names.retain(|_, name| Arc::strong_count(name) > 1);
        let mut budgets = self.budgets.lock();
        budgets.retain(|_, budget| Arc::strong_count(budget) > 1);
        drop(budgets);
        self.turns.lock().retain(|pool, turns| {
            let held = Arc::strong_count(turns) > 1;
            if !held {
                self.metrics.forget_queue(pool);
            }
            held
        });
        let mut pickings = self.pickings.lock();
        pickings.retain(|_, picking| Arc::strong_count(picking) > 1);
    }

    /// Nobody can take a new hold while the map is locked, so a count of one is final.
    fn keep(&self, endpoint: &Arc<Endpoint>) -> bool {
        let held = Arc::strong_count(endpoint) > 1;
        if !held {
            let words = State::ALL.map(State::word);
            let words = [&words[..], &Phase::WORDS].concat();
            let (pool, name) = (endpoint.pool(), endpoint.name());
            self.metrics
                .forget_endpoint(pool, name, &words, &endpoint.outcomes());
            for dimension in endpoint.dimensions() {
                self.metrics.forget_reserved(pool, name, &dimension);
            }
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        "10.0.0.1:80".parse().unwrap()
    }

    #[test]
    fn the_same_pool_and_address_is_the_same_endpoint() {
        let registry = Registry::new(Metrics::new());
        let first = registry.endpoint("api", address(), || State::Pending);
        let again = registry.endpoint("api", address(), || State::Healthy);
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(again.state(), State::Pending);
        let other = registry.endpoint("web", address(), || State::Healthy);
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn an_endpoint_with_a_running_request_outlives_its_removal() {
        let registry = Registry::new(Metrics::new());
        let lease = registry
            .endpoint("api", address(), || State::Healthy)
            .lease();
        registry.sweep();
        let again = registry.endpoint("api", address(), || State::Healthy);
        assert!(Arc::ptr_eq(&again, lease.endpoint()));
        assert_eq!(again.in_flight(), 1);
    }

    #[test]
    fn an_endpoint_nobody_holds_is_forgotten_with_its_series() {
        let metrics = Metrics::new();
        let registry = Registry::new(metrics.clone());
        let endpoint = registry.endpoint("api", address(), || State::Healthy);
        endpoint.failed("reset");
        endpoint.probed(false);
        endpoint.set_state(State::Unhealthy, "for the test");
        drop(endpoint);
        registry.sweep();
        assert!(registry.find("api", address()).is_none());
        assert!(!metrics.text().contains("10.0.0.1"));
    }

    #[test]
    fn a_name_keeps_its_answer_as_long_as_a_pool_holds_it() {
        let registry = Registry::new(Metrics::new());
        let held = registry.name("db.internal");
        registry.sweep();
        assert!(Arc::ptr_eq(&held, &registry.name("db.internal")));
    }
}
