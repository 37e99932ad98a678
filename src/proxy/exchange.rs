//! One exchange with an endpoint: whom to ask, what to send, what came back, what went wrong.
//!
//! Called by `proxy`'s callbacks, in the order of this file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use prometheus::IntGauge;

use crate::config::model::{self, Balance, Hedge};
use crate::policy::forwarded::Told;
use crate::policy::headers::HeaderTarget;
use crate::policy::{forwarded, headers, request_id};
use crate::proxy::ctx::{Counted, RequestCtx};
use crate::proxy::downstream::Downstream;
use crate::proxy::failure::{self, Ending, FailedAttempt, Outcome};
use crate::proxy::hash_key::hash_key;
use crate::proxy::placement;
use crate::proxy::reject::Rejection;
use crate::proxy::upstream::Timeouts;
use crate::proxy::{turn, upgrade};
use crate::snapshot::Route;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Pool;
use crate::upstream::member::Member;
use crate::upstream::pick_context::PickContext;

/// The pool of the request's route.
pub(super) fn pool(ctx: &RequestCtx) -> Result<Arc<Pool>, Rejection> {
    let pool = ctx.route().and_then(|route| route.pool.as_ref());
    pool.cloned().ok_or(Rejection::Internal)
}

/// The next endpoint to try; where the pool has limits, in its turn.
pub(super) async fn next_member(
    pool: &Pool,
    session: &mut Session,
    ctx: &mut RequestCtx,
    metrics: &Metrics,
) -> Result<Arc<Member>, Ending> {
    let last_outcome = ctx.attempts.current().map(|attempt| attempt.outcome);
    if last_outcome.is_none() {
        pool.request_came(ctx.started);
    }
    if ctx.route().is_some_and(|route| !route.config.measure) {
        ctx.attempts.do_not_measure();
    }
    let hash_key = match &pool.config().balance {
        Balance::Hash(hash) => {
            let head = session.req_header();
            hash_key(&hash.key, &head.uri, &head.headers, ctx.client.as_ref())
        }
        _ => Vec::new(),
    };
    let context = PickContext {
        hash_key: &hash_key,
        ..placement::context(&session.req_header().headers, ctx, pool)
    };
    let Some(member) = turn::begin_attempt(session, ctx, pool, &context).await? else {
        // With endpoints tried, the client is told what became of the last one.
        let rejection = last_outcome.map_or(Rejection::NoEndpoint, Outcome::rejection);
        return Err(Ending::Rejected(rejection));
    };
    if let Some(outcome) = last_outcome {
        metrics.retried(outcome.name());
    }
    Ok(member)
}

/// Whether the attempt that has begun may get another one beside it, and when.
pub(super) fn hedge(session: &mut Session, ctx: &RequestCtx) -> Option<Hedge> {
    let hedge = ctx.route()?.config.hedge?;
    let is_first = ctx.attempts.made().len() == 1;
    let is_safe = matches!(session.req_header().method, Method::GET | Method::HEAD);
    (is_first && is_safe && session.as_downstream_mut().is_body_done()).then_some(hedge)
}

/// How to connect to it, with every timeout set.
pub(super) fn peer(pool: &Pool, member: &Member, session: &Session, ctx: &RequestCtx) -> HttpPeer {
    let address = member.endpoint.address();
    let mut peer = pool.peers().peer(address, member.host.as_deref());
    limit_timeouts(&mut peer, session, ctx, pool.config());
    peer
}

/// The next endpoint of a request that Pingora's own machine forwards: an upgrade.
pub(super) async fn next_peer(
    session: &mut Session,
    ctx: &mut RequestCtx,
    metrics: &Metrics,
) -> Result<Box<HttpPeer>, Ending> {
    let pool = pool(ctx).map_err(Ending::Rejected)?;
    let member = next_member(&pool, session, ctx, metrics).await?;
    let mut peer = peer(&pool, &member, session, ctx);
    upgrade::read_late(&mut peer);
    Ok(Box::new(peer))
}

