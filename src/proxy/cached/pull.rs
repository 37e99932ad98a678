//! Takes a body from the endpoint into the store.
//!
//! Begun by the client that asked, or for none (`refresh`). When that client is finished, or gone, the
//! rest is pulled in a task of its own, as nobody has to wait for it: the client's connection takes the
//! next request, and its record is written. The endpoint counts it as in flight to the end. What nobody
//! reads ends after the route's `timeout`, or [`UNREAD_MAX`], however slowly it drips.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::{Error, ErrorSource, ErrorType, Result};

use super::fill::Reading;
use crate::cache::store::Fill;
use crate::cache::store::body::Body;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::failure::Outcome;
use crate::proxy::forward::{Answered, Forwarder};

/// Where the route has no `timeout`.
const UNREAD_MAX: Duration = Duration::from_secs(5 * 60);

/// Who holds a body that nobody reads: its fill, the store, and who asks.
const HOLDERS_OF_UNREAD: usize = 3;

pub(super) struct Pull {
    forwarder: Arc<Forwarder>,
    /// `None` when it is over.
    parts: Option<(Answered, Fill)>,
}

// === impl Pull ===

impl Pull {
    pub(super) fn new(forwarder: &Arc<Forwarder>, answered: Answered, fill: Fill) -> Pull {
        Pull {
            forwarder: Arc::clone(forwarder),
            parts: Some((answered, fill)),
        }
    }

    /// Goes on to the end of the body. May be dropped while it waits, and begun again.
    pub(super) async fn run(&mut self, reading: &Reading) -> Result<()> {
        let result = self.take_all(reading).await;
        let parts = self.parts.take();
        if let (Ok(()), Some((answered, fill))) = (&result, parts) {
            fill.commit();
            self.forwarder.finished(answered);
        }
        result
    }

    async fn take_all(&mut self, reading: &Reading) -> Result<()> {
        let Some((answered, fill)) = &mut self.parts else {
            return Ok(());
        };
        loop {
            while fill.is_passing() && reading.is_behind(fill.written()) {
                reading.moved().await;
            }
            match answered.next().await? {
                Some(bytes) => fill.write(bytes)?,
                None => return Ok(()),
            }
        }
    }

    /// Goes on without a client, on behalf of `ctx`.
    pub(super) fn go_on(self, ctx: RequestCtx) {
        tokio::spawn(async move {
            // Whoever reads it is told; nobody else needs to be.
            let _ = self.for_others(ctx).await;
        });
    }

    /// The same to the end, or until it takes too long for nobody.
    pub(super) async fn for_others(mut self, mut ctx: RequestCtx) -> Result<()> {
        let limit = ctx.route().and_then(|route| route.config.timeout);
        let limit = limit.unwrap_or(UNREAD_MAX);
        let nobody = Reading::nobody();
        loop {
            let pulled = tokio::time::timeout(limit, self.run(&nobody)).await;
            match pulled {
                Ok(Err(error)) => {
                    if error.esource() == &ErrorSource::Upstream {
                        ctx.attempts.failed(Outcome::of(&error));
                    }
                    return Err(error);
                }
                Ok(Ok(())) => return Ok(()),
                Err(_) if self.is_read() => {}
                Err(_) => {
                    let why = "nobody reads the response, and it takes too long";
                    return Error::e_explain(ErrorType::InternalError, why);
                }
            }
        }
    }

    fn is_read(&self) -> bool {
        let fill = self.parts.as_ref().map(|(_, fill)| fill);
        let found = fill.and_then(Fill::found);
        found.is_some_and(|found| match found.body {
            Body::Whole(_) => false,
            Body::Open(open) => Arc::strong_count(&open) > HOLDERS_OF_UNREAD,
        })
    }
}
