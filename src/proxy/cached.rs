//! Serves a request of a route with `cache`: from the store where the rules allow it, else by asking an
//! endpoint, for all who want the same.
//!
//! ```text
//! past the cache ── ask, relay; a write makes void what it changed
//! look ─┬─ fresh, or stale as allowed ── give
//!       ├─ stale, and may be while it is fetched anew ── give, refresh beside
//!       └─ fetch: lead, or wait and look again, or ask alone
//!               └─ 304 renews · a failure may leave what is stored to stand in · else keep, or relay
//! ```
//!
//! What may be served and kept is decided by `cache::rules`, what comes of an answer by `arrival`; here
//! are the states and their order. A client is always given what is stored by `give`, the leader's too.
//! Called by `proxy`.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use pingora_cache::key::{CompactCacheKey, HashBinary};
use pingora_core::Result;
use pingora_proxy::Session;

use crate::cache::entry::{Stored, Wanted};
use crate::cache::flights::{Joined, Landed, Leader, Silence, Turn};
use crate::cache::key::{QueryRule, Resource, Scheme};
use crate::cache::route::RouteCache;
use crate::cache::rules::directives::RequestDirectives;
use crate::cache::rules::request::{Bypass, may_use};
use crate::cache::rules::reuse::{Failure, Reuse, Why, judge, stand_in};
use crate::cache::rules::status::Forward;
use crate::cache::store::{Reader, Store};
use crate::cache::verdict::Verdict;
use crate::policy::client;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::forward::Forwarder;
use crate::proxy::reject::Rejection;
use crate::proxy::turn;

mod arrival;
mod as_stored;
mod coding;
mod errand;
pub(super) mod fetch;
mod fill;
mod form;
mod give;
mod pull;
mod purge;
mod refresh;
mod renew;
pub(super) mod told;
mod void;

use errand::Errand;
use give::Serving;
use told::{Told, Wanting};

/// A request that may be served from the cache.
pub(super) struct Cached<'a> {
    forwarder: &'a Arc<Forwarder>,
    route: Arc<RouteCache>,
    primary: HashBinary,
    /// Those that the route honours.
    directives: RequestDirectives,
}

/// Whether a request may ask, and for whom.
enum Ticket {
    /// It has not joined the others.
    None,
    Leads(Leader),
    /// For itself.
    Alone,
    /// For itself, as what comes is known not to be shared.
    KnownAlone,
}

/// What a request has learned of the others, before it asks or is served.
struct Joining {
    ticket: Ticket,
    /// When it no longer waits.
    until: Instant,
    /// Why it waited, if it did.
    waited: Option<Forward>,
    /// How the one failed that it waited for.
    failed: Option<Failure>,
    /// No endpoint answered the one that it waited for.
    silence: Option<Silence>,
    /// It has waited for what was purged before it came.
    in_vain: bool,
}

impl Forwarder {
    pub(super) async fn serve_cached(
        self: &Arc<Self>,
        route: Arc<RouteCache>,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let head = session.req_header();
        let bypass = may_use(&head.method, &head.headers).err();
        let primary = resource(session, ctx, &route.query).map(|resource| resource.primary());
        let (None, Some(primary)) = (bypass, primary) else {
            if head.method.as_str() == purge::METHOD {
                return Box::pin(self.purge(&route, primary, session, ctx)).await;
            }
            let told = bypassed(bypass);
            return Box::pin(self.pass(&route, told, session, ctx)).await;
        };
        let directives = route
            .honoured
            .filter(&RequestDirectives::parse(&head.headers));
        let cached = Cached {
            forwarder: self,
            route,
            primary,
            directives,
        };
        cached.serve(session, ctx).await
    }

    /// Asks as the client does, and gives it the answer.
    async fn pass(
        &self,
        route: &RouteCache,
        told: Told,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.cache = Some(told.verdict);
        ctx.wanting = told.wanting();
        let mut answered = self.ask(session, ctx).await?;
        self.make_void(&answered.head, session, ctx);
        told.write(&mut answered.head, route)?;
        self.relay(answered, session, ctx).await
    }
}

fn bypassed(why: Option<Bypass>) -> Told {
    let because = match why {
        Some(Bypass::Method) => Forward::Method,
        _ => Forward::Bypass,
    };
    let told = Told::forwarded(Verdict::Bypass, because);
    told.because(why.map_or("no_host", Bypass::name))
}

