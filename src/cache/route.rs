//! What a route asks of the cache, in the rules' own types. Made with a snapshot, read by `proxy::cached`.

use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;

use super::compress::CompressRule;
use super::key::{ArgumentName, QueryRule};
use super::rules::encoding::Coding;
use super::rules::freshness::Defaults;
use super::rules::request::Honoured;
use super::rules::vary::VaryRule;
use crate::config::model;

#[derive(Clone, Debug)]
pub struct RouteCache {
    pub query: QueryRule,
    pub vary: VaryRule,
    pub defaults: Defaults,
    pub honoured: Honoured,
    /// Fields that speak in place of `Cache-Control`, first one first.
    pub targeted: Vec<HeaderName>,
    /// Responses with `Set-Cookie` are kept, and their cookies served to everybody.
    pub keeps_set_cookie: bool,
    /// A range that is not stored goes to the endpoint as it is, in place of the whole.
    pub passes_ranges: bool,
    /// How long a request waits for another's answer; zero: not at all.
    pub lock_timeout: Duration,
    /// `None`: responses are kept and sent as they come.
    pub compress: Option<CompressRule>,
    /// Who may use the method `PURGE`.
    pub purgers: Vec<IpNet>,
    /// `Cache-Status` tells the key.
    pub tells_key: bool,
    /// `X-Cache` is sent.
    pub has_x_cache: bool,
}

// === impl RouteCache ===

impl RouteCache {
    /// `rule`: which requests the route takes.
    pub fn new(config: &model::RouteCache, rule: &model::Rule) -> RouteCache {
        let names = |names: &[String]| names.iter().map(|name| ArgumentName::parse(name)).collect();
        let honour = &config.honour;
        RouteCache {
            query: match &config.query {
                model::QueryArguments::All => QueryRule::All,
                model::QueryArguments::Except(except) => QueryRule::Except(names(except)),
                model::QueryArguments::Only(only) => QueryRule::Only(names(only)),
            },
            vary: VaryRule {
                headers: config.headers.clone(),
                cookies: config.cookies.clone(),
                route: takes_only_some(rule),
                codes: config.compress.is_some(),
            },
            defaults: Defaults {
                ttl: config.default_ttl,
                stale_while_revalidate: config.stale_while_revalidate,
                grace: config.grace,
            },
            honoured: Honoured {
                no_cache: honour.no_cache,
                no_store: honour.no_store,
                only_if_cached: honour.only_if_cached,
                max_age: honour.max_age,
                max_stale: honour.max_stale,
                min_fresh: honour.min_fresh,
            },
            targeted: config.targeted.clone(),
            keeps_set_cookie: config.set_cookie,
            passes_ranges: config.passes_ranges,
            lock_timeout: config.lock_timeout,
            compress: config.compress.as_ref().map(compress_rule),
            purgers: config.purge.clone(),
            tells_key: config.status_key,
            has_x_cache: config.x_cache,
        }
    }
}

/// What tells the requests of a route from others for the same URL that the cache could serve as well;
/// they may be for another pool. `None`: it takes them all.
fn takes_only_some(rule: &model::Rule) -> Option<String> {
    let takes = |method| rule.methods.is_empty() || rule.methods.contains(method);
    match (takes(&Method::GET), takes(&Method::HEAD)) {
        (true, true) if rule.headers.is_empty() => None,
        (true, true) | (false, false) => Some(format!("{:?}", rule.headers)),
        (gets, _) => Some(format!("{gets} {:?}", rule.headers)),
    }
}

fn compress_rule(config: &model::Compress) -> CompressRule {
    let coding = |algorithm: &model::Algorithm| match algorithm {
        model::Algorithm::Brotli => Coding::Brotli,
        model::Algorithm::Gzip => Coding::Gzip,
        model::Algorithm::Zstd => Coding::Zstd,
    };
    CompressRule {
        codings: config.algorithms.iter().map(coding).collect(),
        min_bytes: config.min_size,
        types: config.types.clone(),
    }
}
