//! A pool under watch: 10,000 random schedules with a clock of their own, against what must always
//! hold, and the ways back one by one.

use http::{HeaderMap, StatusCode};

use super::*;
use crate::config::amounts::Amounts;
use crate::config::model::{self, Initial};
use crate::upstream::members::Pick;
use crate::upstream::observation::{Answer, Observation};
use crate::upstream::pick_context::PickContext;
use crate::upstream::registry::Registry;
use crate::upstream::tests::{config, health, outlier, registry};

const SECOND: Duration = Duration::from_secs(1);

/// A pool under watch, and its time.
struct Model {
    pool: Arc<Pool>,
    watch: Watch,
    now: Instant,
}

impl Model {
    fn of(config: &model::Pool, registry: &Arc<Registry>) -> Model {
        let pool = Pool::build(config, registry).unwrap();
        let now = Instant::now();
        Model {
            watch: Watch::new(pool.clone(), now),
            pool,
            now,
        }
    }

    /// So many endpoints, without probes.
    fn new(size: usize, rules: Outlier) -> Model {
        Model::of(&pool_of(size, rules), &registry())
    }

    fn look(&mut self) {
        self.watch.look(self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.look();
    }

    fn member(&self, place: usize) -> Arc<Member> {
        self.pool.members().all()[place].clone()
    }

    fn circuits(&self) -> Vec<Circuit> {
        let members = self.pool.members();
        let members = members.all().iter();
        members.map(|member| member.endpoint.circuit()).collect()
    }

    fn words(&self) -> Vec<&'static str> {
        let circuits = self.circuits();
        circuits
            .iter()
            .map(|circuit| circuit.phase.word())
            .collect()
    }

    fn pick(&self) -> Option<Pick> {
        self.pool.candidates(&PickContext::default()).lease_next()
    }

    /// The place of a pick.
    fn place(&self, pick: &Pick) -> usize {
        let port = pick.lease.endpoint().address().port();
        usize::from(port) - 1
    }

    /// The pick's response has this status.
    fn answer(&self, pick: &mut Pick, status: u16) {
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), HeaderMap::new());
        pick.lease.observe(&Observation {
            answer: Answer::Response(status, &headers),
            took: Duration::from_millis(1),
            is_measured: true,
            is_stale: false,
            in_flight: 1,
            now: self.now,
        });
    }

    /// So many responses of this status by that endpoint.
    fn answers(&mut self, place: usize, status: u16, count: usize) {
        let member = self.member(place);
        for _ in 0..count {
            let mut pick = Pick::new(member.clone(), &Amounts::default(), false);
            self.answer(&mut pick, status);
        }
        self.look();
    }
}

fn pool_of(size: usize, rules: Outlier) -> model::Pool {
    let addresses: Vec<String> = (1..=size).map(|port| format!("10.0.0.1:{port}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    model::Pool {
        outlier: Some(rules),
        panic_threshold: 50,
        ..config(&addresses)
    }
}

#[test]
fn five_failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let mut model = Model::new(3, outlier());
    model.answers(0, 503, 4);
    model.answers(0, 200, 1);
    model.answers(0, 502, 4);
    // Not an answer of a gateway.
    model.answers(1, 500, 50);
    assert_eq!(model.words(), ["closed"; 3]);
    model.answers(0, 504, 1);
    assert_eq!(model.words(), ["ejected", "closed", "closed"]);
    assert_eq!(model.circuits()[0].reason(), Some(Reason::Failures(5)));
    for _ in 0..10 {
        assert_ne!(model.place(&model.pick().unwrap()), 0);
    }
}

#[test]
fn one_request_tries_a_half_open_endpoint_and_decides() {
    let mut model = Model::new(3, outlier());
    model.answers(0, 503, 5);
    model.pass(30 * SECOND);
    assert_eq!(model.words()[0], "half_open");
    let picks: Vec<Pick> = (0..9).map(|_| model.pick().unwrap()).collect();
    let tried = |picks: &[Pick]| picks.iter().filter(|pick| model.place(pick) == 0).count();
    assert_eq!(tried(&picks), 1);
    // Given back untried, it is another's turn.
    drop(picks);
    let mut picks: Vec<Pick> = (0..9).map(|_| model.pick().unwrap()).collect();
    assert_eq!(tried(&picks), 1);
    let trial = picks
        .iter()
        .position(|pick| model.place(pick) == 0)
        .unwrap();
    model.answer(&mut picks[trial], 503);
    drop(picks);
    model.look();
    assert_eq!(model.words()[0], "ejected");
    let left = model.circuits()[0].time_left(model.now).unwrap();
    assert!(left > 50 * SECOND, "{left:?}");

    model.pass(60 * SECOND);
    let mut picks: Vec<Pick> = (0..9).map(|_| model.pick().unwrap()).collect();
    let trial = picks
        .iter()
        .position(|pick| model.place(pick) == 0)
        .unwrap();
    model.answer(&mut picks[trial], 404);
    model.look();
    assert_eq!(model.words()[0], "closed");
}

