//! Dominant shares: who among the tenants of a pool has the least of it.
//!
//! Definition (Ghodsi et al., Dominant Resource Fairness, NSDI 2011): a tenant's share of a resource
//! is what its running requests demand of it, divided by the capacity; its dominant share is the
//! largest of these; the next place goes to the tenant with the lowest. With the one resource
//! "places" that is max-min fairness over places. No tenant gains by asking for more than it needs,
//! and none is worse off than with an equal part of everything.
//!
//! Pure; kept by [`queue`](super::queue). Amounts are whole numbers, so a share comes back to exactly
//! 0. A capacity may change (a reload, a new DNS answer): what runs then is a part of the new one.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::config::amounts::Amounts;

/// A tenant, by a number of its own.
pub type Tenant = u64;

/// A dominant share: 0 for nothing, 1 for all of some resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(f64);

/// What is used, by tenant.
pub struct Shares {
    capacity: Amounts,
    used: HashMap<Tenant, Used>,
}

#[derive(Default)]
struct Used {
    running: usize,
    amounts: Amounts,
}

impl Eq for Share {}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Shares {
    /// Shares of a capacity; only ratios matter where there is one resource.
    pub fn of(capacity: Amounts) -> Shares {
        Shares {
            capacity,
            used: HashMap::new(),
        }
    }

    pub fn capacity(&self) -> &Amounts {
        &self.capacity
    }

    pub fn set_capacity(&mut self, capacity: Amounts) {
        self.capacity = capacity;
    }

    pub fn share(&self, tenant: Tenant) -> Share {
        let used = self.used.get(&tenant);
        let part = used.map(|used| used.amounts.largest_part(&self.capacity));
        part.map_or_else(Share::default, Share)
    }

    pub fn started(&mut self, tenant: Tenant, demand: &Amounts) {
        let used = self.used.entry(tenant).or_default();
        used.running += 1;
        used.amounts = used.amounts.plus(demand);
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.used.is_empty()
    }

    pub fn ended(&mut self, tenant: Tenant, demand: &Amounts) {
        let Some(used) = self.used.get_mut(&tenant) else {
            return;
        };
        used.running -= 1;
        used.amounts = used.amounts.minus(demand);
        if used.running == 0 {
            self.used.remove(&tenant);
        }
    }
}
