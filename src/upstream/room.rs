//! Room: what an endpoint has of each resource, how much of it is taken, and what takes it.
//!
//! An [`Account`] counts what is taken of one dimension. It belongs to the endpoint and lives as
//! long, so a reload that changes capacities finds what running attempts have taken. A [`Room`] is
//! one membership's view: capacities from its configuration, over those accounts. A
//! [`Reservation`](super::member::Reservation) takes a demand and gives exactly that back when it is
//! dropped: amounts are whole numbers.
//!
//! Taken under the lock of the pool's picks, so that two of them never take the same room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::Gauge;

use crate::config::amounts::{Amounts, real, units};

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
pub struct Room(Arc<[Dimension]>);

/// Side by side, for a pick reads them at each endpoint.
struct Dimension {
    account: Arc<Account>,
    capacity: u64,
    /// 1 / capacity: multiplying is what a pick does for each endpoint.
    share_of_one: f64,
}

/// An endpoint with a demand in.
pub struct Filled {
    /// Whether the demand is within the capacities.
    pub fits: bool,
    /// The largest share of a capacity that would be taken; above 1: overfull.
    pub dominant_share: f64,
}

/// How alike a demand and what is free are. Each dimension loses a part of what is free in it. How many
/// times the largest part the sum of them is says how equal they are, and with equal parts no dimension
/// runs out before the others.
#[derive(Clone, Copy)]
pub struct Likeness {
    sum: f64,
    largest: f64,
}

impl Room {
    /// `accounts` by dimension.
    pub fn new(capacity: &Amounts, accounts: impl IntoIterator<Item = Arc<Account>>) -> Room {
        let accounts = accounts.into_iter().enumerate();
        let dimension = |(place, account)| Dimension {
            account,
            capacity: capacity.get(place),
            share_of_one: 1.0 / capacity.get(place) as f64,
        };
        Room(accounts.map(dimension).collect())
    }

    pub fn capacity(&self) -> Amounts {
        let mut capacity = Amounts::default();
        for (place, dimension) in self.0.iter().enumerate() {
            capacity.set(place, dimension.capacity);
        }
        capacity
    }

    /// What would be taken with the demand in.
    #[inline]
    pub fn filled(&self, demand: &Amounts) -> Filled {
        let mut filled = Filled {
            fits: true,
            dominant_share: 0.0,
        };
        for (dimension, wanted) in self.dimensions(demand) {
            let taken = dimension.account.taken() + wanted;
            filled.fits &= wanted == 0 || taken <= dimension.capacity;
            let share = real(taken) * dimension.share_of_one;
            if share > filled.dominant_share {
                filled.dominant_share = share;
            }
        }
        filled
    }

    /// Whether the demand would fit if nothing else were there.
    pub fn could_fit(&self, demand: &Amounts) -> bool {
        let mut dimensions = self.dimensions(demand);
        dimensions.all(|(dimension, wanted)| wanted <= dimension.capacity)
    }

    /// How alike the demand, which fits, and what is free are.
    #[inline]
    pub fn likeness(&self, demand: &Amounts) -> Likeness {
        let (mut sum, mut largest) = (0.0, 0.0);
        for (dimension, wanted) in self.dimensions(demand) {
            let part = real(wanted) / dimension.free();
            sum += part;
            if part > largest {
                largest = part;
            }
        }
        Likeness { sum, largest }
    }

    /// Takes the demand, whether it fits or not.
    pub(super) fn take(&self, demand: &Amounts) {
        for (dimension, amount) in self.touched(demand) {
            dimension.account.take(amount);
        }
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, taken: &Amounts) {
        for (dimension, amount) in self.touched(taken) {
            dimension.account.give_back(amount);
        }
    }

    fn dimensions(&self, amounts: &Amounts) -> impl Iterator<Item = (&Dimension, u64)> {
        self.0.iter().zip(amounts.iter())
    }

    fn touched(&self, amounts: &Amounts) -> impl Iterator<Item = (&Dimension, u64)> {
        self.dimensions(amounts).filter(|(_, amount)| *amount > 0)
    }
}

impl Dimension {
    /// At least a millionth: nothing is no part of it even where more is taken than there is.
    fn free(&self) -> f64 {
        (real(self.capacity) - real(self.account.taken())).max(1.0)
    }
}

impl Likeness {
    /// Multiplied crosswise, which spares a division for each endpoint.
    #[inline]
    pub fn is_above(self, other: Likeness) -> bool {
        self.sum * other.largest > other.sum * self.largest
    }
}
