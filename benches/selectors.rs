//! What a pick costs, all of it: the walk, the choice, the lease and its release, for each selector at 8
//! and 1,000 endpoints; idle, and with attempts running on every endpoint. And what a peer costs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use weir::config::amounts::Amounts;
use weir::config::model::{
    Balance, Endpoint, Hash, HashKey, HashTable, Pool as Config, Resources, Target, Tls,
};
use weir::telemetry::metrics::Metrics;
use weir::upstream::Pool;
use weir::upstream::pick_context::{PickContext, Wanted};
use weir::upstream::registry::Registry;

fn config(balance: Balance, size: u16, tls: Option<Tls>) -> Config {
    let endpoint = |port| Endpoint {
        target: Target::Address(([10, 0, 0, 1], port).into()),
        weight: 1,
        backup: false,
        max_in_flight: None,
        capacity: amounts(1_000 * u64::from(1 + port % 4), 3_000),
    };
    Config {
        name: "bench".to_owned(),
        resources: Resources {
            dimensions: match balance {
                Balance::Resource => vec!["compute".to_owned(), "storage".to_owned()],
                _ => Vec::new(),
            },
            ..Resources::default()
        },
        balance,
        sticky: None,
        endpoints: (1..=size).map(endpoint).collect(),
        max_in_flight: None,
        adaptive_limit: None,
        queue: Default::default(),
        retry_budget: Default::default(),
        health: None,
        outlier: None,
        panic_threshold: 0,
        slow_start: Duration::ZERO,
        fallback: None,
        connect_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(1),
        write_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        tunnel_timeout: Duration::from_secs(1),
        tls,
    }
}

/// Of compute and storage, in units.
fn amounts(compute: u64, storage: u64) -> Amounts {
    let mut amounts = Amounts::default();
    for (dimension, units) in [compute, storage].into_iter().enumerate() {
        amounts.set(dimension, units * 1_000_000);
    }
    amounts
}

fn hash(table: HashTable) -> Balance {
    Balance::Hash(Hash {
        key: HashKey::Path,
        table,
        bounded_load: Some(125),
    })
}

fn pool(balance: Balance, size: u16, tls: Option<Tls>) -> Arc<Pool> {
    let registry = Arc::new(Registry::new(Metrics::new()));
    Pool::build(&config(balance, size, tls), &registry).expect("no file is read")
}

fn picks(criterion: &mut Criterion) {
    let balances = [
        Balance::RoundRobin,
        Balance::LeastConn,
        Balance::Random,
        Balance::P2c,
        Balance::Ewma,
        Balance::Prequal(None),
        Balance::Resource,
        hash(HashTable::Ring),
        hash(HashTable::Maglev),
    ];
    for size in [8, 1000] {
        for balance in &balances {
            let pool = pool(balance.clone(), size, None);
            let is_hash = matches!(balance, Balance::Hash(_));
            let is_resource = matches!(balance, Balance::Resource);
            let context = PickContext {
                hash_key: if is_hash { b"/images/logo.png" } else { b"" },
                wanted: Wanted {
                    demand: if is_resource {
                        amounts(2, 4)
                    } else {
                        Amounts::default()
                    },
                    ..Wanted::default()
                },
                ..PickContext::default()
            };
            let pick = || black_box(pool.candidates(black_box(&context)).lease_next());
            let name = match balance {
                Balance::Hash(hash) => format!("hash/{:?}", hash.table),
                other => other.name().to_owned(),
            };
            criterion.bench_function(&format!("{name}/{size}/idle"), |bencher| {
                bencher.iter(pick);
            });
            let members = pool.members();
            let running = members.all().iter().map(|member| member.endpoint.lease());
            let _running: Vec<_> = running.collect();
            criterion.bench_function(&format!("{name}/{size}/busy"), |bencher| {
                bencher.iter(pick);
            });
        }
    }
}

fn peers(criterion: &mut Criterion) {
    let tls = Tls {
        sni: Some("api.internal".to_owned()),
        verify: true,
        ca: None,
        identity: None,
    };
    for (name, tls) in [("peer/plain", None), ("peer/tls", Some(tls))] {
        let pool = pool(Balance::RoundRobin, 1, tls);
        let address = pool.members().all()[0].endpoint.address();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| Box::new(pool.peers().peer(black_box(address), None)));
        });
    }
}

criterion_group!(benches, picks, peers);
criterion_main!(benches);
