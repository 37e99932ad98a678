//! The bytes the cache may hold, and who holds how many.
//!
//! Whatever holds memory owns a [`Charge`]; dropping it gives the bytes back, so nothing is given
//! back by hand and a body that a slow client still reads stays counted after its eviction. `used`
//! is the sum of all charges at every moment. It exceeds `limit` only by the allowance of bodies
//! that pass through ([`Account::ceiling`]), or while a lowered limit is being reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Account {
    limit: AtomicUsize,
    used: AtomicUsize,
}

impl Account {
    /// `limit` in bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Account {
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
        })
    }

    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// What exceeds a lowered limit stays until somebody evicts it.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// What bodies that pass through may use: 2 % above the limit, so that a full cache fails none.
    pub fn ceiling(&self) -> usize {
        let limit = self.limit();
        limit.saturating_add(limit / 50)
    }

    /// A charge to which more can be added.
    pub fn nothing(self: &Arc<Self>) -> Charge {
        Charge {
            account: Arc::clone(self),
            bytes: 0,
        }
    }

    /// A charge of `bytes`, or `None` when `used` would exceed `ceiling`.
    pub fn charge(self: &Arc<Self>, bytes: usize, ceiling: usize) -> Option<Charge> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= ceiling);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, fits).ok()?;
        Some(Charge {
            account: Arc::clone(self),
            bytes,
        })
    }
}

/// A counted hold on bytes of one account.
pub struct Charge {
    account: Arc<Account>,
    bytes: usize,
}

impl Charge {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Hands `bytes` of what it holds over to a charge of their own.
    pub fn split(&mut self, bytes: usize) -> Charge {
        debug_assert!(bytes <= self.bytes);
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Charge {
            account: Arc::clone(&self.account),
            bytes,
        }
    }

    /// Takes over what the other one holds.
    pub fn absorb(&mut self, mut other: Charge) {
        debug_assert!(Arc::ptr_eq(&self.account, &other.account));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what exceeds `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.account.used.fetch_sub(surplus, Ordering::Relaxed);
        self.bytes -= surplus;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// What an allocation of `bytes` takes from the allocator: mimalloc's size classes are four to a
/// power of two from 64 bytes on, and multiples of 16 below.
pub fn allocated(bytes: usize) -> usize {
    if bytes <= 64 {
        return bytes.next_multiple_of(16);
    }
    let step = (bytes - 1).checked_ilog2().map_or(1, |log| 1 << (log - 2));
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_counts_until_it_is_dropped() {
        let account = Account::new(100);
        let mut one = account.charge(60, 100).unwrap();
        assert!(account.charge(41, 100).is_none());
        let two = account.charge(40, 100).unwrap();
        assert_eq!(account.used(), 100);
        assert!(account.charge(3, account.ceiling()).is_none());
        let over = account.charge(2, account.ceiling()).unwrap();
        assert_eq!(account.used(), 102);
        drop(over);
        one.absorb(two);
        assert_eq!((one.bytes(), account.used()), (100, 100));
        let part = one.split(20);
        assert_eq!((one.bytes(), part.bytes(), account.used()), (80, 20, 100));
        drop(part);
        one.shrink_to(30);
        one.shrink_to(50);
        assert_eq!((one.bytes(), account.used()), (30, 30));
        drop(one);
        assert_eq!(account.used(), 0);
        assert!(account.charge(usize::MAX, usize::MAX).is_some());
    }

    #[test]
    fn sizes_round_up_to_the_class_of_the_allocator() {
        let known = [
            (0, 0),
            (1, 16),
            (64, 64),
            (65, 80),
            (80, 80),
            (129, 160),
            (1024, 1024),
            (1025, 1280),
            (65_536, 65_536),
            (65_537, 81_920),
        ];
        for (bytes, class) in known {
            assert_eq!(allocated(bytes), class, "{bytes}");
        }
    }
}
