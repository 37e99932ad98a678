//! Responses of our own: redirects, fixed answers and rejections.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::{FailToProxy, Session};
use pingora_timeout::timeout;

use crate::config::model::{HeaderEdits, Redirect, Respond};
use crate::policy::headers;
use crate::proxy::cached::told::tell_failure;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::downstream::{LINGER, LINGER_BYTES};
use crate::proxy::reject::{RETRY_AFTER, Rejection, accepts_json};

/// A whole response that needs no endpoint.
pub(super) struct Answer {
    head: ResponseHeader,
    body: Bytes,
}

impl Answer {
    pub(super) fn redirect(redirect: &Redirect, location: String) -> Result<Answer> {
        let mut head = ResponseHeader::build(redirect.status, Some(4))?;
        head.insert_header(header::LOCATION, location)?;
        Ok(Answer {
            head,
            body: Bytes::new(),
        })
    }

    pub(super) fn fixed(respond: &Respond) -> Result<Answer> {
        let mut head = ResponseHeader::build(respond.status, Some(4))?;
        head.insert_header(header::CONTENT_TYPE, respond.content_type.clone())?;
        let body = Bytes::from(respond.body.clone());
        Ok(Answer { head, body })
    }

    /// A 200 that is nobody else's.
    pub(super) fn json(body: String) -> Result<Answer> {
        let mut head = ResponseHeader::build(StatusCode::OK, Some(4))?;
        head.insert_header(header::CONTENT_TYPE, "application/json")?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        let body = body.into();
        Ok(Answer { head, body })
    }

    /// A pool's own words for a failure.
    fn fallback(fallback: &Respond) -> Result<Answer> {
        let mut answer = Answer::fixed(fallback)?;
        let head = &mut answer.head;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        if fallback.status == StatusCode::SERVICE_UNAVAILABLE {
            head.insert_header(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER))?;
        }
        Ok(answer)
    }

    fn rejection(rejection: Rejection, json: bool, request_id: &str) -> Result<Answer> {
        let (body, content_type) = rejection.body(json, request_id);
        let mut head = ResponseHeader::build(rejection.status(), Some(6))?;
        head.insert_header(header::CONTENT_TYPE, content_type)?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        if let Some(seconds) = rejection.retry_after() {
            head.insert_header(header::RETRY_AFTER, HeaderValue::from(seconds))?;
        }
        Ok(Answer {
            head,
            body: body.into(),
        })
    }

    fn of_cache(
        mut self,
        rejection: Rejection,
        session: &Session,
        ctx: &RequestCtx,
    ) -> Result<Answer> {
        tell_failure(&mut self.head, rejection, session, ctx)?;
        Ok(self)
    }

    pub(super) fn edited(mut self, edits: &HeaderEdits) -> Answer {
        headers::apply(edits, &mut self.head);
        self
    }

    pub(super) async fn send(mut self, session: &mut Session) -> Result<()> {
        let has_body = !matches!(self.head.status.as_u16(), 204 | 304);
        if has_body {
            self.head
                .insert_header(header::CONTENT_LENGTH, self.body.len())?;
        }
        let ends_with_head = !has_body || self.body.is_empty();
        session
            .write_response_header(Box::new(self.head), ends_with_head)
            .await?;
        if !ends_with_head {
            session.write_response_body(Some(self.body), true).await?;
        }
        Ok(())
    }
}

/// Answers a request that is refused or failed, unless its response has begun already; then only the
/// end of the connection can tell the client.
pub(super) async fn reject(
    session: &mut Session,
    rejection: Rejection,
    ctx: &RequestCtx,
) -> FailToProxy {
    if session.response_written().is_some_and(is_last_head) {
        return nothing();
    }
    // Where an endpoint was involved or a body may be unread, Pingora closes; the client is told.
    let can_reuse_downstream = rejection == Rejection::NoRoute && session.is_body_done();
    if !can_reuse_downstream {
        session.set_keepalive(None);
    }
    let answer = match fallback(ctx).filter(|_| rejection.is_unserved()) {
        Some(fallback) => Answer::fallback(fallback),
        None => {
            let accept = session.get_header(header::ACCEPT);
            let json = accepts_json(accept.map(HeaderValue::as_bytes));
            Answer::rejection(rejection, json, ctx.request_id())
        }
    };
    let sent = match answer.and_then(|answer| answer.of_cache(rejection, session, ctx)) {
        Ok(answer) => answer.send(session).await,
        Err(error) => Err(error),
    };
    if sent.is_ok() && !can_reuse_downstream {
        linger(session).await;
    }
    FailToProxy {
        error_code: rejection.status().as_u16(),
        can_reuse_downstream: can_reuse_downstream && sent.is_ok(),
    }
}

fn fallback(ctx: &RequestCtx) -> Option<&Respond> {
    ctx.route()?.pool.as_ref()?.config().fallback.as_ref()
}

/// After a 101 no other head can follow either: what comes is the tunnel's.
fn is_last_head(head: &ResponseHeader) -> bool {
    head.status == StatusCode::SWITCHING_PROTOCOLS || !head.status.is_informational()
}

/// Reads some of the body that is refused, so that closing does not reset the connection and take
/// the answer with it.
async fn linger(session: &mut Session) {
    let drained = timeout(LINGER, async {
        let mut rest = LINGER_BYTES;
        while let Ok(Some(bytes)) = session.read_request_body().await {
            rest = rest.saturating_sub(bytes.len());
            if rest == 0 {
                break;
            }
        }
    });
    // Either way the connection is closed next.
    let _ = drained.await;
}

pub(super) fn nothing() -> FailToProxy {
    FailToProxy {
        error_code: 0,
        can_reuse_downstream: false,
    }
}
