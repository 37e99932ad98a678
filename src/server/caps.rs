//! Connection caps: how many connections there may be, in all and from one client address.
//!
//! A place is a guard: dropping it gives it back exactly once. The maps hold only what has a
//! connection open, so they are bounded by the global cap. Used by `server::connection`; `drain` and
//! `signals` end here what they do not wait for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config::model::Limits;
use crate::proxy::cutoff::Cutoff;
use crate::proxy::reject::Rejection;

/// How long requests that are cut off may take to be recorded; each needs one turn of its task.
const CUT_OFF_MAX: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Caps {
    open: AtomicUsize,
    held: Mutex<Held>,
    /// Told each time the last connection has gone.
    emptied: Notify,
}

/// What the places hold; touched when a connection comes or goes.
#[derive(Default)]
struct Held {
    by_address: HashMap<IpAddr, usize>,
    cutoffs: HashMap<u64, Arc<Cutoff>>,
    entered_total: u64,
    is_cut_off: bool,
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
        let held = &mut *self.held.lock();
        if self.open() >= limits.connections {
            return Err(Rejection::TooManyConnections);
        }
        let count = held.by_address.entry(key).or_insert(0);
        // An entry just made is below the cap, which is at least 1.
        if *count >= limits.connections_per_address {
            return Err(Rejection::TooManyConnectionsPerAddress);
        }
        *count += 1;
        self.open.fetch_add(1, Ordering::Relaxed);
        let cutoff = Arc::new(Cutoff::default());
        if held.is_cut_off {
            cutoff.cut();
        }
        held.entered_total += 1;
        held.cutoffs.insert(held.entered_total, cutoff.clone());
        Ok(Place {
            caps: self.clone(),
            key,
            number: held.entered_total,
            cutoff,
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

    /// Ends every connection, also those that come later. Returns when their requests are recorded,
    /// but after `CUT_OFF_MAX` at the latest.
    pub(super) async fn cut_off(&self) {
        {
            let mut held = self.held.lock();
            held.is_cut_off = true;
            held.cutoffs.values().for_each(|cutoff| cutoff.cut());
        }
        // Either way the process ends next.
        let _ = timeout(CUT_OFF_MAX, self.empty()).await;
    }

    fn leave(&self, key: IpAddr, number: u64) {
        let held = &mut *self.held.lock();
        held.cutoffs.remove(&number);
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.emptied.notify_waiters();
        }
        if let Some(count) = held.by_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                held.by_address.remove(&key);
            }
        }
    }
}

/// One connection's place; dropping it gives it back.
pub(super) struct Place {
    caps: Arc<Caps>,
    key: IpAddr,
    number: u64,
    cutoff: Arc<Cutoff>,
}

impl Place {
    /// What ends this connection when the process does not wait for it.
    pub(super) fn cutoff(&self) -> Arc<Cutoff> {
        self.cutoff.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.caps.leave(self.key, self.number);
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
        let held = caps.held.lock();
        assert!(held.by_address.is_empty() && held.cutoffs.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_reaches_who_is_there_and_who_comes_later() {
        let (caps, limits) = (Arc::new(Caps::default()), limits(100, 100));
        let place = enter(&caps, "10.0.0.1", &limits).ok().unwrap();
        // Nobody takes note, so it gives up waiting.
        caps.cut_off().await;
        assert!(place.cutoff().is_cut());
        let late = enter(&caps, "10.0.0.2", &limits).ok().unwrap();
        assert!(late.cutoff().is_cut());
        drop((place, late));
        let began = tokio::time::Instant::now();
        caps.cut_off().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
