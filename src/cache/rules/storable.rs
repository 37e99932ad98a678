//! Whether a response may be kept (RFC 9111 §3), and what of it.
//!
//! Kept is what HTTP allows a shared cache to keep and what can be used again; where it allows it and
//! the sender hardly meant it (`Set-Cookie`), nothing is kept unless the route asks for it.

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    DATE, ETAG, EXPIRES, LAST_MODIFIED, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::directives::{RequestDirectives, ResponseDirectives, Scope};
use super::freshness::{Terms, is_explicit, may_be_guessed};
use super::list;
use super::targeted::Control;

/// Why a response is not kept; [`Refusal::name`] is the word of logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Only answers to GET are kept.
    Method,
    /// A status of a part, of a check, or of this one exchange.
    Status,
    /// `must-understand` with a status that this cache knows no rules of.
    NotUnderstood,
    RequestNoStore,
    NoStore,
    Private,
    /// To a request with credentials, without permission to share it (RFC 9111 §3.5).
    Authorization,
    SetCookie,
    VaryStar,
    /// `Vary` that is no list of names.
    VaryMalformed,
    /// It says nothing of its lifetime, and its status allows no guess (RFC 9111 §3).
    NoLifetime,
    /// Neither fresh for a moment, nor to be validated, nor of use when stale.
    NoUse,
}

/// What was asked, and how much of it counts.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// Without those the route does not honour.
    pub directives: &'a RequestDirectives,
    /// Whether the route keeps responses with `Set-Cookie`, cookies included.
    pub keep_set_cookie: bool,
}

/// Whether the answer to `asked` may be kept under `terms`.
///
/// `asked.method` is what the client sent; a cache that fetches the whole for a HEAD or a range says
/// GET here.
pub fn may_store(
    asked: &Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    control: &Control,
    terms: &Terms,
) -> Result<(), Refusal> {
    let directives = control.directives();
    if *asked.method != Method::GET {
        return Err(Refusal::Method);
    }
    if !may_be_kept(status) {
        return Err(Refusal::Status);
    }
    if directives.must_understand && !is_understood(status) {
        return Err(Refusal::NotUnderstood);
    }
    if asked.directives.no_store {
        return Err(Refusal::RequestNoStore);
    }
    // `must-understand` has been met, and then `no-store` is for those who do not know it (§5.2.2.3).
    if directives.no_store && !directives.must_understand {
        return Err(Refusal::NoStore);
    }
    if directives.private == Scope::Response {
        return Err(Refusal::Private);
    }
    if asked.headers.contains_key(AUTHORIZATION) && !may_share(directives) {
        return Err(Refusal::Authorization);
    }
    if headers.contains_key(SET_COOKIE) && !asked.keep_set_cookie && !drops(directives, &SET_COOKIE)
    {
        return Err(Refusal::SetCookie);
    }
    may_vary(headers)?;
    if !is_explicit(headers, control) && !may_be_guessed(status, directives) {
        return Err(Refusal::NoLifetime);
    }
    if !is_of_use(headers, terms) {
        return Err(Refusal::NoUse);
    }
    Ok(())
}

/// A final status that means the same to the next client. Not parts (206, 416) and checks (304, 412)
/// of a representation, nor what RFC 6585 §3–§6 tells caches not to keep, nor the statuses of this
/// exchange (407, 408, 421, 425, 426) or of a connection (101).
fn may_be_kept(status: StatusCode) -> bool {
    const NEVER: [u16; 13] = [
        206, 304, 407, 408, 412, 416, 421, 425, 426, 428, 429, 431, 511,
    ];
    status.as_u16() >= 200 && !NEVER.contains(&status.as_u16())
}

/// The statuses whose rules for caches are known and kept here (RFC 9110 §15).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=204 | 300..=303 | 307 | 308 | 400..=406 | 409..=411 | 413..=415 | 417 | 422 | 451 | 500..=505
    )
}

/// RFC 9111 §3.5.
fn may_share(directives: &ResponseDirectives) -> bool {
    directives.public || directives.must_revalidate || directives.s_maxage.is_some()
}

/// Whether the field is named by `private` or `no-cache`, and so not kept.
fn drops(directives: &ResponseDirectives, name: &HeaderName) -> bool {
    let (private, no_cache) = (&directives.private, &directives.no_cache);
    private.fields().contains(name) || no_cache.fields().contains(name)
}

fn may_vary(headers: &HeaderMap) -> Result<(), Refusal> {
    if list::members(headers, &VARY).any(|name| name == b"*") {
        return Err(Refusal::VaryStar);
    }
    match list::names(headers, &VARY) {
        Some(_) => Ok(()),
        None => Err(Refusal::VaryMalformed),
    }
}

/// Whether there is a way to use it once more.
fn is_of_use(headers: &HeaderMap, terms: &Terms) -> bool {
    let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    terms.is_ever_fresh() || has_validator || terms.is_ever_usable_stale()
}

/// The fields that are not kept: of the connection (RFC 9111 §3.1), named by `private` or `no-cache`,
/// and `Age`, which the cache counts on itself. `Trailer` goes because trailers are not kept.
pub fn dropped_fields(headers: &HeaderMap, directives: &ResponseDirectives) -> Vec<HeaderName> {
    let named = list::members(headers, &CONNECTION);
    let named = named.filter_map(|name| HeaderName::from_bytes(name).ok());
    let mut dropped: Vec<HeaderName> = named.filter(may_be_of_connection).collect();
    dropped.extend(OF_THE_CONNECTION);
    dropped.extend_from_slice(directives.private.fields());
    dropped.extend_from_slice(directives.no_cache.fields());
    dropped.retain(|name| headers.contains_key(name));
    dropped
}

const OF_THE_CONNECTION: [HeaderName; 11] = [
    AGE,
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// `Connection` cannot take away what says how to read the response, or how long it may be kept.
fn may_be_of_connection(name: &HeaderName) -> bool {
    const OF_THE_MESSAGE: [HeaderName; 9] = [
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        DATE,
        ETAG,
        EXPIRES,
        LAST_MODIFIED,
        VARY,
    ];
    !OF_THE_MESSAGE.contains(name)
}

/// Whether all of a body has come (§3.3): what ended early is never kept as whole.
///
/// `ended` says that the transfer came to its own end: the last chunk, the last frame, or the close
/// of a connection where that is the end.
pub fn is_whole(headers: &HeaderMap, body_bytes: u64, ended: bool) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let is_length = |length: &HeaderValue| {
        let digits = length.to_str().unwrap_or_default();
        digits.parse() == Ok(body_bytes)
    };
    ended && lengths.all(is_length)
}

// === impl Refusal ===

impl Refusal {
    /// Whether the same answer to another request might be kept.
    pub fn is_about_request(self) -> bool {
        matches!(self, Refusal::RequestNoStore | Refusal::Authorization)
    }

    pub fn name(self) -> &'static str {
        match self {
            Refusal::Method => "method",
            Refusal::Status => "status",
            Refusal::NotUnderstood => "not_understood",
            Refusal::RequestNoStore => "request_no_store",
            Refusal::NoStore => "no_store",
            Refusal::Private => "private",
            Refusal::Authorization => "authorization",
            Refusal::SetCookie => "set_cookie",
            Refusal::VaryStar => "vary_star",
            Refusal::VaryMalformed => "vary_malformed",
            Refusal::NoLifetime => "no_lifetime",
            Refusal::NoUse => "no_use",
        }
    }
}

#[cfg(test)]
mod tests;
