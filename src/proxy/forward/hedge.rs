//! A request that asks a second endpoint when the first one takes long: two attempts at once.
//!
//! For requests without a body on routes with `hedge`. Neither attempt needs the client's connection,
//! which is watched meanwhile, so each can be dropped at any time. Invariant: the client is given one
//! answer; the other attempt is cancelled, and its connection closed. A failure is no answer while the
//! other attempt runs. When a request is late and may ask again is decided by `upstream::hedging`.
//! Called by `forward` for a request's first attempt.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::sleep_until;

use super::{Answered, Forwarder, client_ended, give_head, note_head, request_head};
use crate::config::model::Hedge;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::failure::Outcome;
use crate::proxy::upstream::{Piece, RequestFraming, Timeouts, Upstream};
use crate::proxy::{exchange, turn};
use crate::telemetry::metrics::Metrics;
use crate::upstream::Pool;
use crate::upstream::hedging::Lateness;
use crate::upstream::kept::Key;
use crate::upstream::member::Member;

/// An endless row of interim responses is none.
const INTERIM_MAX: usize = 16;

/// What an attempt needs, without its client.
struct Call {
    kept: Option<Stream>,
    peer: HttpPeer,
    head: Vec<u8>,
    method: Method,
    timeouts: Timeouts,
    keeping: Option<(Key, Duration)>,
}

/// What became of a call.
struct Called {
    /// `None`: it did not connect.
    connect: Option<Duration>,
    answer: Result<Answer>,
}

struct Answer {
    interim: Vec<ResponseHeader>,
    answered: Answered,
}

/// Calls that run, by the number of their attempt.
#[derive(Default)]
struct Race<'a>(Vec<(usize, Calling<'a>)>);

type Calling<'a> = Pin<Box<dyn Future<Output = Called> + Send + 'a>>;

impl Forwarder {
    /// Goes on with the attempt that has begun at `member`, perhaps with one beside it.
    pub(super) async fn attempt_hedged(
        &self,
        hedge: Hedge,
        pool: &Pool,
        member: &Member,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Answered> {
        let began = Instant::now();
        pool.hedging().deposit(began);
        let delay = pool.hedging().delay(hedge.after, began);
        let mut lateness = delay.map(|_| Lateness::Late);
        let mut race = Race::default();
        let call = self.prepare(pool, member, session, ctx)?;
        race.enter(ctx, call, self);
        loop {
            let alarm = lateness.zip(delay);
            let alarm = alarm.map(|(lateness, delay)| began + lateness.wait(delay));
            tokio::select! {
                biased;
                (attempt, called) = race.first_over() => {
                    ctx.attempts.turn_to(attempt);
                    ctx.attempts.connected_in(called.connect);
                    if race.is_over() || called.is_welcome(ctx) {
                        if called.answer.is_ok() {
                            pool.hedging().learn(began.elapsed(), Instant::now());
                        }
                        race.cancel(ctx);
                        return called.conclude(session, ctx, &self.process.metrics).await;
                    }
                    called.put_aside(ctx);
                }
                error = client_ended(session) => return Err(error),
                () = until(alarm) => {
                    let is_late = lateness.take();
                    match is_late.and_then(|late| self.beside(hedge, late, pool, session, ctx)) {
                        Some(call) => race.enter(ctx, call?, self),
                        None => lateness = is_late.and_then(Lateness::next),
                    }
                }
            }
        }
    }

    /// Begins an attempt beside the running one, if the pool can afford it and has an endpoint for it.
    fn beside(
        &self,
        hedge: Hedge,
        lateness: Lateness,
        pool: &Pool,
        session: &Session,
        ctx: &mut RequestCtx,
    ) -> Option<Result<Call>> {
        let now = Instant::now();
        if !ctx.attempts.may_have_next() {
            return None;
        }
        if !pool.hedging().withdraw(hedge.percent, lateness, now) {
            self.process.metrics.hedged("refused");
            return None;
        }
        let tenant = pool
            .limits()
            .and_then(|limits| turn::tenant(session, limits));
        let member = ctx.attempts.begin_beside(pool.limits(), tenant, now)?;
        Some(self.prepare(pool, &member, session, ctx))
    }

    fn prepare(
        &self,
        pool: &Pool,
        member: &Member,
        session: &Session,
        ctx: &mut RequestCtx,
    ) -> Result<Call> {
        let key = pool
            .peers()
            .key(member.endpoint.address(), member.host.as_ref());
        let (head, _) = request_head(session, ctx)?;
        Ok(Call {
            kept: key.as_ref().and_then(|key| self.process.kept.take(key)),
            peer: exchange::peer(pool, member, session, ctx),
            head,
            method: exchange::method(session, ctx).clone(),
            timeouts: exchange::timeouts(pool, ctx),
            keeping: key.map(|key| (key, pool.config().idle_timeout)),
        })
    }

    async fn call(&self, call: Call) -> Called {
        let mut connect = None;
        let answer = self.answer(call, &mut connect).await;
        Called { connect, answer }
    }

    async fn answer(&self, call: Call, connect: &mut Option<Duration>) -> Result<Answer> {
        let began = Instant::now();
        let stream = match call.kept {
            Some(stream) => {
                *connect = Some(Duration::ZERO);
                stream
            }
            None => {
                let connected = self.connector.new_stream(&call.peer).await;
                let stream = connected.map_err(|error| error.into_up())?;
                *connect = Some(began.elapsed());
                stream
            }
        };
        let mut upstream = Upstream::new(stream, call.timeouts, &call.method, &self.buffers);
        upstream
            .write_head(&call.head, RequestFraming::Sized)
            .await?;
        upstream.end_request().await?;
        let mut interim = Vec::new();
        while interim.len() < INTERIM_MAX {
            let Piece::Head(head) = upstream.next().await? else {
                break;
            };
            if !is_interim(&head) {
                let answered = Answered {
                    head,
                    upstream,
                    request_over: true,
                    keeping: call.keeping,
                };
                return Ok(Answer { interim, answered });
            }
            interim.push(*head);
        }
        Err(Error::explain(
            ErrorType::InvalidHTTPHeader,
            "interim responses without an end",
        )
        .into_up())
    }
}

/// One that another head follows.
fn is_interim(head: &ResponseHeader) -> bool {
    head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS
}

// === impl Called ===

impl Called {
    /// Whether the client is better served with it than with what may still come.
    fn is_welcome(&self, ctx: &RequestCtx) -> bool {
        let is_retried = |status: StatusCode| {
            let route = ctx.route();
            route.is_some_and(|route| route.config.retry.is_on(status.as_u16()))
        };
        self.answer.as_ref().is_ok_and(|answer| {
            let status = answer.answered.head.status;
            !status.is_server_error() && !is_retried(status)
        })
    }

