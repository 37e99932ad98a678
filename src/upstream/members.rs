//! A pool's endpoints at one moment, and the walk of one request over them.
//!
//! [`Members`] is immutable but for the selectors' counters; a change of membership is a new value.
//! [`Candidates`] holds one of them for as long as its request runs, so retries see one membership.

use std::sync::Arc;

use parking_lot::Mutex;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use super::endpoint::Lease;
use super::member::{EndpointTable, Member, MemberSpec, member_of};
use super::pick_context::PickContext;
use super::selector::{
    BestFirst, Ewma, Hash, LeastConn, Maglev, P2c, Prequal, Random, Ring, RoundRobin, Selector,
    Slots, hash::Table,
};
use crate::config::model::{Balance, HashTable};

pub struct Members {
    /// What the table was made from; equal specs are no change.
    specs: Vec<MemberSpec>,
    table: EndpointTable,
    primary: Order,
    /// Consulted only when no primary member is left to try.
    backup: Order,
    /// Makes pick and lease one step, so that concurrent picks see each other's in-flight.
    picking: Mutex<()>,
}

/// The endpoints one request may try, best first, each at most once.
///
/// Primary members come first. When all that are ready have been tried (or none is ready), backups
/// follow, as nginx does it.
pub struct Candidates {
    members: Arc<Members>,
    primary: Walk,
    backup: Walk,
}

/// What a request would find, were its endpoint picked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    Open,
    /// What is ready has as much as it may have; waiting helps.
    AtLimit,
    NoneReady,
}

/// An endpoint given to a request.
pub struct Pick {
    pub lease: Lease,
    /// The endpoint's place in the membership: weight, backup, host name.
    pub member: Arc<Member>,
}

// === impl Members ===

