//! Pools as the proxy sees them: who is offered, in which order, in which state.

use std::time::Duration;

use super::*;
use crate::config::amounts::Amounts;
use crate::config::model::{Balance, Health, Initial, Outlier, Probe, Target};
use crate::telemetry::metrics::Metrics;

/// A pool of `endpoints`, without health, balanced by `round_robin`.
pub(crate) fn config(endpoints: &[&str]) -> model::Pool {
    model::Pool {
        name: "api".to_owned(),
        balance: Balance::RoundRobin,
        endpoints: endpoints.iter().map(|text| listed(text)).collect(),
        max_in_flight: None,
        adaptive_limit: None,
        queue: Default::default(),
        retry_budget: Default::default(),
        resources: model::Resources::default(),
        sticky: None,
        health: None,
        outlier: None,
        panic_threshold: 0,
        slow_start: Duration::ZERO,
        fallback: None,
        connect_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(2),
        write_timeout: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(4),
        tunnel_timeout: Duration::from_secs(5),
        tls: None,
    }
}

fn listed(text: &str) -> model::Endpoint {
    let target = match text.parse() {
        Ok(address) => Target::Address(address),
        Err(_) => {
            let (host, port) = text.rsplit_once(':').expect("name:port");
            Target::Name {
                host: host.to_owned(),
                port: port.parse().expect("a port"),
            }
        }
    };
    model::Endpoint {
        target,
        weight: 1,
        backup: false,
        max_in_flight: None,
        capacity: Amounts::default(),
    }
}

pub(crate) fn health(initial: Initial) -> Health {
    Health {
        probe: Probe::Tcp,
        port: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        fast_interval: Duration::from_millis(500),
        rise: 2,
        fall: 3,
        initial,
    }
}

/// As the defaults are.
pub(crate) fn outlier() -> Outlier {
    Outlier {
        consecutive_failures: Some(5),
        success_rate: true,
        slow_factor: None,
        interval: Duration::from_secs(10),
        min_endpoints: 5,
        min_requests: 100,
        base_time: Duration::from_secs(30),
        max_time: Duration::from_secs(300),
        max_percent: 33,
    }
}

/// Sessions by the cookie `at`.
pub(crate) fn sticky(strict: bool) -> model::Sticky {
    model::Sticky {
        cookie: "at".to_owned(),
        secrets: model::Secrets::Given(vec![model::Secret("0123456789abcdef".to_owned())]),
        ttl: None,
        strict,
        secure: true,
        same_site: model::SameSite::Lax,
        path: "/".to_owned(),
    }
}

pub(crate) fn registry() -> Arc<Registry> {
    Arc::new(Registry::new(Metrics::new()))
}

fn resolve(registry: &Registry, name: &str, v4: &[&str], v6: &[&str]) {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    registry.name(name).update(Ok(parse(v4)), Ok(parse(v6)));
}

fn endpoint(pool: &Pool, place: usize) -> Arc<Endpoint> {
    pool.members().all()[place].endpoint.clone()
}

fn states(pool: &Pool) -> Vec<State> {
    let members = pool.members();
    let members = members.all().iter();
    members.map(|member| member.endpoint.state()).collect()
}

/// The ports one request is offered, in order.
fn offers(pool: &Pool) -> Vec<u16> {
    let mut candidates = pool.candidates(&PickContext::default());
    let next = || Some(candidates.lease_next()?.lease.endpoint().address().port());
    std::iter::from_fn(next).collect()
}

#[test]
fn backups_follow_when_no_primary_is_left_to_try() {
    let mut config = config(&["10.0.0.1:1", "10.0.0.1:9", "10.0.0.1:2"]);
    config.endpoints[1].backup = true;
    let pool = Pool::build(&config, &registry()).unwrap();
    let offered = offers(&pool);
    assert_eq!(offered.len(), 3);
    assert_eq!(offered[2], 9);
    endpoint(&pool, 0).set_state(State::Unhealthy, "for the test");
    endpoint(&pool, 1).set_state(State::Unhealthy, "for the test");
    assert!(pool.is_ready());
    assert_eq!(offers(&pool), [9]);
    endpoint(&pool, 2).set_state(State::Unhealthy, "for the test");
    assert!(!pool.is_ready());
    assert!(offers(&pool).is_empty());
}

