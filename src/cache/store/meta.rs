//! What is kept of a response beside its body: a `CacheMeta` that costs a hit no unpacking.
//!
//! Pingora's `CacheMeta` cannot be cloned. All its times but two can be set on a new one: `updated`
//! is only of use as the epoch, which can be set, and `provenance` only matters among variants. So a
//! copy is made from the parts, except for variants that have been refreshed; those keep Pingora's
//! packed form of the times (not of the headers) too.
//!
//! Names and values of the headers lie in one buffer of their own size: the originals are slices of
//! the buffer in which the head arrived, and would pin it.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, StatusCode};
use pingora_cache::CacheMeta;
use pingora_http::{ResponseHeader, header_value_from_raw};

use super::account::allocated;
use super::index::Label;

/// How long a stale object with a validator is kept for the sake of a 304.
const REVALIDATION: Duration = Duration::from_secs(3600);

/// What each header takes in the two maps of a `ResponseHeader`, at their usual load.
const HEADER_OVERHEAD: usize = 2 * 128;
/// What a `CacheMeta` takes without headers.
const META_OVERHEAD: usize = 512;

pub struct Meta {
    kept: CacheMeta,
    packed: Option<Packed>,
    cost: usize,
}

struct Packed {
    times: Vec<u8>,
    no_header: Vec<u8>,
}

impl Meta {
    /// Keeps a copy, and takes the label out.
    pub fn keep(meta: &CacheMeta) -> (Meta, Option<Label>) {
        let header = compact(meta.response_header());
        let mut kept = from_parts(meta, header);
        let label = kept.extensions_mut().remove();
        let packed = Packed::of(meta);
        let cost = cost(&kept) + packed.as_ref().map_or(0, Packed::cost);
        (Meta { kept, packed, cost }, label)
    }

    /// As Pingora wants it, for one request.
    pub fn copy(&self) -> CacheMeta {
        let header = self.kept.response_header_copy();
        let packed = self.packed.as_ref().and_then(Packed::unpack);
        let Some(mut copy) = packed else {
            return from_parts(&self.kept, header);
        };
        *copy.response_header_mut() = header;
        copy.extensions_mut().clone_from(self.kept.extensions());
        copy
    }

    /// The same at the same cost, stale since `at` or earlier.
    pub fn expired(&self, at: SystemTime) -> Meta {
        let mut copy = self.copy();
        copy.expire_at(at);
        let (kept, _) = Meta::keep(&copy);
        Meta {
            cost: self.cost,
            ..kept
        }
    }

    pub fn head(&self) -> &ResponseHeader {
        self.kept.response_header()
    }

    /// What was put into the extensions of the `CacheMeta`.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.kept.extensions().get()
    }

    /// Bytes it takes.
    pub fn cost(&self) -> usize {
        self.cost
    }

    pub fn created(&self) -> SystemTime {
        self.kept.created()
    }

    /// When the response was made, as far as that is known.
    pub fn born(&self) -> SystemTime {
        self.kept.epoch()
    }

    pub fn fresh_until(&self) -> SystemTime {
        self.kept.fresh_until()
    }

    pub fn status(&self) -> StatusCode {
        self.kept.response_header().status
    }

    pub fn headers(&self) -> &HeaderMap {
        self.kept.headers()
    }

    /// The length the response announces.
    pub fn content_length(&self) -> Option<usize> {
        let value = self.kept.headers().get(CONTENT_LENGTH)?;
        value.to_str().ok()?.parse().ok()
    }

    /// Until when it can be of use: fresh, served stale, or revalidated.
    pub fn useful_until(&self) -> SystemTime {
        let meta = &self.kept;
        let seconds = meta.stale_while_revalidate_sec();
        let stale = Duration::from_secs(seconds.max(meta.stale_if_error_sec()).into());
        let headers = meta.headers();
        let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
        let kept = if has_validator {
            REVALIDATION
        } else {
            Duration::ZERO
        };
        let fresh_until = meta.fresh_until();
        fresh_until
            .checked_add(stale.max(kept))
            .unwrap_or(fresh_until)
    }
}

fn from_parts(meta: &CacheMeta, header: ResponseHeader) -> CacheMeta {
    let mut copy = CacheMeta::new(
        meta.fresh_until(),
        meta.created(),
        meta.stale_while_revalidate_sec(),
        meta.stale_if_error_sec(),
        header,
    );
    if meta.epoch() != meta.created() {
        copy.set_epoch_override(meta.epoch());
    }
    if let Some(variance) = meta.variance() {
        copy.set_variance(variance);
    }
    copy.extensions_mut().clone_from(meta.extensions());
    copy
}

impl Packed {
    /// Only of a variant whose provenance is not its creation.
    fn of(meta: &CacheMeta) -> Option<Packed> {
        if meta.variance().is_none() || meta.provenance() == meta.created() {
            return None;
        }
        let empty = ResponseHeader::build(200, None).ok()?;
        let epoch = SystemTime::UNIX_EPOCH;
        let bare = CacheMeta::new(epoch, epoch, 0, 0, empty);
        Some(Packed {
            times: meta.serialize().ok()?.0,
            no_header: bare.serialize().ok()?.1,
        })
    }

    fn unpack(&self) -> Option<CacheMeta> {
        CacheMeta::deserialize(&self.times, &self.no_header).ok()
    }

    fn cost(&self) -> usize {
        allocated(self.times.len()) + allocated(self.no_header.len())
    }
}

fn cost(meta: &CacheMeta) -> usize {
    let headers = meta.headers();
    let text = |(name, value): (&HeaderName, &http::HeaderValue)| name.as_str().len() + value.len();
    let texts: usize = headers.iter().map(text).sum();
    META_OVERHEAD + headers.len() * HEADER_OVERHEAD + allocated(texts)
}

/// The same header in memory of its own.
fn compact(header: &ResponseHeader) -> ResponseHeader {
    rebuild(header).unwrap_or_else(|| header.clone())
}

fn rebuild(header: &ResponseHeader) -> Option<ResponseHeader> {
    let mut text = Vec::new();
    let mut take = |part: &[u8]| -> Range<usize> {
        let start = text.len();
        text.extend_from_slice(part);
        start..text.len()
    };
    let size = Some(header.headers.len());
    let mut fields = Vec::with_capacity(header.headers.len());
    if header.has_case() {
        for (name, value) in header.case_header_iter() {
            fields.push((take(name.as_slice()), take(value.as_bytes())));
        }
    } else {
        for (name, value) in &header.headers {
            fields.push((take(name.as_str().as_bytes()), take(value.as_bytes())));
        }
    }
    text.shrink_to_fit();
    let text = Bytes::from(text);
    let mut copy = match header.has_case() {
        true => ResponseHeader::build(header.status, size).ok()?,
        false => ResponseHeader::build_no_case(header.status, size).ok()?,
    };
    for (name, value) in fields {
        let value = header_value_from_raw(text.slice(value));
        match header.has_case() {
            true => copy.append_header(text.slice(name), value).ok()?,
            false => {
                let name = HeaderName::from_bytes(&text[name]).ok()?;
                copy.append_header(name, value).ok()?
            }
        };
    }
    copy.set_version(header.version);
    copy.set_reason_phrase(header.get_reason_phrase()).ok()?;
    Some(copy)
}

#[cfg(test)]
mod tests;
