//! Forwarding: heads, bodies and connections between a client and an origin, and what bounds them.

mod aborts;
mod bodies;
mod connections;
mod heads;
mod old_clients;
mod timeouts;

use crate::support::*;

/// The plainest weir: every request goes to this origin.
async fn in_front_of(origin: &Origin) -> Weir {
    with_options(origin, "", "").await
}

/// With more keys for the pool and the route, each with a leading comma.
async fn with_options(origin: &Origin, pool: &str, route: &str) -> Weir {
    let yaml = format!(
        "
        pools: {{ web: {{ endpoints: [$origin]{pool} }} }}
        routes: [{{ pool: web{route} }}]
    "
    );
    weir(&yaml).with("origin", origin).start().await
}

/// Bytes that differ along the way, so that a part that is lost, doubled or moved shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 + at) as u8).collect()
}
