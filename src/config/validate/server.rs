//! The `server` map: process, trust and limits.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use super::super::model::{Forwarded, Limits};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw;
use super::super::report::Report;
use super::keys::{Keys, hours, millis, minutes, seconds};

/// Longest path of a Unix socket that Linux takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const DNS_PORT: u16 = 53;

pub(super) fn threads(raw: &raw::Server, at: &At<'_>, report: &mut Report<'_>) -> usize {
    let per_core = || std::thread::available_parallelism().map_or(1, NonZero::get);
    Keys::of(at, report)
        .number("threads", raw.threads, 1..=1024)
        .unwrap_or_else(per_core)
}

pub(super) fn pid_file(raw: &raw::Server, at: &At<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    file(raw.pid_file.as_deref(), &at.key("pid_file"), report)
}

pub(super) fn upgrade_socket(
    raw: &raw::Server,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    let at = at.key("upgrade_socket");
    let path = file(raw.upgrade_socket.as_deref(), &at, report)?;
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        report.problem(
            &at,
            format!("{bytes} bytes, expected a path of at most {SOCKET_PATH_BYTES_MAX}"),
        );
    }
    Some(path)
}

/// The path of a file; whether it is there is checked by `files`.
pub(super) fn file(seen: Option<&str>, at: &At<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    let path = seen?;
    if path.is_empty() || path.contains('\0') {
        report.problem(at, format!("{} is not a path", quoted(path)));
        return None;
    }
    Some(PathBuf::from(path))
}

pub(super) fn drain_timeout(raw: &raw::Server, at: &At<'_>, report: &mut Report<'_>) -> Duration {
    let given = Keys::of(at, report).duration(
        "drain_timeout",
        raw.drain_timeout.as_ref(),
        Duration::ZERO..=hours(1),
    );
    given.unwrap_or(seconds(30))
}

pub(super) fn forwarded(raw: &raw::Server) -> Forwarded {
    match raw.forwarded {
        None | Some(raw::Forwarded::Customary) => Forwarded::XForwarded,
        Some(raw::Forwarded::Rfc7239) => Forwarded::Rfc7239,
        Some(raw::Forwarded::Both) => Forwarded::Both,
    }
}

pub(super) fn trusted_proxies(
    raw: &raw::Server,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<IpNet> {
    let at = at.key("trusted_proxies");
    let items = raw.trusted_proxies.iter().flatten().enumerate();
    items
        .filter_map(|(index, item)| network(item.as_deref()?, &at.index(index), report))
        .collect()
}

pub(super) fn network(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(canonical(IpNet::from(address)));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        let what = format!(
            "{} is not a network or address, expected one such as 10.0.0.0/8",
            quoted(text)
        );
        report.problem(at, what);
        return None;
    };
    if network.trunc() != network {
        report.warn(
            at,
            format!(
                "{network} has bits beyond its prefix, taken for {}",
                network.trunc()
            ),
        );
    }
    Some(canonical(network.trunc()))
}

/// Clients are known by their IPv4 address where they have one, so a network of IPv4 addresses in IPv6 form is itself again.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = network else {
        return network;
    };
    let v4 = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(MAPPED_BITS));
    let v4 = v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::from)
}

pub(super) fn resolvers(
    raw: &raw::Server,
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<SocketAddr> {
    let at = at.key("resolvers");
    let items = raw.resolvers.iter().flatten().enumerate();
    items
        .filter_map(|(index, item)| resolver(item.as_deref()?, &at.index(index), report))
        .collect()
}

fn resolver(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<SocketAddr> {
    let plain = || {
        text.parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, DNS_PORT))
    };
    match text.parse::<SocketAddr>().or_else(|_| plain()) {
        Ok(address) if address.port() != 0 => Some(address),
        _ => {
            let what = format!(
                "{} is not a name server, expected ip or ip:port, such as 127.0.0.53:53",
                quoted(text)
            );
            report.problem(at, what);
            None
        }
    }
}

pub(super) fn limits(raw: Option<&raw::Limits>, at: &At<'_>, report: &mut Report<'_>) -> Limits {
    let none = raw::Limits::default();
    let raw = raw.unwrap_or(&none);
    let mut keys = Keys::of(at, report);
    let millions = 1..=1_000_000;
    let per_address = raw.connections_per_address;
    let wait = millis(100)..=hours(1);
    let header_bytes = keys
        .size(
            "header_bytes",
            raw.header_bytes.as_ref(),
            1 << 10..=512 << 10,
        )
        .unwrap_or(32 << 10);
    let uri_bytes = keys.size("uri_bytes", raw.uri_bytes.as_ref(), 64..=header_bytes);
    Limits {
        connections: keys
            .number("connections", raw.connections, millions.clone())
            .unwrap_or(50_000),
        connections_per_address: keys
            .number("connections_per_address", per_address, millions)
            .unwrap_or(1024),
        header_timeout: keys
            .duration(
                "header_timeout",
                raw.header_timeout.as_ref(),
                millis(100)..=minutes(5),
            )
            .unwrap_or(seconds(10)),
        header_bytes: bytes(header_bytes),
        header_count: keys
            .number("header_count", raw.header_count, 1..=256)
            .unwrap_or(100),
        uri_bytes: bytes(uri_bytes.unwrap_or_else(|| header_bytes.min(8 << 10))),
        keepalive_timeout: keys
            .duration(
                "keepalive_timeout",
                raw.keepalive_timeout.as_ref(),
                seconds(1)..=hours(1),
            )
            .unwrap_or(seconds(75)),
        keepalive_requests: keys
            .number(
                "keepalive_requests",
                raw.keepalive_requests,
                1..=1_000_000_000,
            )
            .unwrap_or(1000),
        body_timeout: keys
            .duration("body_timeout", raw.body_timeout.as_ref(), wait.clone())
            .unwrap_or(seconds(30)),
        send_timeout: keys
            .duration("send_timeout", raw.send_timeout.as_ref(), wait)
            .unwrap_or(seconds(30)),
    }
}

/// A size that has passed its range, which ends at 512KiB.
fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
