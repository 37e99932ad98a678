//! The endpoints of one pool.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::super::amounts::Amounts;
use super::super::model::{Endpoint, Target};
use super::super::path::At;
use super::super::problem::quoted;
use super::super::raw::pool as raw;
use super::super::raw::shapes::{List, TextOr};
use super::super::report::Report;
use super::keys::Keys;
use super::queue::IN_FLIGHT;
use super::{name, resources};

pub(super) fn endpoints(
    raw: Option<&List<TextOr<raw::Endpoint>>>,
    dimensions: &[String],
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Vec<Endpoint> {
    let mut first_of: HashMap<Target, usize> = HashMap::new();
    let mut endpoints = Vec::new();
    for (index, item) in raw.into_iter().flatten().enumerate() {
        let at = at.index(index);
        let Some(endpoint) = item
            .as_ref()
            .and_then(|item| endpoint(item, dimensions, &at, report))
        else {
            continue;
        };
        if let Some(first) = first_of.get(&endpoint.target) {
            report.problem(&at, format!("the same address as endpoints[{first}]"));
        }
        first_of.entry(endpoint.target.clone()).or_insert(index);
        endpoints.push(endpoint);
    }
    check_shares(&endpoints, at, report);
    endpoints
}

fn check_shares(endpoints: &[Endpoint], at: &At<'_>, report: &mut Report<'_>) {
    if endpoints.is_empty() {
        report.missing(
            at,
            "missing, expected at least one, such as \"10.0.0.1:9001\"",
        );
    } else if endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        report.warn(at, "every weight is 0, so none gets a request");
    }
}

fn endpoint(
    item: &TextOr<raw::Endpoint>,
    dimensions: &[String],
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Option<Endpoint> {
    let raw = match item {
        TextOr::Text(text) => {
            return Some(Endpoint {
                target: target(text, at, report)?,
                weight: 1,
                backup: false,
                max_in_flight: None,
                capacity: Amounts::default(),
            });
        }
        TextOr::Map(raw) => raw,
    };
    let mut keys = Keys::of(at, report);
    let weight = keys.number("weight", raw.weight, 0..=1000);
    let max_in_flight = keys.number("max_in_flight", raw.max_in_flight, IN_FLIGHT);
    let capacity = capacity(raw, dimensions, at, report);
    let at = at.key("address");
    let Some(address) = &raw.address else {
        report.missing(
            &at,
            "missing, expected an address such as \"10.0.0.1:9001\"",
        );
        return None;
    };
    Some(Endpoint {
        target: target(address, &at, report)?,
        weight: weight.unwrap_or(1),
        backup: raw.backup.unwrap_or(false),
        max_in_flight,
        capacity,
    })
}

/// Counts only in a pool that is balanced by it.
fn capacity(
    raw: &raw::Endpoint,
    dimensions: &[String],
    at: &At<'_>,
    report: &mut Report<'_>,
) -> Amounts {
    if dimensions.is_empty() {
        return Amounts::default();
    }
    resources::amounts(
        raw.capacity.as_ref(),
        dimensions,
        &at.key("capacity"),
        report,
    )
}

fn target(text: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<Target> {
    if let Some(target) = parse(text) {
        return Some(target);
    }
    let what = format!(
        "{} is not an address, expected ip:port, [ipv6]:port or name:port",
        quoted(text)
    );
    report.problem_with(at, what, hint(text));
    None
}

fn parse(text: &str) -> Option<Target> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() != 0).then_some(Target::Address(address));
    }
    let (host, port) = text.rsplit_once(':')?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0)?;
    let host = name::host(host)
        .ok()
        .filter(|host| !name::is_numeric(host))?;
    Some(Target::Name { host, port })
}

/// What was meant, for the usual slips.
fn hint(text: &str) -> Option<String> {
    if text.contains("://") {
        return Some("leave out the scheme; tls goes to the pool's tls key".to_string());
    }
    if let Some((address, port)) = text.rsplit_once(':')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Some(format!("write \"[{address}]:{port}\""));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(format!(
            "add the port: \"{}\"",
            SocketAddr::new(address, 80)
        ));
    }
    let named = !text.contains(':') && name::host(text).is_ok();
    named.then(|| format!("add the port: \"{text}:80\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_or_a_name_with_a_port() {
        assert!(matches!(parse("10.0.0.1:9001"), Some(Target::Address(_))));
        assert!(matches!(parse("[::1]:9001"), Some(Target::Address(_))));
        let name = Target::Name {
            host: "backup.internal".to_string(),
            port: 9001,
        };
        assert_eq!(parse("Backup.internal.:9001"), Some(name));
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.300:80",
            "a:0",
            "a:70000",
            "::1:80:",
            "http://a:80",
            "a:+80",
            "a b:1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
