//! In which coding a client gets what is stored uncoded.
//!
//! What is not coded yet is begun beside, and this client gets it as it is; so nobody waits for a coder,
//! and nothing is coded twice. A range is one of the bytes as they came.

use http::header::{CONTENT_ENCODING, RANGE};
use pingora_proxy::Session;

use super::{Cached, resource};
use crate::cache::compress::coded::{self, Work};
use crate::cache::entry::{self, Stored};
use crate::cache::rules::encoding::{Accepted, Choice, Coding};
use crate::cache::store::Found;
use crate::proxy::ctx::RequestCtx;

/// The coded form of a stored response.
pub(super) struct CodedForm {
    pub(super) coding: Coding,
    pub(super) found: Found,
}

impl Cached<'_> {
    /// The form that the client likes best; begins to make it if it is not there.
    pub(super) fn coded(
        &self,
        stored: &Stored,
        session: &Session,
        ctx: &RequestCtx,
    ) -> Option<CodedForm> {
        let coding = self.coding(stored, session)?;
        let key = coded::key_of(&self.primary, &stored.found, coding);
        if let Some(found) = coded::find(self.store(), &key, &stored.found) {
            return Some(CodedForm { coding, found });
        }
        let resource = resource(session, ctx, &self.route.query)?;
        let label = entry::label(&resource, &stored.head().headers);
        let work = Work::new(key, &stored.found, label, coding)?;
        self.forwarder.process.coders.begin(self.store(), work);
        None
    }

    /// `None`: as it is.
    fn coding(&self, stored: &Stored, session: &Session) -> Option<Coding> {
        let rule = self.route.compress.as_ref()?;
        let asked = &session.req_header().headers;
        let head = stored.head();
        if asked.contains_key(RANGE) || head.headers.contains_key(CONTENT_ENCODING) {
            return None;
        }
        let Choice::Coded(coding) = Accepted::parse(asked)?.choose(&rule.codings) else {
            return None;
        };
        let bytes = stored.found.body.whole_len()?;
        rule.covers(head.status, &head.headers, bytes)
            .then_some(coding)
    }
}