/// What the request is for.
fn resource<'a>(session: &'a Session, ctx: &RequestCtx, rule: &QueryRule) -> Option<Resource<'a>> {
    let head = session.req_header();
    let scheme = match ctx.client.as_ref()?.scheme {
        client::Scheme::Http => Scheme::Http,
        client::Scheme::Https => Scheme::Https,
    };
    let host = head.headers.get(http::header::HOST)?.to_str().ok()?;
    let target = std::str::from_utf8(head.raw_path()).ok()?;
    Resource::new(scheme, host, target, rule)
}

impl Cached<'_> {
    /// Looks, until it is served or may ask.
    async fn serve(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
        let mut joining = Joining {
            ticket: Ticket::None,
            until: ctx.started + self.route.lock_timeout,
            waited: None,
            failed: None,
            silence: None,
            in_vain: false,
        };
        let mut now = ctx.time;
        loop {
            let stored = self.wanted(session).find(self.store());
            let reuse = judge(stored.as_ref().map(|s| &s.terms), &self.directives, now);
            let (why, stored) = match (reuse, stored) {
                (Reuse::Fresh, Some(stored)) => {
                    let told = joining.told();
                    joining.ticket.land(Landed::Stored);
                    return self.give(&stored, told, now, session, ctx).await;
                }
                (Reuse::StaleAsAsked, Some(stored)) => {
                    let told = Told::hit(Verdict::Stale);
                    return self.give(&stored, told, now, session, ctx).await;
                }
                (Reuse::StaleWhileRevalidated, Some(stored)) => {
                    self.refresh(&stored, session, ctx);
                    let told = Told::hit(Verdict::Updating);
                    return self.give(&stored, told, now, session, ctx).await;
                }
                (Reuse::NotCached, _) => {
                    ctx.cache = Some(Verdict::Miss);
                    return Err(ctx.reject(Rejection::NotCached));
                }
                (Reuse::Fetch(why), stored) => (why, stored),
                (_, None) => (Why::Absent, None),
            };
            if let (Some(failure), Some(stored)) = (joining.failed, &stored)
                && stand_in(&stored.terms, &self.directives, failure, now).is_ok()
            {
                let told = Told::forwarded(Verdict::Stale, why.into());
                return self.give(stored, told, now, session, ctx).await;
            }
            if let Some(silence) = joining.silence {
                return Err(ctx.reject(silence.into()));
            }
            if !matches!(joining.ticket, Ticket::None) || !self.may_wait(why, session) {
                let errand = self.errand(why, stored, joining.ticket, session);
                return Box::pin(self.fetch(errand, session, ctx)).await;
            }
            Box::pin(self.join(why, stored.as_ref(), &mut joining, session, ctx)).await?;
            now = SystemTime::now();
        }
    }

    fn store(&self) -> &Store {
        &self.forwarder.process.cache
    }

    fn wanted<'b>(&'b self, session: &'b Session) -> Wanted<'b> {
        Wanted {
            primary: &self.primary,
            request: &session.req_header().headers,
            rule: &self.route.vary,
        }
    }

    /// Whether another's answer may do for this request. One that is asked for with credentials, or not
    /// to be kept, is nobody else's to wait for.
    fn may_wait(&self, why: Why, session: &Session) -> bool {
        let is_common = matches!(why, Why::Absent | Why::Stale) && !self.directives.no_store;
        let headers = &session.req_header().headers;
        is_common && !self.route.lock_timeout.is_zero() && !headers.contains_key(AUTHORIZATION)
    }

    /// Becomes the one who asks, or waits for what that one is answered.
    async fn join(
        &self,
        why: Why,
        stored: Option<&Stored>,
        joining: &mut Joining,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let key = self.flight(stored, session);
        let flights = &self.forwarder.process.flights;
        let waiter = match flights.join(&key, Instant::now()) {
            Joined::Leads(leader) => {
                joining.ticket = Ticket::Leads(leader);
                return Ok(());
            }
            Joined::Alone => {
                joining.ticket = Ticket::KnownAlone;
                return Ok(());
            }
            Joined::Waits(waiter) => waiter,
        };
        joining.waited.get_or_insert(why.into());
        self.wants(Wanting::anothers(why.into()), stored.is_some(), ctx);
        turn::hold(session, true);
        let turn = tokio::select! {
            biased;
            turn = waiter => Ok(turn.unwrap_or(Turn::Alone)),
            () = turn::client_gone(session) => Err(()),
            () = tokio::time::sleep_until(joining.until.into()) => Ok(Turn::Alone),
        };
        turn::hold(session, false);
        match turn {
            Ok(Turn::Look) => {}
            // Not time and again, where purges come faster than answers.
            Ok(Turn::Again) if !joining.in_vain => joining.in_vain = true,
            Ok(Turn::Again) => joining.ticket = Ticket::Alone,
            Ok(Turn::Alone) => joining.ticket = Ticket::Alone,
            Ok(Turn::StandIn(failure)) => {
                joining.failed = Some(failure);
                joining.ticket = Ticket::Alone;
            }
            Ok(Turn::Down(silence)) => {
                joining.failed = Some(Failure::Down);
                joining.silence = Some(silence);
            }
            Ok(Turn::Lead(leader)) => joining.ticket = Ticket::Leads(leader),
            Err(()) => {
                let gone = turn::gone(session, ctx);
                return Err(ctx.end(gone));
            }
        }
        Ok(())
    }

    /// Nothing stored will do: what is logged, and what is told if nothing comes.
    fn wants(&self, wanting: Wanting, has_own: bool, ctx: &mut RequestCtx) -> Verdict {
        let verdict = match has_own {
            true => Verdict::Expired,
            false => Verdict::Miss,
        };
        ctx.wanting = Some(wanting);
        ctx.cache = Some(verdict);
        verdict
    }

    /// What requests of its kind wait for: the variant that it leads to, as far as that is known.
    fn flight(&self, stored: Option<&Stored>, session: &Session) -> CompactCacheKey {
        let wanted = self.wanted(session);
        if let Some(stored) = stored {
            return self.key_of(stored);
        }
        let newest = wanted.variants(self.store()).into_iter().next();
        match newest {
            Some(other) => wanted.key(&other.head().headers),
            None => wanted.key(&HeaderMap::new()),
        }
    }

    fn key_of(&self, stored: &Stored) -> CompactCacheKey {
        CompactCacheKey {
            primary: self.primary,
            variance: stored.found.variance.map(Box::new),
            user_tag: Box::default(),
        }
    }

    /// Gives the client what is stored.
    async fn give(
        &self,
        stored: &Stored,
        told: Told,
        now: SystemTime,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.cache = Some(told.verdict);
        let coded = self.coded(stored, session);
        let found = coded.as_ref().map_or(&stored.found, |coded| &coded.found);
        let reader = Reader::of(found);
        let serving = Serving {
            stored,
            coded,
            told: told
                .fresh_for(&stored.terms, now)
                .with_key_of(&self.route, session, ctx),
            route: &self.route,
            age: Some(stored.terms.age(now)),
        };
        give::give(&serving, reader, session, ctx).await
    }

    fn errand(
        &self,
        why: Why,
        stored: Option<Stored>,
        ticket: Ticket,
        session: &Session,
    ) -> Errand {
        let flight = self.flight(stored.as_ref(), session);
        let is_own = |other: &Stored| {
            stored
                .as_ref()
                .is_some_and(|s| s.found.id == other.found.id)
        };
        let mut others = self.wanted(session).variants(self.store());
        others.retain(|other| !is_own(other));
        let because = match why {
            Why::Absent if !others.is_empty() => Forward::VaryMiss,
            why => why.into(),
        };
        Errand {
            because,
            has_own: stored.is_some(),
            known: stored.into_iter().chain(others).collect(),
            flight,
            ticket,
            asked: None,
        }
    }
}

// === impl Ticket ===

impl Ticket {
    /// Tells those who wait.
    fn land(self, landed: Landed) {
        if let Ticket::Leads(leader) = self {
            leader.land(landed, Instant::now());
        }
    }
}

// === impl Joining ===

impl Joining {
    fn told(&self) -> Told {
        match self.waited {
            Some(because) => Told::forwarded(Verdict::Collapsed, because),
            None => Told::hit(Verdict::Hit),
        }
    }
}
