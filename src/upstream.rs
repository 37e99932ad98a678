//! Pools: named groups of endpoints, and the walk of a request over them.
//!
//! A [`Pool`] is compiled from its configuration for one snapshot; its endpoints are borrowed from
//! the process-lived [`Registry`], so they keep what is known of them. Building
//! one changes nothing that a running pool can see. The proxy asks for [`Candidates`] and connects
//! with the [`PeerTemplate`]; `discovery` replaces the membership; `health` decides readiness.
//!
//! ```text
//! config ─ targets ─ discovery ─ member specs ─ members ─ candidates ─ pick (lease, member) ─ peer
//!              names ┘   registry: endpoints ┘       └ selector     └ turns: queue
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora_load_balancing::Backend;
use tokio::sync::{Notify, watch};

use crate::config::model;
use crate::telemetry::metrics::Metrics;

pub mod adaptive_limit;
pub mod circuit;
pub mod codel;
pub mod discovery;
pub mod drain_rate;
pub mod endpoint;
pub mod fair;
pub mod hedging;
pub mod kept;
pub mod latency;
pub mod load_probes;
pub mod load_report;
pub mod member;
pub mod members;
pub mod name;
pub mod observation;
pub mod peer;
pub mod penalty;
pub mod pick_context;
pub mod queue;
pub mod record;
pub mod registry;
pub mod retry_budget;
pub mod room;
pub mod selector;
pub mod signals;
pub mod stamp;
pub mod sticky;
pub mod targets;
pub mod turns;
pub mod warmth;

#[cfg(test)]
pub(crate) mod tests;

use discovery::Pace;
use endpoint::{Endpoint, State};
use hedging::Hedging;
use load_probes::LoadProbes;
use member::{Member, MemberSpec};
use members::{Candidates, Members, Shared};
use peer::{PeerError, PeerTemplate};
use pick_context::PickContext;
use registry::Registry;
use retry_budget::RetryBudget;
use room::Room;
use sticky::Sticky;
use targets::Targets;
use turns::Limits;

pub struct Pool {
    config: model::Pool,
    registry: Arc<Registry>,
    targets: Targets,
    peers: PeerTemplate,
    shared: Shared,
    members: ArcSwap<Members>,
    /// `None`: no request ever waits for its turn.
    limits: Option<Arc<Limits>>,
    retry_budget: Arc<RetryBudget>,
    hedging: Arc<Hedging>,
    /// Held while the membership is replaced, so that two updates do not mix.
    updating: Mutex<()>,
    /// When names are looked up next; of `discovery`.
    pace: Mutex<Pace>,
    alert: Arc<Notify>,
    /// Counts changes of membership.
    changes: watch::Sender<u64>,
}

impl Pool {
    /// Compiles a pool. Names start with their last good answers, and without one with no address
    /// until discovery has resolved them. Fails on a file of certificates or
    /// secrets that cannot be used.
    pub fn build(config: &model::Pool, registry: &Arc<Registry>) -> Result<Arc<Pool>, PeerError> {
        let peers = PeerTemplate::build(config)?;
        let targets = Targets::new(&config.endpoints, registry);
        let sticky = config
            .sticky
            .as_ref()
            .map(|sticky| Sticky::build(&config.name, sticky).map(Arc::new))
            .transpose()?;
        let shared = Shared {
            picking: registry.picking(&config.name),
            sticky,
            load_probes: load_probes(&config.balance),
        };
        let members = members(config, registry, &shared, targets.specs());
        let limits = config.is_limited().then(|| {
            let metrics = registry.metrics().queue(&config.name);
            Limits::new(config, registry.turns(&config.name), metrics)
        });
        Ok(Arc::new(Pool {
            config: config.clone(),
            registry: registry.clone(),
            targets,
            peers,
            shared,
            members: ArcSwap::from_pointee(members),
            limits,
            retry_budget: registry.retry_budget(&config.name),
            hedging: registry.hedging(&config.name),
            updating: Mutex::new(()),
            pace: Mutex::new(Pace::START),
            alert: registry.alert(&config.name),
            changes: watch::Sender::new(0),
        }))
    }

    /// A request has come, which pays for a part of a retry and for load probes.
    pub fn request_came(&self, now: Instant) {
        self.retry_budget.deposit(now);
        if let Some(probes) = &self.shared.load_probes {
            probes.pay();
        }
    }

