//! Fetches anew what was served stale, with nobody waiting for it.
//!
//! One refresh at a time for each stored response: it leads a flight, so that requests which may not be
//! served stale wait for it. It runs in a task of its own, on behalf of the request that found the
//! response stale, over a session that has no client behind it. It leaves no line in the log, only metrics.

use std::sync::Arc;

use pingora_core::Result;
use pingora_core::protocols::Stream;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::errand::{Arrived, Errand, Filling};
use super::pull::Pull;
use super::{Cached, Ticket};
use crate::cache::entry::Stored;
use crate::cache::flights::Leader;
use crate::cache::route::RouteCache;
use crate::cache::rules::directives::RequestDirectives;
use crate::cache::rules::status::Forward;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::forward::Forwarder;

/// Room for a head at least, which is written before it is read; interim responses are read away as they
/// come.
const PIPE_BYTES: usize = 64 * 1024;

/// All that a refresh needs of the request it is made for.
struct Refresh {
    forwarder: Arc<Forwarder>,
    route: Arc<RouteCache>,
    primary: [u8; 16],
    stored: Stored,
    leader: Leader,
    head: Vec<u8>,
    ctx: RequestCtx,
}

impl Cached<'_> {
    /// Begins a refresh, unless one runs or the request forbids to keep what comes.
    pub(super) fn refresh(&self, stored: &Stored, session: &Session, ctx: &RequestCtx) {
        let process = &self.forwarder.process;
        let leader = process.flights.try_lead(&self.key_of(stored));
        let Some(leader) = leader.filter(|_| !self.directives.no_store) else {
            return;
        };
        let refresh = Refresh {
            forwarder: Arc::clone(self.forwarder),
            route: Arc::clone(&self.route),
            primary: self.primary,
            stored: stored.clone(),
            leader,
            head: head(session.req_header()),
            ctx: ctx.beside(&process.metrics.requests_in_flight),
        };
        tokio::spawn(refresh.run());
    }
}

impl Refresh {
    async fn run(self) {
        let metrics = Arc::clone(&self.forwarder.process.metrics);
        let (near, mut far) = tokio::io::duplex(PIPE_BYTES.max(self.head.len()));
        if far.write_all(&self.head).await.is_err() {
            return;
        }
        let result = tokio::select! {
            result = self.fetch(Box::new(near)) => result.unwrap_or("failed"),
            () = read_away(&mut far) => "failed",
        };
        metrics.cache.refreshed(result);
    }

    /// What became of it, in one word.
    async fn fetch(mut self, stream: Stream) -> Result<&'static str> {
        let mut session = Session::new_h1(stream);
        session.as_downstream_mut().read_request().await?;
        let cached = Cached {
            forwarder: &self.forwarder,
            route: self.route,
            primary: self.primary,
            directives: RequestDirectives::default(),
        };
        let errand = Errand {
            because: Forward::Stale,
            has_own: true,
            flight: cached.key_of(&self.stored),
            known: vec![self.stored],
            ticket: Ticket::Leads(self.leader),
            asked: None,
        };
        match cached.ask(errand, &mut session, &mut self.ctx).await? {
            Arrived::Filling(filling) => {
                let Filling { answered, fill, .. } = *filling;
                let pull = Pull::new(&self.forwarder, answered, fill);
                pull.for_others(self.ctx).await?;
                Ok("stored")
            }
            Arrived::Renewed(_) => Ok("revalidated"),
            Arrived::StandIn(..) => Ok("failed"),
            Arrived::NotKept { .. } => Ok("refused"),
        }
    }
}

/// The client's request as it would come over the wire; it has no body. Names with an underscore are left
/// out, as they are for every endpoint: this session cannot say that it has some.
fn head(request: &RequestHeader) -> Vec<u8> {
    let mut head = b"GET ".to_vec();
    head.extend_from_slice(request.raw_path());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    let told = request.headers.iter();
    for (name, value) in told.filter(|(name, _)| !name.as_str().contains('_')) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Interim responses, which nobody waits for.
async fn read_away(far: &mut DuplexStream) {
    let mut bytes = [0; 512];
    while matches!(far.read(&mut bytes).await, Ok(1..)) {}
}
