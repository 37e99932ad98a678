//! What becomes of an endpoint's answer: kept, used to renew what is kept, or nobody else's.
//!
//! Pure: heads, times and the route's rules in; the head to store out, or why there is none.

use http::header::{AGE, CONTENT_LENGTH, DATE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::cache::compress::vary_on_coding;
use crate::cache::entry::Stored;
use crate::cache::flights::Landed;
use crate::cache::route::RouteCache;
use crate::cache::rules::directives::{RequestDirectives, ResponseDirectives};
use crate::cache::rules::freshness::{Exchange, Terms};
use crate::cache::rules::storable::{Asked, Refusal, dropped_fields, may_store};
use crate::cache::rules::targeted::Control;
use crate::cache::rules::{conditional, list, update};

/// What an answer is judged by, beside its head.
pub(super) struct Judge<'a> {
    pub(super) route: &'a RouteCache,
    pub(super) request: &'a HeaderMap,
    pub(super) directives: &'a RequestDirectives,
    pub(super) exchange: Exchange,
}

/// What is stored of a response, and for how long.
pub(super) struct Storable {
    pub(super) head: ResponseHeader,
    pub(super) terms: Terms,
}

/// What a 304 makes of what is stored.
pub(super) struct Renewed {
    pub(super) head: ResponseHeader,
    pub(super) terms: Terms,
    pub(super) fate: Fate,
    /// Fields of the 304 that are not kept for others.
    pub(super) for_asker: Vec<(HeaderName, HeaderValue)>,
}

/// What becomes of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Renewed,
    /// Nothing, for this request's sake: what it is told is not to be kept.
    Left,
    Removed,
}

/// Fields that may not be kept for others (`private="…"`, `no-cache="…"`), and that the client which asked
/// gets all the same.
pub(super) fn for_asker(
    answer: &ResponseHeader,
    route: &RouteCache,
) -> Vec<(HeaderName, HeaderValue)> {
    let control = Control::of_response(&answer.headers, &route.targeted);
    let of_connection = dropped_fields(&answer.headers, &ResponseDirectives::default());
    let named = [
        &control.directives().private,
        &control.directives().no_cache,
    ];
    let named = named.into_iter().flat_map(|scope| scope.fields());
    named
        .filter(|name| !of_connection.contains(name))
        .flat_map(|name| {
            answer
                .headers
                .get_all(name)
                .iter()
                .map(move |value| (name.clone(), value.clone()))
        })
        .collect()
}

