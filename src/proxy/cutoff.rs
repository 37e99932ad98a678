//! How the process ends a connection from outside, when it does not wait for its request any longer.
//!
//! Each client connection has one: a flag and the waker of whoever waits for the connection. Every wait
//! for the client asks `check`, so a running request ends with an error of the client's side, is
//! recorded and gone; no lock is taken for a request. `server::caps` cuts, `downstream` checks.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

#[derive(Debug, Default)]
pub struct Cutoff {
    is_cut: AtomicBool,
    waiting: AtomicWaker,
}

impl Cutoff {
    /// From now on every wait for the connection fails; cannot be taken back.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.waiting.wake();
    }

    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    /// Fails once the connection is cut; until then the cut wakes the task, of which there is one.
    pub(super) fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.waiting.register(cx.waker());
        match self.is_cut() {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    /// Waits for the cut.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        match self.check(cx) {
            Ok(()) => Poll::Pending,
            Err(_) => Poll::Ready(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_cut_wakes_who_waits_and_lasts() {
        let cutoff = Arc::new(Cutoff::default());
        let waiting = tokio::spawn({
            let cutoff = cutoff.clone();
            async move { poll_fn(|cx| cutoff.poll(cx)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        cutoff.cut();
        waiting.await.unwrap();
        poll_fn(|cx| cutoff.poll(cx)).await;
        assert!(cutoff.is_cut());
    }
}
