//! An endpoint's answer on its way: into the store, and to the client.
//!
//! The body goes into the store as fast as the endpoint sends it, and the client that asked reads it
//! from there like all others; both happen in its task, each without waiting for the other. So a slow
//! client holds up nobody, and one that leaves, or wanted less, ends nothing: the rest goes on without it
//! (`pull`). Only a body that outgrew the cache goes at the pace of whoever reads it fastest, for then readers
//! are all that it goes to. What is not kept at all goes straight to the client.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, RANGE, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use pingora_core::Result;
use pingora_proxy::Session;

use super::errand::{Arrived, Errand, Filling, has_age};
use super::give::{self, Serving};
use super::pull::Pull;
use super::renew::Renewal;
use super::told::{Told, Wanting};
use super::{Cached, Ticket, arrival};
use crate::cache::rules::status::Forward;
use crate::cache::store::Reader;
use crate::cache::verdict::Verdict;
use crate::proxy::ctx::{Attempts, RequestCtx};
use crate::proxy::exchange;
use crate::proxy::forward::{self, Answered};

impl Cached<'_> {
    /// Asks, and serves the client with what comes of it.
    pub(super) async fn fetch(
        &self,
        errand: Errand,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let because = errand.because;
        if self.asks_as_client(&errand, session) {
            drop(errand);
            let told = Told::forwarded(Verdict::Bypass, because);
            return self.forwarder.pass(&self.route, told, session, ctx).await;
        }
        let fresh = self.wants(Wanting::answer(because), errand.has_own, ctx);
        match self.ask(errand, session, ctx).await? {
            Arrived::Filling(filling) => {
                let told = Told::forwarded(fresh, because).stored();
                self.fill(*filling, told, session, ctx).await
            }
            Arrived::Renewed(renewal) => self.give_renewed(*renewal, because, session, ctx).await,
            Arrived::StandIn(stored, status) => {
                let told = Told::forwarded(Verdict::Stale, because).answered(status);
                self.give(&stored, told, SystemTime::now(), session, ctx)
                    .await
            }
            Arrived::NotKept { answered, why } => {
                let told = Told::forwarded(fresh, because).because(why);
                self.relay(*answered, told, session, ctx).await
            }
        }
    }

    async fn give_renewed(
        &self,
        renewal: Renewal,
        because: Forward,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let told = Told::forwarded(Verdict::Revalidated, because);
        let told = told.answered(Some(StatusCode::NOT_MODIFIED));
        let told = match renewal.is_kept {
            true => told.stored(),
            false => told,
        };
        let told = told.for_asker(renewal.for_asker);
        self.give(&renewal.stored, told, SystemTime::now(), session, ctx)
            .await
    }

    /// Whether the whole would be fetched for nothing: only a part is asked for, and the route or what
    /// came before says that it is not kept.
    fn asks_as_client(&self, errand: &Errand, session: &Session) -> bool {
        let head = session.req_header();
        let is_range = head.headers.contains_key(RANGE);
        let is_known = matches!(errand.ticket, Ticket::KnownAlone) && !errand.has_own;
        is_range && (self.route.passes_ranges || is_known)
            || is_known && head.method == Method::HEAD
    }

    /// Stores a body, and gives it to the client.
    async fn fill(
        &self,
        filling: Filling,
        told: Told,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let Filling {
            answered,
            fill,
            stored,
        } = filling;
        let now = SystemTime::now();
        let told = told.fresh_for(&stored.terms, now);
        let told = told.for_asker(arrival::for_asker(&answered.head, &self.route));
        let serving = Serving {
            stored: &stored,
            coded: None,
            told: told.with_key_of(&self.route, session, ctx),
            route: &self.route,
            age: has_age(&answered.head).then(|| stored.terms.age(now)),
        };
        // Registered before the first byte can pass by.
        let reader = Reader::of(&stored.found);
        let mut pull = Pull::new(self.forwarder, answered, fill);
        let give = give::give(&serving, reader, session, ctx);
        let (given, mut pulled) = until_given(give, pull.run()).await;
        match &mut pulled {
            // Whoever asks next may get it coded.
            Some(Ok(())) => drop(self.coded(&stored, session)),
            Some(Err(error)) => exchange::note_failure(session, ctx, error),
            None => {
                // Or it would look as if somebody read it.
                drop(stored);
                pull.go_on(self.on_behalf_of(ctx));
            }
        }
        // What broke the body off says more than that it broke off.
        match given {
            Err(broken) => Err(pulled.and_then(Result::err).unwrap_or(broken)),
            Ok(()) => Ok(()),
        }
    }

    /// The context of what is left of a body when its client is finished.
    fn on_behalf_of(&self, ctx: &mut RequestCtx) -> RequestCtx {
        let in_flight = &self.forwarder.process.metrics.requests_in_flight;
        let mut beside = ctx.beside(in_flight);
        beside.attempts = ctx.attempts.split_off();
        beside
    }

    /// Gives the client an answer that is not kept. It was asked for in another way than the client did.
    async fn relay(
        &self,
        mut answered: Answered,
        told: Told,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let request = session.req_header();
        let is_whole = answered.head.status == StatusCode::OK;
        if is_whole && request.headers.contains_key(RANGE) && request.method == Method::GET {
            // The part may be a small one of something large.
            self.forwarder.dismiss(answered).await;
            ctx.fetch = None;
            ctx.attempts = Attempts::default();
            let told = Told::forwarded(Verdict::Bypass, Forward::Bypass);
            return self.forwarder.pass(&self.route, told, session, ctx).await;
        }
        let is_not_modified = arrival::is_not_modified(request, &answered.head);
        let is_head = request.method == Method::HEAD;
        let told = told.with_key_of(&self.route, session, ctx);
        told.write(&mut answered.head, &self.route)?;
        if is_not_modified {
            answered.head.set_status(StatusCode::NOT_MODIFIED)?;
            answered.head.remove_header(&CONTENT_LENGTH);
            answered.head.remove_header(&TRANSFER_ENCODING);
        }
        if is_not_modified || is_head {
            forward::give_head(answered.head.clone(), session, ctx).await?;
            self.forwarder.dismiss(answered).await;
            return forward::finish(session).await;
        }
        self.forwarder.relay(answered, session, ctx).await
    }
}

/// Does both in turns until the client is finished, or gone; and what has become of the other by then.
async fn until_given(
    give: impl Future<Output = Result<()>>,
    pull: impl Future<Output = Result<()>>,
) -> (Result<()>, Option<Result<()>>) {
    let (mut give, mut pull) = (pin!(give), pin!(pull));
    let mut pulled = None;
    let given = poll_fn(|cx| {
        let given = give.as_mut().poll(cx);
        if pulled.is_none()
            && let Poll::Ready(result) = pull.as_mut().poll(cx)
        {
            pulled = Some(result);
        }
        given
    })
    .await;
    (given, pulled)
}
