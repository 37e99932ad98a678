//! What endpoints are remembered for when nobody waits for them any longer.

use super::*;
use crate::upstream::stamp::Stamp;
use crate::upstream::tests::{config, registry};

const SECOND: Duration = Duration::from_secs(1);

/// One attempt that has been waited for for two seconds.
fn waiting(pool: &Arc<Pool>) -> Attempts {
    let mut attempts = Attempts::default();
    let context = PickContext {
        now: Instant::now() - 2 * SECOND,
        ..PickContext::default()
    };
    attempts.begin(pool, &context).unwrap();
    attempts.connected(true);
    attempts
}

/// The outcome, the failures in a row and the seconds that are expected of the endpoint, after `give_up`.
fn given_up(mut attempts: Attempts, is_whole: bool, had: Option<Duration>) -> (Outcome, u32, f32) {
    attempts.give_up(is_whole, had);
    let attempt = attempts.current().unwrap();
    let failures = attempt.endpoint.record().failures_in_a_row();
    let seconds = attempt
        .endpoint
        .latency()
        .seconds(Stamp::of(Instant::now()));
    (attempt.outcome, failures, seconds)
}

fn pool() -> Arc<Pool> {
    Pool::build(&config(&["10.0.0.1:1"]), &registry()).unwrap()
}

#[test]
fn one_that_lets_the_deadline_pass_has_failed() {
    let (outcome, failures, seconds) = given_up(waiting(&pool()), true, Some(2 * SECOND));
    assert_eq!((outcome, failures), (Outcome::Timeout, 1));
    assert!(seconds > 4.9, "{seconds}");
}

#[test]
fn one_that_had_little_of_the_time_is_only_as_slow_as_it_was_waited_for() {
    for had in [Some(5 * SECOND), None] {
        let (outcome, failures, seconds) = given_up(waiting(&pool()), true, had);
        assert_eq!((outcome, failures), (Outcome::Pending, 0));
        assert!((1.9..4.0).contains(&seconds), "{seconds}");
    }
}

#[test]
fn nothing_is_said_of_one_that_waited_for_the_client_or_has_answered_or_is_not_measured() {
    let unknown = 0.031;
    let (outcome, failures, seconds) = given_up(waiting(&pool()), false, Some(2 * SECOND));
    assert_eq!((outcome, failures), (Outcome::Pending, 0));
    assert!(seconds < unknown, "{seconds}");

    let mut answered = waiting(&pool());
    answered.succeeded(&ResponseHeader::build(200, None).unwrap());
    let (outcome, failures, _) = given_up(answered, true, Some(2 * SECOND));
    assert_eq!((outcome, failures), (Outcome::Ok, 0));

    let mut long_poll = waiting(&pool());
    long_poll.do_not_measure();
    let (_, _, seconds) = given_up(long_poll, true, None);
    assert!(seconds < unknown, "{seconds}");
}
