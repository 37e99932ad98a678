//! In which coding a client gets what is stored uncoded.
//!
//! What is not coded yet is begun beside, and this client gets it as it is; so nobody waits for a coder,
//! and nothing is coded twice. A range is one of the bytes as they came.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RANGE};
use pingora_proxy::Session;

use super::Cached;
use crate::cache::compress::CompressRule;
use crate::cache::compress::coded::{self, Work};
use crate::cache::entry::Stored;
use crate::cache::rules::encoding::{Accepted, Choice, Coding};
use crate::cache::store::Found;

/// The coded form of a stored response.
pub(super) struct CodedForm {
    pub(super) coding: Coding,
    pub(super) found: Found,
}

impl Cached<'_> {
    /// The form that the client likes best; begins to make it if it is not there.
    pub(super) fn coded(&self, stored: &Stored, session: &Session) -> Option<CodedForm> {
        let rule = self.route.compress.as_ref()?;
        let coding = coding(rule, stored, &session.req_header().headers)?;
        let key = coded::key_of(&self.primary, &stored.found, coding);
        if let Some(found) = coded::find(self.store(), &key, &stored.found) {
            return Some(CodedForm { coding, found });
        }
        let (head, bytes) = (stored.head(), stored.found.body.whole_len()?);
        if rule.covers(head.status, &head.headers, bytes) {
            let work = Work::new(key, &stored.found, coding)?;
            self.forwarder.process.coders.begin(self.store(), work);
        }
        None
    }
}

/// `None`: as it is. Looks at no more than tells apart what may be there in coded form.
fn coding(rule: &CompressRule, stored: &Stored, asked: &HeaderMap) -> Option<Coding> {
    let meta = &stored.found.meta;
    let bytes = stored.found.body.whole_len()?;
    let is_coded = || meta.value(&CONTENT_ENCODING).is_some();
    // A 304 may have forbidden it since the coded form was made.
    let is_meant = !asked.contains_key(RANGE) && !meta.no_transform();
    if !is_meant || !rule.is_for(meta.value(&CONTENT_TYPE), bytes) || is_coded() {
        return None;
    }
    match Accepted::parse(asked)?.choose(&rule.codings) {
        Choice::Coded(coding) => Some(coding),
        _ => None,
    }
}
