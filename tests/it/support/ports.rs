//! Ports for the servers of scenarios, each one's alone, however many test processes run.
//!
//! A port that the kernel finds free is free until the next connect or bind of anybody. These are from
//! below the range in which the kernel looks, and whoever takes one holds a name for it in the abstract
//! socket namespace, which belongs to one process at a time and goes when that ends.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
/// Linux gives connections ports from 32768 on.
const COUNT: u32 = 12_000;

/// Where this process looks next, from a place of its own.
static TRIED: AtomicU32 = AtomicU32::new(0);

/// A port on which nobody listens, and which no scenario gets again while this process lives.
pub(super) fn reserve() -> u16 {
    let start = std::process::id().wrapping_mul(97);
    (0..COUNT)
        .map(|_| TRIED.fetch_add(1, Ordering::Relaxed))
        .map(|tried| (FIRST + start.wrapping_add(tried) % COUNT) as u16)
        .find(|port| hold(*port) && is_free(*port))
        .expect("a free port")
}

/// Whether it was nobody's; then it is this process's to its end.
fn hold(port: u16) -> bool {
    let name = SocketAddr::from_abstract_name(format!("weir-scenarios-{port}")).unwrap();
    UnixListener::bind_addr(&name).map(std::mem::forget).is_ok()
}

/// Servers that are no scenario's may listen there.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}