/// No wait for the endpoint outlasts the request's deadline, and none cuts a tunnel off too early.
fn limit_timeouts(peer: &mut HttpPeer, session: &Session, ctx: &RequestCtx, pool: &model::Pool) {
    let options = &mut peer.options;
    if session.is_upgrade_req() {
        options.read_timeout = Some(pool.tunnel_timeout);
        options.write_timeout = Some(pool.tunnel_timeout);
    }
    let per_try = ctx
        .route()
        .and_then(|route| route.config.retry.per_try_timeout);
    let Some(time_left) = [ctx.time_left(), per_try].into_iter().flatten().min() else {
        return;
    };
    for timeout in [
        &mut options.connection_timeout,
        &mut options.total_connection_timeout,
    ] {
        *timeout = timeout.map(|own| own.min(time_left));
    }
}

/// How long one read and one write may take at an endpoint.
pub(super) fn timeouts(pool: &Pool, ctx: &RequestCtx) -> Timeouts {
    let time_left = ctx.time_left().unwrap_or(Duration::MAX);
    let per_try = ctx
        .route()
        .and_then(|route| route.config.retry.per_try_timeout);
    let began = ctx.attempts.current().map(|attempt| attempt.began);
    Timeouts {
        read: pool.config().read_timeout.min(time_left),
        write: pool.config().write_timeout.min(time_left),
        head_by: per_try.zip(began).map(|(time, began)| began + time),
    }
}

/// The method that the endpoint is asked with.
pub(super) fn method<'a>(session: &'a Session, ctx: &RequestCtx) -> &'a Method {
    match &ctx.fetch {
        Some(_) => &Method::GET,
        None => &session.req_header().method,
    }
}

/// Edits the head that goes to the endpoint. Pingora has removed the hop-by-hop fields.
pub(super) fn prepare_request(session: &Session, request: &mut RequestHeader, ctx: &RequestCtx) {
    if Downstream::of(session.stream()).is_some_and(|downstream| downstream.underscores) {
        // CGI-like endpoints read `X_Real_IP` as `X-Real-IP`, which only we may set (nginx's
        // `underscores_in_headers off`).
        headers::remove_where(request, |name| name.as_str().contains('_'));
    }
    if let Some(client) = &ctx.client {
        let form = ctx.snapshot.config.forwarded;
        let sent = &request.headers;
        let told = Told::of(form, client, sent.get(header::HOST), sent);
        forwarded::write(&told, request);
    }
    request.add("Via", forwarded::via(session.req_header().version));
    if let Some(id) = &ctx.request_id {
        request.set(request_id::NAME, id.clone());
    }
    if let Some(route) = ctx.route() {
        headers::apply(&route.config.request_headers, request);
    }
}

/// The endpoint answered: its attempt has succeeded, whatever the status.
pub(super) fn note_response(
    session: &mut Session,
    response: &ResponseHeader,
    ctx: &mut RequestCtx,
    tunnels: &IntGauge,
) -> Result<()> {
    let switched = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if switched && !session.is_upgrade_req() {
        // What follows is in no protocol that the client speaks.
        return Err(Error::new_up(ErrorType::InvalidHTTPHeader).more_context("101 unasked for"));
    }
    ctx.first_byte.get_or_insert_with(|| ctx.started.elapsed());
    if switched {
        ctx.tunnel = Some(Counted::new(tunnels));
        if let Some(downstream) = Downstream::of(session.stream()) {
            downstream.open_tunnel();
        }
        // What a client sends now is no request body; `tunnel_timeout` is for both sides.
        session.as_downstream_mut().set_read_timeout(None);
    }
    if switched || !response.status.is_informational() {
        ctx.attempts.succeeded(response);
        placement::learn(&response.headers, ctx);
    }
    Ok(())
}

/// Edits the head that goes to the client.
pub(super) fn prepare_response(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &RequestCtx,
) {
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        remove_hop_by_hop(response);
    }
    prepare_stored(session, response, ctx);
    let is_final =
        !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(cookie) = placement::cookie(ctx).filter(|_| is_final) {
        response.add(header::SET_COOKIE, cookie);
    }
}

