//! Takes a body from the endpoint into the store.
//!
//! Begun by the client that asked, or for none (`refresh`). When that client is finished, or gone, the
//! rest is pulled in a task of its own, as nobody has to wait for it: the client's connection takes the
//! next request, and its record is written. The task counts as in flight, at the endpoint too, and has no
//! line in the log. What nobody reads ends after the route's `timeout`, or [`UNREAD_MAX`], however slowly
//! it drips.
//!
//! It needs one of `Process::unread_fills`, or clients that come and go would hold as many of the endpoints'
//! connections as they like. Where none is left it goes on only while others read it. A refresh needs none:
//! there is at most one for each stored response. The end of the process waits for none of them.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::{Error, ErrorSource, ErrorType, Result};
use tokio::sync::OwnedSemaphorePermit;

use crate::cache::store::Fill;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::failure::Outcome;
use crate::proxy::forward::{Answered, Forwarder};

/// Where the route has no `timeout`.
const UNREAD_MAX: Duration = Duration::from_secs(5 * 60);

/// How often a fill that goes on only for its readers looks whether it has any.
const GLANCE: Duration = Duration::from_secs(1);

pub(super) struct Pull {
    forwarder: Arc<Forwarder>,
    /// `None` when it is over.
    parts: Option<(Answered, Fill)>,
    /// How much of the last piece is in the store.
    taken: usize,
}

// === impl Pull ===

impl Pull {
    pub(super) fn new(forwarder: &Arc<Forwarder>, answered: Answered, fill: Fill) -> Pull {
        Pull {
            forwarder: Arc::clone(forwarder),
            parts: Some((answered, fill)),
            taken: 0,
        }
    }

    /// Goes on to the end of the body. May be dropped while it waits, and begun again.
    pub(super) async fn run(&mut self) -> Result<()> {
        let result = self.take_all().await;
        let parts = self.parts.take();
        if let (Ok(()), Some((answered, fill))) = (&result, parts) {
            fill.commit();
            self.forwarder.finished(answered);
        }
        result
    }

    async fn take_all(&mut self) -> Result<()> {
        let Some((answered, fill)) = &mut self.parts else {
            return Ok(());
        };
        loop {
            while let Some(rest) = answered.last().get(self.taken..)
                && !rest.is_empty()
            {
                self.taken += fill.take(rest).await?;
            }
            if answered.next().await?.is_none() {
                return Ok(());
            }
            self.taken = 0;
        }
    }

    /// Goes on without a client, on behalf of `ctx`, for whoever asks later. Where too many do, only for
    /// those who read it now.
    pub(super) fn go_on(mut self, mut ctx: RequestCtx) {
        let place = self.place();
        if place.is_none() && self.ends_unread() {
            return;
        }
        let patience = match place {
            Some(_) => patience(&ctx),
            None => GLANCE,
        };
        tokio::spawn(async move {
            // Whoever reads it is told; nobody else needs to be.
            let _ = self.while_read(patience, &mut ctx).await;
            drop(place);
        });
    }

    /// The same to the end, or until it takes too long for nobody.
    pub(super) async fn for_others(mut self, mut ctx: RequestCtx) -> Result<()> {
        self.while_read(patience(&ctx), &mut ctx).await
    }

    /// To the end of the body, or until it is found unread after another while of `patience`.
    async fn while_read(&mut self, patience: Duration, ctx: &mut RequestCtx) -> Result<()> {
        loop {
            match tokio::time::timeout(patience, self.run()).await {
                Ok(Err(error)) => {
                    if error.esource() == &ErrorSource::Upstream {
                        ctx.attempts.failed(Outcome::of(&error));
                    }
                    return Err(error);
                }
                Ok(Ok(())) => return Ok(()),
                Err(_) if self.ends_unread() => {
                    let why = "nobody reads the response, and it takes too long";
                    return Error::e_explain(ErrorType::InternalError, why);
                }
                Err(_) => {}
            }
        }
    }

    /// Leave to go on though nobody reads it. There is none for what will not be kept.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        let (_, fill) = self.parts.as_ref()?;
        let places = &self.forwarder.process.unread_fills;
        let places = Some(places).filter(|_| !fill.is_passing())?;
        Arc::clone(places).try_acquire_owned().ok()
    }

    /// Lets it end, if nobody reads it; false where somebody does.
    fn ends_unread(&mut self) -> bool {
        let Some((_, fill)) = &mut self.parts else {
            return true;
        };
        let was_kept = !fill.is_passing();
        let has_ended = fill.end_unread();
        if has_ended && was_kept {
            self.forwarder.process.metrics.cache.refused("unread");
        }
        has_ended
    }
}

/// How long what nobody reads may take.
fn patience(ctx: &RequestCtx) -> Duration {
    let limit = ctx.route().and_then(|route| route.config.timeout);
    limit.unwrap_or(UNREAD_MAX)
}
