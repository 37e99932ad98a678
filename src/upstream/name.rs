//! The last good answer for one host name.
//!
//! Lives as long as a pool uses the name, so a reload starts from the addresses known already and a
//! failing name server takes nothing away. Written by `discovery`, read when a pool is built.

use std::net::IpAddr;

use log::{info, warn};
use parking_lot::Mutex;

pub struct Name {
    host: String,
    answer: Mutex<Answer>,
}

#[derive(Default)]
struct Answer {
    /// Sorted, without repetition.
    addresses: Vec<IpAddr>,
    /// The last lookup failed; kept to log changes only.
    failing: bool,
}

impl Name {
    pub fn new(host: &str) -> Self {
        Name {
            host: host.to_owned(),
            answer: Mutex::default(),
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// The addresses of the last lookup that found any; empty before the first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.answer.lock().addresses.clone()
    }

    /// Takes over a lookup's result. A failure or an empty answer keeps the last good one.
    pub fn update(&self, found: Result<Vec<IpAddr>, String>) {
        match found {
            Ok(addresses) if addresses.is_empty() => self.failed("the answer has no address"),
            Ok(addresses) => self.succeeded(addresses),
            Err(error) => self.failed(&error),
        }
    }

    fn succeeded(&self, mut addresses: Vec<IpAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        let mut answer = self.answer.lock();
        if answer.failing || answer.addresses != addresses {
            info!("name {} resolves to {addresses:?}", self.host);
        }
        *answer = Answer {
            addresses,
            failing: false,
        };
    }

    fn failed(&self, error: &str) {
        let mut answer = self.answer.lock();
        if !answer.failing {
            let (host, kept) = (&self.host, answer.addresses.len());
            warn!("name {host} cannot be resolved, keeping {kept} addresses: {error}");
        }
        answer.failing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_failure_or_an_empty_answer_keeps_the_last_good_one() {
        let name = Name::new("db.internal");
        assert!(name.addresses().is_empty());
        name.update(Ok(addresses(&["10.0.0.2", "10.0.0.1", "10.0.0.2", "::1"])));
        name.update(Err("no such name".to_owned()));
        name.update(Ok(Vec::new()));
        assert_eq!(
            name.addresses(),
            addresses(&["10.0.0.1", "10.0.0.2", "::1"])
        );
        name.update(Ok(addresses(&["10.0.0.3"])));
        assert_eq!(name.addresses(), addresses(&["10.0.0.3"]));
    }
}
