//! Connection caps: how many connections there may be, in all and from one client address.
//!
//! A place is a guard: dropping it gives it back exactly once. The map holds only addresses that have
//! a connection open, so it is bounded by the global cap. Used by `server::connection`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::model::Limits;
use crate::proxy::reject::Rejection;

#[derive(Default)]
pub(super) struct Caps {
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    /// Told each time the last connection has gone.
    emptied: Notify,
}

impl Caps {
    /// Takes a place for a connection from `client`, or says which cap is reached. Limits are passed
    /// in because a reload may change them; connections already open stay.
    pub(super) fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        limits: &Limits,
    ) -> Result<Place, Rejection> {
        let key = key(client);
        let mut by_address = self.by_address.lock();
        if self.open() >= limits.connections {
            return Err(Rejection::TooManyConnections);
        }
        let count = by_address.entry(key).or_insert(0);
        // An entry just made is below the cap, which is at least 1.
        if *count >= limits.connections_per_address {
            return Err(Rejection::TooManyConnectionsPerAddress);
        }
        *count += 1;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Place {
            caps: self.clone(),
            key,
        })
    }

    /// Connections open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns when no connection is open.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn leave(&self, key: IpAddr) {
        let mut by_address = self.by_address.lock();
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.emptied.notify_waiters();
        }
        if let Some(count) = by_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&key);
            }
        }
    }
}

/// One connection's place; dropping it gives it back.
pub(super) struct Place {
    caps: Arc<Caps>,
    key: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.caps.leave(self.key);
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 /64, which is what one customer is given.
fn key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::head;

    fn limits(connections: usize, connections_per_address: usize) -> Limits {
        Limits {
            connections,
            connections_per_address,
            ..head::tests::limits()
        }
    }

    fn enter(caps: &Arc<Caps>, client: &str, limits: &Limits) -> Result<Place, Rejection> {
        caps.enter(client.parse().unwrap(), limits)
    }

    #[test]
    fn the_global_cap_counts_everybody() {
        let (caps, limits) = (Arc::new(Caps::default()), limits(2, 2));
        let first = enter(&caps, "10.0.0.1", &limits);
        let _second = enter(&caps, "10.0.0.2", &limits);
        let third = enter(&caps, "10.0.0.3", &limits).err();
        assert_eq!(third, Some(Rejection::TooManyConnections));
        drop(first);
        assert!(enter(&caps, "10.0.0.3", &limits).is_ok());
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let (caps, limits) = (Arc::new(Caps::default()), limits(100, 1));
        let place = enter(&caps, "10.0.0.1", &limits);
        let mapped = enter(&caps, "::ffff:10.0.0.1", &limits).err();
        assert_eq!(mapped, Some(Rejection::TooManyConnectionsPerAddress));
        assert!(enter(&caps, "10.0.0.2", &limits).is_ok());
        drop(place);
        assert!(enter(&caps, "10.0.0.1", &limits).is_ok());
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let (caps, limits) = (Arc::new(Caps::default()), limits(100, 1));
        let _place = enter(&caps, "2001:db8:0:1::1", &limits);
        assert!(enter(&caps, "2001:db8:0:1:ffff::2", &limits).is_err());
        assert!(enter(&caps, "2001:db8:0:2::1", &limits).is_ok());
    }

    #[test]
    fn places_given_back_leave_nothing_behind() {
        let (caps, limits) = (Arc::new(Caps::default()), limits(100, 100));
        drop(
            (0..50)
                .map(|_| enter(&caps, "10.0.0.1", &limits))
                .collect::<Vec<_>>(),
        );
        assert_eq!(caps.open(), 0);
        assert!(caps.by_address.lock().is_empty());
    }
}