    /// Asks for a retry that an endpoint may have to work for; false: the pool cannot afford it.
    pub fn withdraw_retry(&self, now: Instant) -> bool {
        let granted = self.retry_budget.withdraw(&self.config.retry_budget, now);
        if !granted {
            self.registry.metrics().retry_refused();
        }
        granted
    }

    /// When its requests ask a second endpoint.
    pub fn hedging(&self) -> &Hedging {
        &self.hedging
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn config(&self) -> &model::Pool {
        &self.config
    }

    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// How to connect to the pool's endpoints.
    pub fn peers(&self) -> &PeerTemplate {
        &self.peers
    }

    pub fn sticky(&self) -> Option<&Sticky> {
        self.shared.sticky.as_deref()
    }

    /// How its endpoints are asked for their load; `None`: they are not.
    pub fn load_probes(&self) -> Option<&Arc<LoadProbes>> {
        self.shared.load_probes.as_ref()
    }

    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// What bounds its requests; `None`: nothing does.
    pub fn limits(&self) -> Option<&Arc<Limits>> {
        self.limits.as_ref()
    }

    /// Whether some endpoint may be picked now.
    pub fn is_ready(&self) -> bool {
        self.members.load().is_ready()
    }

    /// The endpoints one request may try, best first.
    pub fn candidates(&self, context: &PickContext<'_>) -> Candidates {
        self.members().candidates(context)
    }

    /// Replaces the membership by a discovery result; true when that is a change. Requests that
    /// run keep the membership they began with.
    pub fn set_members(&self, discovered: &BTreeSet<Backend>) -> bool {
        let specs = MemberSpec::of(discovered);
        let _updating = self.updating.lock();
        if self.members.load().specs() == specs {
            return false;
        }
        let members = members(&self.config, &self.registry, &self.shared, specs);
        self.members.store(Arc::new(members));
        self.changes.send_modify(|changes| *changes += 1);
        true
    }

    pub fn metrics(&self) -> &Metrics {
        self.registry.metrics()
    }

    /// Ends when there is something for `health::passive` to look at.
    pub async fn alerted(&self) {
        self.alert.notified().await;
    }

    /// Sees each later change of membership.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// The membership of `specs`: live endpoints as they are, and new ones in their initial state.
fn members(
    config: &model::Pool,
    registry: &Registry,
    shared: &Shared,
    specs: Vec<MemberSpec>,
) -> Members {
    let pool = &config.name;
    let live = |spec: &MemberSpec| Some((spec.weight, registry.find(pool, spec.address)?));
    let live: Vec<(u32, Arc<Endpoint>)> = specs.iter().filter_map(live).collect();
    let initial = initial_state(config.health.as_ref(), &live);
    let sticky = shared.sticky.as_ref();
    let member = |spec: &MemberSpec| {
        let endpoint = registry.endpoint(pool, spec.address, || initial);
        let dimensions = config.resources.dimensions.iter();
        let accounts = dimensions.map(|name| endpoint.account(name));
        Arc::new(Member {
            room: Room::new(&spec.capacity, accounts),
            tokens: sticky.map_or_else(Box::default, |sticky| sticky.tokens(endpoint.name())),
            endpoint,
            weight: spec.weight,
            backup: spec.backup,
            max_in_flight: spec.max_in_flight,
            adaptive_limit: config.adaptive_limit,
            host: spec.host.clone(),
        })
    };
    let all = specs.iter().map(member).collect();
    Members::new(&config.balance, specs, all, shared.clone())
}

fn load_probes(balance: &model::Balance) -> Option<Arc<LoadProbes>> {
    match balance {
        model::Balance::Prequal(Some(probe)) => Some(Arc::new(LoadProbes::new(probe))),
        _ => None,
    }
}

/// What an endpoint starts as when it joins the `live` ones (with their weights).
///
/// Beside one that probes have found healthy it waits for its own first pass. Where no such one is
/// left to serve (at process start, or when all addresses were replaced at once) waiting would turn
/// requests away, and `initial` decides.
fn initial_state(health: Option<&model::Health>, live: &[(u32, Arc<Endpoint>)]) -> State {
    let Some(health) = health else {
        return State::Healthy;
    };
    let serves = |(weight, endpoint): &(u32, Arc<Endpoint>)| {
        *weight > 0 && endpoint.state() == State::Healthy
    };
    match health.initial {
        model::Initial::Healthy if !live.iter().any(serves) => State::Unproven,
        model::Initial::Healthy | model::Initial::Pending => State::Pending,
    }
}
