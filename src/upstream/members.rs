//! A pool's endpoints at one moment, and the walk of one request over them.
//!
//! [`Members`] is immutable but for the selectors' counters; a change of membership is a new value.
//! [`Candidates`] holds one of them for as long as its request runs, so retries see one membership.

use std::sync::Arc;

use pingora_load_balancing::selection::BackendSelection;

use super::endpoint::Lease;
use super::load_probes::LoadProbes;
use super::member::{EndpointTable, Member, MemberSpec};
use super::pick_context::{PickContext, Wanted};
use super::registry::Picking;
use super::room::Reservation;
use super::selector::{
    BestFirst, Ewma, Hash, LeastConn, Maglev, Outlook, P2c, Prequal, Random, Resource, Ring,
    RoundRobin, Selector, Slots, hash::Table,
};
use super::sticky::{Affinity, Look, Sticky, Token};
use crate::config::amounts::Amounts;
use crate::config::model::{Balance, HashTable};

pub struct Members {
    /// What the table was made from; equal specs are no change.
    specs: Vec<MemberSpec>,
    table: EndpointTable,
    primary: Order,
    /// Consulted only when no primary member is left to try; `None`: there are no backups.
    backup: Option<Order>,
    /// Of all members that get requests.
    capacity: Amounts,
    shared: Shared,
}

/// What all memberships of a pool share.
#[derive(Clone)]
pub(super) struct Shared {
    /// Makes pick and lease one step, so that concurrent picks see each other's in-flight.
    pub(super) picking: Picking,
    pub(super) sticky: Option<Arc<Sticky>>,
    pub(super) load_probes: Option<Arc<LoadProbes>>,
}

/// The endpoints one request may try, best first, each at most once.
///
/// Primary members come first. When all that are ready have been tried (or none is ready), backups
/// follow, as nginx does it.
pub struct Candidates {
    members: Arc<Members>,
    primary: Walk,
    backup: Option<Walk>,
    wanted: Wanted,
    affinity: Affinity,
}

/// An endpoint given to a request.
pub struct Pick {
    /// What the attempt takes of the endpoint's room; `None`: its pool counts none. It is given back
    /// before the lease, whose end lets the next one look.
    pub reservation: Option<Reservation>,
    pub lease: Lease,
    /// The endpoint's place in the membership: weight, backup, host name.
    pub member: Arc<Member>,
    /// What the client needs to come back to this endpoint; `None`: nothing.
    pub cookie: Option<Token>,
}

// === impl Members ===

impl Members {
    /// `members` are those of `specs`, in the same order.
    pub(super) fn new(
        balance: &Balance,
        specs: Vec<MemberSpec>,
        members: Vec<Arc<Member>>,
        shared: Shared,
    ) -> Self {
        let used = members.iter().filter(|member| member.weight > 0);
        let capacity = used.fold(Amounts::default(), |sum, member| {
            sum.plus(member.room.capacity())
        });
        let (backup, primary): (Vec<_>, Vec<_>) =
            members.iter().cloned().partition(|member| member.backup);
        Members {
            specs,
            table: EndpointTable::new(members),
            primary: Order::new(balance, primary, &shared),
            backup: (!backup.is_empty()).then(|| Order::new(balance, backup, &shared)),
            capacity,
            shared,
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
        let sticky = self.shared.sticky.as_ref();
        sticky.map_or_else(Affinity::default, |sticky| {
            sticky.affinity(&context.brought, self.all())
        })
    }

    /// The walk of one request.
    pub fn candidates(self: Arc<Self>, context: &PickContext<'_>) -> Candidates {
        Candidates {
            primary: self.primary.walk(context),
            backup: self.backup.as_ref().map(|backup| backup.walk(context)),
            wanted: context.wanted,
            affinity: self.affinity(context),
            members: self,
        }
    }
}

// === impl Candidates ===

impl Candidates {
    /// Picks the best endpoint that may be picked now and was not yet handed out by this value, and
    /// leases it.
    pub fn lease_next(&mut self) -> Option<Pick> {
        let _picking = self.members.shared.picking.lock();
        let member = match self.affinity.look(&self.wanted) {
            Look::Stay(member) => member,
            Look::Stop(_) => return None,
            Look::Choose => choose(&mut self.primary, self.backup.as_mut(), &self.affinity)?,
        };
        Some(Pick {
            reservation: member.room.reserve(&self.wanted.demand),
            lease: member.endpoint.lease(),
            cookie: self.affinity.lease(&member),
            member,
        })
    }

