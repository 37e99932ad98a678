//! A request's wait for its turn, where its pool has limits.
//!
//! Ends with the turn, the queue's timeout, the request's deadline or the client's close, whichever
//! comes first; in all but the first case the request has left the queue. Called for each attempt.

use std::sync::Arc;
use std::time::Instant;

use pingora_core::protocols::http::ServerSession;
use pingora_proxy::Session;

use crate::proxy::ctx::RequestCtx;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange;
use crate::proxy::failure::Ending;
use crate::proxy::reject::Rejection;
use crate::upstream::Pool;
use crate::upstream::fair::Tenant;
use crate::upstream::member::Member;
use crate::upstream::pick_context::PickContext;
use crate::upstream::turns::{Entered, Entrant, Granted, Limits, Refusal, Reply, Waiter};

/// Begins the next attempt, when it is the request's turn; `None`: no endpoint is left to try.
pub(super) async fn begin_attempt(
    session: &mut Session,
    ctx: &mut RequestCtx,
    pool: &Pool,
    context: &PickContext<'_>,
) -> Result<Option<Arc<Member>>, Ending> {
    match pool.limits() {
        // A repeat at the same endpoint keeps its turn.
        Some(limits) if !ctx.attempts.repeats() => {
            // Boxed, so that requests that never wait have no room for it.
            let granted = Box::pin(wait_turn(session, ctx, pool, limits, context)).await?;
            Ok(granted.map(|granted| ctx.attempts.begin_with(granted, Instant::now())))
        }
        _ => match ctx.attempts.begin(pool, context) {
            None if ctx.attempts.lacks_room() => Err(Ending::Rejected(Rejection::NoRoom)),
            begun => Ok(begun),
        },
    }
}

/// Waits until the request may have an endpoint; `None`: none is left to try.
async fn wait_turn(
    session: &mut Session,
    ctx: &mut RequestCtx,
    pool: &Pool,
    limits: &Arc<Limits>,
    context: &PickContext<'_>,
) -> Result<Option<Box<Granted>>, Ending> {
    let is_fresh = ctx.attempts.made().is_empty();
    let entered = limits.enter(Entrant {
        candidates: ctx.attempts.lend_candidates(pool, context),
        is_fresh,
        priority: ctx
            .route()
            .map(|route| route.config.priority)
            .unwrap_or_default(),
        tenant: tenant(session, limits),
    });
    let reply = match entered {
        Entered::AtOnce(reply) => reply,
        Entered::Waits(mut waiter) => {
            hold(session, true);
            let outcome = wait(session, &mut waiter, pool, is_fresh, context).await;
            hold(session, false);
            let waited = waiter.waited();
            *ctx.queued.get_or_insert_default() += waited;
            match outcome {
                Ok(reply) => reply,
                Err(Unanswered::ClientGone) => return Err(gone(session, ctx)),
                Err(Unanswered::TimedOut) => {
                    let retry_after = waiter.retry_after();
                    return Err(Ending::Rejected(Rejection::QueueTimeout(retry_after)));
                }
            }
        }
    };
    match reply {
        Ok(granted) => Ok(Some(granted)),
        Err(Refusal::NoneReady) => Ok(None),
        Err(Refusal::NoRoom) => Err(Ending::Rejected(Rejection::NoRoom)),
        Err(Refusal::Full { retry_after }) => {
            Err(Ending::Rejected(Rejection::QueueFull(retry_after)))
        }
        Err(Refusal::Dropped { retry_after }) => {
            Err(Ending::Rejected(Rejection::QueueDropped(retry_after)))
        }
    }
}

/// Whose request it is, where the pool tells tenants apart; those without a name are one tenant.
pub(super) fn tenant(session: &Session, limits: &Limits) -> Option<Tenant> {
    let header = limits.tenant_header()?;
    let name = session.req_header().headers.get(header);
    Some(limits.tenant(name.map_or(&[][..], |name| name.as_bytes())))
}

/// What ended a wait without an answer.
enum Unanswered {
    ClientGone,
    TimedOut,
}

async fn wait(
    session: &mut Session,
    waiter: &mut Waiter,
    pool: &Pool,
    is_fresh: bool,
    context: &PickContext<'_>,
) -> Result<Reply, Unanswered> {
    let timeout = waiter.timeout();
    tokio::select! {
        biased;
        reply = turn(waiter, pool, is_fresh, context) => Ok(reply),
        () = client_gone(session) => Err(Unanswered::ClientGone),
        () = tokio::time::sleep(timeout) => Err(Unanswered::TimedOut),
    }
}

/// Waits for the turn; meanwhile, one that has tried nothing follows the pool's membership.
async fn turn(
    waiter: &mut Waiter,
    pool: &Pool,
    is_fresh: bool,
    context: &PickContext<'_>,
) -> Reply {
    let mut changes = pool.changes();
    loop {
        tokio::select! {
            biased;
            reply = waiter.turn() => return reply,
            Ok(()) = changes.changed(), if is_fresh => {}
        }
        waiter.look_again(pool.candidates(context));
    }
}

/// Waits for the client's close, or for what ends every read: the request's deadline, or a cut.
pub(super) async fn client_gone(session: &mut Session) {
    match session.as_downstream_mut() {
        ServerSession::H1(session) => drop(session.idle().await),
        _ => std::future::pending().await,
    }
}

pub(super) fn gone(session: &Session, ctx: &RequestCtx) -> Ending {
    exchange::ended_from_outside(session, ctx).unwrap_or(Ending::ClientClosed)
}

pub(super) fn hold(session: &Session, holding: bool) {
    if let Some(downstream) = Downstream::of(session.stream()) {
        downstream.hold(holding);
    }
}
