//! A pool's endpoints at one moment, and the walk of one request over them.
//!
//! [`Members`] is immutable but for the selectors' counters; a change of membership is a new value.
//! [`Candidates`] holds one of them for as long as its request runs, so retries see one membership.

use std::sync::Arc;
use std::time::Instant;

use pingora_load_balancing::selection::BackendSelection;

use super::endpoint::Lease;
use super::load_probes::LoadProbes;
use super::member::{EndpointTable, Member, MemberSpec, Reservation};
use super::pick_context::PickContext;
use super::registry::Picking;
use super::selector::{
    Algorithm, Ewma, Facts, Hash, LeastConn, Maglev, Outlook, P2c, Prequal, Random, Resource, Ring,
    RoundRobin, Select, Selector, Slots, Tried, hash::Table,
};
use super::sticky::{Affinity, Look, Sticky, Token};
use crate::config::amounts::Amounts;
use crate::config::model::{Balance, HashTable};

pub struct Members {
    /// What the table was made from; equal specs are no change.
    specs: Vec<MemberSpec>,
    table: EndpointTable,
    primary: Box<dyn Select>,
    /// Consulted only when no primary member is left to try; `None`: there are no backups.
    backup: Option<Box<dyn Select>>,
    /// Of all members that get requests.
    capacity: Amounts,
    /// What each of them has at least.
    least_capacity: Amounts,
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
    facts: Facts,

    offered: Offered,
    /// For the next pick: those, and who asks to be spared retries.
    spared: Option<Box<Offered>>,
    affinity: Affinity,
}

/// The members one request was offered.
#[derive(Clone, Default)]
struct Offered {
    primary: Tried,
    backup: Tried,
}

/// An endpoint given to a request.
pub struct Pick {
    /// What the attempt takes of the endpoint's room. It is given back before the lease, whose end
    /// lets the next one look.
    reservation: Reservation,
    pub lease: Lease,
    /// The client has not what would bring it back.
    needs_cookie: bool,
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
        let capacities = used.map(|member| member.room.capacity());
        let least_capacity = capacities.clone().reduce(|least, one| least.at_most(&one));
        let capacity = capacities.fold(Amounts::default(), |sum, one| sum.plus(&one));
        let (backup, primary): (Vec<_>, Vec<_>) =
            members.iter().cloned().partition(|member| member.backup);
        Members {
            specs,
            table: EndpointTable::new(members),
            primary: select(balance, primary, &shared),
            backup: (!backup.is_empty()).then(|| select(balance, backup, &shared)),
            capacity,
            least_capacity: least_capacity.unwrap_or_default(),
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

    /// What each member that gets requests has at least of the pool's resources.
    pub fn least_capacity(&self) -> Amounts {
        self.least_capacity
    }

    fn affinity(&self, context: &PickContext<'_>) -> Affinity {
        let sticky = self.shared.sticky.as_ref();
        sticky.map_or_else(Affinity::default, |sticky| {
            sticky.affinity(&context.brought, self.all())
        })
    }

    /// The selector's best. A primary member at its limit is ready all the same, so no backup is asked.
    fn next(&self, offered: &mut Offered, facts: &Facts) -> Option<&Arc<Member>> {
        if let Some(member) = self.primary.next(&mut offered.primary, facts) {
            return Some(member);
        }
        let backup = self.backup.as_ref()?;
        match self.primary.outlook(&offered.primary, facts) {
            Outlook::NoneReady => backup.next(&mut offered.backup, facts),
            _ => None,
        }
    }

    /// As `next`, but for the client's own endpoint where that has been asked.
    fn choose(
        &self,
        offered: &mut Offered,
        facts: &Facts,
        affinity: &Affinity,
    ) -> Option<&Arc<Member>> {
        loop {
            let member = self.next(offered, facts)?;
            if !affinity.has_had(member) {
                return Some(member);
            }
        }
    }

    /// As `choose`, beside `spared` where that leaves one.
    fn choose_beside(
        &self,
        spared: Option<Box<Offered>>,
        offered: &mut Offered,
        facts: &Facts,
        affinity: &Affinity,
    ) -> Option<&Arc<Member>> {
        if let Some(mut spared) = spared
            && let Some(member) = self.choose(&mut spared, facts, affinity)
        {
            self.mark(offered, &|other| std::ptr::eq(other, &**member));
            return Some(member);
        }
        self.choose(offered, facts, affinity)
    }

    /// What `next` would find.
    fn outlook(&self, offered: &Offered, facts: &Facts) -> Outlook {
        match (self.primary.outlook(&offered.primary, facts), &self.backup) {
            (Outlook::NoneReady, Some(backup)) => backup.outlook(&offered.backup, facts),
            (outlook, _) => outlook,
        }
    }

    /// As if those had been offered.
    fn mark(&self, offered: &mut Offered, is_meant: &dyn Fn(&Member) -> bool) {
        self.primary.mark(&mut offered.primary, is_meant);
        if let Some(backup) = &self.backup {
            backup.mark(&mut offered.backup, is_meant);
        }
    }

    /// The walk of one request.
    pub fn candidates(self: Arc<Self>, context: &PickContext<'_>) -> Candidates {
        let affinity = self.affinity(context);
        Candidates {
            facts: Facts::of(context),
            offered: Offered::default(),
            spared: None,
            affinity,
            members: self,
        }
    }
}

// === impl Pick ===

impl Pick {
    pub(crate) fn new(member: Arc<Member>, demand: &Amounts, needs_cookie: bool) -> Pick {
        Pick {
            lease: member.endpoint.lease(),
            reservation: member.reserve(demand),
            needs_cookie,
        }
    }

