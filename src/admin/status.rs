//! What the running process says of itself, as JSON from the admin listener and as a table from
//! `weir status`.
//!
//! Values only: whoever knows the pools fills one in. The table is made from the same values that
//! are sent, so the command needs nothing but the answer.

use std::fmt::Write;
use std::iter;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    pub version: String,
    /// Number of the configuration being served.
    pub generation: u64,
    /// Whether new requests should be sent here: started, and not draining.
    pub ready: bool,
    pub uptime_seconds: u64,
    /// Client connections open now.
    pub connections: u64,
    pub requests_in_flight: u64,
    /// In the configuration's order.
    pub pools: Vec<PoolStatus>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PoolStatus {
    pub name: String,
    pub balance: String,
    /// Whether a request for this pool would find an endpoint.
    pub ready: bool,
    /// Requests that wait for their turn now.
    pub queued: u64,
    pub endpoints: Vec<EndpointStatus>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EndpointStatus {
    pub address: String,
    pub weight: u32,
    pub backup: bool,
    /// The word of its health: `healthy`, `unhealthy` …
    pub state: String,
    /// Why it gets no requests though healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    pub in_flight: u64,
    /// Attempts it was given since the process started.
    pub picks: u64,
    /// Percent of the pool's picks; `None` while the pool has had none. Set by `PoolStatus::new`.
    pub share: Option<f64>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Ejection {
    pub reason: String,
    /// Until it is tried again; 0: as soon as there is a request or a probe that passes.
    pub seconds_left: u64,
}

impl PoolStatus {
    /// Works out the endpoints' shares, whatever they were before. Nobody waits.
    pub fn new(
        name: String,
        balance: String,
        ready: bool,
        mut endpoints: Vec<EndpointStatus>,
    ) -> PoolStatus {
        let all: u64 = endpoints.iter().map(|endpoint| endpoint.picks).sum();
        for endpoint in &mut endpoints {
            endpoint.share = share(endpoint.picks, all);
        }
        PoolStatus {
            name,
            balance,
            ready,
            queued: 0,
            endpoints,
        }
    }
}

/// Percent, rounded to the one decimal that is shown.
fn share(picks: u64, all: u64) -> Option<f64> {
    let percent = picks as f64 / all as f64 * 100.0;
    (all > 0).then(|| (percent * 10.0).round() / 10.0)
}

const COLUMNS: [Column; 7] = [
    Column::text("endpoint", |endpoint| endpoint.address.clone()),
    Column::number("weight", |endpoint| endpoint.weight.to_string()),
    Column::text("backup", |endpoint| {
        if endpoint.backup { "yes" } else { "-" }.to_owned()
    }),
    Column::text("state", state),
    Column::number("in flight", |endpoint| endpoint.in_flight.to_string()),
    Column::number("picks", |endpoint| endpoint.picks.to_string()),
    Column::number("share", |endpoint| match endpoint.share {
        Some(percent) => format!("{percent:.1}%"),
        None => "-".to_owned(),
    }),
];

/// `healthy`, or `ejected 12s: 5 failures in a row`.
fn state(endpoint: &EndpointStatus) -> String {
    let state = &endpoint.state;
    match &endpoint.ejection {
        None => state.clone(),
        Some(Ejection {
            reason,
            seconds_left: 0,
        }) => format!("{state}: {reason}"),
        Some(Ejection {
            reason,
            seconds_left,
        }) => format!("{state} {}: {reason}", uptime(*seconds_left)),
    }
}

struct Column {
    head: &'static str,
    /// Numbers stand at the right, so that their digits line up.
    is_number: bool,
    cell: fn(&EndpointStatus) -> String,
}

impl Column {
    const fn text(head: &'static str, cell: fn(&EndpointStatus) -> String) -> Column {
        Column {
            head,
            is_number: false,
            cell,
        }
    }

    const fn number(head: &'static str, cell: fn(&EndpointStatus) -> String) -> Column {
        Column {
            head,
            is_number: true,
            cell,
        }
    }
}

type Row = [String; COLUMNS.len()];

/// What `weir status` prints: a line of the process, then each pool with its endpoints, in columns
/// that line up over all pools.
pub fn table(status: &Status) -> String {
    let widths = widths(status);
    let mut out = summary(status);
    for pool in &status.pools {
        let PoolStatus { name, balance, .. } = pool;
        // Writing into a string cannot fail; so below.
        let _ = write!(out, "\n{name}  {balance}  {}", readiness(pool.ready));
        if pool.queued > 0 {
            let _ = write!(out, "  queued {}", pool.queued);
        }
        out.push('\n');
        if pool.endpoints.is_empty() {
            out.push_str("  no endpoints\n");
            continue;
        }
        for row in iter::once(heads()).chain(pool.endpoints.iter().map(row)) {
            push_row(&mut out, &row, &widths);
        }
    }
    out
}

fn summary(status: &Status) -> String {
    format!(
        "weir {}  {}  up {}  generation {}  connections {}  requests in flight {}\n",
        status.version,
        readiness(status.ready),
        uptime(status.uptime_seconds),
        status.generation,
        status.connections,
        status.requests_in_flight,
    )
}

fn readiness(ready: bool) -> &'static str {
    if ready { "ready" } else { "not ready" }
}

/// The two largest units: `3d 4h`, `4h 5m`, `5m 6s`, `6s`.
fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days}d {}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

