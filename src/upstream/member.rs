//! A pool's membership: which endpoints it has now, and what the configuration says of each.
//!
//! Discovery answers with a set of Pingora's [`Backend`]s that carry a [`MemberSpec`]; a pool turns
//! the specs into an [`EndpointTable`], which is what selectors are built from. Both are immutable:
//! a change of membership is a new table over the same endpoints.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_load_balancing::{Backend, Extensions};

use super::endpoint::Endpoint;
use super::room::Room;
use super::sticky::Token;
use crate::config::amounts::Amounts;
use crate::config::model::AdaptiveLimit;

/// One address a pool should have, with what its configuration says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    pub address: SocketAddr,
    /// Share of traffic, 0..=1000; 0: drained.
    pub weight: u32,
    pub backup: bool,
    /// Attempts it gets at once; `None`: no bound.
    pub max_in_flight: Option<u32>,
    /// By the pool's dimensions; nothing where it has none.
    pub capacity: Amounts,
    /// The name it was resolved from; `None`: given as an address.
    pub host: Option<Arc<str>>,
    /// Place in the file: of two specs with one address, the first counts.
    pub order: usize,
}

impl MemberSpec {
    /// The spec as discovery hands it over.
    pub fn backend(&self) -> Backend {
        backend(self.address, self.weight, self.clone())
    }

    /// The specs a discovery result carries, in file order, one per address. A primary member
    /// takes precedence over a backup of the same address.
    pub fn of(backends: &BTreeSet<Backend>) -> Vec<MemberSpec> {
        let specs = backends.iter().filter_map(|backend| backend.ext.get());
        let mut specs: Vec<MemberSpec> = specs.cloned().collect();
        collapse(&mut specs);
        specs
    }
}

/// Sorts into file order and leaves one spec per address.
pub fn collapse(specs: &mut Vec<MemberSpec>) {
    specs.sort_by_key(|spec| (spec.backup, spec.order, spec.address));
    let mut seen = BTreeSet::new();
    specs.retain(|spec| seen.insert(spec.address));
}

/// One endpoint in one pool's membership.
pub struct Member {
    pub endpoint: Arc<Endpoint>,
    /// Share of traffic, 0..=1000; 0: drained, gets nothing new.
    pub weight: u32,
    pub backup: bool,
    /// Attempts it gets at once; `None`: no bound.
    pub max_in_flight: Option<u32>,
    /// Bounds of the limit that follows its response times; `None`: there is none.
    pub adaptive_limit: Option<AdaptiveLimit>,
    /// The name it was resolved from: the SNI and the probe's `Host`.
    pub host: Option<Arc<str>>,
    /// What it has of the pool's resources.
    pub room: Room,
    /// Cookies that bring clients back to it, the current one first; empty: its pool is not sticky.
    pub tokens: Box<[Token]>,
}

impl Member {
    /// Whether it may be given a request now.
    pub fn is_ready(&self) -> bool {
        self.weight > 0 && self.endpoint.is_ready()
    }

    /// Attempts it gets at once now.
    pub fn limit(&self) -> u32 {
        let max_in_flight = self.max_in_flight.unwrap_or(u32::MAX);
        self.endpoint.limit(max_in_flight, self.adaptive_limit)
    }

    /// Takes the demand of its room, whether it fits or not.
    pub fn reserve(self: Arc<Self>, demand: &Amounts) -> Reservation {
        self.room.take(demand);
        Reservation {
            member: self,
            taken: *demand,
        }
    }

    /// The member as selectors and probes take it.
    pub fn backend(self: &Arc<Self>) -> Backend {
        backend(self.endpoint.address(), self.weight, self.clone())
    }
}

/// A demand that is taken of a member's room. Dropping it, on whatever way out, gives it back exactly
/// once.
pub struct Reservation {
    member: Arc<Member>,
    taken: Amounts,
}

impl Reservation {
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.member.room.give_back(&self.taken);
    }
}

/// Members by place and by address; the `Config` of every selector, through which a rebuilt
/// selector finds its endpoints as they were.
#[derive(Default)]
pub struct EndpointTable {
    members: Vec<Arc<Member>>,
    by_address: HashMap<SocketAddr, usize>,
}

impl EndpointTable {
    /// Addresses must be distinct; a repeated one is left out.
    pub fn new(members: impl IntoIterator<Item = Arc<Member>>) -> Self {
        let mut table = EndpointTable::default();
        for member in members {
            if let Entry::Vacant(vacant) = table.by_address.entry(member.endpoint.address()) {
                vacant.insert(table.members.len());
                table.members.push(member);
            }
        }
        table
    }

    /// The table of the members that `backends` carry.
    pub fn of(backends: &BTreeSet<Backend>) -> Self {
        let members = backends.iter().filter_map(member_of);
        EndpointTable::new(members.cloned())
    }

    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    pub fn find(&self, address: SocketAddr) -> Option<&Arc<Member>> {
        let place = *self.by_address.get(&address)?;
        self.members.get(place)
    }

    /// The set selectors are built from; each backend carries its member.
    pub fn backends(&self) -> BTreeSet<Backend> {
        self.members.iter().map(Member::backend).collect()
    }
}

/// The member a selector's backend stands for.
pub fn member_of(backend: &Backend) -> Option<&Arc<Member>> {
    backend.ext.get()
}

fn backend<T: Clone + Send + Sync + 'static>(address: SocketAddr, weight: u32, is: T) -> Backend {
    let mut ext = Extensions::new();
    ext.insert(is);
    Backend {
        addr: PeerAddress::Inet(address),
        weight: weight as usize,
        ext,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str, order: usize) -> MemberSpec {
        MemberSpec {
            address: address.parse().unwrap(),
            weight: 1,
            backup: false,
            max_in_flight: None,
            capacity: Amounts::default(),
            host: None,
            order,
        }
    }

    #[test]
    fn two_specs_of_one_address_collapse_to_the_first_in_the_file() {
        let mut heavy = spec("10.0.0.1:80", 1);
        heavy.weight = 9;
        let mut backup = spec("10.0.0.2:80", 0);
        backup.backup = true;
        let all = [
            backup,
            heavy,
            spec("10.0.0.1:80", 0),
            spec("10.0.0.2:80", 2),
        ];
        let backends = all.iter().map(MemberSpec::backend).collect();
        let expected = [spec("10.0.0.1:80", 0), spec("10.0.0.2:80", 2)];
        assert_eq!(MemberSpec::of(&backends), expected);
    }
}