    /// The endpoint's place in the membership: weight, backup, host name.
    pub fn member(&self) -> &Arc<Member> {
        self.reservation.member()
    }

    /// What the client needs to come back to this endpoint; `None`: nothing.
    pub fn cookie(&self) -> Option<&Token> {
        let token = self.member().tokens.first();
        token.filter(|_| self.needs_cookie)
    }
}

// === impl Candidates ===

impl Candidates {
    /// Picks the best endpoint that may be picked now and was not yet handed out by this value, and
    /// leases it.
    pub fn lease_next(&mut self) -> Option<Pick> {
        let Candidates {
            members,
            facts,
            offered,
            spared,
            affinity,
        } = self;
        let _picking = members.shared.picking.lock();
        let member = match affinity.look(&facts.wanted) {
            Look::Stay(member) => member,
            Look::Stop(_) => return None,
            Look::Choose => {
                let spared = spared.take();
                let member = members.choose_beside(spared, offered, facts, affinity)?;
                member.clone()
            }
        };
        let needs_cookie = affinity.lease(&member);
        Some(Pick::new(member, &facts.wanted.demand, needs_cookie))
    }

    /// Whether another endpoint may be picked now that does not ask to be spared retries; the next pick is one
    /// of those.
    pub fn spare(&mut self, now: Instant) -> bool {
        if !matches!(self.affinity.look(&self.facts.wanted), Look::Choose) {
            return self.outlook() == Outlook::Open;
        }
        let mut spared = self.offered.clone();
        let is_meant = |member: &Member| member.endpoint.is_pausing(now);
        self.members.mark(&mut spared, &is_meant);
        let is_open = self.members.outlook(&spared, &self.facts) == Outlook::Open;
        self.spared = is_open.then(|| Box::new(spared));
        is_open
    }

    /// What the request takes of the pool's resources.
    pub fn demand(&self) -> Amounts {
        self.facts.wanted.demand
    }

    /// What all endpoints together have of them.
    pub fn capacity(&self) -> Amounts {
        self.members.capacity
    }

    /// Only its client's own endpoint may be asked.
    pub fn is_bound(&self) -> bool {
        self.affinity.is_bound()
    }

    /// What `lease_next` would find; exact as long as nobody else picks.
    pub fn outlook(&self) -> Outlook {
        match self.affinity.look(&self.facts.wanted) {
            Look::Stay(_) => Outlook::Open,
            Look::Stop(outlook) => outlook,
            Look::Choose => self.members.outlook(&self.offered, &self.facts),
        }
    }
}

/// The pool's selector; which one is configuration, so it is known only at run time.
fn select(balance: &Balance, members: Vec<Arc<Member>>, shared: &Shared) -> Box<dyn Select> {
    let table = Arc::new(EndpointTable::new(members));
    match balance {
        Balance::RoundRobin => selector::<RoundRobin>(&table),
        Balance::LeastConn => selector::<LeastConn>(&table),
        Balance::Random => selector::<Random>(&table),
        Balance::P2c => selector::<P2c>(&table),
        Balance::Ewma => selector::<Ewma>(&table),
        Balance::Resource => selector::<Resource>(&table),
        Balance::Prequal(_) => prequal(&table, shared.load_probes.clone()),
        Balance::Hash(hash) => match hash.table {
            HashTable::Ring => hashing::<Ring>(&table, hash.bounded_load),
            HashTable::Maglev => hashing::<Maglev>(&table, hash.bounded_load),
        },
    }
}

fn selector<A: Algorithm + 'static>(table: &Arc<EndpointTable>) -> Box<dyn Select> {
    let selector = Selector::<A>::build_with_config(&table.backends(), table);
    Box::new(selector)
}

fn hashing<T: Table + 'static>(table: &EndpointTable, bound: Option<u32>) -> Box<dyn Select> {
    let algorithm = |slots: &Slots| Hash::<T>::with_bound(slots, fastrand::u64(..), bound);
    Box::new(Selector::with(&table.backends(), table, algorithm))
}

fn prequal(table: &EndpointTable, probes: Option<Arc<LoadProbes>>) -> Box<dyn Select> {
    let algorithm = |slots: &Slots| Prequal::with_probes(slots, fastrand::u64(..), probes);
    Box::new(Selector::with(&table.backends(), table, algorithm))
}
