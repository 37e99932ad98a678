//! What a request reads: the compiled configuration, immutable, replaced whole by a reload.
//!
//! A request loads one snapshot when it begins and holds its `Arc` to the end, so everything it
//! decides comes from one generation. Building may fail and then has changed nothing; endpoints come
//! from the registry, so what is known of them outlives the snapshot. Built by `server` at start and
//! at each reload.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cache::key::QueryRule;
use crate::cache::route::RouteCache;
use crate::cache::verdict::Verdict;
use crate::config::model;
use crate::policy::demand::Learned;
use crate::policy::ip_filter::IpFilter;
use crate::routing::Table;
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use crate::upstream::Pool;
use crate::upstream::peer::PeerError;
use crate::upstream::registry::Registry;

pub struct Snapshot {
    /// 1 at start; each reload that succeeds adds one.
    pub generation: u64,
    pub config: model::Live,
    pub table: Table,
    /// In the table's order.
    pub routes: Vec<Route>,
    /// In the configuration's order.
    pub pools: Vec<Arc<Pool>>,
    /// How routes with `cache` spell the queries of what they keep, each way once; first those of this
    /// generation, then those of earlier ones.
    pub query_rules: Vec<QueryRule>,
}

/// Ways of earlier generations that writes go on to look at.
const EARLIER_RULES_MAX: usize = 32;

/// A route with what it needs at hand.
pub struct Route {
    pub config: model::Route,
    /// Whom it serves.
    pub clients: IpFilter,
    /// `None`: the route answers itself.
    pub pool: Option<Arc<Pool>>,
    /// `None`: the cache is not used.
    pub cache: Option<Arc<RouteCache>>,
    pub metrics: RouteMetrics,
    /// What its requests take, as endpoints tell; a reload begins anew.
    pub learned: Learned,
}

impl Route {
    /// The `pool` label of log and metrics.
    pub fn pool_name(&self) -> &str {
        self.pool.as_ref().map_or("-", |pool| pool.name())
    }

    fn labels(&self) -> (&str, &str) {
        (&self.config.name, self.pool_name())
    }
}

impl Snapshot {
    /// Compiles a configuration. Reads the files of TLS settings; does not resolve names.
    pub fn build(
        config: model::Live,
        generation: u64,
        registry: &Arc<Registry>,
        metrics: &Metrics,
    ) -> Result<Snapshot, PeerError> {
        let pools = config
            .pools
            .iter()
            .map(|pool| Pool::build(pool, registry))
            .collect::<Result<Vec<_>, _>>()?;
        let routes: Vec<Route> = config
            .routes
            .iter()
            .map(|route| compile_route(route, &pools, metrics))
            .collect();
        Ok(Snapshot {
            generation,
            table: Table::build(config.routes.iter().map(|route| &route.rule)),
            query_rules: query_rules(&routes),
            routes,
            pools,
            config,
        })
    }

    /// What was stored in the ways of `before` stays, and a later reload may bring these back: so writes go
    /// on to void it. False where there would be too many ways: they are forgotten, and what is stored has
    /// to be void.
    pub fn inherit_query_rules(&mut self, before: &Snapshot) -> bool {
        let earlier = earlier_rules(&self.query_rules, &before.query_rules);
        self.query_rules.extend(earlier.iter().flatten().cloned());
        earlier.is_some()
    }

    /// Drops the metric series of routes that `next` does not have.
    pub fn forget_routes_absent_from(&self, next: &Snapshot, metrics: &Metrics) {
        let staying: HashSet<_> = next.routes.iter().map(Route::labels).collect();
        for (route, pool) in self.routes.iter().map(Route::labels) {
            if !staying.contains(&(route, pool)) {
                metrics.forget_route(route, pool, &Verdict::ALL.map(Verdict::name));
            }
        }
    }
}

fn query_rules(routes: &[Route]) -> Vec<QueryRule> {
    let mut rules = Vec::new();
    for cache in routes.iter().filter_map(|route| route.cache.as_ref()) {
        if !rules.contains(&cache.query) {
            rules.push(cache.query.clone());
        }
    }
    rules
}

/// Those of `before` that are not among `own`; `None`: too many.
fn earlier_rules(own: &[QueryRule], before: &[QueryRule]) -> Option<Vec<QueryRule>> {
    let earlier = before.iter().filter(|rule| !own.contains(rule));
    let earlier: Vec<QueryRule> = earlier.cloned().collect();
    (earlier.len() <= EARLIER_RULES_MAX).then_some(earlier)
}

fn compile_route(route: &model::Route, pools: &[Arc<Pool>], metrics: &Metrics) -> Route {
    let pool = match route.action {
        model::Action::Pool(index) => Some(pools[index].clone()),
        model::Action::Redirect(_) | model::Action::Respond(_) => None,
    };
    let cache = route.cache.as_ref().filter(|_| pool.is_some());
    let names = Verdict::ALL.map(Verdict::name);
    let verdicts = cache.map_or(&[][..], |_| &names);
    let pool_name = pool.as_ref().map_or("-", |pool| pool.name());
    Route {
        metrics: metrics.route(&route.name, pool_name, verdicts),
        cache: cache.map(|cache| Arc::new(RouteCache::new(cache, &route.rule))),
        clients: IpFilter::new(&route.allow, &route.deny),
        config: route.clone(),
        pool,
        learned: Learned::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::ArgumentName;

    #[test]
    fn ways_to_spell_a_query_are_inherited_once_each_and_not_without_end() {
        let rule = |number: usize| {
            let name = ArgumentName::parse(&format!("a{number}"));
            QueryRule::Except(vec![name])
        };
        let rules = |count| (0..count).map(rule).collect::<Vec<_>>();
        let own = [QueryRule::All, rule(1)];
        let earlier = earlier_rules(&own, &[rule(0), rule(1), QueryRule::All]);
        assert_eq!(earlier, Some(vec![rule(0)]));
        let most = rules(EARLIER_RULES_MAX);
        assert_eq!(earlier_rules(&[], &most), Some(most));
        assert_eq!(earlier_rules(&[], &rules(EARLIER_RULES_MAX + 1)), None);
        let all = rules(EARLIER_RULES_MAX + 1);
        assert!(earlier_rules(&all, &all).is_some_and(|earlier| earlier.is_empty()));
    }
}
