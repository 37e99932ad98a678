//! Who codes: a few threads at a time, none that serves, and no response twice at once.

use std::collections::HashSet;
use std::sync::Arc;

use log::warn;
use parking_lot::Mutex;
use pingora_cache::key::CompactCacheKey;
use tokio::task::spawn_blocking;

use super::coded::Work;
use crate::cache::store::Store;

/// What is above it is coded when it is asked for again.
const AT_ONCE_MAX: usize = 2;

/// The keys that are being coded.
#[derive(Clone, Default)]
pub struct Coders(Arc<Mutex<HashSet<CompactCacheKey>>>);

/// Its place among them, given back at the end, also of a panic.
struct Place {
    coders: Coders,
    key: CompactCacheKey,
}

impl Coders {
    /// Begins, in a runtime's context, unless others are at it.
    pub fn begin(&self, store: &Store, work: Work) {
        let Some(place) = self.place(work.key()) else {
            return;
        };
        let store = store.clone();
        spawn_blocking(move || {
            let _place = place;
            if let Err(error) = work.run(&store) {
                warn!("a cached response could not be coded: {error}");
            }
        });
    }

    fn place(&self, key: &CompactCacheKey) -> Option<Place> {
        let mut running = self.0.lock();
        let is_free = running.len() < AT_ONCE_MAX && running.insert(key.clone());
        is_free.then(|| Place {
            coders: self.clone(),
            key: key.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.coders.0.lock().remove(&self.key);
    }
}