#[test]
fn where_there_are_probes_one_that_passes_decides() {
    let mut config = pool_of(3, outlier());
    config.health = Some(health(Initial::Healthy));
    let mut model = Model::of(&config, &registry());
    model.answers(0, 503, 5);
    let endpoint = model.member(0).endpoint.clone();
    endpoint.probed(true);
    model.look();
    assert_eq!(model.words()[0], "ejected", "it is too early");
    model.pass(30 * SECOND);
    assert_eq!(model.words()[0], "half_open");
    assert!(!endpoint.is_ready(), "no request is risked");
    endpoint.probed(false);
    model.look();
    assert_eq!(model.words()[0], "half_open");
    endpoint.probed(true);
    model.look();
    assert_eq!(model.words()[0], "closed");
}

#[test]
fn an_ejection_survives_a_reload_and_ends_with_the_rules() {
    let registry = registry();
    let mut config = pool_of(3, outlier());
    let mut old = Model::of(&config, &registry);
    old.answers(0, 503, 5);
    let mut new = Model::of(&config, &registry);
    new.look();
    assert_eq!(new.words(), ["ejected", "closed", "closed"]);
    config.outlier = None;
    let mut off = Model::of(&config, &registry);
    off.look();
    assert_eq!(off.words(), ["closed"; 3]);
    assert!(off.member(0).endpoint.is_ready());
}

#[test]
fn a_pool_panics_when_less_than_half_is_ready_and_stops_when_it_is_again() {
    let rules = Outlier {
        max_percent: 100,
        ..outlier()
    };
    let mut model = Model::new(4, rules);
    for place in 0..3 {
        model.answers(place, 503, 5);
    }
    let ready = |model: &Model| {
        (0..4)
            .filter(|&p| model.member(p).endpoint.is_ready())
            .count()
    };
    assert_eq!(
        model
            .words()
            .iter()
            .filter(|word| **word == "ejected")
            .count(),
        3
    );
    assert_eq!(ready(&model), 4);
    model.pass(30 * SECOND);
    model.answers(0, 200, 1);
    assert_eq!(model.words()[0], "closed");
    model
        .member(1)
        .endpoint
        .set_state(State::Unhealthy, "for the test");
    model.look();
    // Two of four are ready, and what is known matters again.
    assert!(!model.member(1).endpoint.is_ready());
    model
        .member(0)
        .endpoint
        .set_state(State::Unhealthy, "for the test");
    model.look();
    assert_eq!(ready(&model), 4);
    (0..4).for_each(|place| {
        let endpoint = &model.member(place).endpoint;
        endpoint.set_state(State::Unhealthy, "for the test");
    });
    model.look();
    assert_eq!(ready(&model), 0, "an outage");
}

#[test]
fn a_rate_that_stands_out_after_an_interval_ejects() {
    let mut model = Model::new(5, outlier());
    for place in 0..5 {
        model.answers(place, 200, 100);
    }
    model.answers(3, 500, 100);
    assert_eq!(model.words(), ["closed"; 5]);
    model.pass(10 * SECOND);
    assert_eq!(
        model.words().iter().position(|word| *word == "ejected"),
        Some(3)
    );
    let reason = model.circuits()[3].reason().unwrap().to_string();
    assert_eq!(reason, "success rate 50.0%, mean of the pool 90.0%");
}

#[test]
fn what_comes_back_warms_up_and_what_a_pool_begins_with_does_not() {
    let registry = registry();
    let mut config = pool_of(3, outlier());
    config.slow_start = 10 * SECOND;
    let mut model = Model::of(&config, &registry);
    let warm = |model: &Model| {
        let members = model.pool.members();
        let members = members.all().iter();
        members
            .map(|member| member.endpoint.warm_percent())
            .collect::<Vec<_>>()
    };
    model.look();
    assert_eq!(warm(&model), [100; 3]);
    model.answers(0, 503, 5);
    model.pass(30 * SECOND);
    assert_eq!(model.words()[0], "half_open");
    assert_eq!(warm(&model), [100; 3], "the trial does not wait");
    model.answers(0, 200, 1);
    assert_eq!(warm(&model), [10, 100, 100]);
    model.pass(5 * SECOND);
    assert_eq!(warm(&model), [50, 100, 100]);
    config.endpoints.push(config.endpoints[0].clone());
    config.endpoints[3].target = model::Target::Address("10.0.0.1:4".parse().unwrap());
    let mut next = Model::of(&config, &registry);
    next.now = model.now;
    next.look();
    assert_eq!(
        warm(&next),
        [50, 100, 100, 10],
        "a reload goes on, and one is new"
    );
    next.pass(10 * SECOND);
    assert_eq!(warm(&next), [100; 4]);
}

// --- random schedules

/// A schedule's pool and what is wrong with it.
struct Schedule {
    seed: u64,
    rng: fastrand::Rng,
    model: Model,
    max_percent: usize,
    has_probes: bool,
    /// Endpoints that fail every request.
    broken: Vec<bool>,
    /// Requests under way, and whether each is a trial.
    held: Vec<(Pick, bool)>,
}

