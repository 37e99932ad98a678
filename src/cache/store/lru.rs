//! Least recently used first: the definition, exact within a shard, and exact across shards because
//! each use has a number of its own ([`Lru::urgency`]).

use super::list::List;

#[derive(Default)]
pub struct Lru(
    /// With the number of each one's last use.
    List<u64>,
);

impl Lru {
    pub fn admit(&mut self, slot: u32, tick: u64) {
        self.0.push_front(slot, tick);
    }

    pub fn touch(&mut self, slot: u32, tick: u64) {
        self.0.remove(slot);
        self.admit(slot, tick);
    }

    pub fn remove(&mut self, slot: u32) {
        self.0.remove(slot);
    }

    pub fn victim(&self) -> Option<u32> {
        self.0.back()
    }

    /// The number of its last use.
    pub fn last_use(&self, slot: u32) -> u64 {
        self.0.known(slot)
    }

    /// When the victim was last used; the shard with the least evicts first.
    pub fn urgency(&self) -> Option<u64> {
        self.victim().map(|slot| self.0.known(slot))
    }
}
