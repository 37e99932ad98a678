//! A gate a test holds: an origin that is "slow" waits at one, so nothing needs to sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// Shut when made. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    /// Closed for good once the gate is open.
    permits: Semaphore,
    waiting: AtomicUsize,
}

impl Gate {
    #[expect(clippy::new_without_default, reason = "a gate is shut, not default")]
    pub fn new() -> Gate {
        Gate(Arc::new(Inner {
            permits: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.permits.close();
    }

    /// Lets the next `count` through.
    pub fn admit(&self, count: usize) {
        self.0.permits.add_permits(count);
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }

    /// Waits until it is let through. A waiter that gives up no longer counts as waiting.
    pub async fn pass(&self) {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.0.waiting);
        if let Ok(permit) = self.0.permits.acquire().await {
            permit.forget();
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