    /// The current attempt came to nothing, and the other one still runs.
    fn put_aside(self, ctx: &mut RequestCtx) {
        match self.answer {
            Ok(answer) => ctx.attempts.dismissed(&answer.answered.head),
            Err(error) => ctx.attempts.failed(Outcome::of(&error)),
        }
    }

    /// What came of the current attempt is what came of all.
    async fn conclude(
        self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        metrics: &Metrics,
    ) -> Result<Answered> {
        if let [_, second] = ctx.attempts.made() {
            let is_won = second.outcome == Outcome::Pending && self.answer.is_ok();
            metrics.hedged(if is_won { "won" } else { "lost" });
        }
        let Answer { interim, answered } = self.answer?;
        for head in interim {
            note_head(&head, session, ctx, metrics)?;
            give_head(Box::new(head), session, ctx).await?;
        }
        note_head(&answered.head, session, ctx, metrics)?;
        Ok(answered)
    }
}

// === impl Race ===

impl<'a> Race<'a> {
    /// Runs a call for the attempt that was begun last.
    fn enter(&mut self, ctx: &RequestCtx, call: Call, forwarder: &'a Forwarder) {
        let attempt = ctx.attempts.made().len().saturating_sub(1);
        self.0.push((attempt, Box::pin(forwarder.call(call))));
    }

    /// None of them runs.
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for one to be over; waits for ever where none runs.
    async fn first_over(&mut self) -> (usize, Called) {
        poll_fn(|cx| {
            for place in 0..self.0.len() {
                let (attempt, calling) = &mut self.0[place];
                if let Poll::Ready(called) = calling.as_mut().poll(cx) {
                    let over = (*attempt, called);
                    drop(self.0.remove(place));
                    return Poll::Ready(over);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Ends those that still run.
    fn cancel(self, ctx: &mut RequestCtx) {
        for (attempt, calling) in self.0 {
            drop(calling);
            ctx.attempts.cancel(attempt);
        }
    }
}

async fn until(alarm: Option<Instant>) {
    match alarm {
        Some(alarm) => sleep_until(alarm.into()).await,
        None => pending().await,
    }
}
