//! Turns: how a pool with limits gives its places to requests, in order and without a wait too many.
//!
//! [`Turns`] lives for the process, one for each pool, so that limits hold over reloads; [`Limits`]
//! are what one configuration says. A request [`enter`](Limits::enter)s with its candidates: it gets
//! a pick at once, is refused, or becomes a [`Waiter`]. Whoever frees a place picks for the next
//! waiter and hands the pick over; so nobody overtakes, and nobody is woken in vain. A waiter that
//! is dropped has left, and a pick that was on its way to it goes to the next.
//!
//! Invariant: no waiter sleeps while there is a place for it. A place becomes free outside the lock,
//! so who frees one first counts it as free and then looks whether somebody waits, and who waits
//! first says so and then looks for a place: one of the two sees the other. A lock that is taken is
//! not waited for: its holder looks again when it has let go.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst, fence};
use std::time::{Duration, Instant};

use http::HeaderName;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::oneshot;

use super::drain_rate::DrainRate;
use super::fair::Tenant;
use super::members::{Candidates, Pick};
use super::queue::{Place, Priority, Queue, Ticket, Waiting};
use super::selector::Outlook;
use crate::config::amounts::Amounts;
use crate::config::model;
use crate::telemetry::metrics::QueueMetrics;

#[cfg(test)]
mod tests;

/// The places of one pool, and who waits for them.
#[derive(Default)]
pub struct Turns {
    state: Mutex<State>,
    /// Length of the queue, to be read without the lock.
    waiting: AtomicUsize,
    /// Something has changed since the queue was last looked at.
    unsettled: AtomicBool,
    /// Limits ever made.
    generations: AtomicU64,
    /// Makes numbers of tenants' names; nobody can choose names that collide.
    tenants: RandomState,
}

#[derive(Default)]
struct State {
    queue: Queue<Entry>,
    /// Turns held now.
    in_flight: u32,
    drain_rate: DrainRate,
    /// The newest generation of limits that a request came with.
    newest: u64,
    /// What those limits say of drops.
    law: Option<model::Codel>,
}

/// What one configuration says of a pool's places.
pub struct Limits {
    turns: Arc<Turns>,
    /// Later configurations have higher ones.
    generation: u64,
    max_in_flight: u32,
    adaptive_limit: Option<model::AdaptiveLimit>,
    queue: model::Queue,
    /// Tenants share the pool's resources; else its places.
    shares_resources: bool,
    metrics: QueueMetrics,
}

/// A request in the queue.
struct Entry {
    limits: Arc<Limits>,
    candidates: Candidates,
    /// It may go to every endpoint: has tried none.
    is_fresh: bool,
    tenant: Option<Tenant>,
    reply: oneshot::Sender<Reply>,
    _counted: InQueue,
}

/// What a request asks with.
pub struct Entrant {
    pub candidates: Candidates,
    /// It has tried no endpoint yet.
    pub is_fresh: bool,
    pub priority: Priority,
    /// See [`Limits::tenant`].
    pub tenant: Option<Tenant>,
}

/// An endpoint and a turn, and the candidates as they are now.
pub struct Granted {
    pub pick: Pick,
    pub candidates: Candidates,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No endpoint is ready that it has not tried.
    NoneReady,
    /// What it takes fits into none, not even an idle one.
    NoRoom,
    /// The queue is at its length; see [`DrainRate::retry_after`].
    Full { retry_after: Option<u32> },
    /// All wait too long, and it was dropped so that the others need not; likewise.
    Dropped { retry_after: Option<u32> },
}

impl Refusal {
    /// `outlook`: one that waiting does not better.
    fn of(outlook: Outlook) -> Refusal {
        match outlook {
            Outlook::NoRoom => Refusal::NoRoom,
            Outlook::Open | Outlook::AtLimit | Outlook::NoneReady => Refusal::NoneReady,
        }
    }
}

/// Boxed, because it goes through a channel and what waits has no room for it.
pub type Reply = Result<Box<Granted>, Refusal>;

/// What a request meets.
pub enum Entered {
    AtOnce(Reply),
    Waits(Waiter),
}

/// A request's hold on the queue; dropping it is leaving.
pub struct Waiter {
    limits: Arc<Limits>,
    ticket: Ticket,
    since: Instant,
    reply: oneshot::Receiver<Reply>,
}

/// A held place of the pool; dropping it gives it to the next.
pub struct Turn {
    limits: Arc<Limits>,
    /// Boxed, because most pools know no tenants.
    part: Option<Box<Part>>,
}

/// What a request has of its tenant's share.
struct Part {
    tenant: Tenant,
    demand: Amounts,
}

// === impl Turns ===

