//! One request's state, from its head to its log line.
//!
//! It is Pingora's `CTX`: made when a head was read, dropped when the request is over, on whatever
//! way. The lease of the running attempt is in here, so dropping the context gives it back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;
use prometheus::IntGauge;

use crate::cache::verdict::Verdict;
use crate::policy::body_limit::Meter;
use crate::policy::client::Client;
use crate::proxy::cached::fetch::Fetch;
use crate::proxy::cached::told::Wanting;
use crate::proxy::failure::{Ending, Outcome};
use crate::proxy::reject::Rejection;
use crate::snapshot::{Route, Snapshot};
use crate::upstream::Pool;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::fair::Tenant;
use crate::upstream::hedging;
use crate::upstream::member::Member;
use crate::upstream::members::{Candidates, Pick};
use crate::upstream::observation::{Answer, Observation};
use crate::upstream::pick_context::PickContext;
use crate::upstream::selector::Outlook;
use crate::upstream::sticky::Token;
use crate::upstream::turns::{Granted, Limits};

#[cfg(test)]
mod tests;

const LEAST_LEFT: Duration = Duration::from_millis(1);

pub struct RequestCtx {
    pub snapshot: Arc<Snapshot>,
    pub started: Instant,
    pub time: SystemTime,
    /// `None` before the client is identified; so is `client`.
    pub request_id: Option<HeaderValue>,
    pub client: Option<Client>,
    /// The target as received, where normalising changed it.
    pub received_target: Option<Box<[u8]>>,
    /// Index into the snapshot's routes.
    pub route: Option<usize>,
    /// Counts the body against the route's limit.
    pub body: Meter,
    pub attempts: Attempts,
    /// How what endpoints are asked differs from what the client asks, where it is for the cache.
    pub(super) fetch: Option<Box<Fetch>>,
    /// What the cache did; `None`: the route has none.
    pub cache: Option<Verdict>,
    /// Why it needed an answer, if it did.
    pub(super) wanting: Option<Wanting>,
    /// Time spent in a pool's queue; `None`: it never had to wait.
    pub queued: Option<Duration>,
    /// From the head to the first byte of the endpoint's response.
    pub first_byte: Option<Duration>,
    /// What an expired deadline means for the client.
    pub overdue: Rejection,
    /// Why there is no whole response; `None` while all is well.
    pub ending: Option<Ending>,
    /// Counts this request as an open tunnel once it is one.
    pub tunnel: Option<Counted>,
    _in_flight: Counted,
}

impl RequestCtx {
    pub fn new(snapshot: Arc<Snapshot>, in_flight: &IntGauge) -> RequestCtx {
        RequestCtx {
            snapshot,
            started: Instant::now(),
            time: SystemTime::now(),
            request_id: None,
            client: None,
            received_target: None,
            route: None,
            body: Meter::new(None),
            attempts: Attempts::default(),
            fetch: None,
            cache: None,
            wanting: None,
            queued: None,
            first_byte: None,
            overdue: Rejection::RequestTimeout,
            ending: None,
            tunnel: None,
            _in_flight: Counted::new(in_flight),
        }
    }

    /// The context of work that is done on this request's behalf, and goes on without it.
    pub fn beside(&self, in_flight: &IntGauge) -> RequestCtx {
        RequestCtx {
            request_id: self.request_id.clone(),
            client: self.client,
            route: self.route,
            ..RequestCtx::new(Arc::clone(&self.snapshot), in_flight)
        }
    }

    /// The route found; `None` before, and where there is none.
    pub fn route(&self) -> Option<&Route> {
        self.route.map(|index| &self.snapshot.routes[index])
    }

    /// For people: what the id of this request reads like.
    pub fn request_id(&self) -> &str {
        self.request_id
            .as_ref()
            .and_then(|id| id.to_str().ok())
            .unwrap_or("-")
    }

