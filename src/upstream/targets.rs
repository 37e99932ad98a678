//! What a pool's configuration lists: addresses, and names with their last good answers.
//!
//! Turns the list into [`MemberSpec`]s; reading it is cheap and does no I/O. `discovery` looks the
//! names up and then reads the specs again.

use std::net::SocketAddr;
use std::sync::Arc;

use super::member::{MemberSpec, collapse};
use super::name::Name;
use super::registry::Registry;
use crate::config::amounts::Amounts;
use crate::config::model::{Endpoint, Target};

pub struct Targets(Vec<Listed>);

/// One entry of the pool's `endpoints`.
struct Listed {
    place: Place,
    weight: u32,
    backup: bool,
    max_in_flight: Option<u32>,
    capacity: Amounts,
}

enum Place {
    Address(SocketAddr),
    Name {
        name: Arc<Name>,
        host: Arc<str>,
        port: u16,
    },
}

impl Targets {
    pub fn new(endpoints: &[Endpoint], registry: &Registry) -> Self {
        let listed = |endpoint: &Endpoint| Listed {
            place: Place::new(&endpoint.target, registry),
            weight: endpoint.weight,
            backup: endpoint.backup,
            max_in_flight: endpoint.max_in_flight,
            capacity: endpoint.capacity,
        };
        Targets(endpoints.iter().map(listed).collect())
    }

    /// The distinct names, in file order.
    pub fn names(&self) -> Vec<Arc<Name>> {
        let mut names: Vec<Arc<Name>> = Vec::new();
        for listed in &self.0 {
            if let Place::Name { name, .. } = &listed.place
                && !names.iter().any(|known| Arc::ptr_eq(known, name))
            {
                names.push(name.clone());
            }
        }
        names
    }

    /// The membership by what is known now: in file order, primaries first, one spec per address.
    pub fn specs(&self) -> Vec<MemberSpec> {
        let listed = self.0.iter().enumerate();
        let mut specs = listed
            .flat_map(|(order, listed)| listed.specs(order))
            .collect();
        collapse(&mut specs);
        specs
    }
}

// === impl Listed ===

impl Listed {
    fn specs(&self, order: usize) -> Vec<MemberSpec> {
        let spec = |address, host| MemberSpec {
            address,
            weight: self.weight,
            backup: self.backup,
            max_in_flight: self.max_in_flight,
            capacity: self.capacity,
            host,
            order,
        };
        match &self.place {
            Place::Address(address) => vec![spec(*address, None)],
            Place::Name { name, host, port } => {
                let addresses = name.addresses().into_iter();
                addresses
                    .map(|ip| spec(SocketAddr::new(ip, *port), Some(host.clone())))
                    .collect()
            }
        }
    }
}

// === impl Place ===

impl Place {
    fn new(target: &Target, registry: &Registry) -> Self {
        match target {
            Target::Address(address) => Place::Address(*address),
            Target::Name { host, port } => Place::Name {
                name: registry.name(host),
                host: host.as_str().into(),
                port: *port,
            },
        }
    }
}