impl Turns {
    /// An endpoint may have a place that it had not before. Call it without a lock that a pick takes.
    pub fn changed(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.unsettled.store(true, SeqCst);
            self.settle();
        }
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state.lock());
        self.settle();
        result
    }

    /// Serves the queue after a change, or leaves that to whoever holds the lock: it does so after
    /// it has let go.
    fn settle(&self) {
        while self.unsettled.load(SeqCst) {
            let Some(mut state) = self.state.try_lock() else {
                return;
            };
            self.unsettled.store(false, SeqCst);
            self.serve(&mut state);
        }
    }

    /// Hands out what is free, in the queue's order.
    fn serve(&self, state: &mut State) {
        while let Some(mut waiting) = state.next() {
            let pick = waiting.what.candidates.lease_next();
            let outlook = waiting.what.candidates.outlook();
            if pick.is_none() && outlook <= Outlook::AtLimit {
                // It was taken, or its endpoint lost, in this instant.
                state.queue.put_back(waiting);
                break;
            }
            let entry = waiting.what;
            let reply = match pick {
                Some(pick) => Ok(entry
                    .limits
                    .grant(state, pick, entry.tenant, entry.candidates)),
                None => Err(Refusal::of(outlook)),
            };
            // The receiver is alive: a waiter leaves the queue before it goes.
            let _ = entry.reply.send(reply);
        }
        self.waiting.store(state.queue.len(), SeqCst);
    }
}

// === impl State ===

impl State {
    /// Takes the first waiter out of the queue that can be answered now; tells those that are
    /// dropped.
    fn next(&mut self) -> Option<Waiting<Entry>> {
        let (in_flight, newest) = (self.in_flight, self.newest);
        let now = Instant::now();
        let place = |entry: &Entry| entry.place(in_flight, newest);
        let leaving = self.queue.next(self.law, now, place);
        for dropped in leaving.dropped {
            let retry_after = self.drain_rate.retry_after(self.queue.len(), now);
            // As in `serve`: the receiver is alive.
            let _ = dropped
                .what
                .reply
                .send(Err(Refusal::Dropped { retry_after }));
        }
        leaving.next
    }
}

// === impl Entry ===

impl Entry {
    fn place(&self, in_flight: u32, newest: u64) -> Place {
        let is_newest = self.limits.generation == newest;
        let outlook = match in_flight < self.limits.max_in_flight {
            true => self.candidates.outlook(),
            false => Outlook::AtLimit,
        };
        match outlook {
            // Where none is ready or will have room, waiting is over too.
            Outlook::Open | Outlook::NoRoom | Outlook::NoneReady => Place::Free,
            // What has no place for it may have one for others, if those may go elsewhere.
            Outlook::AtLimit if !(is_newest && self.may_go_anywhere()) => Place::NotForIt,
            Outlook::AtLimit => Place::None,
        }
    }

    fn may_go_anywhere(&self) -> bool {
        self.is_fresh && !self.candidates.is_bound()
    }
}

// === impl Limits ===

impl Limits {
    pub fn new(config: &model::Pool, turns: Arc<Turns>, metrics: QueueMetrics) -> Arc<Limits> {
        Arc::new(Limits {
            generation: turns.generations.fetch_add(1, SeqCst) + 1,
            turns,
            max_in_flight: config.max_in_flight.unwrap_or(u32::MAX),
            adaptive_limit: config.adaptive_limit,
            queue: config.queue.clone(),
            shares_resources: !config.resources.dimensions.is_empty(),
            metrics,
        })
    }

    /// Requests that wait for a turn in this pool now.
    pub fn waiting(&self) -> usize {
        self.turns.waiting.load(SeqCst)
    }

    /// The request header that names the tenant; `None`: all are one.
    pub fn tenant_header(&self) -> Option<&HeaderName> {
        self.queue.tenant.as_ref()
    }

    /// Whose request it is that has this value of the header.
    pub fn tenant(&self, name: &[u8]) -> Tenant {
        self.turns.tenants.hash_one(name)
    }

    /// Gives a request its turn if nobody waits and there is a place, else a position in the queue.
    pub fn enter(self: &Arc<Self>, entrant: Entrant) -> Entered {
        self.turns.with(|state| {
            if self.generation >= state.newest {
                state.newest = self.generation;
                state.law = self.queue.codel;
                state.queue.share_out(self.shared(&entrant.candidates));
            }
            self.enter_locked(state, entrant)
        })
    }

    fn enter_locked(self: &Arc<Self>, state: &mut State, mut entrant: Entrant) -> Entered {
        let outlook = entrant.candidates.outlook();
        if outlook > Outlook::AtLimit {
            return Entered::AtOnce(Err(Refusal::of(outlook)));
        }
        if state.queue.is_empty()
            && state.in_flight < self.max_in_flight
            && let Some(pick) = entrant.candidates.lease_next()
        {
            return Entered::AtOnce(Ok(self.grant(
                state,
                pick,
                entrant.tenant,
                entrant.candidates,
            )));
        }
        if entrant.candidates.outlook() == Outlook::NoneReady {
            return Entered::AtOnce(Err(Refusal::NoneReady));
        }
        let waiting = state.queue.len();
        if waiting >= self.queue.length {
            let retry_after = state.drain_rate.retry_after(waiting, Instant::now());
            return Entered::AtOnce(Err(Refusal::Full { retry_after }));
        }
        let waiter = self.join(state, entrant);
        // Said before the look; see the invariant.
        self.turns.waiting.store(waiting + 1, SeqCst);
        fence(SeqCst);
        self.turns.serve(state);
        Entered::Waits(waiter)
    }

