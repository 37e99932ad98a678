//! Forwards a request: attempt after attempt, until an endpoint answers or none may follow.
//!
//! [`Forwarder::ask`] goes as far as an endpoint's last head, of which the client has seen nothing yet;
//! [`Forwarder::relay`] gives it the response. In both, pieces of the request go to the endpoint and
//! pieces of the response come back, each as it comes, in both directions at once. Whatever waits for
//! the endpoint also watches the client, so that its leaving and its deadline end the attempt. What is
//! decided about an attempt is decided in `exchange`; requests that Pingora's own machine forwards
//! (upgrades) do not come here. Called by `proxy`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::policy::body_limit::Verdict;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange;
use crate::proxy::failure::Ending;
use crate::proxy::process::Process;
use crate::proxy::reject::Rejection;
use crate::proxy::upstream::{Buffers, Piece, RequestFraming, Upstream, request};
use crate::telemetry::metrics::Metrics;
use crate::upstream::Pool;
use crate::upstream::kept::Key;
use crate::upstream::member::Member;

mod hedge;

/// So much of a body is read away for the sake of its connection.
const DISMISSED_MAX: usize = 64 * 1024;

pub(super) struct Forwarder {
    pub(super) process: Arc<Process>,
    connector: TransportConnector,
    buffers: Arc<Buffers>,
}

impl Forwarder {
    pub(super) fn new(process: Arc<Process>, connector: TransportConnector) -> Forwarder {
        Forwarder {
            process,
            connector,
            buffers: Arc::default(),
        }
    }

    /// Returns when the whole response has been given to the client.
    pub(super) async fn forward(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
        let answered = self.ask(session, ctx).await?;
        self.make_void(&answered.head, session, ctx);
        self.relay(answered, session, ctx).await
    }

