//! What is kept of a response beside its body, in one allocation: its times, its place and tags, and its
//! head.
//!
//! A million small objects are held by what surrounds them, so a head is packed ([`fields`]) and no map.
//! A hit needs no more than that: it reads the few fields it asks for where they lie, and writes the
//! rest to the client as they lie. Who needs the maps of Pingora gets them made ([`Meta::header`],
//! [`Meta::copy`]). A clone is the same one.
//!
//! Of Pingora's extensions it keeps those that the cache puts there: [`Terms`], [`Label`], [`Coded`].
//! `updated` and `provenance` of a copy are its creation: only Pingora's own proxy asks for them.

use std::str;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LAST_MODIFIED, VARY};
use http::{HeaderMap, HeaderName, StatusCode, Version};
use pingora_cache::CacheMeta;
use pingora_cache::key::HashBinary;
use pingora_http::{ResponseHeader, header_value_from_slice};
use triomphe::ThinArc;

use super::account::allocated;
use super::index::Label;
use crate::cache::rules::directives::ResponseDirectives;
use crate::cache::rules::freshness::{Source, Terms};

mod fields;
mod times;

pub use fields::Field;
use fields::{Fields, push, push_frame, spelled, take_frame};
use times::{Moment, Span};

/// How long a stale object with a validator is kept for the sake of a 304.
const REVALIDATION: Duration = Duration::from_secs(3600);

/// `CacheMeta` counts a response as fresh at its end, [`Terms`] as stale.
pub const TICK: Duration = Duration::from_nanos(1);

/// The fields that a variant is found by.
const SELECTING: [HeaderName; 2] = [VARY, CONTENT_ENCODING];

/// Marks what was made here of another response, in the extensions of its `CacheMeta`: no request is led
/// to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded {
    /// The generation of what it was made of: it is stored no longer than that.
    pub of: u64,
}

#[derive(Clone)]
pub struct Meta(ThinArc<Kept, u8>);

/// Behind it lie variance, original, reason, place, tags and fields, as [`Parts`] takes them apart.
#[derive(Clone)]
struct Kept {
    created: Moment,
    /// When the response was made, as far as that is known.
    born: Moment,
    fresh_until: Moment,
    /// When it was last purged softly.
    purged: Option<Moment>,
    stale_while_revalidate: Span,
    stale_if_error: Span,
    stale_if_down: Span,
    /// `None`: it came without terms.
    source: Option<Source>,
    may_be_stale: bool,
    immutable: bool,
    is_coded: bool,
    /// Whether it has a field that its variant is found by.
    varies: bool,
    no_transform: bool,
    /// Whether names are spelled as the origin did.
    has_case: bool,
    has_variance: bool,
    /// Not the usual one of its status.
    has_reason: bool,
    version: Version,
    status: StatusCode,
}

struct Parts<'a> {
    variance: Option<HashBinary>,
    original: Option<u64>,
    reason: Option<&'a [u8]>,
    place: &'a [u8],
    /// With a line break between them.
    tags: &'a [u8],
    fields: &'a [u8],
}

// === impl Meta ===

impl Meta {
    pub fn keep(meta: &CacheMeta) -> Meta {
        match meta.extensions().get::<Label>() {
            Some(label) => Meta::labelled(meta, label),
            None => Meta::labelled(meta, &Label::default()),
        }
    }

    /// With another label than its own.
    pub fn labelled(meta: &CacheMeta, label: &Label) -> Meta {
        let (kept, header) = (Kept::of(meta), meta.response_header());
        let mut text = Vec::with_capacity(256);
        if let Some(variance) = meta.variance() {
            text.extend_from_slice(&variance);
        }
        if let Some(coded) = meta.extensions().get::<Coded>() {
            text.extend_from_slice(&coded.of.to_ne_bytes());
        }
        if let Some(reason) = own_reason(header) {
            push_frame(&mut text, reason.as_bytes());
        }
        push_frame(&mut text, label.place().as_bytes());
        push_frame(
            &mut text,
            label.tags().collect::<Vec<_>>().join("\n").as_bytes(),
        );
        if kept.has_case {
            for (name, value) in header.case_header_iter() {
                push(&mut text, name.as_slice(), value.as_bytes());
            }
        } else {
            for (name, value) in &header.headers {
                push(&mut text, spelled(name), value.as_bytes());
            }
        }
        Meta(ThinArc::from_header_and_slice(kept, &text))
    }

