//! A doubly linked list of slot numbers: every operation is O(1), and none allocates once the slot
//! has been in the list before. Used by the eviction orders.

const NONE: u32 = u32::MAX;

pub struct List {
    /// By slot; meaningless for a slot that is not in the list.
    links: Vec<Link>,
    front: u32,
    back: u32,
}

#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

impl Default for List {
    fn default() -> Self {
        List {
            links: Vec::new(),
            front: NONE,
            back: NONE,
        }
    }
}

impl List {
    pub fn back(&self) -> Option<u32> {
        (self.back != NONE).then_some(self.back)
    }

    /// The slot must not be in the list.
    pub fn push_front(&mut self, slot: u32) {
        let unused = Link {
            before: NONE,
            after: NONE,
        };
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, unused);
        }
        let after = self.front;
        self.links[slot as usize] = Link { after, ..unused };
        match after {
            NONE => self.back = slot,
            after => self.links[after as usize].before = slot,
        }
        self.front = slot;
    }

    /// The slot must be in the list.
    pub fn remove(&mut self, slot: u32) {
        let Link { before, after } = self.links[slot as usize];
        match before {
            NONE => self.front = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NONE => self.back = before,
            after => self.links[after as usize].before = before,
        }
    }
}
