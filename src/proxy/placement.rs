//! Where a request may go: what its pool's selector is told of it, beside the hash key, and how its client comes back.
//!
//! Called by `exchange`: before each attempt, and when an endpoint has answered.

use http::{HeaderMap, HeaderValue};

use crate::config::model::WhenFull;
use crate::policy::demand;
use crate::proxy::ctx::RequestCtx;
use crate::upstream::Pool;
use crate::upstream::pick_context::{PickContext, Wanted};
use crate::upstream::sticky::Brought;

pub(super) fn context(headers: &HeaderMap, ctx: &RequestCtx, pool: &Pool) -> PickContext<'static> {
    let sticky = pool.sticky();
    PickContext {
        hash_key: b"",
        now: ctx.started,
        wanted: wanted(headers, ctx, pool),
        brought: sticky.map_or_else(Brought::default, |sticky| sticky.brought(headers)),
    }
}

fn wanted(headers: &HeaderMap, ctx: &RequestCtx, pool: &Pool) -> Wanted {
    let resources = &pool.config().resources;
    let Some(route) = ctx.route().filter(|_| !resources.dimensions.is_empty()) else {
        return Wanted::default();
    };
    let is_trusted = ctx.client.is_some_and(|client| client.peer.is_trusted);
    let (learned, configured) = (&route.learned, route.config.demand);
    Wanted {
        demand: demand::of_request(headers, is_trusted, resources, learned, configured),
        may_exceed: resources.when_full == WhenFull::LeastShare,
        may_wait: resources.when_full == WhenFull::Queue,
    }
}

/// The cookie that brings the client back to the endpoint that answers; `None`: it has it, or needs
/// none.
pub(super) fn cookie(ctx: &RequestCtx) -> Option<HeaderValue> {
    let sticky = ctx.route()?.pool.as_ref()?.sticky()?;
    sticky.set_cookie(ctx.attempts.cookie()?)
}

/// Learns what requests of the route take, from the endpoint that answers this one.
pub(super) fn learn(headers: &HeaderMap, ctx: &RequestCtx) {
    let route = ctx.route();
    if let Some(route) = route
        && let Some(pool) = &route.pool
    {
        let resources = &pool.config().resources;
        let most = pool.members().least_capacity();
        demand::learn(headers, resources, &most, &route.learned);
    }
}
