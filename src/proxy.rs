//! The adapter to Pingora: its callbacks ask one of our modules and translate the answer.
//!
//! The only `impl ProxyHttp`, for requests that need Pingora's own machine: upgrades, which Pingora
//! forwards to the endpoint that `upstream_peer` names. All others are served by [`Proxy::serve`], which
//! asks the same modules in the same order. Either way each request leaves one record, whatever
//! became of it. Built by `server`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::connectors::TransportConnector;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::{Digest, Stream};
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
mod cached;
mod chunks;
pub mod ctx;
pub mod cutoff;
pub mod downstream;
mod exchange;
pub mod failure;
mod forward;
mod hash_key;
mod placement;
pub mod process;
mod record;
pub mod reject;
mod respond;
mod turn;
mod upgrade;
mod upstream;

#[derive(Clone)]
pub struct Proxy {
    process: Arc<Process>,
    forwarder: Arc<Forwarder>,
}

impl Proxy {
    pub fn new(process: Arc<Process>, connector: TransportConnector) -> Proxy {
        Proxy {
            forwarder: Arc::new(Forwarder::new(process.clone(), connector)),
            process,
        }
    }

    /// Serves one request, from its head to its record, where Pingora's own machine is not needed:
    /// no upgrade. The connection comes back for the next request, unless it is over.
    pub async fn serve(&self, mut session: Session) -> Option<Stream> {
        let parsed = session.as_downstream_mut().read_request().await;
        if !matches!(parsed, Ok(true)) {
            // Heads were checked before they came here.
            return None;
        }
        let mut ctx = self.new_ctx();
        let failed = self.answer(&mut session, &mut ctx).await.err();
        let mut keeps = true;
        if let Some(error) = &failed {
            let told = self.fail_to_proxy(&mut session, error, &mut ctx).await;
            keeps = told.can_reuse_downstream;
        }
        record::write(&self.process, &session, failed.as_deref(), &ctx);
        // What the request held is given back before the wait for the next one.
        drop(ctx);
        if !keeps {
            return None;
        }
        let finished = session.downstream_session.finish().await;
        finished
            .ok()
            .flatten()
            .map(|reusable| reusable.into_parts().0)
    }

    /// Answers a request that is no upgrade.
    async fn answer(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
        match admit::admit(session, ctx) {
            Ok(Next::Forward) => self.forward(session, ctx).await,
            Ok(Next::Answer(answer)) => answer.send(session).await,
            Err(rejection) => Err(ctx.reject(rejection)),
        }
    }

    /// To an endpoint, or to the cache before it.
    async fn forward(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
        let cache = ctx.route().and_then(|route| route.cache.clone());
        match cache {
            // Boxed: routes without a cache have no room for it.
            Some(cache) => Box::pin(self.forwarder.serve_cached(cache, session, ctx)).await,
            None => self.forwarder.forward(session, ctx).await,
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
            // HTTP/1.0 knows no upgrade.
            Ok(Next::Forward) => self.forward(session, ctx).await.map(|()| true),
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
            .map_err(|ending| ctx.end(ending))
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
        exchange::note_response(session, response, ctx, &self.process.metrics.tunnels)?;
        self.forwarder.make_void(response, session, ctx);
        Ok(())
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
                respond::reject(session, rejection, ctx).await
            }
            Ending::ClientClosed
            | Ending::ClientStalled
            | Ending::TunnelTimeout
            | Ending::Shutdown => respond::nothing(),
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