    /// What there is to share.
    fn shared(&self, candidates: &Candidates) -> Amounts {
        match self.shares_resources {
            true => candidates.capacity(),
            false => Amounts::one_of_each(1),
        }
    }

    /// What the request takes of it.
    fn demand(&self, candidates: &Candidates) -> Amounts {
        match self.shares_resources {
            true => candidates.demand(),
            false => Amounts::one_of_each(1),
        }
    }

    fn join(self: &Arc<Self>, state: &mut State, entrant: Entrant) -> Waiter {
        let (reply, receiver) = oneshot::channel();
        let since = Instant::now();
        let entry = Entry {
            limits: self.clone(),
            candidates: entrant.candidates,
            is_fresh: entrant.is_fresh,
            tenant: entrant.tenant,
            reply,
            _counted: InQueue::new(&self.metrics.length),
        };
        // Without tenants, all requests are one's.
        let tenant = entrant.tenant.unwrap_or_default();
        Waiter {
            limits: self.clone(),
            ticket: state.queue.enter(entrant.priority, tenant, entry, since),
            since,
            reply: receiver,
        }
    }

    /// A second turn for a request that has one, if there is a place that nobody waits for.
    pub fn spare(
        self: &Arc<Self>,
        candidates: &mut Candidates,
        tenant: Option<Tenant>,
    ) -> Option<Pick> {
        self.turns.with(|state| {
            let has_place = state.queue.is_empty() && state.in_flight < self.max_in_flight;
            let mut pick = has_place.then(|| candidates.lease_next())??;
            self.hold(state, &mut pick, self.part(tenant, candidates));
            Some(pick)
        })
    }

    fn grant(
        self: &Arc<Self>,
        state: &mut State,
        mut pick: Pick,
        tenant: Option<Tenant>,
        candidates: Candidates,
    ) -> Box<Granted> {
        self.hold(state, &mut pick, self.part(tenant, &candidates));
        Box::new(Granted { pick, candidates })
    }

    fn part(&self, tenant: Option<Tenant>, candidates: &Candidates) -> Option<Box<Part>> {
        let demand = self.demand(candidates);
        tenant.map(|tenant| Box::new(Part { tenant, demand }))
    }

    /// Takes a place, which the pick's lease gives back.
    fn hold(self: &Arc<Self>, state: &mut State, pick: &mut Pick, part: Option<Box<Part>>) {
        state.in_flight += 1;
        if let Some(part) = &part {
            state.queue.started(part.tenant, &part.demand);
        }
        let limits = self.clone();
        pick.lease.hold(Turn { limits, part });
    }
}

// === impl Waiter ===

impl Waiter {
    /// Waits for the turn. Not to be asked again after it has answered.
    pub async fn turn(&mut self) -> Reply {
        let reply = (&mut self.reply).await;
        reply.unwrap_or(Err(Refusal::NoneReady))
    }

    /// Goes on waiting in its position, with other candidates: the membership has changed.
    pub fn look_again(&self, candidates: Candidates) {
        let turns = &self.limits.turns;
        turns.with(|state| {
            if let Some(entry) = state.queue.get_mut(self.ticket) {
                entry.candidates = candidates;
            }
            turns.serve(state);
        });
    }

    /// Seconds after which who waits now will have been served; `None`: nobody knows.
    pub fn retry_after(&self) -> Option<u32> {
        let now = Instant::now();
        self.limits
            .turns
            .with(|state| state.drain_rate.retry_after(state.queue.len(), now))
    }

    /// How long it may wait in all.
    pub fn timeout(&self) -> Duration {
        self.limits.queue.timeout
    }

    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Waiter {
    /// A pick that is on its way is dropped after this, and so goes to the next.
    fn drop(&mut self) {
        let left = self.limits.turns.with(|state| {
            let left = state.queue.leave(self.ticket);
            if left.is_some() {
                // What was too little for it may be enough for those behind it.
                self.limits.turns.serve(state);
            }
            left
        });
        drop(left);
        self.limits
            .metrics
            .wait
            .observe(self.waited().as_secs_f64());
    }
}

// === impl Turn ===

impl Turn {
    /// Bounds of its endpoint's adaptive limit; `None`: there is none.
    pub fn adaptive_limit(&self) -> Option<model::AdaptiveLimit> {
        self.limits.adaptive_limit
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let turns = &self.limits.turns;
        turns.with(|state| {
            state.in_flight -= 1;
            if let Some(part) = &self.part {
                state.queue.ended(part.tenant, &part.demand);
            }
            state.drain_rate.completed(Instant::now());
            turns.serve(state);
        });
    }
}

/// Counts a request that waits.
struct InQueue(IntGauge);

impl InQueue {
    fn new(gauge: &IntGauge) -> InQueue {
        gauge.inc();
        InQueue(gauge.clone())
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        self.0.dec();
    }
}