    /// What is left of the route's whole-request timeout; `None`: it has none. Never zero, which would
    /// mean "no time at all" to some timers and "none" to others.
    pub fn time_left(&self) -> Option<Duration> {
        let timeout = self.route()?.config.timeout?;
        let left = timeout.saturating_sub(self.started.elapsed());
        Some(left.max(LEAST_LEFT))
    }

    /// Whether nothing is left of it.
    pub fn is_late(&self) -> bool {
        self.time_left().is_some_and(|left| left <= LEAST_LEFT)
    }

    /// Remembers why the request ends here, and says so in the form Pingora's callbacks return.
    pub fn reject(&mut self, rejection: Rejection) -> Box<Error> {
        self.end(Ending::Rejected(rejection))
    }

    /// As `reject`, for an end of any kind.
    pub fn end(&mut self, ending: Ending) -> Box<Error> {
        self.ending = Some(ending);
        match ending {
            Ending::Rejected(rejection) => Error::explain(
                ErrorType::HTTPStatus(rejection.status().as_u16()),
                rejection.text(),
            ),
            Ending::ClientClosed
            | Ending::ClientStalled
            | Ending::TunnelTimeout
            | Ending::Shutdown => Error::new_down(ErrorType::ConnectionClosed),
        }
    }
}

/// The tries of one request, each at another endpoint.
#[derive(Default)]
pub struct Attempts {
    /// Endpoints not yet tried, best first; made for the first attempt.
    candidates: Option<Candidates>,
    /// The route's responses do not tell how fast an endpoint is.
    unmeasured: bool,
    /// When the last bytes of the request's body came by; `None`: it has had none.
    body_at: Option<Instant>,
    stale: Stale,
    made: Vec<Attempt>,
    /// Which of them runs; of two that run, the one that was spoken of last.
    current: usize,
    /// Those that began while another one ran.
    beside: usize,
}

/// Whether a request has met a kept connection that its endpoint had just closed. That is nobody's
/// fault and says nothing of the endpoint, so it costs no attempt: once, the same endpoint is asked
/// again over a fresh connection (nginx does not count a failed cached connection either).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stale {
    #[default]
    NotMet,
    /// The next attempt is the repeat.
    Met,
    Repeated,
}

pub struct Attempt {
    pub endpoint: Arc<Endpoint>,
    pub outcome: Outcome,
    pub began: Instant,
    /// Time to connect, zero for a reused connection; `None`: not connected.
    pub connect: Option<Duration>,
    /// What counts it on its endpoint, until the next one begins.
    pick: Option<Pick>,
}

impl Attempts {
    /// Ends the last attempt and begins one at the best endpoint not yet tried, or at the last one
    /// again after a stale connection; `None`: none is left. The first attempt begins with the
    /// request, which spares a look at the clock.
    pub fn begin(&mut self, pool: &Pool, context: &PickContext<'_>) -> Option<Arc<Member>> {
        let pick = if self.stale == Stale::Met {
            self.stale = Stale::Repeated;
            self.end_current()?
        } else {
            drop(self.end_current());
            let candidates = self
                .candidates
                .get_or_insert_with(|| pool.candidates(context));
            candidates.lease_next()?
        };
        let is_first = self.made.is_empty();
        let began = if is_first {
            context.now
        } else {
            Instant::now()
        };
        Some(self.run(pick, began))
    }

    /// Begins an attempt at the best endpoint not yet tried, while the current one goes on; `None`: none
    /// is left, or has a place to spare. `tenant`: whose request it is, where there are `limits`.
    pub fn begin_beside(
        &mut self,
        limits: Option<&Arc<Limits>>,
        tenant: Option<Tenant>,
        began: Instant,
    ) -> Option<Arc<Member>> {
        let candidates = self.candidates.as_mut()?;
        let pick = match limits {
            Some(limits) => limits.spare(candidates, tenant),
            None => candidates.lease_next(),
        };
        let member = self.run(pick?, began);
        self.beside += 1;
        Some(member)
    }

    /// What the request takes fits into none of the endpoints that are left.
    pub fn lacks_room(&self) -> bool {
        let outlook = self.candidates.as_ref().map(Candidates::outlook);
        outlook == Some(Outlook::NoRoom)
    }