impl Members {
    /// `members` are those of `specs`, in the same order.
    pub(super) fn new(
        balance: &Balance,
        specs: Vec<MemberSpec>,
        members: Vec<Arc<Member>>,
    ) -> Self {
        let (backup, primary): (Vec<_>, Vec<_>) =
            members.iter().cloned().partition(|member| member.backup);
        Members {
            specs,
            table: EndpointTable::new(members),
            primary: Order::new(balance, primary),
            backup: Order::new(balance, backup),
            picking: Mutex::new(()),
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

    /// The walk of one request.
    pub fn candidates(self: Arc<Self>, context: &PickContext<'_>) -> Candidates {
        Candidates {
            primary: self.primary.walk(context),
            backup: self.backup.walk(context),
            members: self,
        }
    }
}

// === impl Candidates ===

impl Candidates {
    /// Picks the best ready endpoint not yet handed out by this value, and leases it.
    pub fn lease_next(&mut self) -> Option<Pick> {
        let _picking = self.members.picking.lock();
        if let Some(backend) = self.primary.next() {
            return pick(backend);
        }
        // A primary member at its limit is ready all the same.
        if self.primary.held_back() {
            return None;
        }
        pick(self.backup.next()?)
    }

    /// What `lease_next` would find; exact as long as nobody else picks.
    pub fn outlook(&self) -> Outlook {
        for walk in [&self.primary, &self.backup] {
            if walk.has_next() {
                return Outlook::Open;
            }
            if walk.held_back() {
                return Outlook::AtLimit;
            }
        }
        Outlook::NoneReady
    }
}

fn pick(backend: &Backend) -> Option<Pick> {
    let member = member_of(backend)?.clone();
    Some(Pick {
        lease: member.endpoint.lease(),
        member,
    })
}

// === Order and Walk: the selectors by name ===

/// A pool's selector; which one is configuration, so it is known only at run time.
enum Order {
    RoundRobin(Arc<Selector<RoundRobin>>),
    LeastConn(Arc<Selector<LeastConn>>),
    Random(Arc<Selector<Random>>),
    P2c(Arc<Selector<P2c>>),
    Ewma(Arc<Selector<Ewma>>),
    Prequal(Arc<Selector<Prequal>>),
    HashRing(Arc<Selector<Hash<Ring>>>),
    HashMaglev(Arc<Selector<Hash<Maglev>>>),
}

enum Walk {
    RoundRobin(BestFirst<RoundRobin>),
    LeastConn(BestFirst<LeastConn>),
    Random(BestFirst<Random>),
    P2c(BestFirst<P2c>),
    Ewma(BestFirst<Ewma>),
    Prequal(BestFirst<Prequal>),
    HashRing(BestFirst<Hash<Ring>>),
    HashMaglev(BestFirst<Hash<Maglev>>),
}

impl Order {
    fn new(balance: &Balance, members: Vec<Arc<Member>>) -> Self {
        let table = Arc::new(EndpointTable::new(members));
        match balance {
            Balance::RoundRobin => Order::RoundRobin(selector(&table)),
            Balance::LeastConn => Order::LeastConn(selector(&table)),
            Balance::Random => Order::Random(selector(&table)),
            Balance::P2c => Order::P2c(selector(&table)),
            Balance::Ewma => Order::Ewma(selector(&table)),
            Balance::Prequal => Order::Prequal(selector(&table)),
            Balance::Hash(hash) => match hash.table {
                HashTable::Ring => Order::HashRing(hashing(&table, hash.bounded_load)),
                HashTable::Maglev => Order::HashMaglev(hashing(&table, hash.bounded_load)),
            },
        }
    }

    fn walk(&self, context: &PickContext<'_>) -> Walk {
        match self {
            Order::RoundRobin(selector) => Walk::RoundRobin(selector.walk(context)),
            Order::LeastConn(selector) => Walk::LeastConn(selector.walk(context)),
            Order::Random(selector) => Walk::Random(selector.walk(context)),
            Order::P2c(selector) => Walk::P2c(selector.walk(context)),
            Order::Ewma(selector) => Walk::Ewma(selector.walk(context)),
            Order::Prequal(selector) => Walk::Prequal(selector.walk(context)),
            Order::HashRing(selector) => Walk::HashRing(selector.walk(context)),
            Order::HashMaglev(selector) => Walk::HashMaglev(selector.walk(context)),
        }
    }
}

fn selector<S>(table: &Arc<EndpointTable>) -> Arc<S>
where
    S: BackendSelection<Config = Arc<EndpointTable>>,
{
    Arc::new(S::build_with_config(&table.backends(), table))
}

fn hashing<T: Table>(table: &EndpointTable, bound: Option<u32>) -> Arc<Selector<Hash<T>>> {
    let algorithm = |slots: &Slots| Hash::with_bound(slots, fastrand::u64(..), bound);
    Arc::new(Selector::with(&table.backends(), table, algorithm))
}

impl Walk {
    fn next(&mut self) -> Option<&Backend> {
        match self {
            Walk::RoundRobin(iter) => iter.next(),
            Walk::LeastConn(iter) => iter.next(),
            Walk::Random(iter) => iter.next(),
            Walk::P2c(iter) => iter.next(),
            Walk::Ewma(iter) => iter.next(),
            Walk::Prequal(iter) => iter.next(),
            Walk::HashRing(iter) => iter.next(),
            Walk::HashMaglev(iter) => iter.next(),
        }
    }

    fn held_back(&self) -> bool {
        match self {
            Walk::RoundRobin(iter) => iter.held_back(),
            Walk::LeastConn(iter) => iter.held_back(),
            Walk::Random(iter) => iter.held_back(),
            Walk::P2c(iter) => iter.held_back(),
            Walk::Ewma(iter) => iter.held_back(),
            Walk::Prequal(iter) => iter.held_back(),
            Walk::HashRing(iter) => iter.held_back(),
            Walk::HashMaglev(iter) => iter.held_back(),
        }
    }

    fn has_next(&self) -> bool {
        match self {
            Walk::RoundRobin(iter) => iter.has_next(),
            Walk::LeastConn(iter) => iter.has_next(),
            Walk::Random(iter) => iter.has_next(),
            Walk::P2c(iter) => iter.has_next(),
            Walk::Ewma(iter) => iter.has_next(),
            Walk::Prequal(iter) => iter.has_next(),
            Walk::HashRing(iter) => iter.has_next(),
            Walk::HashMaglev(iter) => iter.has_next(),
        }
    }
}