impl Schedule {
    fn new(seed: u64, registry: &Arc<Registry>) -> Schedule {
        let mut rng = fastrand::Rng::with_seed(seed);
        let size = rng.usize(1..=8);
        let max_percent = rng.u32(0..=100);
        let mut config = pool_of(
            size,
            Outlier {
                consecutive_failures: Some(rng.u32(1..=3)),
                min_endpoints: 3,
                min_requests: 4,
                base_time: Duration::from_millis(rng.u64(10..5000)),
                max_time: 20 * SECOND,
                max_percent,
                ..outlier()
            },
        );
        config.name = format!("p{seed}");
        config.panic_threshold = rng.u32(0..=60);
        let has_probes = rng.bool();
        config.health = has_probes.then(|| health(Initial::Healthy));
        Schedule {
            seed,
            broken: (0..size).map(|_| rng.u8(0..3) == 0).collect(),
            rng,
            model: Model::of(&config, registry),
            max_percent: max_percent as usize,
            has_probes,
            held: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.rng.u8(0..10) {
            0..=4 => self.send(),
            5..=6 => self.finish(),
            7 => self.model.now += Duration::from_millis(self.rng.u64(0..4000)),
            8 => {
                let place = self.rng.usize(0..self.broken.len());
                self.broken[place] = !self.broken[place];
            }
            _ => self.probe(),
        }
        let before = self.model.circuits();
        self.model.look();
        self.check(&before);
    }

    fn send(&mut self) {
        let Some(pick) = self.model.pick() else {
            return;
        };
        let circuit = pick.lease.endpoint().circuit();
        let is_free = pick.lease.endpoint().is_trusted() || circuit.is_closed();
        if !is_free {
            let trying = self.held.iter().any(|(other, is_trial)| {
                *is_trial && Arc::ptr_eq(other.lease.endpoint(), pick.lease.endpoint())
            });
            let seed = self.seed;
            assert_eq!(circuit.phase.word(), "half_open", "seed {seed}");
            assert!(!trying && !self.has_probes, "seed {seed}: two trials");
        }
        self.held.push((pick, !is_free));
    }

    /// A request under way ends: with an answer, or because its client left.
    fn finish(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (mut pick, _) = self.held.swap_remove(self.rng.usize(0..self.held.len()));
        let is_broken = self.broken[self.model.place(&pick)];
        if self.rng.u8(0..8) > 0 {
            self.model
                .answer(&mut pick, if is_broken { 503 } else { 200 });
        }
    }

    fn probe(&mut self) {
        if !self.has_probes {
            return;
        }
        let place = self.rng.usize(0..self.broken.len());
        let endpoint = self.model.member(place).endpoint.clone();
        let pass = self.rng.bool();
        let state = if pass {
            State::Healthy
        } else {
            State::Unhealthy
        };
        endpoint.set_state(state, "for the test");
        endpoint.probed(pass);
    }

    fn check(&self, before: &[Circuit]) {
        let after = self.model.circuits();
        let ejected = after.iter().filter(|circuit| !circuit.is_closed()).count();
        let percent = 100 * ejected / after.len();
        let seed = self.seed;
        assert!(
            percent <= self.max_percent,
            "seed {seed}: {ejected} ejected"
        );
        let pairs = before.iter().zip(&after);
        if pairs
            .into_iter()
            .any(|(b, a)| b.is_closed() && !a.is_closed())
        {
            let members = self.model.pool.members();
            let is_left = members.all().iter().any(|member| is_serving(member));
            assert!(is_left, "seed {seed}: the last one was ejected");
        }
    }

    /// All is well again: so must every circuit be, in time.
    fn recover(&mut self) {
        self.broken.fill(false);
        self.held.clear();
        for place in 0..self.broken.len() {
            let endpoint = &self.model.member(place).endpoint;
            endpoint.set_state(State::Healthy, "for the test");
        }
        // One that the cap has spared goes when another comes back, so they may take turns.
        for _ in 0..=self.broken.len() {
            self.model.pass(20 * SECOND);
            for place in 0..self.broken.len() {
                self.model.member(place).endpoint.probed(true);
            }
            self.model.look();
            for _ in 0..4 * self.broken.len() {
                if let Some(mut pick) = self.model.pick() {
                    self.model.answer(&mut pick, 200);
                }
                self.model.look();
            }
        }
        let seed = self.seed;
        assert!(
            self.model.words().iter().all(|word| *word == "closed"),
            "seed {seed}: {:?}",
            self.model.words()
        );
        assert!(self.model.pool.is_ready(), "seed {seed}");
    }
}

#[test]
fn no_schedule_breaks_the_cap_ejects_the_last_tries_twice_or_never_recovers() {
    let registry = registry();
    for seed in 0..10_000 {
        let mut schedule = Schedule::new(seed, &registry);
        (0..60).for_each(|_| schedule.step());
        schedule.recover();
        drop(schedule);
        registry.sweep();
    }
}
