//! From a head to a decision: which route, and whether it is forwarded, answered or refused.
//!
//! Called once for each request, before anything is sent. The path is normalised here, once, so that
//! what is matched is what is forwarded.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Version, header};
use pingora_proxy::Session;

use crate::config::model::{Action, PathPattern, Redirect};
use crate::policy::body_limit::{self, Meter, Verdict};
use crate::policy::client::{self, Scheme};
use crate::policy::{ip_filter, request_id};
use crate::proxy::ctx::RequestCtx;
use crate::proxy::downstream::Downstream;
use crate::proxy::reject::Rejection;
use crate::proxy::respond::Answer;
use crate::routing::normalize::normalize;
use crate::snapshot::Route;

pub(super) enum Next {
    Forward,
    Answer(Box<Answer>),
}

pub(super) fn admit(session: &mut Session, ctx: &mut RequestCtx) -> Result<Next, Rejection> {
    identify(session, ctx);
    if session.req_header().version == Version::HTTP_10 {
        forgo_interim_responses(session);
    }
    normalise_target(session, ctx)?;
    find_route(session, ctx)?;
    check_client(ctx)?;
    set_deadline(session, ctx);
    let route = ctx.route().ok_or(Rejection::NoRoute)?;
    let answer = match &route.config.action {
        Action::Pool(_) => {
            let headers = &session.req_header().headers;
            let limit = route.config.body_limit;
            if body_limit::declared(headers, limit) != Verdict::Within {
                return Err(Rejection::BodyTooLarge);
            }
            ctx.body = Meter::new(limit);
            return Ok(Next::Forward);
        }
        Action::Redirect(redirect) => {
            let scheme = ctx
                .client
                .as_ref()
                .map_or(Scheme::Http, |client| client.scheme);
            let location = location(redirect, route, session, scheme);
            Answer::redirect(redirect, location)
        }
        Action::Respond(respond) => Answer::fixed(respond),
    };
    answer
        .map(|answer| Next::Answer(Box::new(answer.edited(&route.config.response_headers))))
        .map_err(|_| Rejection::Internal)
}

/// Who asks, and under which id this request is known.
fn identify(session: &Session, ctx: &mut RequestCtx) {
    let Some(peer) = session.client_addr().and_then(|address| address.as_inet()) else {
        return;
    };
    let headers = &session.req_header().headers;
    let trusted = &ctx.snapshot.config.trusted_proxies;
    let client = client::identify(*peer, Scheme::Http, headers, trusted);
    ctx.request_id = Some(request_id::choose(&client, headers));
    ctx.client = Some(client);
}

/// A client of HTTP/1.0 knows none, so it cannot wait for one either (RFC 9110 §10.1.1, §15.2).
fn forgo_interim_responses(session: &mut Session) {
    session.as_downstream_mut().set_ignore_info_resp(true);
    session.req_header_mut().remove_header(&header::EXPECT);
}

/// Rewrites the target to its one normal origin-form.
fn normalise_target(session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Rejection> {
    const MALFORMED: Rejection = Rejection::BadRequest("malformed request target");
    let head = session.req_header_mut();
    let received = std::str::from_utf8(head.raw_path()).map_err(|_| MALFORMED)?;
    let normal = match normalize(origin_form(received)) {
        Ok(Cow::Borrowed(same)) if same.len() == received.len() => return Ok(()),
        Ok(normal) => normal.into_owned(),
        Err(malformed) => return Err(Rejection::BadRequest(malformed.reason())),
    };
    ctx.received_target = Some(received.as_bytes().into());
    head.set_raw_path(normal.as_bytes()).map_err(|_| MALFORMED)
}

/// What stands after the authority of an absolute-form target; origin-form is returned as it is. The
/// authority equals `Host`, which the head was checked for.
fn origin_form(target: &str) -> &str {
    let Some((_, rest)) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))
    else {
        return target;
    };
    rest.find(['/', '?']).map_or("/", |start| &rest[start..])
}

