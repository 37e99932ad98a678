//! The queue of a pool that is at its limit: who waits, who is next, and who is dropped.
//!
//! Pure: `now` is passed in, and whether there is a place for a waiter is asked of the caller. Used
//! by [`turns`](super::turns), which gives the places.
//!
//! Definition: priority [`Priority::High`] goes before [`Priority::Normal`]; within one of them, the
//! tenant with the lowest dominant share ([`fair`](super::fair)), of equals the one that waits
//! longest; within a tenant, first come, first served. A waiter for whom there is no place now keeps
//! its position and lets others pass. With [`codel`](super::codel), one that has waited too long may
//! be dropped when its turn comes. Invariants: every waiter leaves once, served or not; the length is
//! the number of waiters. Cost: a logarithm of the length for each step, and one question for each
//! waiter that is passed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::codel::Codel;
use super::fair::{Share, Shares, Tenant};
use crate::config::amounts::Amounts;
use crate::config::model;

#[cfg(test)]
mod tests;

pub use crate::config::model::Priority;

/// What the caller answers when asked whether there is a place for a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Free,
    /// Not for this one.
    NotForIt,
    /// For nobody who waits.
    None,
}

/// A waiter's position: by it, it is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    priority: Priority,
    tenant: Tenant,
    number: u64,
}

/// A waiter as it came.
#[derive(Debug)]
pub struct Waiting<T> {
    pub ticket: Ticket,
    pub since: Instant,
    pub what: T,
}

/// Who leaves the queue at one step.
#[derive(Debug)]
pub struct Leaving<T> {
    pub dropped: Vec<Waiting<T>>,
    /// The first for whom there is a place and who is not dropped.
    pub next: Option<Waiting<T>>,
}

/// Waiters of any kind `T`.
pub struct Queue<T> {
    lines: [Line<T>; 2],
    shares: Shares,
    next_number: u64,
}

/// The waiters of one priority.
struct Line<T> {
    /// By number, and so by arrival; no tenant is empty.
    tenants: HashMap<Tenant, BTreeMap<u64, Waiting<T>>>,
    /// Every tenant of the line, first the one that is served next.
    order: BTreeSet<Position>,
    length: usize,
    codel: Codel,
}

/// A tenant in the order of a line: its share, and the number of its first waiter.
type Position = (Share, u64, Tenant);

// === impl Queue ===

impl<T> Default for Queue<T> {
    /// Of one resource: places.
    fn default() -> Self {
        Queue::sharing(Amounts::one_of_each(1))
    }
}

impl<T> Queue<T> {
    /// A queue whose tenants share resources of this capacity.
    pub fn sharing(capacity: Amounts) -> Self {
        Queue {
            lines: [Line::default(), Line::default()],
            shares: Shares::of(capacity),
            next_number: 0,
        }
    }

    /// From now on they share resources of this capacity.
    pub fn share_out(&mut self, capacity: Amounts) {
        if *self.shares.capacity() == capacity {
            return;
        }
        self.shares.set_capacity(capacity);
        let shares = &self.shares;
        for line in &mut self.lines {
            line.order_by(|tenant| shares.share(tenant));
        }
    }

