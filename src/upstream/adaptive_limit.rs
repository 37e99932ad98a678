//! Gradient2: the number of attempts an endpoint can work on without making them wait.
//!
//! Definition (Netflix `concurrency-limits`, `Gradient2Limit`): compare the response time of now with
//! its long-term mean; `gradient = 1.5 × long / now`, within 0.5..=1; the new limit is `limit ×
//! gradient + 4`, of which a fifth is taken over at each step. So the limit grows by what a small
//! queue needs while responses are as fast as ever, and shrinks when they take more than 1.5 times as
//! long. It does not grow while less than half of it is in use.
//!
//! One thing differs: there, the mean follows slow responses even when the limit is what makes them
//! slow, so an endpoint with more work than it can take drifts to the maximum. Here the mean rises
//! only by responses that the limit does not explain: with room to spare, or when shrinking has not
//! helped down to the bottom (the endpoint has become slower, and that is normal from now on).
//!
//! A step takes the mean over at least 100 ms and 10 responses. Pure; fed by `Endpoint`.

use std::time::{Duration, Instant};

use crate::config::model::AdaptiveLimit as Bounds;

/// Where it starts, within the bounds.
pub const INITIAL: u32 = 20;
/// How much slower than the long-term mean is no sign of a queue.
const TOLERANCE: f64 = 1.5;
/// What may wait at the endpoint.
const QUEUE: f64 = 4.0;
const SMOOTHING: f64 = 0.2;
const GRADIENT_MIN: f64 = 0.5;
/// Steps that the long-term mean goes back, and those of its start, which count alike.
const LONG_STEPS: f64 = 600.0;
const FIRST_STEPS: u32 = 10;
const STEP_TIME: Duration = Duration::from_millis(100);
const STEP_RESPONSES: u32 = 10;

#[derive(Debug)]
pub struct AdaptiveLimit {
    limit: f64,
    long: LongMean,
    /// The limit was at its bottom and responses were slow all the same; they still are.
    accepts_slow: bool,
    step: Step,
}

/// The long-term mean of response times, in seconds.
#[derive(Debug, Default)]
struct LongMean {
    seconds: f64,
    steps: u32,
}

/// The responses since the last step.
#[derive(Debug, Default)]
struct Step {
    began: Option<Instant>,
    responses: u32,
    seconds: f64,
    in_flight_max: u32,
}

impl Default for AdaptiveLimit {
    fn default() -> Self {
        AdaptiveLimit {
            limit: f64::from(INITIAL),
            long: LongMean::default(),
            accepts_slow: false,
            step: Step::default(),
        }
    }
}

impl AdaptiveLimit {
    /// Learns from a response that took so long, with so many attempts in flight when it was asked
    /// for. The limit, when that is a new one.
    pub fn observe(
        &mut self,
        bounds: Bounds,
        took: Duration,
        in_flight: u32,
        now: Instant,
    ) -> Option<u32> {
        let step = &mut self.step;
        step.responses += 1;
        step.seconds += took.as_secs_f64();
        step.in_flight_max = step.in_flight_max.max(in_flight);
        let began = *step.began.get_or_insert(now);
        if step.responses < STEP_RESPONSES || now.saturating_duration_since(began) < STEP_TIME {
            return None;
        }
        let seconds = (step.seconds / f64::from(step.responses)).max(f64::MIN_POSITIVE);
        let in_flight = f64::from(step.in_flight_max);
        self.step = Step::default();
        Some(self.step(bounds, seconds, in_flight))
    }

    fn step(&mut self, bounds: Bounds, seconds: f64, in_flight: f64) -> u32 {
        let (min, max) = (f64::from(bounds.min), f64::from(bounds.max));
        let limit = self.limit.clamp(min, max);
        let has_room = in_flight < limit / 2.0;
        // With the lowest gradient, twice the queue is where the limit stops shrinking.
        let at_bottom = limit <= min.max(2.0 * QUEUE) + 1.0;
        let is_slow = seconds > TOLERANCE * self.long.seconds;
        self.accepts_slow = is_slow && (at_bottom || self.accepts_slow);
        self.long.learn(seconds, has_room || self.accepts_slow);
        let gradient = (TOLERANCE * self.long.seconds / seconds).clamp(GRADIENT_MIN, 1.0);
        let wanted = limit * gradient + QUEUE;
        let next = limit * (1.0 - SMOOTHING) + wanted * SMOOTHING;
        self.limit = if has_room { limit.min(next) } else { next };
        self.limit = self.limit.clamp(min, max);
        self.limit as u32
    }
}

