//! How a request that fetches for the cache differs from its client's: it asks for the whole, for what
//! the cache knows already only if it has changed, and in codings that all who are served understand.
//!
//! Read by `upstream::request`, which writes the head that goes out.

use http::header::{ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cache::entry::Stored;
use crate::cache::rules::conditional::Validators;
use crate::cache::rules::encoding::Accepted;

pub(in crate::proxy) struct Fetch {
    validators: Validators,
    /// `None`: the client did not say, and it does not matter.
    accept_encoding: Option<HeaderValue>,
}

// === impl Fetch ===

impl Fetch {
    /// `stored` is what the answer may say is still good, what the client asks for first; `uncoded`:
    /// in no coding, whatever the client takes.
    pub(super) fn new<'a>(
        request: &HeaderMap,
        stored: impl IntoIterator<Item = &'a Stored>,
        uncoded: bool,
    ) -> Fetch {
        let heads = stored.into_iter().map(|stored| &stored.head().headers);
        Fetch {
            validators: Validators::of(heads),
            accept_encoding: match uncoded {
                true => Some(HeaderValue::from_static("identity")),
                false => Accepted::parse(request).map(|accepted| accepted.normalized()),
            },
        }
    }

    /// Whether 304 can be the answer.
    pub(super) fn is_conditional(&self) -> bool {
        !self.validators.is_empty()
    }

    /// Whether the client's field of this name is not sent.
    pub(in crate::proxy) fn replaces(&self, name: &HeaderName) -> bool {
        [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE].contains(name)
            || self.accept_encoding.is_some() && *name == ACCEPT_ENCODING
    }

    /// What is sent instead.
    pub(in crate::proxy) fn fields(&self) -> impl Iterator<Item = (&'static str, &HeaderValue)> {
        let fields = [
            ("If-None-Match", &self.validators.if_none_match),
            ("If-Modified-Since", &self.validators.if_modified_since),
            ("Accept-Encoding", &self.accept_encoding),
        ];
        let sent = fields.into_iter();
        sent.filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }
}
