//! What finding a route costs at 10, 1,000 and 10,000 routes: the figures should be about the same.
//!
//! Each host has four routes: an exact path, two prefixes and everything else; one host in ten is a
//! wildcard, one in ten has a regex too. Requests hit a route chosen at random.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use regex::Regex;
use weir::config::model::{HostPattern, PathPattern, Rule};
use weir::routing::Table;
use weir::routing::normalize::normalize;

const REQUESTS: usize = 4096;

struct Request {
    host: String,
    path: String,
}

fn find(criterion: &mut Criterion) {
    for routes in [10, 1_000, 10_000] {
        let (rules, hits) = site(routes);
        let table = Table::build(&rules);
        let requests = shuffled(&hits);
        let headers = HeaderMap::new();
        for request in &requests {
            let found = table.find(
                request.host.as_bytes(),
                &request.path,
                &Method::GET,
                &headers,
            );
            assert!(found.is_some(), "{}{}", request.host, request.path);
        }
        let mut next = requests.iter().cycle();
        criterion.bench_function(&format!("find in {routes} routes"), |bencher| {
            bencher.iter(|| {
                let Some(request) = next.next() else { return };
                let host = black_box(request.host.as_bytes());
                let path = black_box(request.path.as_str());
                black_box(table.find(host, path, &Method::GET, &headers));
            });
        });
    }
}

fn normal(criterion: &mut Criterion) {
    for (name, target) in [
        ("a normal path", "/api/v2/products/1234?sort=price&page=2"),
        (
            "a path to rewrite",
            "/api/./v2//products/%31234?sort=price&page=2",
        ),
    ] {
        criterion.bench_function(&format!("normalize {name}"), |bencher| {
            bencher.iter(|| black_box(normalize(black_box(target))));
        });
    }
}

/// Rules, and for each a request that takes it.
fn site(routes: usize) -> (Vec<Rule>, Vec<Request>) {
    let mut rules = Vec::new();
    let mut hits = Vec::new();
    for route in 0..routes {
        let (number, kind) = (route / 4, route % 4);
        let name = format!("site-{number}.example.com");
        let (pattern, host) = match number % 10 {
            9 => (HostPattern::Wildcard(name.clone()), format!("www.{name}")),
            _ => (HostPattern::Exact(name.clone()), name),
        };
        let (path, request) = match kind {
            0 => (PathPattern::Exact("/login".into()), "/login"),
            1 => (
                PathPattern::Prefix("/api/v2".into()),
                "/api/v2/products/1234",
            ),
            2 if number % 10 == 8 => (regex("^/v[0-9]+/[a-z]+$"), "/v17/orders"),
            2 => (
                PathPattern::Prefix("/static".into()),
                "/static/css/main.css",
            ),
            _ => (PathPattern::Any, "/index.html"),
        };
        rules.push(Rule {
            hosts: vec![pattern],
            path,
            methods: Vec::new(),
            headers: Vec::new(),
        });
        hits.push(Request {
            host,
            path: request.into(),
        });
    }
    (rules, hits)
}

fn regex(pattern: &str) -> PathPattern {
    PathPattern::Regex(Regex::new(pattern).unwrap_or_else(|error| panic!("{error}")))
}

/// The same order in each run.
fn shuffled(hits: &[Request]) -> Vec<&Request> {
    let mut random = fastrand::Rng::with_seed(1);
    let pick = |_| random.choice(hits);
    (0..REQUESTS).filter_map(pick).collect()
}

criterion_group!(benches, find, normal);
criterion_main!(benches);
