//! The loop under a paused clock, against endpoints that do what the test says.

use parking_lot::Mutex;

use super::*;
use crate::config::model::{Balance, LoadProbe, Pool as Config};
use crate::upstream::endpoint::State;
use crate::upstream::pick_context::PickContext;
use crate::upstream::tests::{config, registry};

/// By port: who was asked when; those in `hanging` never answer, those in `busy` say so.
#[derive(Default)]
struct Scripted {
    asked: Mutex<Vec<(u16, Instant)>>,
    hanging: Mutex<Vec<u16>>,
    busy: Mutex<Vec<u16>>,
}

impl Scripted {
    async fn answer(self: Arc<Self>, port: u16) -> Option<LoadReport> {
        self.asked.lock().push((port, Instant::now()));
        if self.hanging.lock().contains(&port) {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_millis(1)).await;
        let is_busy = self.busy.lock().contains(&port);
        Some(LoadReport {
            in_flight: Some(if is_busy { 500.0 } else { 0.0 }),
            latency: None,
        })
    }

    fn asked(&self) -> Vec<u16> {
        self.asked.lock().iter().map(|&(port, _)| port).collect()
    }

    fn times(&self, port: u16) -> usize {
        self.asked().iter().filter(|&&asked| asked == port).count()
    }
}

struct Bench {
    pool: Arc<Pool>,
    script: Arc<Scripted>,
    asking: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new(endpoints: u16, change: impl FnOnce(&mut Config)) -> Bench {
        let names: Vec<_> = (1..=endpoints).map(|n| format!("10.0.0.1:{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut config = config(&names);
        config.balance = Balance::Prequal(Some(LoadProbe {
            path: "/load".to_owned(),
            port: None,
            per_request: 300,
            timeout: Duration::from_millis(100),
        }));
        change(&mut config);
        let pool = Pool::build(&config, &registry()).unwrap();
        let script = Arc::new(Scripted::default());
        let asking = tokio::spawn({
            let (pool, script) = (pool.clone(), script.clone());
            async move {
                let probes = pool.load_probes().unwrap();
                let ask =
                    |member: Arc<Member>| script.clone().answer(member.endpoint.address().port());
                ask_as_paid(&pool, probes, ask).await;
            }
        });
        Bench {
            pool,
            script,
            asking,
        }
    }

    /// One request in each millisecond; the ports they went to.
    async fn requests(&self, count: usize) -> Vec<u16> {
        let mut ports = Vec::new();
        for _ in 0..count {
            let now = Instant::now().into_std();
            self.pool.request_came(now);
            let context = PickContext {
                now,
                ..PickContext::default()
            };
            let pick = self.pool.candidates(&context).lease_next();
            ports.push(pick.unwrap().member().endpoint.address().port());
            sleep(Duration::from_millis(1)).await;
        }
        ports
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_pays_for_three_probes_of_three_endpoints_and_none_comes_without() {
    let bench = Bench::new(8, |_| {});
    sleep(Duration::from_secs(60)).await;
    assert!(bench.script.asked().is_empty());
    bench.requests(1).await;
    sleep(Duration::from_secs(60)).await;
    let mut asked = bench.script.asked();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!((asked.len(), bench.script.asked().len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_asked_at_most_two_hundred_times_a_second_and_one_that_hangs_ten_times() {
    let bench = Bench::new(8, |_| {});
    bench.script.hanging.lock().push(8);
    bench.requests(1000).await;
    for port in 1..=7 {
        let times = bench.script.times(port);
        assert!((150..=201).contains(&times), "{port}: {times}");
    }
    let times = bench.script.times(8);
    assert!((5..=11).contains(&times), "{times}");
}

#[tokio::test(start_paused = true)]
async fn so_many_probes_run_at_once_and_no_more() {
    let bench = Bench::new(200, |_| {});
    *bench.script.hanging.lock() = (1..=200).collect();
    bench.requests(300).await;
    // Each is given up after 100 ms.
    let asked = bench.script.asked().len();
    assert!((RUNNING_MAX..=4 * RUNNING_MAX).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn who_says_that_it_is_busy_gets_next_to_nothing_until_it_says_otherwise() {
    let bench = Bench::new(8, |_| {});
    bench.script.busy.lock().push(3);
    bench.requests(100).await;
    let went = |ports: &[u16]| ports.iter().filter(|&&port| port == 3).count();
    let busy = went(&bench.requests(800).await);
    assert!(busy <= 8, "{busy} of 800");
    bench.script.busy.lock().clear();
    bench.requests(100).await;
    let idle = went(&bench.requests(800).await);
    assert!((50..=200).contains(&idle), "{idle} of 800");
}

#[tokio::test(start_paused = true)]
async fn backups_are_asked_only_while_they_serve_and_who_is_out_is_never_asked() {
    let bench = Bench::new(8, |config| {
        config.endpoints[5..]
            .iter_mut()
            .for_each(|endpoint| endpoint.backup = true);
    });
    let members = bench.pool.members();
    let endpoint = |port: usize| members.all()[port - 1].endpoint.clone();
    endpoint(1).set_state(State::Unhealthy, "for the test");
    bench.requests(100).await;
    let asked = bench.script.asked();
    assert!(asked.iter().all(|port| (2..=5).contains(port)), "{asked:?}");
    (2..=5).for_each(|port| {
        endpoint(port).set_state(State::Unhealthy, "for the test");
    });
    let before = asked.len();
    bench.requests(100).await;
    let asked = bench.script.asked().split_off(before);
    // What was paid for before may have been sent in the round that began then.
    assert!(asked.iter().skip(3).all(|port| *port >= 6), "{asked:?}");
    assert!(asked.len() > 50);
}
