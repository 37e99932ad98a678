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

/// The addresses found of one family; empty when the name has none of it.
pub type Family = Result<Vec<IpAddr>, String>;

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

    /// Takes over the results of both lookups; true when the name is known to resolve. A family that
    /// failed keeps its addresses, and an answer without any address changes nothing.
    pub fn update(&self, v4: Family, v6: Family) -> bool {
        let good = [&v4, &v6]
            .iter()
            .any(|family| family.as_ref().is_ok_and(|found| !found.is_empty()));
        if good {
            self.succeeded(v4, v6);
        } else {
            let error = v4.err().or(v6.err());
            self.failed(error.as_deref().unwrap_or("the answer has no address"));
        }
        good
    }

    fn succeeded(&self, v4: Family, v6: Family) {
        let mut answer = self.answer.lock();
        let kept = |is_kept: fn(&IpAddr) -> bool| {
            let addresses = answer.addresses.iter().copied();
            addresses.filter(is_kept).collect()
        };
        let mut addresses: Vec<IpAddr> = v4.unwrap_or_else(|_| kept(IpAddr::is_ipv4));
        addresses.extend(v6.unwrap_or_else(|_| kept(IpAddr::is_ipv6)));
        addresses.sort_unstable();
        addresses.dedup();
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

    const FAILED: Family = Err(String::new());

    fn found(texts: &[&str]) -> Family {
        Ok(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn a_failure_or_an_empty_answer_keeps_the_last_good_one() {
        let name = Name::new("db.internal");
        assert!(name.addresses().is_empty());
        let v4 = found(&["10.0.0.2", "10.0.0.1", "10.0.0.2"]);
        assert!(name.update(v4, found(&["::1"])));
        assert!(!name.update(FAILED, FAILED));
        assert!(!name.update(found(&[]), found(&[])));
        assert!(!name.update(FAILED, found(&[])));
        let kept = found(&["10.0.0.1", "10.0.0.2", "::1"]);
        assert_eq!(Ok(name.addresses()), kept);
        assert!(name.update(found(&["10.0.0.3"]), found(&[])));
        assert_eq!(Ok(name.addresses()), found(&["10.0.0.3"]));
    }

    #[test]
    fn a_family_that_failed_keeps_its_addresses() {
        let name = Name::new("db.internal");
        name.update(found(&["10.0.0.1"]), found(&["::1"]));
        name.update(found(&["10.0.0.2"]), FAILED);
        assert_eq!(Ok(name.addresses()), found(&["10.0.0.2", "::1"]));
        name.update(FAILED, found(&["::2"]));
        assert_eq!(Ok(name.addresses()), found(&["10.0.0.2", "::2"]));
    }
}