impl LongMean {
    fn learn(&mut self, seconds: f64, may_rise: bool) {
        if self.steps < FIRST_STEPS {
            self.steps += 1;
            self.seconds += (seconds - self.seconds) / f64::from(self.steps);
            return;
        }
        if seconds > self.seconds && !may_rise {
            return;
        }
        self.seconds += (seconds - self.seconds) * 2.0 / (LONG_STEPS + 1.0);
        if self.seconds > 2.0 * seconds {
            // It has become faster for good: no need to take 600 steps to see that.
            self.seconds *= 0.95;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: 5, max: 1000 };

    /// A server that works on `workers` requests at once, each for `service`; the rest wait there.
    #[derive(Clone, Copy)]
    struct Server {
        workers: f64,
        service: Duration,
    }

    impl Server {
        fn responds_after(self, in_flight: f64, rng: &mut fastrand::Rng) -> Duration {
            let queued = (in_flight / self.workers).max(1.0);
            self.service.mul_f64(queued * (1.0 + 0.2 * rng.f64()))
        }
    }

    struct Simulation {
        limit: AdaptiveLimit,
        now: Instant,
        rng: fastrand::Rng,
        allowed: u32,
    }

    impl Simulation {
        fn new() -> Self {
            Simulation {
                limit: AdaptiveLimit::default(),
                now: Instant::now(),
                rng: fastrand::Rng::with_seed(7),
                allowed: INITIAL,
            }
        }

        /// So many steps with a demand of so many requests at any time; the limit after them.
        fn run(&mut self, server: Server, demand: u32, steps: u32) -> u32 {
            for _ in 0..steps * STEP_RESPONSES {
                self.now += STEP_TIME / (STEP_RESPONSES - 1);
                let in_flight = self.allowed.min(demand);
                let took = server.responds_after(in_flight.into(), &mut self.rng);
                let next = self.limit.observe(BOUNDS, took, in_flight, self.now);
                self.allowed = next.unwrap_or(self.allowed);
            }
            self.allowed
        }
    }

    const TEN_MS: Duration = Duration::from_millis(10);

    #[test]
    fn it_settles_where_the_servers_queue_begins_and_stays_there() {
        for workers in [40.0, 100.0, 150.0] {
            let server = Server {
                workers,
                service: TEN_MS,
            };
            let mut simulation = Simulation::new();
            let settled = f64::from(simulation.run(server, u32::MAX, 500));
            assert!(settled >= workers && settled <= 2.0 * workers, "{settled}");
            for _ in 0..20 {
                let later = f64::from(simulation.run(server, u32::MAX, 500));
                assert!((later / settled - 1.0).abs() < 0.2, "{later} {settled}");
            }
        }
    }

    #[test]
    fn it_follows_a_server_that_loses_or_wins_workers() {
        let server = |workers| Server {
            workers,
            service: TEN_MS,
        };
        let mut simulation = Simulation::new();
        simulation.run(server(40.0), u32::MAX, 500);
        let fewer = simulation.run(server(20.0), u32::MAX, 100);
        assert!((20..=45).contains(&fewer), "{fewer}");
        let more = simulation.run(server(160.0), u32::MAX, 1000);
        assert!((160..=320).contains(&more), "{more}");
    }

    #[test]
    fn a_server_that_becomes_slower_for_good_gets_its_limit_back() {
        let slow = Server {
            workers: 100.0,
            service: 4 * TEN_MS,
        };
        let mut simulation = Simulation::new();
        let fast = Server {
            service: TEN_MS,
            ..slow
        };
        simulation.run(fast, u32::MAX, 500);
        assert!(simulation.run(slow, u32::MAX, 50) < 20);
        let again = simulation.run(slow, u32::MAX, 3000);
        assert!((90..=200).contains(&again), "{again}");
    }

    #[test]
    fn it_does_not_grow_while_half_of_it_is_unused() {
        let server = Server {
            workers: 1000.0,
            service: TEN_MS,
        };
        assert_eq!(Simulation::new().run(server, 9, 1000), INITIAL);
    }

    #[test]
    fn the_bounds_hold() {
        let mut limit = AdaptiveLimit::default();
        let mut now = Instant::now();
        let bounds = Bounds { min: 30, max: 40 };
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            now += Duration::from_millis(20);
            let took = Duration::from_micros(rng.u64(1..1_000_000));
            let next = limit.observe(bounds, took, rng.u32(0..100), now);
            assert!(
                next.is_none_or(|next| (30..=40).contains(&next)),
                "{next:?}"
            );
        }
    }
}
