//! Conditions: is what the client has still good, and does the origin say that what is stored is?
//!
//! Entity tags are compared as RFC 9110 §8.8.3.2 says: weakly where it only matters that nothing of
//! importance changed, strongly where bytes are put together. `If-None-Match` goes before
//! `If-Modified-Since`, which is not looked at when the former is there (RFC 9110 §13.2.2).

use http::header::{DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::date;

/// The most tags that are sent to validate stored variants, so that the head stays small.
const TAGS_MAX: usize = 16;

/// RFC 9110 §8.8.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    pub is_weak: bool,
    /// Between the quotes.
    pub opaque: &'a [u8],
}

// === impl EntityTag ===

impl<'a> EntityTag<'a> {
    /// The tag of a response; `None` if it has none, several or a malformed one.
    pub fn of(headers: &'a HeaderMap) -> Option<EntityTag<'a>> {
        let mut lines = headers.get_all(ETAG).iter();
        let line = lines.next().filter(|_| lines.next().is_none())?;
        EntityTag::parse(line.as_bytes())
    }

    pub fn parse(text: &'a [u8]) -> Option<EntityTag<'a>> {
        let (tag, rest) = EntityTag::split(text.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// The tag that `text` begins with, and what follows. A backslash in it escapes nothing.
    fn split(text: &'a [u8]) -> Option<(EntityTag<'a>, &'a [u8])> {
        let strong = text.strip_prefix(b"W/");
        let opened = strong.unwrap_or(text).strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', opened)?;
        let is_allowed = |byte: &u8| *byte == 0x21 || (*byte >= 0x23 && *byte != 0x7F);
        let opaque = &opened[..end];
        opaque.iter().all(is_allowed).then_some((
            EntityTag {
                is_weak: strong.is_some(),
                opaque,
            },
            &opened[end + 1..],
        ))
    }

    pub fn matches_weakly(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    pub fn matches_strongly(&self, other: &EntityTag<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }
}

/// Whether the client's own copy is as good as `stored`, so that 304 is the answer (RFC 9111 §4.3.2).
///
/// Asked only of a stored 200 that may be used for this request.
pub fn is_not_modified(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    stored: &HeaderMap,
) -> bool {
    if !matches!(*method, Method::GET | Method::HEAD) || status != StatusCode::OK {
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        return has_match(request, stored);
    }
    // Without `Last-Modified`, a response cannot have changed after it was made.
    let since = date::date(request, &IF_MODIFIED_SINCE);
    let modified = date::date(stored, &LAST_MODIFIED).or_else(|| date::date(stored, &DATE));
    matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

/// `If-None-Match`: `*` matches whatever is stored, a malformed list what it names before its mistake.
fn has_match(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let mut lines = request.get_all(IF_NONE_MATCH).iter();
    let own = EntityTag::of(stored);
    lines.any(|line| {
        let line = line.as_bytes().trim_ascii();
        let is_own = |tag: EntityTag<'_>| own.is_some_and(|own| own.matches_weakly(&tag));
        line == b"*" || tags(line).any(is_own)
    })
}

fn tags(line: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let (tag, after) = EntityTag::split(&rest[start..])?;
        rest = after;
        let ends = after.trim_ascii_start();
        (ends.is_empty() || ends.starts_with(b",")).then_some(tag)
    })
}

/// What to ask the origin with: `If-None-Match` with the tags of all stored responses, each once, and
/// `If-Modified-Since` if there is only one (RFC 9111 §4.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    pub if_none_match: Option<HeaderValue>,
    pub if_modified_since: Option<HeaderValue>,
}

// === impl Validators ===

impl Validators {
    /// Of the stored responses to one request, its own variant first.
    pub fn of<'a>(stored: impl IntoIterator<Item = &'a HeaderMap>) -> Validators {
        let stored: Vec<&HeaderMap> = stored.into_iter().take(TAGS_MAX).collect();
        let mut tags: Vec<&[u8]> = Vec::new();
        for headers in &stored {
            if let (Some(_), Some(tag)) = (EntityTag::of(headers), headers.get(ETAG)) {
                let tag = tag.as_bytes().trim_ascii();
                if !tags.contains(&tag) {
                    tags.push(tag);
                }
            }
        }
        let list = tags.join(&b", "[..]);
        let modified = match stored[..] {
            [only] => only
                .get(LAST_MODIFIED)
                .filter(|value| date::parse(value).is_some()),
            _ => None,
        };
        Validators {
            if_none_match: HeaderValue::from_bytes(&list)
                .ok()
                .filter(|_| !tags.is_empty()),
            if_modified_since: modified.cloned(),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Validators::default()
    }
}

/// Which of the stored responses a 304 says is good (RFC 9111 §4.3.4), as its place in `stored`.
///
/// A strong tag needs the same strong tag, a weak one any that matches weakly (the first: put the
/// newest first); without a tag the `Last-Modified` must be the same; without either, there must be
/// only one stored response to choose from.
pub fn selected<'a>(
    not_modified: &HeaderMap,
    stored: impl IntoIterator<Item = &'a HeaderMap>,
) -> Option<usize> {
    let mut stored = stored.into_iter();
    if let Some(tag) = EntityTag::of(not_modified) {
        return stored.position(|headers| {
            let own = EntityTag::of(headers);
            own.is_some_and(|own| match tag.is_weak {
                true => own.matches_weakly(&tag),
                false => own.matches_strongly(&tag),
            })
        });
    }
    if let Some(modified) = date::date(not_modified, &LAST_MODIFIED) {
        return stored.position(|headers| date::date(headers, &LAST_MODIFIED) == Some(modified));
    }
    (stored.count() == 1).then_some(0)
}

#[cfg(test)]
mod tests;