/// Pingora would write its own `Date`, and a response would look younger than it is (RFC 9110 §6.6.1).
/// One that has none gets it.
pub(super) fn keep_date(session: &Session, date: Option<HeaderValue>) {
    if let (Some(date), Some(downstream)) = (date, Downstream::of(session.stream())) {
        downstream.keep_date(date);
    }
}

/// As `prepare_response`, where what is of an endpoint's connection, and of one client, has no place. The
/// version is weir's own, whatever the endpoint speaks (RFC 9110 §6.2), so that a hit says what a miss said;
/// that of a 101 decides whether there is a tunnel.
pub(super) fn prepare_stored(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &RequestCtx,
) {
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        response.set_version(Version::HTTP_11);
    }
    if session.req_header().version == Version::HTTP_10
        && response.remove_header(&header::TRANSFER_ENCODING).is_some()
    {
        // Its client reads no chunks: the body ends with the connection.
        session.set_keepalive(None);
    }
    if let Some(route) = ctx.route() {
        headers::apply(&route.config.response_headers, response);
    }
}

/// Fields that belong to the endpoint's connection, and those its `Connection` names (RFC 9110
/// §7.6.1). Pingora writes the client's own `Connection` afterwards.
fn remove_hop_by_hop(response: &mut ResponseHeader) {
    // Most responses have none or only `Connection`: one look over the names finds out.
    let found: Vec<HeaderName> = response
        .headers
        .keys()
        .filter(|name| is_hop_by_hop(name))
        .cloned()
        .collect();
    if found.contains(&header::CONNECTION) {
        remove_nominated(response);
    }
    for name in &found {
        response.remove_header(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    [header::CONNECTION, header::TE, header::UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Removes the fields that any `Connection` line names.
fn remove_nominated(response: &mut ResponseHeader) {
    let connection = response.headers.get_all(header::CONNECTION);
    let nominated: Vec<_> = connection
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        // The usual words name no field.
        .filter(|word| {
            !word.eq_ignore_ascii_case(b"keep-alive") && !word.eq_ignore_ascii_case(b"close")
        })
        .filter_map(|word| HeaderName::from_bytes(word).ok())
        // Not even an endpoint may take the framing away.
        .filter(|name| name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING)
        .collect();
    for name in nominated {
        response.remove_header(&name);
    }
}

/// An attempt failed: notes it, and marks the error for another attempt where one is allowed.
pub(super) fn note_failure(session: &mut Session, ctx: &mut RequestCtx, error: &mut Error) {
    let ours = ctx.ending.is_some() || ctx.tunnel.is_some() || is_overdue(session);
    if ours || error.esource() != &ErrorSource::Upstream {
        let is_whole = session.as_downstream_mut().is_body_done();
        let had = is_overdue(session).then(|| ctx.started.elapsed());
        ctx.attempts.give_up(is_whole, had);
        error.set_retry(false);
        return;
    }
    let outcome = Outcome::of(error);
    if outcome == Outcome::BadStatus {
        // Observed and paid for when it came: `tries_again`.
        error.set_retry(true);
        return;
    }
    let connect = ctx.attempts.current().and_then(|attempt| attempt.connect);
    ctx.attempts.failed(outcome);
    let allowed = ctx.route().map_or(0, |route| route.config.retry.attempts);
    // It costs no attempt, once, unless the route allows none.
    let is_stale = outcome == Outcome::Reset && connect == Some(Duration::ZERO);
    let is_free = is_stale && allowed > 0 && ctx.attempts.meet_stale_connection();
    let failed = FailedAttempt {
        connected: connect.is_some(),
        attempts_left: is_free || has_attempts_left(ctx),
        ..failed_attempt(session, ctx, outcome)
    };
    // Nobody has worked for an attempt whose connection was not taken.
    let is_costly = failed.connected || failure::began_handshake(error);
    let is_affordable = || is_free || !is_costly || withdraw(ctx);
    let again = failed.may_retry() && is_affordable();
    if again {
        // Where nobody is left but those who ask for a pause, one of them is better than none.
        ctx.attempts.may_have_next();
    }
    error.set_retry(again);
}

/// Whether the response with this head is dropped and another endpoint is asked; if so, it has been
/// observed and paid for.
pub(super) fn tries_again(
    session: &Session,
    ctx: &mut RequestCtx,
    response: &ResponseHeader,
) -> bool {
    let is_on = |route: &Route| route.config.retry.is_on(response.status.as_u16());
    let again = ctx.route().is_some_and(is_on)
        && failed_attempt(session, ctx, Outcome::BadStatus).may_retry()
        && ctx.attempts.may_have_next()
        && withdraw(ctx);
    if again {
        ctx.attempts.dismissed(response);
    }
    again
}

/// An attempt that reached its endpoint, as far as the request says.
fn failed_attempt(session: &Session, ctx: &RequestCtx, outcome: Outcome) -> FailedAttempt {
    let is_marked = |route: &Route| route.config.retry.non_idempotent;
    FailedAttempt {
        outcome,
        connected: true,
        response_started: session.response_written().is_some(),
        idempotent: session.req_header().method.is_idempotent()
            || ctx.route().is_some_and(is_marked),
        body_replayable: !session.as_ref().retry_buffer_truncated(),
        attempts_left: has_attempts_left(ctx),
    }
}

fn has_attempts_left(ctx: &RequestCtx) -> bool {
    let allowed = ctx.route().map_or(0, |route| route.config.retry.attempts);
    ctx.attempts.counted() <= allowed as usize
}

/// Pays for a retry out of the pool's budget.
fn withdraw(ctx: &RequestCtx) -> bool {
    let pool = ctx.route().and_then(|route| route.pool.as_ref());
    pool.is_some_and(|pool| pool.withdraw_retry(Instant::now()))
}

/// How long to wait before the next attempt: a random part of a bound that doubles with each (full
/// jitter), so that those who failed together do not come back together.
pub(super) fn backoff(ctx: &RequestCtx) -> Duration {
    let base = ctx
        .route()
        .map_or(Duration::ZERO, |route| route.config.retry.backoff);
    if ctx.attempts.repeats() || base.is_zero() {
        return Duration::ZERO;
    }
    let doublings = ctx.attempts.counted().saturating_sub(1).min(4) as u32;
    let bound = (base * 2_u32.pow(doublings)).min(base * BACKOFF_GROWTH_MAX);
    let bound = bound.min(ctx.time_left().unwrap_or(bound));
    bound.mul_f64(fastrand::f64())
}

/// From 25 ms to 250 ms, as in Envoy.
const BACKOFF_GROWTH_MAX: u32 = 10;

fn is_overdue(session: &Session) -> bool {
    Downstream::of(session.stream()).is_some_and(Downstream::is_overdue)
}

/// The process or the request's deadline does not wait for it any longer.
pub(super) fn ended_from_outside(session: &Session, ctx: &RequestCtx) -> Option<Ending> {
    let downstream = Downstream::of(session.stream())?;
    if downstream.is_cut() {
        return Some(Ending::Shutdown);
    }
    downstream
        .is_overdue()
        .then_some(Ending::Rejected(ctx.overdue))
}

/// Whether a failure says nothing of other requests of the route: this one's own time was up, or it may
/// have been bound to its endpoint.
pub(super) fn is_own_fate(ctx: &RequestCtx) -> bool {
    let pool = ctx.route().and_then(|route| route.pool.as_ref());
    let sticky = pool.and_then(|pool| pool.config().sticky.as_ref());
    ctx.is_late() || sticky.is_some_and(|sticky| sticky.strict)
}

/// Why the request ends, when no attempt will be made again.
pub(super) fn ending(session: &Session, error: &Error, ctx: &RequestCtx) -> Ending {
    if let Some(ending) = ctx.ending {
        return ending;
    }
    if let Some(ending) = ended_from_outside(session, ctx) {
        return ending;
    }
    if Downstream::of(session.stream()).is_some_and(Downstream::is_malformed) {
        return Ending::Rejected(Rejection::BadRequest("malformed chunked body"));
    }
    if error.esource() == &ErrorSource::Upstream {
        return match Outcome::of(error) {
            Outcome::Timeout if ctx.tunnel.is_some() => Ending::TunnelTimeout,
            outcome => Ending::Rejected(outcome.rejection()),
        };
    }
    failure::ending(error)
}
