//! The head of a whole stored response, written to the client's connection as it lies in the store.
//!
//! Most of what a cache serves is whole, and its head is the stored one and a few fields. So no map of
//! headers is copied: Pingora writes a head with what it has to know (status, length, `Connection`), and
//! the other fields go out with it. What needs more than that is none of this: `None`, and `give` makes a
//! head of its own.

use std::fmt::Display;
use std::io::Write;

use http::header::{AGE, CONTENT_ENCODING, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderName, StatusCode};
use pingora_core::Result;
use pingora_http::{IntoCaseHeaderName, ResponseHeader};
use pingora_proxy::Session;

use super::give::Serving;
use super::told::{CACHE_STATUS, X_CACHE};
use crate::cache::compress::{OF_THE_UNCODED, weak};
use crate::cache::store::Meta;
use crate::cache::store::meta::Field;
use crate::config::model::HeaderEdits;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::downstream::Downstream;

/// Most heads fit.
const FIELDS_BYTES: usize = 1024;

/// The head for Pingora to write; what else belongs to it is with the connection.
pub(super) fn head(
    serving: &Serving<'_>,
    length: u64,
    session: &Session,
    ctx: &RequestCtx,
) -> Option<Result<Box<ResponseHeader>>> {
    let downstream = Downstream::of(session.stream())?;
    let meta = &serving.stored.found.meta;
    if meta.has_reason() || meta.status() == StatusCode::NO_CONTENT {
        return None;
    }
    let none = HeaderEdits::default();
    let edits = ctx
        .route()
        .map_or(&none, |route| &route.config.response_headers);
    downstream.add_fields(fields(serving, meta, edits));
    Some(framed(meta.status(), length))
}

fn framed(status: StatusCode, length: u64) -> Result<Box<ResponseHeader>> {
    let mut head = ResponseHeader::build_no_case(status, Some(3))?;
    head.insert_header(CONTENT_LENGTH, length)?;
    Ok(Box::new(head))
}

/// All but those that Pingora writes, as they were spelled.
fn fields(serving: &Serving<'_>, meta: &Meta, edits: &HeaderEdits) -> Vec<u8> {
    let mut wire = Wire(Vec::with_capacity(FIELDS_BYTES));
    let coding = serving.coded.as_ref().map(|coded| coded.coding);
    for Field { name, value } in meta.fields().filter(|field| !is_ours(field, serving)) {
        match coding {
            _ if edits.replaces(name) => {}
            Some(_) if name.eq_ignore_ascii_case(b"etag") => wire.field(name, &weak(value)),
            _ => wire.field(name, value),
        }
    }
    if let Some(coding) = coding.filter(|_| !edits.replaces(CONTENT_ENCODING)) {
        wire.show("Content-Encoding", coding.name());
    }
    if let Some(age) = serving.age.filter(|_| !edits.replaces("age")) {
        wire.show("Age", age.as_secs());
    }
    if !edits.replaces(CACHE_STATUS) {
        wire.show("Cache-Status", serving.told.status());
    }
    if serving.route.has_x_cache && !edits.replaces(X_CACHE) {
        wire.show("X-Cache", serving.told.verdict.loud_name());
    }
    let added = edits.set.iter().chain(&edits.add);
    // There is one `Date`, which Pingora writes.
    for (name, value) in added.filter(|(name, _)| *name != DATE) {
        wire.field(name.into_case_header_name().as_slice(), value.as_bytes());
    }
    wire.0
}

/// What Pingora writes (`Date` as `exchange::keep_date` says), what is told anew, and what is not so of the
/// coded form.
fn is_ours(field: &Field<'_>, serving: &Serving<'_>) -> bool {
    let is_one_of = |names: &[HeaderName]| names.iter().any(|name| field.is(name));
    is_one_of(&[AGE, CONTENT_LENGTH, DATE, TRANSFER_ENCODING])
        || serving.route.has_x_cache && field.is(&X_CACHE)
        || serving.coded.is_some() && is_one_of(&OF_THE_UNCODED)
}

struct Wire(Vec<u8>);

impl Wire {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    fn show(&mut self, name: &str, value: impl Display) {
        // Writing to memory cannot fail.
        let _ = write!(self.0, "{name}: {value}\r\n");
    }
}
