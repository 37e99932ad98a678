//! What a write has changed is stored no more (RFC 9111 §4.4), whichever route the write took.
//!
//! Routes with `cache` spell a URL in their own ways, so it is void in each of them, and in those of earlier
//! generations: what they stored is found again if a reload brings them back. A request that
//! writes nothing costs a look at its method. Called by `proxy::forward`, `cached` and for upgrades.

use std::time::SystemTime;

use pingora_cache::key::CompactCacheKey;
use pingora_cache::storage::PurgeAction;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::resource;
use crate::cache::rules::invalidation::{is_safe, voided};
use crate::cache::store::Purge;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::forward::Forwarder;

impl Forwarder {
    /// To be called before the client sees `answer`, so that what it asks for next is not older.
    pub(in crate::proxy) fn make_void(
        &self,
        answer: &ResponseHeader,
        session: &Session,
        ctx: &RequestCtx,
    ) {
        let method = &session.req_header().method;
        if is_safe(method) {
            return;
        }
        for rule in &ctx.snapshot.query_rules {
            let Some(resource) = resource(session, ctx, rule) else {
                return;
            };
            for resource in voided(method, answer.status, &resource, &answer.headers, rule) {
                let key = CompactCacheKey {
                    primary: resource.primary(),
                    ..CompactCacheKey::default()
                };
                let store = &self.process.cache;
                store.invalidate(Purge::Key(&key), PurgeAction::Delete, SystemTime::now());
            }
        }
    }
}
