//! Asking an endpoint for the cache, and what its answer is to it.
//!
//! Invariants: the flight is landed before anything is given to the client, so nobody waits for a slow
//! one; an errand that ends without landing hands the lead over. What comes of a failure is decided by
//! `rules::reuse`, of an answer by `arrival`. Called by `cached` for a client, and by `refresh` for none.

use std::time::{Instant, SystemTime};

use http::{HeaderMap, StatusCode};
use pingora_cache::key::CompactCacheKey;
use pingora_core::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::arrival::{self, Judge, Storable};
use super::fetch::Fetch;
use super::renew::Renewal;
use super::{Cached, Ticket, resource};
use crate::cache::entry::{self, Stored};
use crate::cache::flights::Landed;
use crate::cache::rules::conditional;
use crate::cache::rules::freshness::{Exchange, Terms};
use crate::cache::rules::reuse::{Failure, stand_in};
use crate::cache::rules::status::Forward;
use crate::cache::rules::storable::Refusal;
use crate::cache::store::{Asked, Fill, Left, Void};
use crate::proxy::ctx::{Attempts, RequestCtx};
use crate::proxy::exchange;
use crate::proxy::failure::Ending;
use crate::proxy::forward::Answered;

pub(super) struct Errand {
    pub(super) because: Forward,
    /// What is stored for this request is the first of `known`.
    pub(super) has_own: bool,
    /// What an answer may say is still good.
    pub(super) known: Vec<Stored>,
    /// What others wait for.
    pub(super) flight: CompactCacheKey,
    pub(super) ticket: Ticket,
    /// Since an endpoint is asked.
    pub(super) asked: Option<Asked>,
}

/// What an endpoint's answer is to the cache.
pub(super) enum Arrived {
    Filling(Box<Filling>),
    /// What is stored is good; 304.
    Renewed(Box<Renewal>),
    /// A failure, and what is stored serves in its place. Its status, if it had one.
    StandIn(Stored, Option<StatusCode>),
    /// It is for this client only; why.
    NotKept {
        answered: Box<Answered>,
        why: &'static str,
    },
}

/// An answer whose body is to come, and to be stored.
pub(super) struct Filling {
    pub(super) answered: Answered,
    pub(super) fill: Fill,
    pub(super) stored: Stored,
}