    pub fn len(&self) -> usize {
        self.lines.iter().map(|line| line.length).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a waiter behind all others of its priority and tenant.
    pub fn enter(&mut self, priority: Priority, tenant: Tenant, what: T, now: Instant) -> Ticket {
        let ticket = Ticket {
            priority,
            tenant,
            number: self.next_number,
        };
        self.next_number += 1;
        let since = now;
        self.put_back(Waiting {
            ticket,
            since,
            what,
        });
        ticket
    }

    /// Takes a waiter out; `None`: it has left already.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiting<T>> {
        let share = self.shares.share(ticket.tenant);
        self.line(ticket).remove(ticket, share)
    }

    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let tenant = self.line(ticket).tenants.get_mut(&ticket.tenant)?;
        Some(&mut tenant.get_mut(&ticket.number)?.what)
    }

    /// Takes out the first waiter for whom there is a place, and before it those that `law` drops.
    pub fn next(
        &mut self,
        law: Option<model::Codel>,
        now: Instant,
        mut place: impl FnMut(&T) -> Place,
    ) -> Leaving<T> {
        let mut dropped = Vec::new();
        loop {
            let Some(waiting) = self.take_first(&mut place) else {
                return Leaving {
                    dropped,
                    next: None,
                };
            };
            let line = self.line(waiting.ticket);
            let waited = now.saturating_duration_since(waiting.since);
            let is_last = line.length == 0;
            if law.is_some_and(|law| line.codel.drops(law, waited, is_last, now)) {
                dropped.push(waiting);
                continue;
            }
            let next = Some(waiting);
            return Leaving { dropped, next };
        }
    }

    fn take_first(&mut self, place: &mut impl FnMut(&T) -> Place) -> Option<Waiting<T>> {
        let ticket = self.find_first(place)?;
        self.leave(ticket)
    }

    fn find_first(&self, place: &mut impl FnMut(&T) -> Place) -> Option<Ticket> {
        for waiting in self.lines.iter().flat_map(Line::in_order) {
            match place(&waiting.what) {
                Place::Free => return Some(waiting.ticket),
                Place::NotForIt => {}
                Place::None => return None,
            }
        }
        None
    }

    /// Puts a waiter back whom `next` took out, in its old position.
    pub fn put_back(&mut self, waiting: Waiting<T>) {
        let share = self.shares.share(waiting.ticket.tenant);
        self.line(waiting.ticket).insert(waiting, share);
    }

    /// A request of the tenant runs from now on, whether it has waited or not.
    pub fn started(&mut self, tenant: Tenant, demand: &Amounts) {
        self.reorder(tenant, |shares| shares.started(tenant, demand));
    }

    /// It has ended.
    pub fn ended(&mut self, tenant: Tenant, demand: &Amounts) {
        self.reorder(tenant, |shares| shares.ended(tenant, demand));
    }

    /// Nobody waits, and nothing runs.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.shares.is_idle()
    }

    fn reorder(&mut self, tenant: Tenant, change: impl FnOnce(&mut Shares)) {
        let before = self.shares.share(tenant);
        change(&mut self.shares);
        let after = self.shares.share(tenant);
        for line in &mut self.lines {
            line.reorder(tenant, before, after);
        }
    }

    fn line(&mut self, ticket: Ticket) -> &mut Line<T> {
        match ticket.priority {
            Priority::High => &mut self.lines[0],
            Priority::Normal => &mut self.lines[1],
        }
    }
}

// === impl Line ===

impl<T> Default for Line<T> {
    fn default() -> Self {
        Line {
            tenants: HashMap::new(),
            order: BTreeSet::new(),
            length: 0,
            codel: Codel::default(),
        }
    }
}

impl<T> Line<T> {
    fn in_order(&self) -> impl Iterator<Item = &Waiting<T>> {
        let tenants = self.order.iter();
        tenants.flat_map(|(_, _, tenant)| {
            self.tenants
                .get(tenant)
                .into_iter()
                .flat_map(BTreeMap::values)
        })
    }

    fn position(&self, tenant: Tenant, share: Share) -> Option<Position> {
        let (&first, _) = self.tenants.get(&tenant)?.first_key_value()?;
        Some((share, first, tenant))
    }

    fn insert(&mut self, waiting: Waiting<T>, share: Share) {
        let Ticket { tenant, number, .. } = waiting.ticket;
        let before = self.position(tenant, share);
        let of_tenant = self.tenants.entry(tenant).or_default();
        of_tenant.insert(number, waiting);
        self.length += 1;
        self.moved(before, self.position(tenant, share));
    }

    fn remove(&mut self, ticket: Ticket, share: Share) -> Option<Waiting<T>> {
        let tenant = ticket.tenant;
        let before = self.position(tenant, share);
        let of_tenant = self.tenants.get_mut(&tenant)?;
        let removed = of_tenant.remove(&ticket.number)?;
        if of_tenant.is_empty() {
            self.tenants.remove(&tenant);
        }
        self.length -= 1;
        self.moved(before, self.position(tenant, share));
        Some(removed)
    }

    fn reorder(&mut self, tenant: Tenant, before: Share, after: Share) {
        let [before, after] = [before, after].map(|share| self.position(tenant, share));
        self.moved(before, after);
    }

    fn order_by(&mut self, share: impl Fn(Tenant) -> Share) {
        let tenants = self.tenants.keys();
        let positions = tenants.filter_map(|&tenant| self.position(tenant, share(tenant)));
        self.order = positions.collect();
    }

    fn moved(&mut self, before: Option<Position>, after: Option<Position>) {
        if before != after {
            before.map(|position| self.order.remove(&position));
            self.order.extend(after);
        }
    }
}
