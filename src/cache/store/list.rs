//! A doubly linked list of slot numbers: every operation is O(1), and none allocates once the slot
//! has been in the list before. What is known of a slot lies with its links, so that a hit on one of a
//! million slots misses the processor's cache for it once. Used by the eviction orders.

const NONE: u32 = u32::MAX;

pub struct List<T = ()> {
    /// By slot; meaningless for a slot that is not in the list.
    links: Vec<Link<T>>,
    front: u32,
    back: u32,
}

#[derive(Clone, Copy)]
struct Link<T> {
    before: u32,
    after: u32,
    known: T,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List {
            links: Vec::new(),
            front: NONE,
            back: NONE,
        }
    }
}

impl<T: Copy> List<T> {
    pub fn back(&self) -> Option<u32> {
        (self.back != NONE).then_some(self.back)
    }

    /// What is known of a slot that has been in the list.
    pub fn known(&self, slot: u32) -> T {
        self.links[slot as usize].known
    }

    /// The slot must not be in the list.
    pub fn push_front(&mut self, slot: u32, known: T) {
        let after = self.front;
        let link = Link {
            before: NONE,
            after,
            known,
        };
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, link);
        }
        self.links[slot as usize] = link;
        match after {
            NONE => self.back = slot,
            after => self.links[after as usize].before = slot,
        }
        self.front = slot;
    }

    /// The slot must be in the list.
    pub fn remove(&mut self, slot: u32) {
        let Link { before, after, .. } = self.links[slot as usize];
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
