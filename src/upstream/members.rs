//! A pool's endpoints at one moment, and the walk of one request over them.
//!
//! [`Members`] is immutable but for the selectors' counters; a change of membership is a new value.
//! [`Candidates`] holds one of them for as long as its request runs, so retries see one membership.

use std::sync::Arc;

use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use super::endpoint::Lease;
use super::member::{EndpointTable, Member, MemberSpec, member_of};
use super::pick_context::{PickContext, Wanted};
use super::room::{Counter, Reservation};
use super::selector::{
    BestFirst, Ewma, LeastConn, P2c, Random, Resource, RoundRobin, Selector, Slot,
};
use super::sticky::{Affinity, Sticky, Token, Turn};
use crate::config::amounts::Amounts;
use crate::config::model::Balance;

pub struct Members {
    /// What the table was made from; equal specs are no change.
    specs: Vec<MemberSpec>,
    table: EndpointTable,
    primary: Order,
    /// Consulted only when no primary member is left to try.
    backup: Order,
    /// Makes pick and lease one step, so that concurrent picks see each other's in-flight.
    counter: Arc<Counter>,
    sticky: Option<Arc<Sticky>>,
}

/// The endpoints one request may try, best first, each at most once.
///
/// Primary members come first. When all that are ready have been tried (or none is ready), backups
/// follow, as nginx does it.
pub struct Candidates {
    members: Arc<Members>,
    primary: Walk,
    backup: Walk,
    wanted: Wanted,
    affinity: Affinity,
}

/// An endpoint given to a request.
pub struct Pick {
    pub lease: Lease,
    /// The endpoint's place in the membership: weight, backup, host name.
    pub member: Arc<Member>,
    /// What the attempt takes of the endpoint's room; `None`: its pool counts none.
    pub reservation: Option<Reservation>,
    /// What the client needs to come back to this endpoint; `None`: nothing.
    pub cookie: Option<Token>,
}

/// Why there is no endpoint to pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPick {
    /// None that was not tried yet is ready.
    NoneReady,
    /// What the request takes fits into none that is ready: it may when others have ended.
    NoRoom,
    /// It would not even fit into an idle one.
    TooLarge,
}

// === impl Members ===

impl Members {
    /// `members` are those of `specs`, in the same order.
    pub(super) fn new(
        balance: Balance,
        specs: Vec<MemberSpec>,
        members: Vec<Arc<Member>>,
        counter: Arc<Counter>,
        sticky: Option<Arc<Sticky>>,
    ) -> Self {
        let (backup, primary): (Vec<_>, Vec<_>) =
            members.iter().cloned().partition(|member| member.backup);
        Members {
            specs,
            table: EndpointTable::new(members),
            primary: Order::new(balance, primary),
            backup: Order::new(balance, backup),
            counter,
            sticky,
        }
    }

    /// All members, primaries first.
    pub fn all(&self) -> &[Arc<Member>] {
        self.table.members()
    }

    pub(super) fn specs(&self) -> &[MemberSpec] {
        &self.specs
    }

    /// Whether some member may be picked now.
    pub fn is_ready(&self) -> bool {
        self.all().iter().any(|member| member.is_ready())
    }

    fn affinity(&self, context: &PickContext<'_>) -> Affinity {
        match (&self.sticky, context.headers) {
            (Some(sticky), Some(headers)) => sticky.affinity(headers, self.all()),
            _ => Affinity::default(),
        }
    }

    /// The walk of one request.
    pub fn candidates(self: Arc<Self>, context: &PickContext<'_>) -> Candidates {
        Candidates {
            primary: self.primary.walk(context),
            backup: self.backup.walk(context),
            wanted: context.wanted,
            affinity: self.affinity(context),
            members: self,
        }
    }
}

// === impl Candidates ===

