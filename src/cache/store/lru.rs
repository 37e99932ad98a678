//! Least recently used first: the definition, exact within a shard, and exact across shards because
//! each use has a number of its own ([`Lru::urgency`]).

use super::list::List;

#[derive(Default)]
pub struct Lru {
    list: List,
    /// By slot: the number of its last use.
    used: Vec<u64>,
}

impl Lru {
    pub fn admit(&mut self, slot: u32, tick: u64) {
        if self.used.len() <= slot as usize {
            self.used.resize(slot as usize + 1, 0);
        }
        self.used[slot as usize] = tick;
        self.list.push_front(slot);
    }

    pub fn touch(&mut self, slot: u32, tick: u64) {
        self.list.remove(slot);
        self.admit(slot, tick);
    }

    pub fn remove(&mut self, slot: u32) {
        self.list.remove(slot);
    }

    pub fn victim(&self) -> Option<u32> {
        self.list.back()
    }

    /// The number of its last use.
    pub fn last_use(&self, slot: u32) -> u64 {
        self.used[slot as usize]
    }

    /// When the victim was last used; the shard with the least evicts first.
    pub fn urgency(&self) -> Option<u64> {
        self.victim().map(|slot| self.used[slot as usize])
    }
}