    /// What the request takes of the pool's resources.
    pub fn demand(&self) -> Amounts {
        self.wanted.demand
    }

    /// What all endpoints together have of them.
    pub fn capacity(&self) -> Amounts {
        self.members.capacity
    }

    /// What `lease_next` would find; exact as long as nobody else picks.
    pub fn outlook(&self) -> Outlook {
        match self.affinity.look(&self.wanted) {
            Look::Stay(_) => Outlook::Open,
            Look::Stop(outlook) => outlook,
            Look::Choose => match self.primary.outlook() {
                Outlook::NoneReady => {
                    let backup = self.backup.as_ref();
                    backup.map_or(Outlook::NoneReady, Walk::outlook)
                }
                outlook => outlook,
            },
        }
    }
}

/// The selector's best. A primary member at its limit is ready all the same, so no backup is asked.
fn choose(
    primary: &mut Walk,
    mut backup: Option<&mut Walk>,
    affinity: &Affinity,
) -> Option<Arc<Member>> {
    loop {
        let member = match primary.next() {
            Some(member) => member,
            None if primary.outlook() != Outlook::NoneReady => return None,
            None => backup.as_mut()?.next()?,
        };
        if !affinity.has_had(&member) {
            return Some(member);
        }
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
    Resource(BestFirst<Resource>),
    Prequal(BestFirst<Prequal>),
    HashRing(BestFirst<Hash<Ring>>),
    HashMaglev(BestFirst<Hash<Maglev>>),
}

impl Order {
    fn new(balance: &Balance, members: Vec<Arc<Member>>, shared: &Shared) -> Self {
        let table = Arc::new(EndpointTable::new(members));
        match balance {
            Balance::RoundRobin => Order::RoundRobin(selector(&table)),
            Balance::LeastConn => Order::LeastConn(selector(&table)),
            Balance::Random => Order::Random(selector(&table)),
            Balance::P2c => Order::P2c(selector(&table)),
            Balance::Ewma => Order::Ewma(selector(&table)),
            Balance::Resource => Order::Resource(selector(&table)),
            Balance::Prequal(_) => Order::Prequal(prequal(&table, shared.load_probes.clone())),
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
            Order::Resource(selector) => Walk::Resource(selector.walk(context)),
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

fn prequal(table: &EndpointTable, probes: Option<Arc<LoadProbes>>) -> Arc<Selector<Prequal>> {
    let algorithm = |slots: &Slots| Prequal::with_probes(slots, fastrand::u64(..), probes);
    Arc::new(Selector::with(&table.backends(), table, algorithm))
}

impl Walk {
    fn next(&mut self) -> Option<Arc<Member>> {
        match self {
            Walk::RoundRobin(iter) => iter.next_member(),
            Walk::LeastConn(iter) => iter.next_member(),
            Walk::Random(iter) => iter.next_member(),
            Walk::P2c(iter) => iter.next_member(),
            Walk::Ewma(iter) => iter.next_member(),
            Walk::Prequal(iter) => iter.next_member(),
            Walk::HashRing(iter) => iter.next_member(),
            Walk::HashMaglev(iter) => iter.next_member(),
            Walk::Resource(iter) => iter.next_member(),
        }
    }

    fn outlook(&self) -> Outlook {
        match self {
            Walk::RoundRobin(iter) => iter.outlook(),
            Walk::LeastConn(iter) => iter.outlook(),
            Walk::Random(iter) => iter.outlook(),
            Walk::P2c(iter) => iter.outlook(),
            Walk::Ewma(iter) => iter.outlook(),
            Walk::Prequal(iter) => iter.outlook(),
            Walk::HashRing(iter) => iter.outlook(),
            Walk::HashMaglev(iter) => iter.outlook(),
            Walk::Resource(iter) => iter.outlook(),
        }
    }
}