#[test]
fn a_drained_endpoint_is_a_member_and_gets_nothing() {
    let mut config = config(&["10.0.0.1:1", "10.0.0.1:2"]);
    config.endpoints[0].weight = 0;
    let pool = Pool::build(&config, &registry()).unwrap();
    assert_eq!(pool.members().all().len(), 2);
    assert_eq!(offers(&pool), [2]);
    config.endpoints[1].weight = 0;
    let pool = Pool::build(&config, &registry()).unwrap();
    assert!(offers(&pool).is_empty() && !pool.is_ready());
}

#[test]
fn round_robin_is_exact_under_64_concurrent_requests() {
    let mut config = config(&["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3"]);
    config.endpoints[0].weight = 5;
    let pool = Pool::build(&config, &registry()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                (0..70).for_each(|_| drop(pool.candidates(&PickContext::default()).lease_next()))
            });
        }
    });
    let picks = |place| endpoint(&pool, place).picks();
    assert_eq!([picks(0), picks(1), picks(2)], [3200, 640, 640]);
    assert_eq!(endpoint(&pool, 0).in_flight(), 0);
}

#[test]
fn least_conn_is_exact_for_leases_taken_at_the_same_time() {
    let mut config = config(&["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:4"]);
    config.balance = Balance::LeastConn;
    let pool = Pool::build(&config, &registry()).unwrap();
    let picks = std::thread::scope(|scope| {
        let lease = || {
            pool.candidates(&PickContext::default())
                .lease_next()
                .expect("all are ready")
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(lease)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    assert!((0..4).all(|place| endpoint(&pool, place).in_flight() == 16));
    drop(picks);
    assert!((0..4).all(|place| endpoint(&pool, place).in_flight() == 0));
}

#[test]
fn a_reload_keeps_health_and_in_flight_and_takes_over_weights() {
    let registry = registry();
    let mut config = config(&["10.0.0.1:1", "10.0.0.1:2"]);
    config.health = Some(health(Initial::Healthy));
    let old = Pool::build(&config, &registry).unwrap();
    endpoint(&old, 0).set_state(State::Unhealthy, "for the test");
    let _held = endpoint(&old, 0).lease();
    config.endpoints[0].weight = 7;
    let new = Pool::build(&config, &registry).unwrap();
    assert!(Arc::ptr_eq(&endpoint(&old, 0), &endpoint(&new, 0)));
    assert_eq!(endpoint(&new, 0).in_flight(), 1);
    assert_eq!(states(&new), [State::Unhealthy, State::Unproven]);
    assert_eq!(new.members().all()[0].weight, 7);
    assert_eq!(old.members().all()[0].weight, 1);
}

#[test]
fn initial_decides_how_a_pool_starts() {
    let mut config = config(&["10.0.0.1:1"]);
    assert_eq!(
        states(&Pool::build(&config, &registry()).unwrap()),
        [State::Healthy]
    );
    config.health = Some(health(Initial::Healthy));
    assert_eq!(
        states(&Pool::build(&config, &registry()).unwrap()),
        [State::Unproven]
    );
    config.health = Some(health(Initial::Pending));
    assert_eq!(
        states(&Pool::build(&config, &registry()).unwrap()),
        [State::Pending]
    );
}

#[test]
fn an_endpoint_added_beside_a_healthy_one_waits_for_its_first_pass() {
    let registry = registry();
    let mut config = config(&["10.0.0.1:1"]);
    config.health = Some(health(Initial::Healthy));
    let old = Pool::build(&config, &registry).unwrap();
    endpoint(&old, 0).set_state(State::Healthy, "for the test");
    config.endpoints.push(listed("10.0.0.1:2"));
    let new = Pool::build(&config, &registry).unwrap();
    assert_eq!(states(&new), [State::Healthy, State::Pending]);
}

#[test]
fn endpoints_that_replace_all_others_serve_at_once() {
    let registry = registry();
    let mut config = config(&["10.0.0.1:1"]);
    config.health = Some(health(Initial::Healthy));
    let old = Pool::build(&config, &registry).unwrap();
    endpoint(&old, 0).set_state(State::Healthy, "for the test");
    config.endpoints = vec![listed("10.0.0.1:2")];
    let new = Pool::build(&config, &registry).unwrap();
    assert_eq!(states(&new), [State::Unproven]);
}

#[test]
fn members_follow_a_name_and_a_request_keeps_the_membership_it_began_with() {
    let registry = registry();
    let pool = Pool::build(&config(&["10.0.0.1:1", "db.internal:5"]), &registry).unwrap();
    let changes = pool.changes();
    assert_eq!(pool.members().all().len(), 1);
    let mut running = pool.candidates(&PickContext::default());

    resolve(&registry, "db.internal", &["10.0.0.2"], &["::1"]);
    let discovered = pool
        .targets()
        .specs()
        .iter()
        .map(MemberSpec::backend)
        .collect();
    assert!(pool.set_members(&discovered));
    assert!(changes.has_changed().unwrap());
    assert!(
        !pool.set_members(&discovered),
        "the same again is no change"
    );

    let members = pool.members();
    let names: Vec<&str> = members
        .all()
        .iter()
        .map(|member| member.endpoint.name())
        .collect();
    assert_eq!(names, ["10.0.0.1:1", "10.0.0.2:5", "[::1]:5"]);
    assert_eq!(members.all()[1].host.as_deref(), Some("db.internal"));
    assert!(running.lease_next().is_some() && running.lease_next().is_none());
    assert_eq!(offers(&pool).len(), 3);
}

#[test]
fn a_reload_starts_from_a_names_last_good_answer() {
    let registry = registry();
    let config = config(&["db.internal:5"]);
    let _old = Pool::build(&config, &registry).unwrap();
    resolve(&registry, "db.internal", &["10.0.0.2"], &[]);
    assert_eq!(offers(&Pool::build(&config, &registry).unwrap()), [5]);
}

#[test]
fn two_names_of_one_address_are_one_member() {
    let registry = registry();
    let config = config(&["a.internal:5", "b.internal:5", "10.0.0.2:5"]);
    let _hold = Pool::build(&config, &registry).unwrap();
    for name in ["a.internal", "b.internal"] {
        resolve(&registry, name, &["10.0.0.2"], &[]);
    }
    assert_eq!(offers(&Pool::build(&config, &registry).unwrap()), [5]);
}

#[test]
fn a_sticky_pick_respects_the_limit_of_an_endpoint_that_begins_to_serve() {
    let mut config = config(&["10.0.0.1:80", "10.0.0.2:80"]);
    for endpoint in &mut config.endpoints {
        endpoint.max_in_flight = Some(20);
    }
    config.sticky = Some(sticky(false));
    let pool = Pool::build(&config, &registry()).unwrap();
    let members = pool.members();
    let member = &members.all()[0];
    let cookie = format!("at={}", str::from_utf8(&member.tokens[0]).unwrap());
    let headers = http::HeaderMap::from_iter([(http::header::COOKIE, cookie.parse().unwrap())]);
    let context = PickContext {
        brought: pool.sticky().unwrap().brought(&headers),
        ..PickContext::default()
    };
    let pick = || pool.candidates(&context).lease_next().unwrap();
    let warming = warmth::Warmth::Warming(Instant::now());
    member.endpoint.set_warmth(warming, 10);
    let held = [(); 2].map(|()| pick());
    assert!(held.iter().all(|pick| Arc::ptr_eq(pick.member(), member)));
    // A tenth of 20 are running.
    assert!(!Arc::ptr_eq(pick().member(), member));
    member.endpoint.set_warmth(warming, 15);
    assert!(Arc::ptr_eq(pick().member(), member));
}
