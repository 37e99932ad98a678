//! The loops under a paused clock, against a check that does what the test says.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::{Error, ErrorType};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::HealthCheck;

use super::*;
use crate::config::model::{Initial, Pool as Config};
use crate::upstream::member::MemberSpec;
use crate::upstream::tests::{config, health, registry};

/// Fails for the ports in `down`, never answers for those in `hanging`, notes who was probed when.
#[derive(Default)]
struct Scripted {
    down: Mutex<Vec<u16>>,
    hanging: Mutex<Vec<u16>>,
    probed: Mutex<Vec<(u16, Instant)>>,
    running: AtomicUsize,
    running_max: AtomicUsize,
}

#[async_trait]
impl HealthCheck for Scripted {
    async fn check(&self, target: &Backend) -> pingora_core::Result<()> {
        let port = target.addr.as_inet().unwrap().port();
        self.probed.lock().push((port, Instant::now()));
        let _running = Running::new(self);
        if self.hanging.lock().contains(&port) {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        if self.down.lock().contains(&port) {
            return Err(Error::new(ErrorType::ConnectRefused));
        }
        Ok(())
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

struct Running<'a>(&'a Scripted);

impl<'a> Running<'a> {
    fn new(check: &'a Scripted) -> Self {
        let running = check.running.fetch_add(1, SeqCst) + 1;
        check.running_max.fetch_max(running, SeqCst);
        Running(check)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Scripted {
    fn times(&self, port: u16) -> Vec<Instant> {
        let probed = self.probed.lock();
        let of_port = probed.iter().filter(|(probed, _)| *probed == port);
        of_port.map(|&(_, at)| at).collect()
    }
}

/// A pool and its running loops.
struct Bench {
    pool: Arc<Pool>,
    check: Arc<Scripted>,
    loops: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new(config: &Config) -> Self {
        let pool = Pool::build(config, &registry()).unwrap();
        let check = Arc::new(Scripted::default());
        Bench {
            loops: tokio::spawn({
                let (pool, check) = (pool.clone(), check.clone());
                let health = pool.config().health.clone().unwrap();
                let prober = Prober::new();
                async move {
                    probe_all(
                        &pool,
                        &Plan {
                            health,
                            check,
                            prober,
                        },
                    )
                    .await
                }
            }),
            pool,
            check,
        }
    }

    fn state(&self, port: u16) -> State {
        let members = self.pool.members();
        let mut members = members.all().iter();
        let member = members.find(|member| member.endpoint.address().port() == port);
        member.expect("a member").endpoint.state()
    }

    /// Lets the loops run until the endpoint is in `state`; the time that took.
    async fn until(&self, port: u16, state: State) -> Duration {
        let started = Instant::now();
        while self.state(port) != state {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{state:?} never comes"
            );
            sleep(Duration::from_millis(1)).await;
        }
        started.elapsed()
    }
}

fn probed(endpoints: &[&str], initial: Initial) -> Config {
    Config {
        health: Some(health(initial)),
        ..config(endpoints)
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_falls_fast_and_rises_again() {
    let bench = Bench::new(&probed(&["10.0.0.1:1"], Initial::Healthy));
    bench.until(1, State::Healthy).await;
    bench.check.down.lock().push(1);
    // The next probe within 2.4 s, two fast ones of at most 0.6 s after it.
    assert!(bench.until(1, State::Unhealthy).await < Duration::from_millis(3650));
    bench.check.down.lock().clear();
    assert!(bench.until(1, State::Healthy).await < Duration::from_millis(3050));
}

#[tokio::test(start_paused = true)]
async fn a_pending_endpoint_is_probed_at_once_and_then_at_the_interval() {
    let bench = Bench::new(&probed(&["10.0.0.1:1"], Initial::Pending));
    assert!(bench.until(1, State::Healthy).await <= Duration::from_millis(110));
    sleep(Duration::from_secs(60)).await;
    let times = bench.check.times(1);
    let gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    assert!(
        gaps.iter().all(|gap| (1.59..2.41).contains(gap)),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().any(|gap| (gap - gaps[0]).abs() > 0.01),
        "no jitter in {gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_delays_nobody_and_falls() {
    let bench = Bench::new(&probed(&["10.0.0.1:1", "10.0.0.1:2"], Initial::Healthy));
    bench.check.hanging.lock().push(1);
    bench.until(2, State::Healthy).await;
    bench.until(1, State::Unhealthy).await;
    let gaps: Vec<_> = bench
        .check
        .times(2)
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(
        gaps.iter().all(|gap| *gap < Duration::from_millis(2410)),
        "{gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn first_probes_are_spread_over_the_interval() {
    let endpoints: Vec<String> = (1..=100).map(|port| format!("10.0.0.1:{port}")).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let started = Instant::now();
    let bench = Bench::new(&probed(&endpoints, Initial::Healthy));
    sleep(Duration::from_millis(2001)).await;
    let early = |port: &u16| bench.check.times(*port)[0] - started < Duration::from_secs(1);
    let early = (1..=100).filter(early).count();
    assert!(
        (20..80).contains(&early),
        "{early} of 100 in the first half"
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_permitted_probes_run_at_once() {
    let ports = 1..=super::super::probe::PROBES_MAX as u16 + 50;
    let endpoints: Vec<String> = ports
        .clone()
        .map(|port| format!("10.0.0.1:{port}"))
        .collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let bench = Bench::new(&probed(&endpoints, Initial::Pending));
    bench.check.hanging.lock().extend(ports);
    bench.until(1, State::Unhealthy).await;
    assert_eq!(
        bench.check.running_max.load(SeqCst),
        super::super::probe::PROBES_MAX
    );
}

#[tokio::test(start_paused = true)]
async fn probes_follow_the_membership_and_end_with_their_loop() {
    let bench = Bench::new(&probed(&["10.0.0.1:1"], Initial::Healthy));
    bench.until(1, State::Healthy).await;
    let joined = MemberSpec {
        address: "10.0.0.1:2".parse().unwrap(),
        weight: 1,
        backup: false,
        max_in_flight: None,
        capacity: Default::default(),
        host: None,
        order: 0,
    };
    bench.pool.set_members(&[joined.backend()].into());
    assert_eq!(bench.state(2), State::Unproven);
    bench.until(2, State::Healthy).await;
    let before = bench.check.times(1).len();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(
        bench.check.times(1).len(),
        before,
        "it left, and is probed no more"
    );

    bench.loops.abort();
    sleep(Duration::from_millis(1)).await;
    let before = bench.check.times(2).len();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.check.times(2).len(), before);
}

#[tokio::test(start_paused = true)]
async fn without_probes_every_endpoint_is_healthy_again() {
    let registry = registry();
    let probed = Pool::build(&probed(&["10.0.0.1:1"], Initial::Pending), &registry).unwrap();
    let pool = Pool::build(&config(&["10.0.0.1:1"]), &registry).unwrap();
    assert!(!probed.is_ready());
    let loops = tokio::spawn(run(pool.clone(), Prober::new()));
    sleep(Duration::from_millis(1)).await;
    assert!(pool.is_ready());
    loops.abort();
}
