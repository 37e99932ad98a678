//! From `raw` to `model`: gives every default, resolves every name, turns either/or into enums.
//!
//! A value that is wrong is reported and replaced by its default, so that everything after it is looked at too; the
//! `Config` may be handed out only if the report has no problem. No I/O. Called by `config`.

mod balance;
mod cache;
mod compress;
mod endpoint;
mod headers;
mod health;
mod hedge;
mod keys;
mod listener;
mod log;
mod name;
mod outlier;
mod pattern;
mod pool;
mod queue;
mod redirect;
mod resources;
mod respond;
mod retry;
mod route;
mod rule;
mod server;
mod statuses;
mod sticky;
mod tls;

use super::model::{Config, Fixed, Live};
use super::path::At;
use super::raw;
use super::report::Report;

pub(super) fn config(raw: &raw::Root, report: &mut Report<'_>) -> Config {
    let no_server = raw::Server::default();
    let server = raw.server.as_ref().unwrap_or(&no_server);
    let at_server = At::ROOT.key("server");
    let no_log = raw::Log::default();
    let log = raw.log.as_ref().unwrap_or(&no_log);
    let at_log = At::ROOT.key("log");
    let no_cache = raw::cache::Cache::default();
    let cache = raw.cache.as_ref().unwrap_or(&no_cache);

    let admin = listener::admin(raw.admin.as_ref(), report);
    let pools = pool::pools(raw.pools.as_ref(), report);
    let fixed = Fixed {
        threads: server::threads(server, &at_server, report),
        pid_file: server::pid_file(server, &at_server, report),
        upgrade_socket: server::upgrade_socket(server, &at_server, report),
        listeners: listener::listeners(raw.listeners.as_ref(), admin, report),
        admin,
        access_log: log::access(log, &at_log, report),
        eviction: cache::eviction(cache),
    };
    let live = Live {
        drain_timeout: server::drain_timeout(server, &at_server, report),
        trusted_proxies: server::trusted_proxies(server, &at_server, report),
        forwarded: server::forwarded(server),
        resolvers: server::resolvers(server, &at_server, report),
        limits: server::limits(server.limits.as_ref(), &at_server.key("limits"), report),
        routes: route::routes(raw.routes.as_ref(), raw.pools.as_ref(), &pools, report),
        pools,
        cache: cache::cache(cache, &At::ROOT.key("cache"), report),
        log_level: log::level(log),
    };
    warn_of_unused_pools(&live, report);
    Config { fixed, live }
}

fn warn_of_unused_pools(live: &Live, report: &mut Report<'_>) {
    let mut used = vec![false; live.pools.len()];
    for route in &live.routes {
        if let super::model::Action::Pool(index) = route.action
            && let Some(used) = used.get_mut(index)
        {
            *used = true;
        }
    }
    for (pool, _) in live.pools.iter().zip(used).filter(|(_, used)| !used) {
        report.warn(&At::ROOT.key("pools").key(&pool.name), "no route uses it");
    }
}
