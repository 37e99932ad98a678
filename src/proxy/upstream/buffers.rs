//! Buffers that responses are read into, handed from one to the next.
//!
//! A thread takes the one it gave back last, which its processor still has in its cache: an allocator
//! would hand out each in turn, and every read would begin with memory far away. A response holds one
//! only while there is something in it. Owned by `forward`.

use std::cell::RefCell;

use bytes::BytesMut;
use thread_local::ThreadLocal;

/// Room for one read: a head and a body of 64 KiB, a common buffer size, come at once if they are there.
const BYTES: usize = 68 * 1024;
/// As many as a thread may see come back before it takes one again.
const FOR_ONE_THREAD_MAX: usize = 4;

#[derive(Default)]
pub(in crate::proxy) struct Buffers(ThreadLocal<RefCell<Vec<BytesMut>>>);

impl Buffers {
    /// An empty one.
    pub(super) fn take(&self) -> BytesMut {
        let free = self.0.get_or_default().borrow_mut().pop();
        free.unwrap_or_else(|| BytesMut::with_capacity(BYTES))
    }

    /// Takes one back whose content is no longer needed.
    pub(super) fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut free = self.0.get_or_default().borrow_mut();
        // One that is shared, or never was ours, does not come back whole.
        if free.len() < FOR_ONE_THREAD_MAX && buffer.try_reclaim(BYTES) {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn the_one_given_back_last_is_taken_next() {
        let buffers = Buffers::default();
        let (first, mut last) = (buffers.take(), buffers.take());
        last.extend_from_slice(b"used and consumed");
        let place = last.as_ptr();
        last.advance(5);
        buffers.give(first);
        buffers.give(last);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= BYTES);
    }

    #[test]
    fn only_whole_ones_are_kept_and_only_a_few() {
        let buffers = Buffers::default();
        let mut shared = buffers.take();
        shared.extend_from_slice(b"in use");
        let in_use = shared.split_to(2).freeze();
        buffers.give(shared);
        buffers.give(BytesMut::from("small"));
        assert_eq!(buffers.take().capacity(), BYTES, "a new one");
        assert_eq!(in_use, "in");
        let taken: Vec<_> = (0..9).map(|_| buffers.take()).collect();
        taken.into_iter().for_each(|buffer| buffers.give(buffer));
        assert_eq!(
            buffers.0.get_or_default().borrow().len(),
            FOR_ONE_THREAD_MAX
        );
    }
}
