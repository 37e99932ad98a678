//! The record of a request that is over: one access-log line and its metrics.

use http::{HeaderMap, HeaderName, Version, header};
use pingora_core::Error;
use pingora_proxy::Session;

use crate::cache::verdict::Verdict;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::failure::Ending;
use crate::proxy::process::Process;
use crate::telemetry::access_log::record::{Attempt, Record, Timers};

pub(super) fn write(process: &Process, session: &Session, error: Option<&Error>, ctx: &RequestCtx) {
    let total = ctx.started.elapsed();
    let status = session
        .response_written()
        .map_or(0, |head| head.status.as_u16());
    let received = session.body_bytes_read() as u64;
    let sent = session.body_bytes_sent() as u64;
    if let Some(route) = ctx.route() {
        route
            .metrics
            .observe(status, total, ctx.first_byte, received, sent);
        if let Some(verdict) = ctx.cache {
            route.metrics.cached(verdict as usize);
            process.metrics.cache.note(verdict as usize);
        }
    }
    if !process.access_log.is_on() {
        return;
    }
    let head = session.req_header();
    let attempts: Vec<_> = ctx
        .attempts
        .made()
        .iter()
        .map(|attempt| Attempt {
            endpoint: attempt.endpoint.name(),
            outcome: attempt.outcome.name(),
        })
        .collect();
    let error = error.map(|error| error.to_string());
    process.access_log.write(&Record {
        time: ctx.time,
        client: ctx.client.as_ref().map(|client| client.address),
        request_id: ctx.request_id(),
        method: head.method.as_str(),
        host: value(&head.headers, header::HOST).unwrap_or_default(),
        target: ctx.received_target.as_deref().unwrap_or(head.raw_path()),
        protocol: protocol(head.version),
        status,
        received,
        sent,
        referer: value(&head.headers, header::REFERER),
        user_agent: value(&head.headers, header::USER_AGENT),
        route: ctx.route().map_or("-", |route| &route.config.name),
        pool: ctx.route().map_or("-", |route| route.pool_name()),
        timers: Timers {
            queue: ctx.queued,
            connect: ctx.attempts.current().and_then(|attempt| attempt.connect),
            first_byte: ctx.first_byte,
            total,
        },
        attempts: &attempts,
        termination: termination(ctx),
        cache: ctx.cache.map_or("-", Verdict::name),
        error: error.as_deref(),
    });
}

/// One word for why it ended.
fn termination(ctx: &RequestCtx) -> &'static str {
    match ctx.ending {
        None => "ok",
        Some(Ending::Rejected(rejection)) => rejection.name(),
        Some(Ending::ClientClosed) => "client_closed",
        Some(Ending::ClientStalled) => "client_stalled",
        Some(Ending::TunnelTimeout) => "tunnel_timeout",
        Some(Ending::Shutdown) => "shutdown",
    }
}

fn value(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    headers.get(name).map(|value| value.as_bytes())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
