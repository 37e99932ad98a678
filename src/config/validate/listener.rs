//! Addresses we accept on: `listeners` and `admin`, and whether they can all be bound together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::model::Listener;
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::shapes::{List, Toggle};
use super::super::raw::{self, Admin};
use super::super::report::Report;

/// Pingora hands over at most 32 listeners in one message, and the admin listener is one of them.
const LISTENERS_MAX: usize = 31;
/// The hand-over's buffer for the text of all addresses has 2048 bytes.
const ADDRESS_BYTES_MAX: usize = 2000;
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9494);

pub(super) fn admin(raw: Option<&Toggle<Admin>>, report: &mut Report<'_>) -> Option<SocketAddr> {
    match raw {
        None | Some(Toggle::Flag(true)) => Some(ADMIN_DEFAULT),
        Some(Toggle::Flag(false)) => None,
        Some(Toggle::Map(admin)) => {
            let bind = admin.bind.as_deref();
            let given =
                bind.and_then(|text| address(text, &At::ROOT.key("admin").key("bind"), report));
            Some(given.unwrap_or(ADMIN_DEFAULT))
        }
    }
}

pub(super) fn listeners(
    raw: Option<&List<raw::Listener>>,
    admin: Option<SocketAddr>,
    report: &mut Report<'_>,
) -> Vec<Listener> {
    let at = At::ROOT.key("listeners");
    let mut taken: Vec<(SocketAddr, String)> = admin
        .map(|address| (address, "the admin listener".to_string()))
        .into_iter()
        .collect();
    let mut listeners = Vec::new();
    for (index, raw) in raw.into_iter().flatten().enumerate() {
        let at = at.index(index);
        let Some(bind) = raw.as_ref().and_then(|raw| bind(raw, &at, report)) else {
            continue;
        };
        let clash = taken
            .iter()
            .take(LISTENERS_MAX + 1)
            .find(|(other, _)| clash(bind, *other));
        if let Some((other, whose)) = clash {
            let what = format!("{bind} is taken already by {whose} ({other})");
            report.problem(&at.key("bind"), what);
        }
        taken.push((bind, format!("listeners[{index}]")));
        listeners.push(Listener { bind });
    }
    check_counts(&listeners, &at, report);
    listeners
}

fn bind(raw: &raw::Listener, at: &At<'_>, report: &mut Report<'_>) -> Option<SocketAddr> {
    let at = at.key("bind");
    match &raw.bind {
        Some(text) => address(text, &at, report),
        None => {
            report.missing(&at, "missing, expected an address such as \"0.0.0.0:8080\"");
            None
        }
    }
}

/// An address that can be bound. Names are refused: what they stand for may change under us.
fn address(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<SocketAddr> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            report.problem(
                at,
                format!("{} has port 0, expected 1 to 65535", quoted(text)),
            );
            None
        }
        Ok(address) => Some(address),
        Err(_) => {
            let what = format!(
                "{} is not an address, expected ip:port or [ipv6]:port",
                quoted(text)
            );
            report.problem_with(at, what, address_hint(text));
            None
        }
    }
}

/// The two shorthands people know from elsewhere.
fn address_hint(text: &str) -> Option<String> {
    let port = text
        .strip_prefix(':')
        .or_else(|| text.strip_prefix("*:"))
        .unwrap_or(text);
    let port: u16 = port.parse().ok()?;
    Some(format!("write \"0.0.0.0:{port}\" for every address"))
}

/// Whether two addresses cannot both be bound: equal, or one stands for every address and covers the other. `[::]`
/// takes IPv4 as well, as Linux does unless told otherwise.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(wide) => wide.is_unspecified(),
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

fn check_counts(listeners: &[Listener], at: &At<'_>, report: &mut Report<'_>) {
    if listeners.is_empty() {
        report.missing(
            at,
            "missing, expected at least one, such as { bind: \"0.0.0.0:8080\" }",
        );
    }
    if listeners.len() > LISTENERS_MAX {
        report.problem(
            at,
            format!(
                "{} listeners, expected at most {LISTENERS_MAX}",
                listeners.len()
            ),
        );
    }
    let bytes: usize = listeners
        .iter()
        .map(|listener| listener.bind.to_string().len())
        .sum();
    if bytes >= ADDRESS_BYTES_MAX {
        report.problem(
            at,
            format!("addresses of {bytes} bytes, expected less than {ADDRESS_BYTES_MAX} together"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clashes(one: &str, other: &str) -> bool {
        clash(
            one.parse().expect("address"),
            other.parse().expect("address"),
        )
    }

    #[test]
    fn a_wildcard_clashes_with_what_it_covers() {
        assert!(clashes("0.0.0.0:80", "127.0.0.1:80"));
        assert!(clashes("127.0.0.1:80", "0.0.0.0:80"));
        assert!(clashes("[::]:80", "127.0.0.1:80"));
        assert!(clashes("[::]:80", "0.0.0.0:80"));
        assert!(clashes("[::1]:80", "[::1]:80"));
    }

    #[test]
    fn different_ports_and_families_do_not_clash() {
        assert!(!clashes("0.0.0.0:80", "127.0.0.1:81"));
        assert!(!clashes("0.0.0.0:80", "[::1]:80"));
        assert!(!clashes("127.0.0.1:80", "127.0.0.2:80"));
    }
}
