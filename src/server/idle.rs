//! The timer of a connection between two requests.
//!
//! A busy connection restarts it thousands of times a second, so restarting only notes the time: the
//! timer itself is set again when it fires too early. Used by `server::connection`.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

pub(super) struct IdleTimer {
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    pub(super) fn new() -> IdleTimer {
        IdleTimer {
            deadline: Instant::now(),
            timer: None,
        }
    }

    pub(super) fn restart(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
        // A reload may have made the timeout shorter.
        if let Some(timer) = &mut self.timer
            && timer.deadline() > self.deadline
        {
            timer.as_mut().reset(self.deadline);
        }
    }

    pub(super) async fn elapsed(&mut self) {
        let deadline = self.deadline;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            timer.as_mut().await;
            if timer.deadline() >= deadline {
                return;
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_elapses_after_the_last_restart() {
        let mut idle = IdleTimer::new();
        let began = Instant::now();
        idle.restart(Duration::from_secs(5));
        tokio::select! {
            () = idle.elapsed() => unreachable!("elapsed too early"),
            () = tokio::time::sleep(Duration::from_secs(3)) => {}
        }
        idle.restart(Duration::from_secs(5));
        idle.elapsed().await;
        assert_eq!(began.elapsed().as_secs(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_timeout_counts_at_once() {
        let mut idle = IdleTimer::new();
        let began = Instant::now();
        idle.restart(Duration::from_secs(60));
        tokio::select! {
            () = idle.elapsed() => unreachable!("elapsed too early"),
            () = tokio::task::yield_now() => {}
        }
        idle.restart(Duration::from_secs(1));
        idle.elapsed().await;
        assert_eq!(began.elapsed().as_secs(), 1);
    }
}
