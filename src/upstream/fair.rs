//! Dominant shares: who among the tenants of a pool has the least of it.
//!
//! Definition (Ghodsi et al., Dominant Resource Fairness, NSDI 2011): a tenant's share of a resource
//! is what its running requests demand of it, divided by the capacity; its dominant share is the
//! largest of these; the next place goes to the tenant with the lowest. With the one resource
//! "places" that is max-min fairness over places. No tenant gains by asking for more than it needs,
//! and none is worse off than with an equal part of everything.
//!
//! Pure; kept by [`queue`](super::queue). A tenant without running requests has no entry, so a share
//! comes back to exactly 0.

use std::collections::HashMap;
use std::sync::Arc;

/// A tenant, by a number of its own.
pub type Tenant = u64;

/// What a request takes of each resource, in the order of the capacity; all finite and at least 0.
pub type Demand = Arc<[f64]>;

/// A dominant share: 0 for nothing, 1 for all of some resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

/// What is used, by tenant.
#[derive(Default)]
pub struct Shares {
    capacity: Vec<f64>,
    used: HashMap<Tenant, Used>,
}

struct Used {
    running: usize,
    of_each: Vec<f64>,
}

impl Eq for Share {}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Shares {
    /// Shares of a capacity; only ratios matter where there is one resource.
    pub fn of(capacity: &[f64]) -> Shares {
        Shares {
            capacity: capacity.to_vec(),
            used: HashMap::new(),
        }
    }

    pub fn share(&self, tenant: Tenant) -> Share {
        let Some(used) = self.used.get(&tenant) else {
            return Share::default();
        };
        let shares = used.of_each.iter().zip(&self.capacity);
        Share(shares.map(|(used, all)| used / all).fold(0.0, f64::max))
    }

    pub fn started(&mut self, tenant: Tenant, demand: &[f64]) {
        let resources = self.capacity.len();
        let used = self.used.entry(tenant).or_insert_with(|| Used {
            running: 0,
            of_each: vec![0.0; resources],
        });
        used.running += 1;
        for (used, demanded) in used.of_each.iter_mut().zip(demand) {
            *used += demanded;
        }
    }

    pub fn ended(&mut self, tenant: Tenant, demand: &[f64]) {
        let Some(used) = self.used.get_mut(&tenant) else {
            return;
        };
        used.running -= 1;
        for (used, demanded) in used.of_each.iter_mut().zip(demand) {
            *used -= demanded;
        }
        if used.running == 0 {
            self.used.remove(&tenant);
        }
    }
}
