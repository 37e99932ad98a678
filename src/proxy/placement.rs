//! Where a request goes: what its pool's selector is told, and the wait for room.
//!
//! A request that fits nowhere now waits until an attempt gives room back or its patience ends; it
//! is woken with all others that wait, and whoever fits first goes first. Called by `exchange` for
//! each attempt.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use tokio::time::timeout_at;

use crate::config::model::WhenFull;
use crate::policy::demand;
use crate::proxy::ctx::RequestCtx;
use crate::upstream::Pool;
use crate::upstream::member::Member;
use crate::upstream::members::NoPick;
use crate::upstream::pick_context::{PickContext, Wanted};

pub(super) fn context<'a>(
    headers: &'a HeaderMap,
    ctx: &RequestCtx,
    pool: &Pool,
) -> PickContext<'a> {
    PickContext {
        wanted: wanted(headers, ctx, pool),
        headers: Some(headers),
        hash_key: b"",
        now: ctx.started,
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
    }
}

/// The cookie that brings the client back to the endpoint that answers; `None`: it has it, or needs
/// none.
pub(super) fn cookie(ctx: &RequestCtx) -> Option<HeaderValue> {
    let sticky = ctx.route()?.pool.as_ref()?.sticky()?;
    sticky.set_cookie(&ctx.attempts.cookie()?)
}

/// Begins the next attempt, as soon as there is room for it.
pub(super) async fn begin(
    ctx: &mut RequestCtx,
    pool: &Pool,
    context: &PickContext<'_>,
) -> Result<Arc<Member>, NoPick> {
    let first = ctx.attempts.begin(pool, context);
    let resources = &pool.config().resources;
    if first.as_ref().err() != Some(&NoPick::NoRoom) || resources.when_full != WhenFull::Queue {
        return first;
    }
    let own = resources.queue_timeout;
    let patience = ctx.time_left().map_or(own, |left| left.min(own));
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        // Listens before it looks, so that no room is missed.
        let mut freed = pin!(pool.freed());
        freed.as_mut().enable();
        let context = PickContext {
            now: Instant::now(),
            ..*context
        };
        match ctx.attempts.begin(pool, &context) {
            Err(NoPick::NoRoom) => {}
            placed => return placed,
        }
        if timeout_at(deadline, freed).await.is_err() {
            return Err(NoPick::NoRoom);
        }
    }
}