impl Cached<'_> {
    /// Asks for what is not stored, or not fresh.
    pub(super) async fn ask(
        &self,
        mut errand: Errand,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Arrived> {
        loop {
            let fetch = self.fetch_for(&errand, session);
            let is_conditional = fetch.is_conditional();
            ctx.fetch = Some(Box::new(fetch));
            let place = resource(session, ctx, &self.route.query);
            let label = place.map(|place| entry::label(&place, &HeaderMap::new()));
            errand.asked = label.map(|label| self.store().ask(&self.primary, label));
            let requested = SystemTime::now();
            let answered = match self.forwarder.ask(session, ctx).await {
                Ok(answered) => answered,
                Err(error) => return self.failed(error, errand, session, ctx),
            };
            let exchange = Exchange {
                requested,
                answered: SystemTime::now(),
            };
            if !is_conditional || answered.head.status != StatusCode::NOT_MODIFIED {
                return Ok(self.answered(answered, errand, exchange, session, ctx));
            }
            let heads = errand.known.iter().map(|stored| &stored.head().headers);
            let selected = conditional::selected(&answered.head.headers, heads);
            if let Some(place) = selected {
                let stored = errand.known.swap_remove(place);
                return self.renew(answered, stored, errand, exchange, session, ctx);
            }
            // It means something that is not stored: the whole is needed.
            errand.known.clear();
            errand.has_own = false;
            ctx.attempts = Attempts::default();
        }
    }

    /// What will be coded here is asked for as it is; what is known not to be kept, as the client asks.
    fn fetch_for(&self, errand: &Errand, session: &Session) -> Fetch {
        let is_coded = self.route.compress.is_some();
        let uncoded = is_coded && !matches!(errand.ticket, Ticket::KnownAlone);
        Fetch::new(&session.req_header().headers, &errand.known, uncoded)
    }

    /// No endpoint answered.
    fn failed(
        &self,
        error: Box<Error>,
        mut errand: Errand,
        session: &Session,
        ctx: &mut RequestCtx,
    ) -> Result<Arrived> {
        let ending = exchange::ending(session, &error, ctx);
        let Ending::Rejected(rejection) = ending else {
            return Err(error);
        };
        if !rejection.is_upstreams() {
            return Err(error);
        }
        if let Some(stored) = self.stand_in(&mut errand, Failure::Down) {
            ctx.ending = None;
            return Ok(Arrived::StandIn(stored, None));
        }
        if let Some(silence) = rejection.silence().filter(|_| !exchange::is_own_fate(ctx))
            && let Ticket::Leads(leader) = errand.ticket
        {
            match ctx.attempts.has_tried_all() {
                true => leader.land(Landed::Down(silence), Instant::now()),
                false => leader.doubt(silence, Instant::now()),
            }
        }
        Err(error)
    }

    /// What is stored, if it may serve in place of a failure; then the errand is over.
    fn stand_in(&self, errand: &mut Errand, failure: Failure) -> Option<Stored> {
        let now = SystemTime::now();
        let own = errand.known.first().filter(|_| errand.has_own)?;
        stand_in(&own.terms, &self.directives, failure, now).ok()?;
        let ticket = std::mem::replace(&mut errand.ticket, Ticket::None);
        ticket.land(Landed::StoodIn(failure));
        Some(errand.known.swap_remove(0))
    }

    fn answered(
        &self,
        answered: Answered,
        mut errand: Errand,
        exchange: Exchange,
        session: &Session,
        ctx: &RequestCtx,
    ) -> Arrived {
        let status = answered.head.status;
        if let Some(stored) = self.stand_in(&mut errand, Failure::Status(status)) {
            return Arrived::StandIn(stored, Some(status));
        }
        let judge = self.judge(exchange, session);
        match judge.new_response(&answered.head) {
            Ok(storable) => self.keep(answered, storable, errand, session, ctx),
            Err(refusal) => {
                self.forget_own(&errand, refusal, status);
                let landed = arrival::landed(refusal, status);
                self.not_kept(answered, refusal.name(), landed, errand)
            }
        }
    }

    pub(super) fn judge<'b>(&'b self, exchange: Exchange, session: &'b Session) -> Judge<'b> {
        Judge {
            route: &self.route,
            request: &session.req_header().headers,
            directives: &self.directives,
            exchange,
        }
    }

    /// Begins to store an answer.
    fn keep(
        &self,
        answered: Answered,
        storable: Storable,
        errand: Errand,
        session: &Session,
        ctx: &RequestCtx,
    ) -> Arrived {
        let Storable { head, terms } = storable;
        let length = arrival::announced(&head);
        if length.is_some_and(|length| length > self.store().max_object()) {
            return self.not_kept(answered, "too_large", Landed::Uncacheable, errand);
        }
        let Some((fill, void)) = self.begin(head, terms, &errand, session, ctx) else {
            return self.not_kept(answered, "no_host", Landed::NotShared, errand);
        };
        let found = fill.found().filter(|_| !fill.is_passing());
        let Some(stored) = found.and_then(Stored::new) else {
            let (why, landed) = match void {
                Some(_) => ("purged", Landed::Voided),
                None => ("full", Landed::NotShared),
            };
            return self.not_kept(answered, why, landed, errand);
        };
        let landed = match stored.terms.is_fresh(SystemTime::now()) {
            _ if void.is_some() => Landed::Voided,
            true => Landed::Stored,
            // Each who waits would find it stale, and ask in turn.
            false => Landed::Uncacheable,
        };
        self.land(errand, landed);
        Arrived::Filling(Box::new(Filling {
            answered,
            fill,
            stored,
        }))
    }

    /// The fill of an answer with this head, and what a purge has left of it.
    fn begin(
        &self,
        head: ResponseHeader,
        terms: Terms,
        errand: &Errand,
        session: &Session,
        ctx: &RequestCtx,
    ) -> Option<(Fill, Option<Void>)> {
        let resource = resource(session, ctx, &self.route.query)?;
        let asked = errand.asked.as_ref()?;
        let key = self.wanted(session).key(&head.headers);
        let label = entry::label(&resource, &head.headers);
        let variance = key.variance.as_deref().copied();
        let meta = entry::meta(head, terms, SystemTime::now(), variance, label);
        Some(asked.begin(key, &meta))
    }

    fn not_kept(
        &self,
        answered: Answered,
        why: &'static str,
        landed: Landed,
        errand: Errand,
    ) -> Arrived {
        self.forwarder.process.metrics.cache.refused(why);
        self.land(errand, landed);
        let answered = Box::new(answered);
        Arrived::NotKept { answered, why }
    }

    pub(super) fn land(&self, errand: Errand, landed: Landed) {
        match errand.ticket {
            Ticket::Leads(leader) => leader.land(landed, Instant::now()),
            Ticket::None | Ticket::Alone | Ticket::KnownAlone => {
                let flights = &self.forwarder.process.flights;
                flights.note(&errand.flight, landed, Instant::now());
            }
        }
    }

    /// What was stored is not what the endpoint has, which is not to be stored.
    fn forget_own(&self, errand: &Errand, refusal: Refusal, status: StatusCode) {
        let own = errand.known.first().filter(|_| errand.has_own);
        let is_for_all = !refusal.is_about_request() && !status.is_server_error();
        if let Some(own) = own.filter(|_| is_for_all) {
            let key = self.key_of(own);
            self.store()
                .remove(&key, Some(own.found.id), Left::Replaced);
        }
    }
}

/// Whether a response came by another cache, and says how old it was.
pub(super) fn has_age(head: &ResponseHeader) -> bool {
    head.headers.contains_key(http::header::AGE)
}