fn find_route(session: &Session, ctx: &mut RequestCtx) -> Result<(), Rejection> {
    let head = session.req_header();
    let host = host(&head.headers);
    let path = head.uri.path();
    let found = ctx
        .snapshot
        .table
        .find(host, path, &head.method, &head.headers);
    ctx.route = Some(found.ok_or(Rejection::NoRoute)?);
    Ok(())
}

fn check_client(ctx: &RequestCtx) -> Result<(), Rejection> {
    let (Some(route), Some(client)) = (ctx.route(), &ctx.client) else {
        return Err(Rejection::Forbidden);
    };
    match route.clients.verdict(client.address.ip()) {
        ip_filter::Verdict::Allowed => Ok(()),
        ip_filter::Verdict::Denied | ip_filter::Verdict::NotAllowed => Err(Rejection::Forbidden),
    }
}

fn host(headers: &HeaderMap) -> &[u8] {
    headers.get(header::HOST).map_or(b"", HeaderValue::as_bytes)
}

/// Bounds the whole request, or, for an upgrade, the wait for its acceptance.
fn set_deadline(session: &Session, ctx: &mut RequestCtx) {
    let Some(route) = ctx.route() else {
        return;
    };
    let mut time = route.config.timeout;
    if session.is_upgrade_req()
        && let Some(pool) = &route.pool
    {
        let wait = pool.config().read_timeout;
        if time.is_none_or(|timeout| wait < timeout) {
            time = Some(wait);
            ctx.overdue = Rejection::UpstreamTimeout;
        }
    }
    if let (Some(time), Some(downstream)) = (time, Downstream::of(session.stream())) {
        downstream.set_deadline(time);
    }
}

/// Fills in a redirect's placeholders.
fn location(redirect: &Redirect, route: &Route, session: &Session, scheme: Scheme) -> String {
    let head = session.req_header();
    let path = head.uri.path();
    let rest = match &route.config.rule.path {
        PathPattern::Prefix(prefix) => {
            // The path is normal; the prefix is as the operator spelled it.
            let prefix = normalize(prefix).unwrap_or(Cow::Borrowed(prefix));
            path.get(prefix.len()..).unwrap_or_default()
        }
        PathPattern::Any | PathPattern::Exact(_) | PathPattern::Regex(_) => path,
    };
    let (path, rest) = (without_backslash(path), without_backslash(rest));
    let query = head.uri.query().map(|query| format!("?{query}"));
    let host = String::from_utf8_lossy(host(&head.headers));
    fill_in(&redirect.to, |name| match name {
        "scheme" => scheme.as_str(),
        "host" => &host,
        "path" => &path,
        "rest" => rest.trim_start_matches('/'),
        "query" => query.as_deref().unwrap_or_default(),
        _ => "",
    })
}

/// Browsers read a backslash as a slash (WHATWG URL §4.4), and so a `Location` of `/\host` as another
/// host. Encoded, it stays data.
fn without_backslash(path: &str) -> String {
    path.replace('\\', "%5C")
}

/// Replaces each `{name}` once, so that braces in what the client sent stay what they are.
fn fill_in<'a>(template: &str, value: impl Fn(&str) -> &'a str) -> String {
    let mut filled = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        filled.push_str(before);
        filled.push_str(value(name));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_targets_lose_their_authority() {
        assert_eq!(origin_form("/a?b=http://c/"), "/a?b=http://c/");
        assert_eq!(origin_form("http://a.example/b?c"), "/b?c");
        assert_eq!(origin_form("http://a.example"), "/");
        assert_eq!(origin_form("http://a.example?c"), "?c");
        assert_eq!(origin_form("*"), "*");
    }

    #[test]
    fn placeholders_are_filled_in_once() {
        let value = |name: &str| match name {
            "path" => "/{query}",
            _ => "?a",
        };
        assert_eq!(fill_in("/x{path}{query}", value), "/x/{query}?a");
        assert_eq!(fill_in("/plain", value), "/plain");
    }
}
