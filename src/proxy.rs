//! The adapter to Pingora: its callbacks ask one of our modules and translate the answer.
//!
//! The only `impl ProxyHttp`. A request that is not answered here is forwarded by Pingora to the
//! endpoint `upstream_peer` names, attempt after attempt, until one succeeds or `failure` says no.
//! `logging` runs once for every request, whatever became of it. Built by `server`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::connectors::TransportConnector;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::policy::body_limit::Verdict;
use crate::proxy::admit::Next;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::failure::Ending;
use crate::proxy::forward::Forwarder;
use crate::proxy::process::Process;
use crate::proxy::reject::Rejection;

mod admit;
mod chunks;
pub mod ctx;
pub mod downstream;
mod exchange;
pub mod failure;
mod forward;
mod placement;
pub mod process;
mod record;
pub mod reject;
mod respond;
mod upgrade;
mod upstream;

pub struct Proxy {
    process: Arc<Process>,
    forwarder: Forwarder,
}

impl Proxy {
    pub fn new(process: Arc<Process>, connector: TransportConnector) -> Proxy {
        Proxy {
            forwarder: Forwarder::new(process.clone(), connector),
            process,
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        let snapshot = self.process.snapshot.load_full();
        RequestCtx::new(snapshot, &self.process.metrics.requests_in_flight)
    }

    /// None: Pingora's default would set up a compressor for every request and leave it off.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        match admit::admit(session, ctx) {
            Ok(Next::Forward) if session.is_upgrade_req() => Ok(false),
            Ok(Next::Forward) => {
                let forwarded = self.forwarder.forward(session, ctx);
                forwarded.await.map(|()| true)
            }
            Ok(Next::Answer(answer)) => answer.send(session).await.map(|()| true),
            Err(rejection) => Err(ctx.reject(rejection)),
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Box<HttpPeer>> {
        exchange::next_peer(session, ctx, &self.process.metrics)
            .await
            .map_err(|rejection| ctx.reject(rejection))
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.attempts.connected(reused);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        exchange::prepare_request(session, request, ctx);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if body.is_some() {
            ctx.attempts.body_passed();
        }
        match ctx.body.add(body.as_ref().map_or(0, Bytes::len)) {
            Verdict::Within => Ok(()),
            Verdict::TooLarge { .. } => Err(ctx.reject(Rejection::BodyTooLarge)),
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        exchange::note_response(session, response, ctx, &self.process.metrics.tunnels)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        exchange::prepare_response(session, response, ctx);
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestCtx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        exchange::note_failure(session, ctx, &mut error);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut RequestCtx,
        _client_reused: bool,
    ) -> Box<Error> {
        exchange::note_failure(session, ctx, &mut error);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestCtx,
    ) -> FailToProxy {
        let ending = exchange::ending(session, error, ctx);
        ctx.ending = Some(ending);
        match ending {
            Ending::Rejected(rejection) => {
                self.process.metrics.rejected(rejection.name());
                respond::reject(session, rejection, ctx.request_id()).await
            }
            Ending::ClientClosed | Ending::ClientStalled | Ending::TunnelTimeout => {
                respond::nothing()
            }
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut RequestCtx) {
        record::write(&self.process, session, error, ctx);
    }

    /// The access log tells of every failure, with its cause.
    fn suppress_error_log(&self, _: &Session, _: &RequestCtx, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &RequestCtx,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
