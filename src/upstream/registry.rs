//! What outlives a configuration: every endpoint by pool and address, and every name's last answer.
//!
//! Pools borrow from it when they are built, so a reload, a new DNS answer or a re-added address
//! finds what is known already. Something nobody holds any more (no pool, no running request) is
//! forgotten by [`Registry::sweep`], with its metric series; until then it is the same object.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::endpoint::{Endpoint, State};
use super::name::Name;
use super::room::Counter;
use crate::telemetry::metrics::Metrics;

pub struct Registry {
    metrics: Arc<Metrics>,
    endpoints: Mutex<HashMap<String, Endpoints>>,
    names: Mutex<HashMap<String, Arc<Name>>>,
    counters: Mutex<HashMap<String, Arc<Counter>>>,
}

/// The endpoints of one pool.
type Endpoints = HashMap<SocketAddr, Arc<Endpoint>>;

impl Registry {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Registry {
            metrics,
            endpoints: Mutex::default(),
            names: Mutex::default(),
            counters: Mutex::default(),
        }
    }

    /// The endpoint of that pool and address: the live one, or a new one in state `initial`.
    pub fn endpoint(
        &self,
        pool: &str,
        address: SocketAddr,
        initial: impl FnOnce() -> State,
    ) -> Arc<Endpoint> {
        let mut pools = self.endpoints.lock();
        if !pools.contains_key(pool) {
            pools.insert(pool.to_owned(), Endpoints::new());
        }
        let endpoints = pools.get_mut(pool).expect("the pool was just inserted");
        let create = || {
            let metrics = self.metrics.endpoint(pool, &address.to_string());
            Arc::new(Endpoint::new(pool, address, initial(), metrics))
        };
        endpoints.entry(address).or_insert_with(create).clone()
    }

    /// The live endpoint of that pool and address.
    pub fn find(&self, pool: &str, address: SocketAddr) -> Option<Arc<Endpoint>> {
        self.endpoints.lock().get(pool)?.get(&address).cloned()
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

    /// Where the pool's picks are made, whatever its membership.
    pub fn counter(&self, pool: &str) -> Arc<Counter> {
        let mut counters = self.counters.lock();
        counters.entry(pool.to_owned()).or_default().clone()
    }

    /// Forgets the endpoints and names nobody holds any more, and their metric series. Call it
    /// after a reload and after a change of membership; what requests still hold goes next time.
    pub fn sweep(&self) {
        self.endpoints.lock().retain(|_, endpoints| {
            endpoints.retain(|_, endpoint| self.keep(endpoint));
            !endpoints.is_empty()
        });
        let mut names = self.names.lock();
        names.retain(|_, name| Arc::strong_count(name) > 1);
        let mut counters = self.counters.lock();
        counters.retain(|_, counter| Arc::strong_count(counter) > 1);
    }

    /// Nobody can take a new hold while the map is locked, so a count of one is final.
    fn keep(&self, endpoint: &Arc<Endpoint>) -> bool {
        let held = Arc::strong_count(endpoint) > 1;
        if !held {
            let states = State::ALL.map(State::word);
            let (pool, name) = (endpoint.pool(), endpoint.name());
            self.metrics
                .forget_endpoint(pool, name, &states, &endpoint.outcomes());
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
