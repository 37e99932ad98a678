//! What a 304 makes of what is stored: as good as new, and for whom.
//!
//! It may mean another variant than the one that the request led to. Then that one is renewed, and copied
//! for requests like this one, or each of them would have to ask. Called by `errand`.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue};
use pingora_cache::CacheMeta;
use pingora_cache::key::{CompactCacheKey, HashBinary};
use pingora_core::Result;
use pingora_proxy::Session;

use super::arrival::{Fate, Renewed};
use super::errand::{Arrived, Errand};
use super::{Cached, resource};
use crate::cache::entry::{self, Stored};
use crate::cache::flights::Landed;
use crate::cache::rules::freshness::Exchange;
use crate::cache::store::{Asked, Found, Left, Meta};
use crate::proxy::ctx::RequestCtx;
use crate::proxy::forward::Answered;

/// A larger one is not copied at once, while others wait for the thread.
const COPIED_MAX: usize = 1 << 20;

/// What is stored, as a 304 has renewed it.
pub(super) struct Renewal {
    pub(super) stored: Stored,
    /// It stays stored, renewed.
    pub(super) is_kept: bool,
    /// Fields of the 304 that are not kept.
    pub(super) for_asker: Vec<(HeaderName, HeaderValue)>,
}

impl Cached<'_> {
    /// The stored response that a 304 means is as good as new.
    pub(super) fn renew(
        &self,
        answered: Answered,
        stored: Stored,
        errand: Errand,
        exchange: Exchange,
        session: &Session,
        ctx: &RequestCtx,
    ) -> Result<Arrived> {
        let renewed = self
            .judge(exchange, session)
            .renewed(&stored, &answered.head)?;
        self.forwarder.finished(answered);
        let wanted = self.wanted(session).key(&renewed.head.headers);
        let (created, variance) = (stored.found.meta.created(), stored.found.variance);
        let meta = self.meta(&renewed, created, variance, session, ctx);
        let is_kept = self.follow(renewed.fate, &stored, &meta, errand.asked.as_ref());
        let is_theirs = wanted == self.key_of(&stored)
            || is_kept && {
                let variance = wanted.variance.as_deref().copied();
                let meta = self.meta(&renewed, SystemTime::now(), variance, session, ctx);
                self.copy(&stored, wanted.clone(), &meta, &errand)
            };
        let is_what_they_want =
            is_theirs && errand.flight == wanted && renewed.terms.is_fresh(exchange.answered);
        let landed = landed(renewed.fate, is_kept, is_what_they_want);
        self.land(errand, landed);
        let found = Found {
            meta: Meta::keep(&meta),
            ..stored.found
        };
        Ok(Arrived::Renewed(Box::new(Renewal {
            stored: Stored::of(found, renewed.terms),
            is_kept,
            for_asker: renewed.for_asker,
        })))
    }

    fn meta(
        &self,
        renewed: &Renewed,
        created: SystemTime,
        variance: Option<HashBinary>,
        session: &Session,
        ctx: &RequestCtx,
    ) -> CacheMeta {
        let head = renewed.head.clone();
        let place = resource(session, ctx, &self.route.query);
        let label = place.map(|place| entry::label(&place, &head.headers));
        entry::meta(
            head,
            renewed.terms,
            created,
            variance,
            label.unwrap_or_default(),
        )
    }

    /// Whether it stays stored.
    fn follow(
        &self,
        fate: Fate,
        stored: &Stored,
        renewed: &CacheMeta,
        asked: Option<&Asked>,
    ) -> bool {
        let (key, id) = (self.key_of(stored), stored.found.id);
        match fate {
            Fate::Renewed => asked.is_some_and(|asked| asked.update(&key, id, renewed)),
            Fate::Removed => {
                self.store().remove(&key, Some(id), Left::Replaced);
                false
            }
            Fate::Left => false,
        }
    }

    /// Stores it under another key as well; false where that is not done.
    fn copy(
        &self,
        stored: &Stored,
        key: CompactCacheKey,
        meta: &CacheMeta,
        errand: &Errand,
    ) -> bool {
        let body = stored.found.body.whole();
        let body = body.filter(|body| body.len() <= COPIED_MAX);
        let (Some(body), Some(asked)) = (body, &errand.asked) else {
            return false;
        };
        let (mut fill, _) = asked.begin(key, meta);
        let written = body.pieces().try_for_each(|piece| fill.write(piece));
        let is_kept = written.is_ok() && !fill.is_passing();
        fill.commit();
        is_kept
    }
}

/// What those who wait are told.
fn landed(fate: Fate, is_kept: bool, is_what_they_want: bool) -> Landed {
    match fate {
        // Evicted or purged meanwhile; it serves this client all the same.
        Fate::Renewed if !is_kept => Landed::Voided,
        Fate::Renewed if is_what_they_want => Landed::Stored,
        // Each who waits would find nothing fresh, and ask in turn.
        Fate::Renewed | Fate::Removed => Landed::Uncacheable,
        Fate::Left => Landed::NotShared,
    }
}
