//! Turns as requests meet them: who gets a place, when, and what is left when all have gone.

use std::sync::atomic::AtomicU32;

use super::*;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Pool;
use crate::upstream::endpoint::State as Health;
use crate::upstream::member::MemberSpec;
use crate::upstream::observation::{Answer, Observation};
use crate::upstream::pick_context::{PickContext, Wanted};
use crate::upstream::registry::Registry;
use crate::upstream::tests::{config, sticky};

/// A pool of so many endpoints, and what its limits are.
fn pool(endpoints: u16, change: impl FnOnce(&mut model::Pool)) -> Arc<Pool> {
    pool_in(&Arc::new(Registry::new(Metrics::new())), endpoints, change)
}

fn pool_in(
    registry: &Arc<Registry>,
    endpoints: u16,
    change: impl FnOnce(&mut model::Pool),
) -> Arc<Pool> {
    let names: Vec<_> = (1..=endpoints).map(|n| format!("10.0.0.1:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut config = config(&names);
    change(&mut config);
    Pool::build(&config, registry).unwrap()
}

fn enter(pool: &Pool) -> Entered {
    enter_as(pool, Priority::Normal, None)
}

fn enter_as(pool: &Pool, priority: Priority, tenant: Option<&str>) -> Entered {
    enter_with(pool, &PickContext::default(), priority, tenant)
}

fn enter_with(
    pool: &Pool,
    context: &PickContext<'_>,
    priority: Priority,
    tenant: Option<&str>,
) -> Entered {
    let limits = pool.limits().expect("the pool is limited");
    limits.enter(Entrant {
        candidates: pool.candidates(context),
        is_fresh: true,
        priority,
        tenant: tenant.map(|name| limits.tenant(name.as_bytes())),
    })
}

fn granted(pool: &Pool) -> Box<Granted> {
    match enter(pool) {
        Entered::AtOnce(Ok(granted)) => granted,
        _ => panic!("it has to wait or is refused"),
    }
}

fn waiter(pool: &Pool) -> Waiter {
    waits(enter(pool))
}

fn waits(entered: Entered) -> Waiter {
    match entered {
        Entered::Waits(waiter) => waiter,
        Entered::AtOnce(_) => panic!("it does not wait"),
    }
}

/// What the waiter has been told by now.
fn reply(waiter: &mut Waiter) -> Option<Reply> {
    waiter.reply.try_recv().ok()
}

fn is_served(waiter: &mut Waiter) -> Option<Box<Granted>> {
    reply(waiter)?.ok()
}

fn port(granted: &Granted) -> u16 {
    granted.pick.member().endpoint.address().port()
}

fn in_flight(pool: &Pool) -> Vec<u32> {
    let members = pool.members();
    let members = members.all().iter();
    members.map(|member| member.endpoint.in_flight()).collect()
}

#[test]
fn a_place_that_is_given_back_goes_to_the_one_who_waits_longest() {
    let pool = pool(2, |config| config.max_in_flight = Some(2));
    let first = granted(&pool);
    let second = granted(&pool);
    let mut waiters = [waiter(&pool), waiter(&pool)];
    assert!(waiters.iter_mut().all(|waiter| is_served(waiter).is_none()));
    drop(first);
    let third = is_served(&mut waiters[0]).expect("its turn has come");
    assert!(is_served(&mut waiters[1]).is_none());
    drop((second, third));
    assert!(is_served(&mut waiters[1]).is_some());
    drop(waiters);
    assert_eq!(in_flight(&pool), [0, 0]);
}

#[test]
fn an_endpoint_at_its_limit_is_skipped_and_its_backup_left_alone() {
    let pool = pool(3, |config| {
        config.endpoints[0].max_in_flight = Some(1);
        config.endpoints[1].max_in_flight = Some(2);
        config.endpoints[2].backup = true;
    });
    let mut held: Vec<_> = (0..3).map(|_| granted(&pool)).collect();
    assert_eq!(in_flight(&pool), [1, 2, 0]);
    let mut waiter = waiter(&pool);
    held.retain(|granted| port(granted) == 2);
    assert_eq!(port(&is_served(&mut waiter).unwrap()), 1);
}

#[test]
fn every_selector_honours_limits() {
    let hash = |table| {
        model::Balance::Hash(model::Hash {
            key: model::HashKey::Path,
            table,
            bounded_load: None,
        })
    };
    for balance in [
        model::Balance::RoundRobin,
        model::Balance::LeastConn,
        model::Balance::Random,
        model::Balance::P2c,
        model::Balance::Ewma,
        model::Balance::Prequal(None),
        hash(model::HashTable::Ring),
        hash(model::HashTable::Maglev),
    ] {
        let pool = pool(3, |config| {
            config.balance = balance;
            for endpoint in &mut config.endpoints {
                endpoint.max_in_flight = Some(2);
            }
        });
        let mut held: Vec<_> = (0..6).map(|_| granted(&pool)).collect();
        assert_eq!(
            in_flight(&pool),
            [2, 2, 2],
            "{}",
            pool.config().balance.name()
        );
        let mut waiter = waiter(&pool);
        let freed = port(&held.remove(0));
        assert_eq!(port(&is_served(&mut waiter).unwrap()), freed);
    }
}

#[test]
fn a_waiter_that_goes_leaves_at_once_and_its_place_goes_on() {
    let pool = pool(1, |config| config.max_in_flight = Some(1));
    let first = granted(&pool);
    let (gone, told, mut last) = (waiter(&pool), waiter(&pool), waiter(&pool));
    let turns = &pool.limits().unwrap().turns;
    assert_eq!(turns.waiting.load(SeqCst), 3);
    drop(gone);
    assert_eq!(turns.waiting.load(SeqCst), 2);
    // The pick is on its way to the second when that one goes as well.
    drop(first);
    drop(told);
    assert!(is_served(&mut last).is_some());
    assert_eq!(in_flight(&pool), [0]);
}

#[test]
fn a_full_queue_refuses_and_says_when_to_come_again() {
    let pool = pool(1, |config| {
        config.max_in_flight = Some(1);
        config.queue.length = 2;
    });
    drop(granted(&pool));
    let _first = granted(&pool);
    let _waiters = [waiter(&pool), waiter(&pool)];
    let Entered::AtOnce(Err(Refusal::Full { retry_after })) = enter(&pool) else {
        panic!("the queue is not full");
    };
    // Two wait, and one in the last second was served.
    assert_eq!(retry_after, Some(2));
}

#[test]
fn nobody_waits_for_endpoints_that_are_down() {
    let pool = pool(2, |config| config.max_in_flight = Some(1));
    let down = |place: usize| {
        let endpoint = pool.members().all()[place].endpoint.clone();
        endpoint.set_state(Health::Unhealthy, "for the test");
    };
    let held = granted(&pool);
    let mut waiter = waiter(&pool);
    down(0);
    down(1);
    assert!(matches!(
        enter(&pool),
        Entered::AtOnce(Err(Refusal::NoneReady))
    ));
    drop(held);
    assert!(matches!(reply(&mut waiter), Some(Err(Refusal::NoneReady))));
}

#[test]
fn an_endpoint_that_comes_back_serves_those_who_wait() {
    let pool = pool(2, |config| {
        config.endpoints[0].max_in_flight = Some(1);
        config.endpoints[1].max_in_flight = Some(1);
    });
    let endpoint = pool.members().all()[0].endpoint.clone();
    endpoint.set_state(Health::Unhealthy, "for the test");
    let _held = granted(&pool);
    let mut waiter = waiter(&pool);
    endpoint.set_state(Health::Healthy, "for the test");
    assert_eq!(port(&is_served(&mut waiter).unwrap()), 1);
}

#[test]
fn an_endpoint_that_joins_serves_those_who_wait() {
    let pool = pool(1, |config| config.endpoints[0].max_in_flight = Some(1));
    let _held = granted(&pool);
    let mut waiter = waiter(&pool);
    let mut specs = pool.targets().specs();
    specs.push(MemberSpec {
        address: "10.0.0.1:2".parse().unwrap(),
        order: 1,
        ..specs[0].clone()
    });
    assert!(pool.set_members(&specs.iter().map(MemberSpec::backend).collect()));
    assert!(is_served(&mut waiter).is_none(), "it has not looked yet");
    waiter.look_again(pool.candidates(&PickContext::default()));
    assert_eq!(port(&is_served(&mut waiter).unwrap()), 2);
}

#[test]
fn who_has_tried_the_free_endpoint_lets_others_pass() {
    let pool = pool(2, |config| {
        config.endpoints[0].max_in_flight = Some(1);
        config.endpoints[1].max_in_flight = Some(1);
    });
    let failed = granted(&pool);
    let other = granted(&pool);
    let tried = port(&failed);
    drop(failed.pick);
    // It has tried this one, and somebody else has it by now.
    let taken = granted(&pool);
    let Entered::Waits(mut retry) = pool.limits().unwrap().enter(Entrant {
        candidates: failed.candidates,
        is_fresh: false,
        priority: Priority::Normal,
        tenant: None,
    }) else {
        panic!("both are at their limit");
    };
    let mut fresh = waiter(&pool);
    drop(taken);
    assert!(is_served(&mut retry).is_none());
    let fresh = is_served(&mut fresh).expect("the retry cannot use it");
    assert_eq!(port(&fresh), tried);
    drop(other);
    assert_ne!(port(&is_served(&mut retry).unwrap()), tried);
}

#[test]
fn limits_hold_over_a_reload_and_older_requests_wake_those_who_wait() {
    let registry = Arc::new(Registry::new(Metrics::new()));
    let unlimited = pool_in(&registry, 1, |_| {});
    let old = unlimited.candidates(&PickContext::default()).lease_next();
    let one = |config: &mut model::Pool| {
        config.max_in_flight = Some(1);
        config.endpoints[0].max_in_flight = Some(1);
    };
    let limited = pool_in(&registry, 1, one);
    let mut first = waiter(&limited);
    drop(old);
    let first = is_served(&mut first).expect("the old request has ended");
    let again = pool_in(&registry, 1, one);
    let mut second = waiter(&again);
    drop(first);
    assert!(is_served(&mut second).is_some());
}

#[test]
fn those_of_an_older_configuration_do_not_hold_up_newer_ones() {
    let registry = Arc::new(Registry::new(Metrics::new()));
    let old = pool_in(&registry, 1, |config| config.max_in_flight = Some(1));
    let held = granted(&old);
    let mut waits = waiter(&old);
    let new = pool_in(&registry, 2, |config| config.max_in_flight = Some(3));
    let Entered::Waits(mut newer) = enter(&new) else {
        panic!("somebody waits already");
    };
    assert!(
        is_served(&mut newer).is_some(),
        "there are three places now"
    );
    assert!(is_served(&mut waits).is_none());
    drop(held);
    assert!(is_served(&mut waits).is_some());
}

#[test]
fn high_priority_goes_first() {
    let pool = pool(1, |config| config.max_in_flight = Some(1));
    let held = granted(&pool);
    let mut normal = waiter(&pool);
    let Entered::Waits(mut high) = enter_as(&pool, Priority::High, None) else {
        panic!("there is no place");
    };
    drop(held);
    assert!(is_served(&mut high).is_some() && is_served(&mut normal).is_some());
}

#[test]
fn tenants_get_equal_parts_of_the_places_and_give_them_back() {
    let pool = pool(1, |config| {
        config.max_in_flight = Some(4);
        config.queue.tenant = Some(HeaderName::from_static("x-tenant"));
    });
    let take = |name| match enter_as(&pool, Priority::Normal, Some(name)) {
        Entered::AtOnce(Ok(granted)) => granted,
        _ => panic!("there is a place"),
    };
    let wait = |name| match enter_as(&pool, Priority::Normal, Some(name)) {
        Entered::Waits(waiter) => waiter,
        Entered::AtOnce(_) => panic!("there is no place"),
    };
    let mut held: Vec<_> = (0..4).map(|_| take("greedy")).collect();
    let mut greedy = [wait("greedy"), wait("greedy")];
    let mut modest = [wait("modest"), wait("modest")];
    held.truncate(2);
    let served = modest.each_mut().map(is_served);
    assert!(served.iter().all(Option::is_some), "they had nothing");
    assert!(greedy.iter_mut().all(|waiter| is_served(waiter).is_none()));
    drop((held, served));
    assert!(greedy.iter_mut().all(|waiter| is_served(waiter).is_some()));
    drop((greedy, modest));
    let turns = &pool.limits().unwrap().turns;
    let state = turns.state.lock();
    assert!(state.queue.is_idle() && state.in_flight == 0);
}

/// Whole units.
fn amounts(first: u64, second: u64) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.set(0, first * 1_000_000);
    amounts.set(1, second * 1_000_000);
    amounts
}

fn enter_taking(pool: &Pool, demand: Amounts, tenant: Option<&str>) -> Entered {
    let wanted = Wanted {
        demand,
        may_wait: true,
        ..Wanted::default()
    };
    let context = PickContext {
        wanted,
        ..PickContext::default()
    };
    enter_with(pool, &context, Priority::Normal, tenant)
}

#[test]
fn who_leaves_lets_those_behind_it_have_what_was_too_little_for_it() {
    let pool = pool(1, |config| {
        config.balance = model::Balance::Resource;
        config.resources.dimensions = vec!["cpu".to_owned()];
        config.endpoints[0].capacity = amounts(10, 0);
    });
    let Entered::AtOnce(Ok(_held)) = enter_taking(&pool, amounts(6, 0), None) else {
        panic!("the pool is idle");
    };
    let wait = |demand| waits(enter_taking(&pool, demand, None));
    let large = wait(amounts(8, 0));
    let mut small = wait(amounts(3, 0));
    assert!(is_served(&mut small).is_none(), "it is not its turn");
    drop(large);
    assert!(is_served(&mut small).is_some());
}

#[test]
fn who_waits_for_one_endpoint_only_lets_others_pass() {
    let pool = pool(2, |config| {
        config.endpoints[0].max_in_flight = Some(1);
        config.endpoints[1].max_in_flight = Some(1);
        config.sticky = Some(sticky(true));
    });
    let (first, other) = (granted(&pool), granted(&pool));
    let cookie = pool
        .sticky()
        .unwrap()
        .set_cookie(first.pick.cookie().unwrap());
    let headers = http::HeaderMap::from_iter([(http::header::COOKIE, cookie.unwrap())]);
    let context = PickContext {
        brought: pool.sticky().unwrap().brought(&headers),
        ..PickContext::default()
    };
    let mut bound = waits(enter_with(&pool, &context, Priority::Normal, None));
    let mut free = waiter(&pool);
    drop(other);
    assert!(is_served(&mut bound).is_none());
    assert!(is_served(&mut free).is_some());
    let own = port(&first);
    drop(first);
    assert_eq!(port(&is_served(&mut bound).unwrap()), own);
}

/// Ghodsi et al., §4.1: of ⟨9 CPUs, 18 GB⟩ A, whose requests take ⟨1, 4⟩, runs 3, and B with ⟨3, 1⟩ 2.
#[test]
fn tenants_get_equal_dominant_shares_of_the_pools_resources() {
    let pool = pool(2, |config| {
        config.balance = model::Balance::Resource;
        config.resources.dimensions = vec!["cpu".to_owned(), "memory".to_owned()];
        config.endpoints[0].capacity = amounts(9, 18);
        // What a drained endpoint has is not there to be shared.
        config.endpoints[1].capacity = amounts(100, 100);
        config.endpoints[1].weight = 0;
        config.queue.tenant = Some(HeaderName::from_static("x-tenant"));
    });
    let Entered::AtOnce(Ok(held)) = enter_taking(&pool, amounts(9, 18), None) else {
        panic!("the pool is idle");
    };
    let wait = |demand, tenant| match enter_taking(&pool, demand, Some(tenant)) {
        Entered::Waits(waiter) => waiter,
        Entered::AtOnce(_) => panic!("everything is taken"),
    };
    let mut waiters: Vec<_> = (0..5)
        .flat_map(|_| {
            [
                ("a", wait(amounts(1, 4), "a")),
                ("b", wait(amounts(3, 1), "b")),
            ]
        })
        .collect();
    drop(held);
    let mut runs = Vec::new();
    for (name, waiter) in &mut waiters {
        runs.extend(is_served(waiter).map(|granted| (*name, granted)));
    }
    let count = |tenant| runs.iter().filter(|(name, _)| *name == tenant).count();
    assert_eq!((count("a"), count("b")), (3, 2));
    drop((runs, waiters));
    assert!(pool.limits().unwrap().turns.state.lock().queue.is_idle());
}

/// The endpoint answers all that it holds, so fast, with this status.
fn answer(held: &mut [Box<Granted>], status: http::StatusCode, took: Duration) {
    let began = Instant::now();
    for (number, granted) in held.iter_mut().enumerate() {
        granted.pick.lease.observe(&Observation {
            answer: Answer::Response(status, &http::HeaderMap::new()),
            took,
            is_measured: true,
            is_stale: false,
            in_flight: 20,
            now: began + Duration::from_millis(12) * number as u32,
        });
    }
}

#[test]
fn an_adaptive_limit_bounds_an_endpoint_and_its_rise_serves_those_who_wait() {
    let pool = pool(1, |config| {
        config.adaptive_limit = Some(model::AdaptiveLimit { min: 2, max: 100 });
    });
    let mut held: Vec<_> = (0..20).map(|_| granted(&pool)).collect();
    let mut waiter = waiter(&pool);
    answer(&mut held, http::StatusCode::OK, Duration::from_millis(10));
    assert!(is_served(&mut waiter).is_some(), "there is a 21st place");
}

#[test]
fn neither_fast_errors_nor_impossible_speed_lift_a_limit_above_what_is_due() {
    let pool = pool(1, |config| {
        config.adaptive_limit = Some(model::AdaptiveLimit { min: 2, max: 22 });
    });
    let mut held: Vec<_> = (0..20).map(|_| granted(&pool)).collect();
    for status in [500, 503] {
        let status = http::StatusCode::from_u16(status).unwrap();
        answer(&mut held, status, Duration::ZERO);
    }
    let mut waiters = [waiter(&pool), waiter(&pool), waiter(&pool)];
    assert!(waiters.iter_mut().all(|waiter| is_served(waiter).is_none()));
    for _ in 0..50 {
        answer(&mut held, http::StatusCode::OK, Duration::ZERO);
    }
    let served: Vec<_> = waiters.iter_mut().filter_map(is_served).collect();
    assert_eq!(served.len(), 2, "22 at most");
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// 64 threads, each entering again and again, some of them impatient: the limits hold, and at the
/// end nothing is held and nobody waits.
#[test]
fn no_wake_up_is_lost_under_contention() {
    let pool = pool(3, |config| {
        config.max_in_flight = Some(8);
        for endpoint in &mut config.endpoints {
            endpoint.max_in_flight = Some(4);
        }
    });
    let served = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let (pool, served) = (&pool, &served);
            scope.spawn(move || {
                for round in 0..200 {
                    let granted = match enter(pool) {
                        Entered::AtOnce(reply) => reply.ok(),
                        Entered::Waits(waiter) if (thread + round) % 5 == 0 => {
                            drop(waiter);
                            None
                        }
                        // Without its wake-up it would wait for ever.
                        Entered::Waits(mut waiter) => block_on(waiter.turn()).ok(),
                    };
                    if let Some(granted) = granted {
                        assert!(granted.pick.member().endpoint.in_flight() <= 4);
                        served.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    let turns = &pool.limits().unwrap().turns;
    assert_eq!(turns.waiting.load(SeqCst), 0);
    assert_eq!(turns.state.lock().in_flight, 0);
    assert_eq!(in_flight(&pool), [0, 0, 0]);
    assert!(served.load(SeqCst) >= 64 * 200 * 4 / 5);
}