    /// Of a response that says nothing: what is looked for by its label.
    pub fn bare(label: &Label) -> Meta {
        let never = SystemTime::UNIX_EPOCH;
        let nothing = CacheMeta::new(never, never, 0, 0, empty(StatusCode::OK));
        Meta::labelled(&nothing, label)
    }

    /// As Pingora wants it, for one request.
    pub fn copy(&self) -> CacheMeta {
        let mut copy = CacheMeta::new(
            self.fresh_until(),
            self.created(),
            self.kept().stale_while_revalidate.seconds(),
            self.kept()
                .stale_if_error
                .seconds()
                .max(self.kept().stale_if_down.seconds()),
            self.header(),
        );
        if self.kept().born != self.kept().created {
            copy.set_epoch_override(self.born());
        }
        if let Some(variance) = self.parts().variance {
            copy.set_variance(variance);
        }
        if let Some(terms) = self.terms() {
            copy.extensions_mut().insert(terms);
        }
        if let Some(of) = self.original() {
            copy.extensions_mut().insert(Coded { of });
        }
        copy
    }

    /// The same at the same cost, stale since `at` or earlier.
    pub fn expired(&self, at: SystemTime) -> Meta {
        let at = Moment::of(at);
        let kept = Kept {
            fresh_until: self.kept().fresh_until.min(at),
            purged: Some(at),
            ..self.kept().clone()
        };
        Meta(ThinArc::from_header_and_slice(kept, &self.0.slice))
    }

    /// The head, in maps of its own. What Pingora refuses to have in a head cannot have come in one.
    pub fn header(&self) -> ResponseHeader {
        self.rebuilt().unwrap_or_else(|_| empty(self.status()))
    }

    fn rebuilt(&self) -> pingora_core::Result<ResponseHeader> {
        let (kept, parts) = (self.kept(), self.parts());
        let size = Some(Fields(parts.fields).count());
        let mut header = match kept.has_case {
            true => ResponseHeader::build(kept.status, size)?,
            false => ResponseHeader::build_no_case(kept.status, size)?,
        };
        for Field { name, value } in Fields(parts.fields) {
            header.append_header(Bytes::copy_from_slice(name), header_value_from_slice(value))?;
        }
        header.set_version(kept.version);
        let reason = parts.reason.map(String::from_utf8_lossy);
        header.set_reason_phrase(reason.as_deref())?;
        Ok(header)
    }

    /// For how long it may be used, if the cache said so when it was stored.
    pub fn terms(&self) -> Option<Terms> {
        let (kept, born) = (self.kept(), self.born());
        let stale_from = self.fresh_until() + TICK;
        Some(Terms {
            source: kept.source?,
            lifetime: stale_from.duration_since(born).unwrap_or_default(),
            born,
            may_be_stale: kept.may_be_stale,
            immutable: kept.immutable,
            stale_while_revalidate: kept.stale_while_revalidate.duration(),
            stale_if_error: kept.stale_if_error.duration(),
            stale_if_down: kept.stale_if_down.duration(),
        })
    }

    /// Bytes it takes.
    pub fn cost(&self) -> usize {
        let counters = 2 * size_of::<usize>();
        allocated(counters + size_of::<Kept>() + self.0.slice.len())
    }

    pub fn created(&self) -> SystemTime {
        self.kept().created.time()
    }

    /// When the response was made, as far as that is known.
    pub fn born(&self) -> SystemTime {
        self.kept().born.time()
    }

    pub fn fresh_until(&self) -> SystemTime {
        self.kept().fresh_until.time()
    }

    /// When it was last purged softly.
    pub fn purged(&self) -> Option<SystemTime> {
        self.kept().purged.map(Moment::time)
    }

    /// Whether it was made here of another.
    pub fn is_coded(&self) -> bool {
        self.kept().is_coded
    }

    /// The generation of what it was made of here.
    pub fn original(&self) -> Option<u64> {
        self.parts().original
    }

    /// Whether its origin forbids to code it (RFC 9111 §5.2.2.6).
    pub fn no_transform(&self) -> bool {
        self.kept().no_transform
    }

    pub fn status(&self) -> StatusCode {
        self.kept().status
    }

    /// Whether its status line says something of its own.
    pub fn has_reason(&self) -> bool {
        self.kept().has_reason
    }

