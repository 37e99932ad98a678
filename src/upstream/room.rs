//! Room: what an endpoint has of each resource, how much of it is taken, and what takes it.
//!
//! An [`Account`] counts what is taken of one dimension. It belongs to the endpoint and lives as
//! long, so a reload that changes capacities finds what running attempts have taken. A [`Room`] is
//! one membership's view: capacities from its configuration, over those accounts. A [`Reservation`]
//! takes a demand and gives exactly that back when it is dropped: amounts are whole numbers.
//!
//! Reserved under the lock of the pool's picks, so that two of them never take the same room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::Gauge;

use crate::config::amounts::{Amounts, DIMENSIONS_MAX, units};

/// What is taken of one dimension of one endpoint, in millionths.
pub struct Account {
    taken: AtomicU64,
    shown: Gauge,
}

impl Account {
    pub fn new(shown: Gauge) -> Account {
        let taken = AtomicU64::new(0);
        Account { taken, shown }
    }

    #[inline]
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Brings the gauge up to date.
    pub fn show(&self) {
        self.shown.set(units(self.taken()));
    }

    fn take(&self, amount: u64) {
        self.taken.fetch_add(amount, Relaxed);
    }

    fn give_back(&self, amount: u64) {
        self.taken.fetch_sub(amount, Relaxed);
    }
}

/// An endpoint's capacity in each of its pool's dimensions. Without dimensions, everything fits.
#[derive(Clone, Default)]
pub struct Room {
    capacity: Amounts,
    /// 1 / capacity, by dimension: multiplying is what a pick does for each endpoint.
    share_of_one: [f64; DIMENSIONS_MAX],
    accounts: Arc<[Arc<Account>]>,
}

impl Room {
    /// `accounts` by dimension.
    pub fn new(capacity: Amounts, accounts: Arc<[Arc<Account>]>) -> Room {
        let share_of_one = std::array::from_fn(|place| 1.0 / capacity.get(place) as f64);
        Room {
            capacity,
            share_of_one,
            accounts,
        }
    }

    pub fn capacity(&self) -> &Amounts {
        &self.capacity
    }

    /// Whether the demand fits beside what is taken.
    pub fn fits(&self, demand: &Amounts) -> bool {
        let mut dimensions = self.dimensions(demand);
        dimensions
            .all(|dimension| dimension.wanted == 0 || dimension.filled() <= dimension.capacity)
    }

    /// Whether the demand would fit if nothing else were there.
    pub fn could_fit(&self, demand: &Amounts) -> bool {
        let mut dimensions = self.dimensions(demand);
        dimensions.all(|dimension| dimension.wanted <= dimension.capacity)
    }

    /// The largest share of a capacity that would be taken with the demand in; above 1: overfull.
    pub fn dominant_share(&self, demand: &Amounts) -> f64 {
        self.dimensions(demand)
            .map(|dimension| dimension.filled() as f64 * dimension.share_of_one)
            .fold(0.0, f64::max)
    }

    /// How alike the demand and what is free are, 0 to 1. Each dimension loses a part of what is
    /// free in it; 1 means equal parts, so that no dimension runs out before the others.
    pub fn likeness(&self, demand: &Amounts) -> f64 {
        let part = |dimension: Dimension| match dimension.wanted {
            0 => 0.0,
            wanted => wanted as f64 / dimension.free() as f64,
        };
        let (sum, largest) = self
            .dimensions(demand)
            .map(part)
            .fold((0.0, 0.0), |(sum, largest), part: f64| {
                (sum + part, part.max(largest))
            });
        if largest > 0.0 {
            sum / (largest * self.accounts.len() as f64)
        } else {
            1.0
        }
    }

    /// Takes the demand, whether it fits or not; `None`: there are no dimensions to take it from.
    pub fn reserve(&self, demand: &Amounts) -> Option<Reservation> {
        if self.accounts.is_empty() {
            return None;
        }
        for (account, amount) in amounts(&self.accounts, demand) {
            account.take(amount);
        }
        Some(Reservation {
            accounts: self.accounts.clone(),
            taken: *demand,
        })
    }

    fn dimensions(&self, demand: &Amounts) -> impl Iterator<Item = Dimension> {
        let accounts = self.accounts.iter().enumerate();
        accounts.map(|(place, account)| Dimension {
            wanted: demand.get(place),
            taken: account.taken(),
            capacity: self.capacity.get(place),
            share_of_one: self.share_of_one[place],
        })
    }
}

/// The accounts that are touched, and by how much.
fn amounts<'a>(
    accounts: &'a [Arc<Account>],
    of: &'a Amounts,
) -> impl Iterator<Item = (&'a Account, u64)> {
    let accounts = accounts.iter().enumerate();
    let amounts = accounts.map(|(place, account)| (account.as_ref(), of.get(place)));
    amounts.filter(|(_, amount)| *amount > 0)
}

/// One dimension of an endpoint as a pick sees it, in millionths.
struct Dimension {
    wanted: u64,
    taken: u64,
    capacity: u64,
    share_of_one: f64,
}

impl Dimension {
    fn filled(&self) -> u64 {
        self.taken.saturating_add(self.wanted)
    }

    /// 0 where more is taken than there is.
    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.taken)
    }
}

/// A demand that is taken from an endpoint's room. Dropping it, on whatever way out, gives it back
/// exactly once.
pub struct Reservation {
    accounts: Arc<[Arc<Account>]>,
    taken: Amounts,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for (account, amount) in amounts(&self.accounts, &self.taken) {
            account.give_back(amount);
        }
    }
}
