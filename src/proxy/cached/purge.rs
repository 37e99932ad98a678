//! The method `PURGE`, as Squid, Varnish and nginx know it: takes a URL out, with all its variants.
//!
//! 200 with the count, also where there is none; 405 where the route allows it to nobody, 403 to those
//! whom it does not name. Never forwarded.

use std::time::SystemTime;

use pingora_cache::key::{CompactCacheKey, HashBinary};
use pingora_cache::storage::PurgeAction;
use pingora_core::Result;
use pingora_proxy::Session;

use crate::cache::route::RouteCache;
use crate::cache::store::Purge;
use crate::cache::verdict::Verdict;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::forward::Forwarder;
use crate::proxy::reject::Rejection;
use crate::proxy::respond::Answer;

pub(super) const METHOD: &str = "PURGE";

impl Forwarder {
    /// `primary`: what the request names; `None`: nothing that could be stored.
    pub(super) async fn purge(
        &self,
        route: &RouteCache,
        primary: Option<HashBinary>,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.cache = Some(Verdict::Bypass);
        if route.purgers.is_empty() {
            return Err(ctx.reject(Rejection::MethodNotAllowed));
        }
        let client = ctx.client.as_ref().map(|client| client.address.ip());
        let may = client.is_some_and(|ip| route.purgers.iter().any(|net| net.contains(&ip)));
        if !may {
            return Err(ctx.reject(Rejection::Forbidden));
        }
        let count = primary.map_or(0, |primary| {
            let key = CompactCacheKey {
                primary,
                ..CompactCacheKey::default()
            };
            let store = &self.process.cache;
            store.invalidate(Purge::Key(&key), PurgeAction::Delete, SystemTime::now())
        });
        let answer = Answer::json(format!("{{\"purged\":{count}}}\n"))?;
        answer.send(session).await
    }
}