    /// Host and path with query, in one.
    pub fn place(&self) -> &[u8] {
        self.parts().place
    }

    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = str::from_utf8(self.parts().tags).unwrap_or_default();
        tags.split('\n').filter(|tag| !tag.is_empty())
    }

    pub fn label(&self) -> Label {
        Label::at(&String::from_utf8_lossy(self.place()), self.tags())
    }

    /// The fields of the head.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        Fields(self.parts().fields)
    }

    /// The values of a field, line by line.
    pub fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let named = self.fields().filter(move |field| field.is(name));
        named.map(|field| field.value)
    }

    /// The first value of a field.
    pub fn value(&self, name: &HeaderName) -> Option<&[u8]> {
        let field = self.fields().find(|field| field.is(name));
        field.map(|field| field.value)
    }

    /// The fields that its variant is found by. Most responses have none, and then this costs nothing.
    pub fn selecting(&self) -> HeaderMap {
        let mut selecting = HeaderMap::new();
        for name in SELECTING.iter().filter(|_| self.kept().varies) {
            for value in self.values(name) {
                selecting.append(name, header_value_from_slice(value));
            }
        }
        selecting
    }

    /// The length the response announces.
    pub fn content_length(&self) -> Option<usize> {
        let value = self.value(&CONTENT_LENGTH)?;
        str::from_utf8(value).ok()?.parse().ok()
    }

    /// Until when it can be of use: fresh, served stale, or revalidated.
    pub fn useful_until(&self) -> SystemTime {
        let kept = self.kept();
        let windows = [
            kept.stale_while_revalidate,
            kept.stale_if_error,
            kept.stale_if_down,
        ];
        let stale = windows.into_iter().map(Span::duration).max();
        let has_validator = self.value(&ETAG).or(self.value(&LAST_MODIFIED)).is_some();
        let revalidated = has_validator.then_some(REVALIDATION);
        let fresh_until = self.fresh_until();
        fresh_until
            .checked_add(stale.max(revalidated).unwrap_or_default())
            .unwrap_or(fresh_until)
    }

    fn kept(&self) -> &Kept {
        &self.0.header.header
    }

    fn parts(&self) -> Parts<'_> {
        let mut rest = &self.0.slice;
        let variance = match self.kept().has_variance {
            true => rest.split_off(..size_of::<HashBinary>()),
            false => None,
        };
        let original = match self.is_coded() {
            true => rest.split_off(..size_of::<u64>()),
            false => None,
        };
        let original = original.and_then(|id| id.try_into().ok());
        Parts {
            variance: variance.and_then(|hash| hash.try_into().ok()),
            original: original.map(u64::from_ne_bytes),
            reason: self.kept().has_reason.then(|| take_frame(&mut rest)),
            place: take_frame(&mut rest),
            tags: take_frame(&mut rest),
            fields: rest,
        }
    }
}

// === impl Kept ===

impl Kept {
    fn of(meta: &CacheMeta) -> Kept {
        let (header, terms) = (meta.response_header(), meta.extensions().get::<Terms>());
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let error = seconds(meta.stale_if_error_sec());
        let revalidate = seconds(meta.stale_while_revalidate_sec());
        Kept {
            created: Moment::of(meta.created()),
            born: Moment::of(meta.epoch()),
            fresh_until: Moment::of(meta.fresh_until()),
            purged: None,
            stale_while_revalidate: Span::of(
                terms.map_or(revalidate, |terms| terms.stale_while_revalidate),
            ),
            stale_if_error: Span::of(terms.map_or(error, |terms| terms.stale_if_error)),
            stale_if_down: Span::of(terms.map_or(error, |terms| terms.stale_if_down)),
            source: terms.map(|terms| terms.source),
            may_be_stale: terms.is_some_and(|terms| terms.may_be_stale),
            immutable: terms.is_some_and(|terms| terms.immutable),
            is_coded: meta.extensions().get::<Coded>().is_some(),
            varies: SELECTING
                .iter()
                .any(|name| header.headers.contains_key(name)),
            no_transform: ResponseDirectives::parse(&header.headers).no_transform,
            has_case: header.has_case(),
            has_variance: meta.variance().is_some(),
            has_reason: own_reason(header).is_some(),
            version: header.version,
            status: header.status,
        }
    }
}

/// The reason of a status line, if it is not the usual one.
fn own_reason(header: &ResponseHeader) -> Option<&str> {
    let usual = header.status.canonical_reason();
    header
        .get_reason_phrase()
        .filter(|reason| Some(*reason) != usual)
}

fn empty(status: StatusCode) -> ResponseHeader {
    let mut empty = http::Response::new(());
    *empty.status_mut() = status;
    empty.into_parts().0.into()
}

#[cfg(test)]
mod tests;