    /// Makes attempts until one is answered with a head that the client is to see.
    pub(super) async fn ask(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Answered> {
        let metrics = &self.process.metrics;
        let pool = exchange::pool(ctx).map_err(|rejection| ctx.reject(rejection))?;
        session.as_downstream_mut().enable_retry_buffering();
        loop {
            let member = exchange::next_member(&pool, session, ctx, metrics)
                .await
                .map_err(|ending| ctx.end(ending))?;
            let attempt = match exchange::hedge(session, ctx) {
                // Boxed: so that others have no room for it.
                Some(hedge) => {
                    Box::pin(self.attempt_hedged(hedge, &pool, &member, session, ctx)).await
                }
                None => self.attempt(&pool, &member, session, ctx).await,
            };
            let mut error = match attempt {
                Ok(answered) => return Ok(answered),
                Err(error) => error,
            };
            exchange::note_failure(session, ctx, &mut error);
            if !error.retry() {
                return Err(error);
            }
            tokio::time::sleep(exchange::backoff(ctx)).await;
        }
    }

    /// Gives the client the whole response, and the endpoint what is left of the request.
    pub(super) async fn relay(
        &self,
        answered: Answered,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let Answered {
            head,
            request_over,
            upstream,
            keeping,
        } = answered;
        let mut conversation = Conversation {
            upstream,
            session,
            ctx,
            request_over,
        };
        let mut relayed = conversation.relay(head).await;
        if let Err(error) = &mut relayed {
            exchange::note_failure(conversation.session, conversation.ctx, error);
            show_what_was_given(session).await;
            break_off(session);
            return relayed;
        }
        self.keep(conversation.upstream, keeping);
        finish(session).await
    }

    async fn attempt(
        &self,
        pool: &Pool,
        member: &Member,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Answered> {
        let key = pool
            .peers()
            .key(member.endpoint.address(), member.host.as_ref());
        let stream = match self.kept(key.as_ref(), ctx) {
            Some(stream) => stream,
            // Boxed: the rare way is the large one.
            None => Box::pin(self.connect(pool, member, session, ctx)).await?,
        };
        let method = exchange::method(session, ctx);
        let mut conversation = Conversation {
            upstream: Upstream::new(stream, exchange::timeouts(pool, ctx), method, &self.buffers),
            session,
            ctx,
            request_over: false,
        };
        let head = conversation.ask(&self.process.metrics).await?;
        let Conversation {
            upstream,
            request_over,
            ..
        } = conversation;
        Ok(Answered {
            head,
            upstream,
            request_over,
            keeping: key.map(|key| (key, pool.config().idle_timeout)),
        })
    }

    /// The body has been taken from the endpoint: its connection may serve a later request.
    pub(super) fn finished(&self, answered: Answered) {
        self.keep(answered.upstream, answered.keeping);
    }

    /// Nobody wants the body. Where it is small and there already, the connection may serve a later
    /// request all the same.
    pub(super) async fn dismiss(&self, mut answered: Answered) {
        let mut left = DISMISSED_MAX;
        loop {
            let piece = {
                let mut next = pin!(answered.next());
                poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await
            };
            match piece {
                Poll::Ready(Ok(Some(bytes))) if bytes.len() <= left => left -= bytes.len(),
                Poll::Ready(Ok(None)) => return self.finished(answered),
                _ => return,
            }
        }
    }

    /// Leaves the connection to a later request, if it may serve one.
    fn keep(&self, upstream: Upstream, keeping: Option<(Key, Duration)>) {
        if let (Some((key, idle_timeout)), Some(stream)) = (keeping, upstream.into_reusable()) {
            self.process
                .kept
                .put(key, stream, Instant::now() + idle_timeout);
        }
    }

    /// A connection that an earlier request has left.
    fn kept(&self, key: Option<&Key>, ctx: &mut RequestCtx) -> Option<Stream> {
        let key = key.filter(|_| !ctx.attempts.needs_fresh_connection())?;
        let stream = self.process.kept.take(key)?;
        ctx.attempts.connected(true);
        Some(stream)
    }

    async fn connect(
        &self,
        pool: &Pool,
        member: &Member,
        session: &Session,
        ctx: &mut RequestCtx,
    ) -> Result<Stream> {
        let peer = exchange::peer(pool, member, session, ctx);
        let connected = tokio::select! {
            biased;
            connected = self.connector.new_stream(&peer) => connected,
            () = until_cut(session) => return Err(ctx.end(Ending::Shutdown)),
        };
        let stream = connected.map_err(|error| error.into_up())?;
        ctx.attempts.connected(false);
        Ok(stream)
    }
}

pub(super) async fn until_cut(session: &Session) {
    match Downstream::of(session.stream()) {
        Some(downstream) => downstream.until_cut().await,
        None => std::future::pending().await,
    }
}

/// An endpoint's answer: its last head is here, and its body is to come.
pub(super) struct Answered {
    pub(super) head: Box<ResponseHeader>,
    upstream: Upstream,
    request_over: bool,
    /// Where the connection is kept afterwards, and for how long.
    keeping: Option<(Key, Duration)>,
}

impl Answered {
    /// The next piece of the body; `None`: it is over. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>> {
        if self.upstream.is_over() {
            return Ok(None);
        }
        match self.upstream.next().await? {
            Piece::Body(bytes) => Ok(Some(bytes)),
            Piece::Head(_) | Piece::End => Ok(Some(b"")),
        }
    }

    /// The last piece, until the next is waited for.
    pub(super) fn last(&self) -> &[u8] {
        self.upstream.last()
    }
}

/// One request and its response, on the way.
struct Conversation<'s> {
    upstream: Upstream,
    session: &'s mut Session,
    ctx: &'s mut RequestCtx,
    /// All of the request is with the endpoint, or can no longer be.
    request_over: bool,
}