/// What a 304 has and the head that it renews has not, apart from what is of its connection or describes
/// the stored bytes.
fn left_out(not_modified: &HeaderMap, renewed: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let of_connection = dropped_fields(not_modified, &ResponseDirectives::default());
    let is_left_out = |name: &HeaderName| {
        !renewed.contains_key(name)
            && !of_connection.contains(name)
            && !update::describes_bytes(name)
    };
    let lines = not_modified.iter().filter(|(name, _)| is_left_out(name));
    lines
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

// === impl Judge ===

impl Judge<'_> {
    /// What of a whole response is stored.
    pub(super) fn new_response(&self, head: &ResponseHeader) -> Result<Storable, Refusal> {
        let control = Control::of_response(&head.headers, &self.route.targeted);
        let terms = self.terms(head, &control);
        self.may_store(head, &control, &terms)?;
        let mut kept = head.clone();
        for name in dropped_fields(&head.headers, control.directives()) {
            kept.remove_header(&name);
        }
        self.date(&mut kept);
        if self.codes(&kept) {
            vary_on_coding(&mut kept);
        }
        Ok(Storable { head: kept, terms })
    }

    /// What a 304 makes of the stored response that it says is good.
    pub(super) fn renewed(
        &self,
        stored: &Stored,
        not_modified: &ResponseHeader,
    ) -> Result<Renewed> {
        let mut not_modified = not_modified.clone();
        if not_modified.headers.contains_key(VARY) && self.codes(stored.head()) {
            vary_on_coding(&mut not_modified);
        }
        let fields = &not_modified.headers;
        let mut head = self.merged(stored.head(), fields)?;
        let control = Control::of_response(&head.headers, &self.route.targeted);
        // What was kept may forbid to keep a field that only the 304 has.
        for name in dropped_fields(&head.headers, control.directives()) {
            head.remove_header(&name);
        }
        let mut aged = head.headers.clone();
        // The age of the answer is that of what it says is good; it is not kept.
        if let Some(age) = fields.get(AGE) {
            aged.insert(AGE, age.clone());
        }
        let terms = self.terms_of(stored.head(), &aged, &control);
        let fate = match self.may_store(&head, &control, &terms) {
            _ if update::changes_vary(&stored.head().headers, fields) => Fate::Removed,
            Ok(()) => Fate::Renewed,
            Err(refusal) if refusal.is_about_request() => Fate::Left,
            Err(_) => Fate::Removed,
        };
        Ok(Renewed {
            for_asker: left_out(fields, &head.headers),
            head,
            terms,
            fate,
        })
    }

    /// A stored head with the fields of a 304.
    fn merged(&self, stored: &ResponseHeader, fields: &HeaderMap) -> Result<ResponseHeader> {
        let mut head = stored.clone();
        for name in update::fields_to_replace(fields, self.route.keeps_set_cookie) {
            head.remove_header(&name);
            for value in fields.get_all(&name) {
                head.append_header(name.clone(), value)?;
            }
        }
        if !fields.contains_key(DATE) {
            head.remove_header(&DATE);
        }
        self.date(&mut head);
        Ok(head)
    }

    /// Whether it may be given coded.
    fn codes(&self, head: &ResponseHeader) -> bool {
        let bytes = announced(head).unwrap_or(usize::MAX);
        let rule = self.route.compress.as_ref();
        rule.is_some_and(|rule| rule.covers(head.status, &head.headers, bytes))
    }

    fn may_store(
        &self,
        head: &ResponseHeader,
        control: &Control,
        terms: &Terms,
    ) -> Result<(), Refusal> {
        let asked = Asked {
            method: &Method::GET,
            headers: self.request,
            directives: self.directives,
            keep_set_cookie: self.route.keeps_set_cookie,
        };
        if varies_by_what_we_write(&head.headers) {
            return Err(Refusal::VaryStar);
        }
        may_store(&asked, head.status, &head.headers, control, terms)
    }

    fn terms(&self, head: &ResponseHeader, control: &Control) -> Terms {
        self.terms_of(head, &head.headers, control)
    }

    fn terms_of(&self, head: &ResponseHeader, headers: &HeaderMap, control: &Control) -> Terms {
        let defaults = &self.route.defaults;
        Terms::new(head.status, headers, control, defaults, &self.exchange)
    }

    /// RFC 9110 §6.6.1: what comes without a date gets one.
    fn date(&self, head: &mut ResponseHeader) {
        if head.headers.contains_key(DATE) {
            return;
        }
        let now = httpdate::fmt_http_date(self.exchange.answered);
        if let Ok(now) = HeaderValue::from_str(&now) {
            // A name that is known cannot be refused.
            let _ = head.insert_header(DATE, now);
        }
    }
}

/// Fields that endpoints get from weir, and not as the client sent them: they tell clients apart by what
/// a request does not show.
const WRITTEN: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

fn varies_by_what_we_write(headers: &HeaderMap) -> bool {
    let names = |name: &str| list::has_token(headers, &VARY, name);
    headers.contains_key(VARY) && WRITTEN.into_iter().any(names)
}

/// Whether the client's own copy is as good as a response with this head.
pub(super) fn is_not_modified(request: &RequestHeader, head: &ResponseHeader) -> bool {
    let (method, asked) = (&request.method, &request.headers);
    conditional::is_not_modified(method, asked, head.status, &head.headers)
}

/// A length that is announced and can be read.
pub(super) fn announced(head: &ResponseHeader) -> Option<usize> {
    let length = head.headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// How a refusal concerns others who ask for the same.
pub(super) fn landed(refusal: Refusal, status: StatusCode) -> Landed {
    match refusal {
        _ if refusal.is_about_request() => Landed::NotShared,
        // The next answer is probably another one.
        _ if status.is_server_error() => Landed::NotShared,
        _ => Landed::Uncacheable,
    }
}
