//! Load probes between the picks that pay for them, the loop that asks, and the selector that reads.
//!
//! Each request of the pool pays for a few probes (Wydrowski et al., NSDI 2024: three), which
//! `health::load` sends meanwhile, so no request waits for one and none is sent without traffic. The
//! report of an answer goes to its endpoint's [`signals`](super::signals); that there was an answer,
//! and when, goes to the selectors through here.
//!
//! Bounds: what was paid for and not sent is at most [`DUE_MAX`] probes, and of answers the last
//! [`ANSWERS_MAX`] are kept. One value for each pool and snapshot.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::model::LoadProbe;

/// The paper's size of a pool of probes.
pub const ANSWERS_MAX: usize = 16;
pub const DUE_MAX: u32 = 64;

/// Fractions of a probe are counted in hundredths.
const WHOLE: u32 = 100;

pub struct LoadProbes {
    config: LoadProbe,
    /// In hundredths.
    due: AtomicU32,
    paid: Notify,
    /// Answers ever given.
    count: AtomicU64,
    /// The last ones, oldest first.
    answers: Mutex<VecDeque<Answer>>,
}

/// An endpoint answered a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub address: SocketAddr,
    pub at: Instant,
}

impl LoadProbes {
    pub fn new(config: &LoadProbe) -> LoadProbes {
        LoadProbes {
            config: config.clone(),
            due: AtomicU32::new(0),
            paid: Notify::new(),
            count: AtomicU64::new(0),
            answers: Mutex::default(),
        }
    }

    pub fn config(&self) -> &LoadProbe {
        &self.config
    }

    /// A request has come.
    pub fn pay(&self) {
        let paid = |due: u32| Some((due + self.config.per_request).min(DUE_MAX * WHOLE));
        let before = self.due.fetch_update(Relaxed, Relaxed, paid);
        if before.unwrap_or_else(|due| due) + self.config.per_request >= WHOLE {
            self.paid.notify_one();
        }
    }

    /// Waits until at least one probe has been paid for, and takes all of them.
    pub async fn due(&self) -> usize {
        loop {
            let rest = |due: u32| Some(due % WHOLE);
            let due = self.due.fetch_update(Relaxed, Relaxed, rest);
            let whole = due.unwrap_or_else(|due| due) / WHOLE;
            if whole > 0 {
                return whole as usize;
            }
            self.paid.notified().await;
        }
    }

    pub fn answered(&self, answer: Answer) {
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.pop_front();
        }
        answers.push_back(answer);
        self.count.fetch_add(1, Relaxed);
    }

    /// Hands over what has been answered since `heard` answers were, oldest first, as far as it is
    /// kept.
    pub fn hear(&self, heard: &mut u64, take: impl FnMut(Answer)) {
        if self.count.load(Relaxed) == *heard {
            return;
        }
        let answers = self.answers.lock();
        let count = self.count.load(Relaxed);
        let new = usize::try_from(count - *heard).unwrap_or(usize::MAX);
        let old = answers.len().saturating_sub(new);
        answers.iter().skip(old).copied().for_each(take);
        *heard = count;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn probes(per_request: u32) -> LoadProbes {
        LoadProbes::new(&LoadProbe {
            path: "/load".to_owned(),
            port: None,
            per_request,
            timeout: Duration::from_millis(100),
        })
    }

    fn answer(port: u16) -> Answer {
        Answer {
            address: ([10, 0, 0, 1], port).into(),
            at: Instant::now(),
        }
    }

    fn heard(probes: &LoadProbes, heard: &mut u64) -> Vec<u16> {
        let mut ports = Vec::new();
        probes.hear(heard, |answer| ports.push(answer.address.port()));
        ports
    }

    #[tokio::test]
    async fn requests_pay_for_probes_and_fractions_add_up() {
        let probes = probes(250);
        probes.pay();
        assert_eq!(probes.due().await, 2);
        probes.pay();
        assert_eq!(probes.due().await, 3);
        (0..1000).for_each(|_| probes.pay());
        assert_eq!(probes.due().await, DUE_MAX as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn without_requests_nothing_is_due() {
        let probes = probes(50);
        probes.pay();
        let hour = Duration::from_secs(3600);
        let due = tokio::time::timeout(hour, probes.due()).await;
        assert!(due.is_err(), "{due:?}");
        probes.pay();
        assert_eq!(probes.due().await, 1);
    }

    #[test]
    fn each_selector_hears_each_answer_once_and_the_last_sixteen_at_most() {
        let probes = probes(300);
        let (mut first, mut second) = (0, 0);
        assert!(heard(&probes, &mut first).is_empty());
        (1..=2).for_each(|port| probes.answered(answer(port)));
        assert_eq!(heard(&probes, &mut first), [1, 2]);
        (3..=20).for_each(|port| probes.answered(answer(port)));
        assert_eq!(heard(&probes, &mut first), (5..=20).collect::<Vec<_>>());
        assert_eq!(heard(&probes, &mut second).len(), ANSWERS_MAX);
        assert!(heard(&probes, &mut second).is_empty());
    }
}