impl Conversation<'_> {
    /// Goes on until the endpoint has answered with its last head.
    async fn ask(&mut self, metrics: &Metrics) -> Result<Box<ResponseHeader>> {
        self.begin_request().await?;
        loop {
            let client = &mut self.session.downstream_session;
            tokio::select! {
                biased;
                piece = self.upstream.next() => if let Piece::Head(head) = piece? {
                    note_head(&head, self.session, self.ctx, metrics)?;
                    if !head.status.is_informational() {
                        return Ok(head);
                    }
                    give_head(head, self.session, self.ctx).await?;
                },
                body = client.read_body_or_idle(self.request_over) => {
                    let body = body.map_err(|error| error.into_down())?;
                    self.take_body(body.as_deref().unwrap_or_default()).await?;
                }
            }
        }
    }

    /// Goes on until both messages are over.
    async fn relay(&mut self, head: Box<ResponseHeader>) -> Result<()> {
        give_head(head, self.session, self.ctx).await?;
        while !(self.request_over && self.upstream.is_over()) {
            let client = &mut self.session.downstream_session;
            tokio::select! {
                biased;
                piece = self.upstream.next(), if !self.upstream.is_over() => {
                    if let Piece::Body(bytes) = piece? {
                        give_body(bytes, client).await?;
                    }
                }
                body = client.read_body_or_idle(self.request_over) => {
                    let body = body.map_err(|error| error.into_down())?;
                    self.take_body(body.as_deref().unwrap_or_default()).await?;
                }
            }
        }
        Ok(())
    }

    /// Sends the head, and what an attempt before this one read of the body.
    async fn begin_request(&mut self) -> Result<()> {
        let (head, framing) = request_head(self.session, self.ctx)?;
        self.upstream.write_head(&head, framing).await?;
        if let Some(body) = self.session.as_downstream().get_retry_buffer() {
            self.upstream.write_body(&body).await?;
        }
        if self.session.as_downstream_mut().is_body_done() {
            self.end_request().await?;
        }
        Ok(())
    }

    async fn end_request(&mut self) -> Result<()> {
        self.request_over = true;
        self.upstream.end_request().await
    }

    /// The client sent some of the body, or ended it.
    async fn take_body(&mut self, bytes: &[u8]) -> Result<()> {
        if self.ctx.body.add(bytes.len()) != Verdict::Within {
            return Err(self.ctx.reject(Rejection::BodyTooLarge));
        }
        self.ctx.attempts.body_passed();
        let mut sent = self.upstream.write_body(bytes).await;
        if sent.is_ok() && self.session.as_downstream_mut().is_body_done() {
            sent = self.end_request().await;
        }
        match sent {
            Err(error) if error.etype() == &ErrorType::WriteTimedout => Err(error),
            Err(_) => {
                // An endpoint may answer before it has read everything, and close: what it says,
                // or that it says nothing, is read next.
                self.request_over = true;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// The head that goes to the endpoint, and how the body goes out after it.
fn request_head(session: &Session, ctx: &mut RequestCtx) -> Result<(Vec<u8>, RequestFraming)> {
    let downstream = Downstream::of(session.stream());
    let underscores = downstream.is_some_and(|downstream| downstream.underscores);
    request::head(session.req_header(), underscores, ctx).map_err(|rejection| ctx.reject(rejection))
}

/// The endpoint answered; an error where the answer is dropped and another attempt follows.
fn note_head(
    head: &ResponseHeader,
    session: &mut Session,
    ctx: &mut RequestCtx,
    metrics: &Metrics,
) -> Result<()> {
    if exchange::tries_again(session, ctx, head) {
        return Err(Error::new_up(ErrorType::HTTPStatus(head.status.as_u16())));
    }
    exchange::note_response(session, head, ctx, &metrics.tunnels)
}

pub(super) async fn give_head(
    mut head: Box<ResponseHeader>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    if needs_framing(&session.req_header().method, &head) {
        head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    exchange::prepare_response(session, &mut head, ctx);
    exchange::keep_date(session, head.headers.get(http::header::DATE).cloned());
    let written = session.as_downstream_mut().write_response_header(head);
    written.await.map_err(|error| error.into_down())
}

/// Whether the endpoint ends the body by closing, which would cost the client its connection too.
fn needs_framing(method: &Method, head: &ResponseHeader) -> bool {
    let has_body = method != Method::HEAD
        && !head.status.is_informational()
        && !matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    has_body && !is_framed(&head.headers)
}

fn is_framed(fields: &HeaderMap) -> bool {
    fields.contains_key(header::CONTENT_LENGTH) || fields.contains_key(header::TRANSFER_ENCODING)
}

pub(super) async fn give_body(bytes: &[u8], client: &mut ServerSession) -> Result<()> {
    let written = match client {
        // Written from where it was read into.
        ServerSession::H1(client) => client.write_body(bytes).await.map(|_| ()),
        client => {
            client
                .write_response_body(Bytes::copy_from_slice(bytes), false)
                .await
        }
    };
    written.map_err(|error| error.into_down())
}

/// Waits for the client's end, or for what ends every wait: the request's deadline, or a cut.
pub(super) async fn client_ended(session: &mut Session) -> Box<Error> {
    loop {
        if let Err(error) = session.downstream_session.read_body_or_idle(true).await {
            return error.into_down();
        }
    }
}

/// A response breaks off: its client is to see how far it came. `Downstream` sends what it holds when
/// somebody begins to wait for the client.
pub(super) async fn show_what_was_given(session: &mut Session) {
    let mut wait = pin!(session.downstream_session.read_body_or_idle(true));
    poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx).is_ready())).await;
}

/// Makes sure that a response which broke off does not look whole, where closing would end it.
pub(super) fn break_off(session: &Session) {
    let ends_by_closing = session
        .response_written()
        .is_some_and(|head| !head.status.is_informational() && !is_framed(&head.headers));
    if ends_by_closing && let Some(downstream) = Downstream::of(session.stream()) {
        downstream.reset_on_close();
    }
}

/// Ends the response: all of it goes out now.
pub(super) async fn finish(session: &mut Session) -> Result<()> {
    let finished = match session.as_downstream_mut() {
        ServerSession::H1(client) => client.finish_body().await.map(|_| ()),
        client => client.write_response_body(Bytes::new(), true).await,
    };
    finished.map_err(|error| error.into_down())
}