fn heads() -> Row {
    COLUMNS.map(|column| column.head.to_owned())
}

fn row(endpoint: &EndpointStatus) -> Row {
    COLUMNS.map(|column| (column.cell)(endpoint))
}

fn widths(status: &Status) -> [usize; COLUMNS.len()] {
    let mut widths = COLUMNS.map(|column| column.head.len());
    for row in status
        .pools
        .iter()
        .flat_map(|pool| &pool.endpoints)
        .map(row)
    {
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = cell.chars().count().max(*width);
        }
    }
    widths
}

fn push_row(out: &mut String, row: &Row, widths: &[usize]) {
    let mut line = String::new();
    for ((column, cell), &width) in COLUMNS.iter().zip(row).zip(widths) {
        let _ = if column.is_number {
            write!(line, "  {cell:>width$}")
        } else {
            write!(line, "  {cell:<width$}")
        };
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, state: &str, picks: u64) -> EndpointStatus {
        EndpointStatus {
            address: address.to_owned(),
            weight: 1,
            backup: false,
            state: state.to_owned(),
            ejection: None,
            in_flight: 0,
            picks,
            share: None,
        }
    }

    fn pool(name: &str, ready: bool, endpoints: Vec<EndpointStatus>) -> PoolStatus {
        PoolStatus::new(name.to_owned(), "least_conn".to_owned(), ready, endpoints)
    }

    fn status(pools: Vec<PoolStatus>) -> Status {
        Status {
            version: "0.1.0".to_owned(),
            generation: 3,
            ready: true,
            uptime_seconds: 7_510,
            connections: 64,
            requests_in_flight: 12,
            pools,
        }
    }

    fn busy() -> Status {
        let heavy = EndpointStatus {
            weight: 10,
            in_flight: 9,
            ..endpoint("10.0.0.1:9001", "healthy", 2_000_000)
        };
        let backup = EndpointStatus {
            backup: true,
            ..endpoint("[2001:db8::1]:9001", "pending", 0)
        };
        let light = endpoint("10.0.0.2:9001", "unhealthy", 1_000_000);
        let ejected = EndpointStatus {
            ejection: Some(Ejection {
                reason: "5 failures in a row".to_owned(),
                seconds_left: 72,
            }),
            ..endpoint("10.0.0.3:9001", "ejected", 0)
        };
        let idle = endpoint("10.0.1.1:80", "unhealthy", 0);
        let api = PoolStatus {
            queued: 7,
            ..pool("api", true, vec![heavy, light, ejected, backup])
        };
        status(vec![api, pool("files", false, vec![idle])])
    }

    #[test]
    fn the_table_lines_up_over_all_pools() {
        insta::assert_snapshot!(table(&busy()), @r"
        weir 0.1.0  ready  up 2h 5m  generation 3  connections 64  requests in flight 12

        api  least_conn  ready  queued 7
          endpoint            weight  backup  state                                in flight    picks  share
          10.0.0.1:9001           10  -       healthy                                      9  2000000  66.7%
          10.0.0.2:9001            1  -       unhealthy                                    0  1000000  33.3%
          10.0.0.3:9001            1  -       ejected 1m 12s: 5 failures in a row          0        0   0.0%
          [2001:db8::1]:9001       1  yes     pending                                      0        0   0.0%

        files  least_conn  not ready
          endpoint            weight  backup  state                                in flight    picks  share
          10.0.1.1:80              1  -       unhealthy                                    0        0      -
        ");
    }

    #[test]
    fn a_pool_without_endpoints_says_so() {
        let mut empty = status(vec![pool("dns", false, Vec::new())]);
        empty.ready = false;
        insta::assert_snapshot!(table(&empty), @r"
        weir 0.1.0  not ready  up 2h 5m  generation 3  connections 64  requests in flight 12

        dns  least_conn  not ready
          no endpoints
        ");
    }

    #[test]
    fn the_json_reads_back_as_it_was() {
        let busy = busy();
        let json = serde_json::to_string(&busy).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), busy);
        let endpoint = serde_json::to_string(&busy.pools[0].endpoints[1]).unwrap();
        insta::assert_snapshot!(endpoint, @r#"{"address":"10.0.0.2:9001","weight":1,"backup":false,"state":"unhealthy","in_flight":0,"picks":1000000,"share":33.3}"#);
    }

    #[test]
    fn an_uptime_has_its_two_largest_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3_599, "59m 59s"),
            (7_510, "2h 5m"),
            (86_400, "1d 0h"),
            (1_000_000, "11d 13h"),
        ] {
            assert_eq!(uptime(seconds), expected);
        }
    }
}