    /// Ends the last attempt where its endpoint is not asked again, and lends the candidates out to
    /// wait for a turn with.
    pub fn lend_candidates(&mut self, pool: &Pool, context: &PickContext<'_>) -> Candidates {
        drop(self.end_current());
        let candidates = self.candidates.take();
        candidates.unwrap_or_else(|| pool.candidates(context))
    }

    /// Begins an attempt with the turn that was waited for.
    pub fn begin_with(&mut self, granted: Box<Granted>, began: Instant) -> Arc<Member> {
        self.candidates = Some(granted.candidates);
        self.run(granted.pick, began)
    }

    fn run(&mut self, pick: Pick, began: Instant) -> Arc<Member> {
        let member = pick.member().clone();
        self.current = self.made.len();
        self.made.push(Attempt {
            endpoint: pick.lease.endpoint().clone(),
            outcome: Outcome::Pending,
            began,
            connect: None,
            pick: Some(pick),
        });
        member
    }

    fn end_current(&mut self) -> Option<Pick> {
        self.made.get_mut(self.current)?.pick.take()
    }

    /// Of two attempts that run, this one is spoken of next.
    pub fn turn_to(&mut self, attempt: usize) {
        self.current = attempt;
    }

    /// Another attempt was faster. How long this one had been waited for says something of its endpoint
    /// if it began first: the response would have taken longer still.
    pub fn cancel(&mut self, attempt: usize) {
        let is_outwaited = attempt < self.current && !self.unmeasured;
        let Some(cancelled) = self.made.get_mut(attempt) else {
            return;
        };
        cancelled.outcome = Outcome::Cancelled;
        let Some(pick) = cancelled.pick.take() else {
            return;
        };
        let since = is_outwaited.then_some(cancelled.began);
        tokio::spawn(hedging::let_go(pick, since));
    }

    /// The running route is not measured.
    pub fn do_not_measure(&mut self) {
        self.unmeasured = true;
    }

    /// Bytes of the request's body came by: the endpoint could not answer before.
    pub fn body_passed(&mut self) {
        self.body_at = Some(Instant::now());
    }

    /// The next attempt is at the last endpoint again.
    pub fn repeats(&self) -> bool {
        self.stale == Stale::Met
    }

    /// The last attempt failed on a kept connection; false: that happened to this request before.
    pub fn meet_stale_connection(&mut self) -> bool {
        let is_first_time = self.stale == Stale::NotMet;
        if is_first_time {
            self.stale = Stale::Met;
        }
        is_first_time
    }

    /// The running attempt must not use a kept connection.
    pub fn needs_fresh_connection(&self) -> bool {
        self.stale == Stale::Repeated
    }

    /// What the client needs to come back to the running attempt's endpoint.
    pub fn cookie(&self) -> Option<&Token> {
        self.current()?.pick.as_ref()?.cookie()
    }

    /// Those that count against a route's `retry.attempts`.
    pub fn counted(&self) -> usize {
        self.made.len() - self.beside - usize::from(self.stale == Stale::Repeated)
    }

    pub fn made(&self) -> &[Attempt] {
        &self.made
    }

    /// The one that runs, or ran last.
    pub fn current(&self) -> Option<&Attempt> {
        self.made.get(self.current)
    }

    /// How long it took the current attempt to connect; `None`: it could not.
    pub fn connected_in(&mut self, took: Option<Duration>) {
        if let Some(attempt) = self.made.get_mut(self.current) {
            attempt.connect = took;
        }
    }

    pub fn connected(&mut self, reused: bool) {
        if let Some(attempt) = self.made.get_mut(self.current) {
            let took = if reused {
                Duration::ZERO
            } else {
                attempt.began.elapsed()
            };
            attempt.connect = Some(took);
        }
    }

    /// The running attempt's response has begun.
    pub fn succeeded(&mut self, response: &ResponseHeader) {
        self.ended(
            Outcome::Ok,
            Answer::Response(response.status, &response.headers),
        );
    }

