//! What a client is told beside what is stored: of the cache by `Cache-Status` (RFC 9211) and, where the route
//! says so, `X-Cache`; and what the endpoint's answer has for this client alone.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::resource;
use crate::cache::route::RouteCache;
use crate::cache::rules::freshness::Terms;
use crate::cache::rules::status::{CacheStatus, Forward, Handling};
use crate::cache::verdict::Verdict;
use crate::proxy::ctx::RequestCtx;
use crate::proxy::reject::Rejection;

/// The name of this cache among those that a response passes.
const CACHE: &str = "weir";
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) verdict: Verdict,
    handling: Handling,
    ttl: Option<i64>,
    detail: Option<&'static str>,
    key: Option<String>,
    /// Fields of the endpoint's answer that are not stored.
    pub(super) for_asker: Vec<(HeaderName, HeaderValue)>,
}

/// Why an endpoint was asked, or another's answer waited for: what is told where none came.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Wanting {
    because: Forward,
    collapsed: bool,
}

/// Tells what the cache did with a request that fails, if it had a part in it.
pub(in crate::proxy) fn tell_failure(
    head: &mut ResponseHeader,
    rejection: Rejection,
    session: &Session,
    ctx: &RequestCtx,
) -> Result<()> {
    let cache = ctx.route().and_then(|route| route.cache.as_ref());
    let (Some(cache), Some(verdict)) = (cache, ctx.cache) else {
        return Ok(());
    };
    let handling = match ctx.wanting {
        Some(Wanting { because, collapsed }) => Handling::Forwarded {
            because,
            status: None,
            stored: false,
            collapsed,
        },
        None => Handling::Refused,
    };
    let told = Told::new(verdict, handling).because(rejection.name());
    told.with_key_of(cache, session, ctx).write(head, cache)
}

// === impl Wanting ===

impl Wanting {
    pub(super) fn answer(because: Forward) -> Wanting {
        Wanting {
            because,
            collapsed: false,
        }
    }

    pub(super) fn anothers(because: Forward) -> Wanting {
        Wanting {
            because,
            collapsed: true,
        }
    }
}

// === impl Told ===

impl Told {
    /// Nothing was forwarded.
    pub(super) fn hit(verdict: Verdict) -> Told {
        Told::new(verdict, Handling::Hit)
    }

    pub(super) fn forwarded(verdict: Verdict, because: Forward) -> Told {
        let handling = Handling::Forwarded {
            because,
            status: None,
            stored: false,
            collapsed: verdict == Verdict::Collapsed,
        };
        Told::new(verdict, handling)
    }

    fn new(verdict: Verdict, handling: Handling) -> Told {
        Told {
            verdict,
            handling,
            ttl: None,
            detail: None,
            key: None,
            for_asker: Vec::new(),
        }
    }

    pub(super) fn wanting(&self) -> Option<Wanting> {
        match self.handling {
            Handling::Forwarded { because, .. } => Some(Wanting::answer(because)),
            Handling::Hit | Handling::Refused => None,
        }
    }

    /// What came is kept, or what was kept is renewed.
    pub(super) fn stored(mut self) -> Told {
        if let Handling::Forwarded { stored, .. } = &mut self.handling {
            *stored = true;
        }
        self
    }

    /// The endpoint said something else than the client is told.
    pub(super) fn answered(mut self, answer: Option<StatusCode>) -> Told {
        if let Handling::Forwarded { status, .. } = &mut self.handling {
            *status = answer;
        }
        self
    }

    /// How long it is fresh, or has been stale.
    pub(super) fn fresh_for(mut self, terms: &Terms, now: SystemTime) -> Told {
        let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        self.ttl = Some(match terms.is_fresh(now) {
            true => seconds(terms.remaining(now)),
            false => -seconds(terms.staleness(now)),
        });
        self
    }

    pub(super) fn because(mut self, detail: &'static str) -> Told {
        self.detail = Some(detail);
        self
    }

    /// Where the route tells it.
    pub(super) fn with_key_of(
        mut self,
        route: &RouteCache,
        session: &Session,
        ctx: &RequestCtx,
    ) -> Told {
        if route.tells_key {
            let resource = resource(session, ctx, &route.query);
            self.key = resource.map(|resource| resource.to_string());
        }
        self
    }

    pub(super) fn for_asker(mut self, fields: Vec<(HeaderName, HeaderValue)>) -> Told {
        self.for_asker = fields;
        self
    }

    /// A member of `Cache-Status`.
    pub(super) fn status(&self) -> CacheStatus<'_> {
        CacheStatus {
            cache: CACHE,
            handling: self.handling,
            ttl: self.ttl,
            key: self.key.as_deref(),
            detail: self.detail,
        }
    }

    /// Adds what a route tells its clients.
    pub(super) fn write(&self, head: &mut ResponseHeader, route: &RouteCache) -> Result<()> {
        head.append_header(CACHE_STATUS, self.status().to_string())?;
        if route.has_x_cache {
            let name = HeaderValue::from_static(self.verdict.loud_name());
            head.insert_header(X_CACHE, name)?;
        }
        Ok(())
    }
}