impl Candidates {
    /// Picks the best ready endpoint not yet handed out by this value, and leases it.
    /// A primary without room is waited for; backups are for when none is ready.
    pub fn lease_next(&mut self) -> Result<Pick, NoPick> {
        let _picking = self.members.counter.picking.lock();
        let member = match self.affinity.next(&self.wanted) {
            Turn::Stay(member) => member,
            Turn::Stop(no_pick) => return Err(no_pick),
            Turn::Choose => loop {
                let member = match self.primary.next() {
                    Some(member) => member,
                    None => next_backup(&self.primary, &mut self.backup, &self.wanted.demand)?,
                };
                if !self.affinity.has_had(&member) {
                    break member;
                }
            },
        };
        Ok(Pick {
            lease: member.endpoint.lease(),
            cookie: self.affinity.cookie_for(&member),
            reservation: member.room.reserve(&self.wanted.demand),
            member,
        })
    }
}

/// The best backup, if all primaries are out of the question.
fn next_backup(primary: &Walk, backup: &mut Walk, demand: &Amounts) -> Result<Arc<Member>, NoPick> {
    match primary.refusal(demand) {
        NoPick::NoneReady => backup.next().ok_or_else(|| backup.refusal(demand)),
        full => Err(full),
    }
}

// === Order and Walk: the selectors by name ===

/// A pool's selector; which one is configuration, so it is known only at run time.
enum Order {
    RoundRobin(Arc<Selector<RoundRobin>>),
    LeastConn(Arc<Selector<LeastConn>>),
    Random(Arc<Selector<Random>>),
    P2c(Arc<Selector<P2c>>),
    Ewma(Arc<Selector<Ewma>>),
    Resource(Arc<Selector<Resource>>),
}

enum Walk {
    RoundRobin(BestFirst<RoundRobin>),
    LeastConn(BestFirst<LeastConn>),
    Random(BestFirst<Random>),
    P2c(BestFirst<P2c>),
    Ewma(BestFirst<Ewma>),
    Resource(BestFirst<Resource>),
}

impl Order {
    fn new(balance: Balance, members: Vec<Arc<Member>>) -> Self {
        let table = Arc::new(EndpointTable::new(members));
        match balance {
            Balance::RoundRobin => Order::RoundRobin(selector(&table)),
            Balance::LeastConn => Order::LeastConn(selector(&table)),
            Balance::Random => Order::Random(selector(&table)),
            Balance::P2c => Order::P2c(selector(&table)),
            Balance::Ewma => Order::Ewma(selector(&table)),
            Balance::Resource => Order::Resource(selector(&table)),
        }
    }

    fn walk(&self, context: &PickContext<'_>) -> Walk {
        match self {
            Order::RoundRobin(selector) => Walk::RoundRobin(selector.walk(context)),
            Order::LeastConn(selector) => Walk::LeastConn(selector.walk(context)),
            Order::Random(selector) => Walk::Random(selector.walk(context)),
            Order::P2c(selector) => Walk::P2c(selector.walk(context)),
            Order::Ewma(selector) => Walk::Ewma(selector.walk(context)),
            Order::Resource(selector) => Walk::Resource(selector.walk(context)),
        }
    }
}

fn selector<S>(table: &Arc<EndpointTable>) -> Arc<S>
where
    S: BackendSelection<Config = Arc<EndpointTable>>,
{
    Arc::new(S::build_with_config(&table.backends(), table))
}

impl Walk {
    fn next(&mut self) -> Option<Arc<Member>> {
        let backend = match self {
            Walk::RoundRobin(iter) => iter.next(),
            Walk::LeastConn(iter) => iter.next(),
            Walk::Random(iter) => iter.next(),
            Walk::P2c(iter) => iter.next(),
            Walk::Ewma(iter) => iter.next(),
            Walk::Resource(iter) => iter.next(),
        };
        backend.and_then(member_of).cloned()
    }

    /// Why there is no next one.
    fn refusal(&self, demand: &Amounts) -> NoPick {
        let Walk::Resource(iter) = self else {
            return NoPick::NoneReady;
        };
        let could_fit = |slot: &Slot| slot.room.could_fit(demand);
        match iter.eligible().map(could_fit).reduce(|a, b| a || b) {
            None => NoPick::NoneReady,
            Some(true) => NoPick::NoRoom,
            Some(false) => NoPick::TooLarge,
        }
    }
}
