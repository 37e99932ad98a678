//! Who goes first when room is needed: one contract, two algorithms.

use super::lru::Lru;
use super::s3fifo::S3Fifo;
use crate::config::model::Eviction;

/// What an object takes in the larger of the two: a place in both queues and what is known of it, in lists
/// that grow by doubling, and its ghost.
pub const ORDER_BYTES: usize = 80;

/// The order of one shard's slots. Its caller keeps it in step with the slots that are in use.
pub enum Order {
    Lru(Lru),
    S3Fifo(S3Fifo),
}

impl Order {
    pub fn new(eviction: Eviction) -> Self {
        match eviction {
            Eviction::Lru => Order::Lru(Lru::default()),
            Eviction::S3Fifo => Order::S3Fifo(S3Fifo::default()),
        }
    }

    /// `tick` numbers the uses of the whole store; `fingerprint` is the same when the object returns.
    pub fn admit(&mut self, slot: u32, tick: u64, fingerprint: u64, bytes: usize) {
        match self {
            Order::Lru(lru) => lru.admit(slot, tick),
            Order::S3Fifo(s3) => s3.admit(slot, fingerprint, bytes),
        }
    }

    pub fn touch(&mut self, slot: u32, tick: u64) {
        match self {
            Order::Lru(lru) => lru.touch(slot, tick),
            Order::S3Fifo(s3) => s3.touch(slot),
        }
    }

    pub fn remove(&mut self, slot: u32) {
        match self {
            Order::Lru(lru) => lru.remove(slot),
            Order::S3Fifo(s3) => s3.remove(slot),
        }
    }

    /// Who goes next, if anybody is there.
    pub fn victim(&mut self) -> Option<u32> {
        match self {
            Order::Lru(lru) => lru.victim(),
            Order::S3Fifo(s3) => s3.victim(),
        }
    }

    /// The victim goes.
    pub fn evict(&mut self, slot: u32) {
        match self {
            Order::Lru(lru) => lru.remove(slot),
            Order::S3Fifo(s3) => s3.evict(slot),
        }
    }

    /// The victim stays, because somebody is reading it.
    pub fn spare(&mut self, slot: u32, tick: u64) {
        match self {
            Order::Lru(lru) => lru.touch(slot, tick),
            Order::S3Fifo(s3) => s3.spare(slot),
        }
    }

    /// The higher, the longer it is to be kept.
    pub fn rank(&self, slot: u32) -> u64 {
        match self {
            Order::Lru(lru) => lru.last_use(slot),
            Order::S3Fifo(s3) => s3.standing(slot),
        }
    }

    /// The shard with the least evicts first; `u64::MAX` when it has nothing.
    pub fn urgency(&self) -> u64 {
        match self {
            Order::Lru(lru) => lru.urgency().unwrap_or(u64::MAX),
            Order::S3Fifo(s3) => s3.bytes().map_or(u64::MAX, |b| u64::MAX - 1 - b as u64),
        }
    }
}