    /// The running attempt's response has begun, and is dropped for another attempt.
    pub fn dismissed(&mut self, response: &ResponseHeader) {
        let answer = Answer::Response(response.status, &response.headers);
        self.ended(Outcome::BadStatus, answer);
    }

    /// What runs, for another to end: its endpoint counts it as in flight until then.
    pub fn split_off(&mut self) -> Attempts {
        let current = self.made.get_mut(self.current);
        let current = current.and_then(|attempt| {
            Some(Attempt {
                endpoint: attempt.endpoint.clone(),
                outcome: attempt.outcome,
                began: attempt.began,
                connect: attempt.connect,
                pick: Some(attempt.pick.take()?),
            })
        });
        Attempts {
            unmeasured: self.unmeasured,
            stale: self.stale,
            made: current.into_iter().collect(),
            ..Attempts::default()
        }
    }

    /// Whether there is another endpoint to try that does not ask to be spared retries; the next attempt is
    /// with one of those.
    pub fn may_have_next(&mut self) -> bool {
        let candidates = self.candidates.as_mut();
        candidates.is_some_and(|candidates| candidates.spare(Instant::now()))
    }

    /// Whether no endpoint is left that could be asked, now or after a wait.
    pub fn has_tried_all(&self) -> bool {
        let outlook = self.candidates.as_ref().map(Candidates::outlook);
        outlook.is_none_or(|outlook| outlook == Outlook::NoneReady)
    }

    pub fn failed(&mut self, outcome: Outcome) {
        self.ended(outcome, Answer::Failed(outcome.name()));
    }

    /// The request ends while its endpoints are waited for. One that let the better part of the request's
    /// time pass (`had`, where that is why it ends) has failed; what another one was waited for, its
    /// response would have taken longer. Neither is said where the client kept the endpoint waiting
    /// (`is_whole`: all of the request had come).
    pub fn give_up(&mut self, is_whole: bool, had: Option<Duration>) {
        let now = Instant::now();
        let last = self.current;
        for place in 0..self.made.len() {
            let attempt = &self.made[place];
            let Some(pick) = attempt
                .pick
                .as_ref()
                .filter(|_| attempt.is_waited_for(is_whole))
            else {
                continue;
            };
            let waited = now.saturating_duration_since(self.asked(attempt));
            if had.is_some_and(|had| waited >= had / 2) {
                self.current = place;
                self.failed(Outcome::Timeout);
            } else if !self.unmeasured {
                pick.lease.endpoint().outwaited(waited, now);
            }
        }
        self.current = last;
    }

    /// When the endpoint had all that there was of the request.
    fn asked(&self, attempt: &Attempt) -> Instant {
        self.body_at
            .map_or(attempt.began, |at| at.max(attempt.began))
    }

    fn ended(&mut self, outcome: Outcome, answer: Answer<'_>) {
        let Some(attempt) = self.made.get(self.current) else {
            return;
        };
        let asked = self.asked(attempt);
        let attempt = &mut self.made[self.current];
        let Some(pick) = &mut attempt.pick else {
            return;
        };
        attempt.outcome = outcome;
        let now = Instant::now();
        pick.lease.observe(&Observation {
            answer,
            took: now.saturating_duration_since(asked),
            is_measured: !self.unmeasured,
            is_stale: self.stale == Stale::NotMet
                && outcome == Outcome::Reset
                && attempt.connect == Some(Duration::ZERO),
            in_flight: pick.lease.in_flight(),
            now,
        });
    }
}

impl Attempt {
    /// Its endpoint has not answered yet, and nobody but it is to blame for that.
    fn is_waited_for(&self, is_whole: bool) -> bool {
        self.outcome == Outcome::Pending && (is_whole || self.connect.is_none())
    }
}

/// Adds one to a gauge while it lives.
pub struct Counted(IntGauge);

impl Counted {
    pub fn new(gauge: &IntGauge) -> Counted {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
