//! The transitions one by one, and 10,000 random schedules with a clock of their own.

use super::*;
use crate::upstream::tests::outlier;

const REASON: Reason = Reason::Failures(5);
const SECOND: Duration = Duration::from_secs(1);

/// 30 s, at most 300.
fn rules() -> Outlier {
    outlier()
}

fn until(circuit: &Circuit) -> Instant {
    match circuit.phase {
        Phase::Open { until, .. } => until,
        other => panic!("{other:?} is not open"),
    }
}

#[test]
fn each_ejection_is_longer_up_to_the_longest_and_calm_shortens_the_next() {
    let start = Instant::now();
    let mut circuit = Circuit::new(start);
    for seconds in [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300] {
        circuit = open(&circuit, REASON, &rules(), start, 0.0);
        assert_eq!(circuit.time_left(start), Some(seconds * SECOND));
        circuit = close(&circuit, start);
    }
    // Ten times 30 s without an ejection leave one of eleven.
    circuit = open(&circuit, REASON, &rules(), start + 300 * SECOND, 0.0);
    assert_eq!(circuit.ejections, 2);
    circuit = close(&circuit, start);
    circuit = open(&circuit, REASON, &rules(), start + 3600 * SECOND, 0.0);
    assert_eq!(circuit.ejections, 1);
}

#[test]
fn chance_takes_off_up_to_a_tenth() {
    let now = Instant::now();
    let circuit = open(&Circuit::new(now), REASON, &rules(), now, 1.0);
    assert_eq!(circuit.time_left(now), Some(27 * SECOND));
}

#[test]
fn time_opens_half_and_the_trial_decides() {
    let now = Instant::now();
    let opened = open(&Circuit::new(now), REASON, &rules(), now, 0.0);
    let later = |circuit: &Circuit, trial, seconds: u32| {
        advance(circuit, trial, &rules(), now + seconds * SECOND, 0.0)
    };
    for trial in [None, Some(Trial::Passed), Some(Trial::Failed)] {
        assert_eq!(later(&opened, trial, 29), opened);
    }
    let half = later(&opened, None, 30);
    assert_eq!(half.phase, Phase::HalfOpen { reason: REASON });
    assert_eq!(later(&half, None, 9999), half);
    assert!(later(&half, Some(Trial::Passed), 31).is_closed());
    let again = later(&half, Some(Trial::Failed), 31);
    assert_eq!(until(&again), now + 91 * SECOND);
    assert_eq!(again.ejections, 2);
}

#[test]
fn the_gate_follows_the_phase_and_a_pool_with_probes_risks_no_request() {
    let now = Instant::now();
    let closed = Circuit::new(now);
    let opened = open(&closed, REASON, &rules(), now, 0.0);
    let half = advance(&opened, None, &rules(), now + 30 * SECOND, 0.0);
    let gates = |has_probes| [closed, opened, half].map(|circuit| gate(&circuit, has_probes));
    assert_eq!(gates(false), [Gate::Open, Gate::Shut, Gate::Trial]);
    assert_eq!(gates(true), [Gate::Open, Gate::Shut, Gate::Shut]);
}

#[test]
fn no_schedule_keeps_a_circuit_open_longer_than_the_longest_ejection() {
    for seed in 0..10_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut now = Instant::now();
        let mut circuit = Circuit::new(now);
        for _ in 0..60 {
            now += Duration::from_millis(rng.u64(0..40_000));
            if circuit.is_closed() && rng.bool() {
                circuit = open(&circuit, REASON, &rules(), now, rng.f64());
            }
            let trial = rng.choice([None, Some(Trial::Passed), Some(Trial::Failed)]);
            let before = circuit;
            circuit = advance(&before, trial.flatten(), &rules(), now, rng.f64());
            let left = circuit.time_left(now).unwrap_or_default();
            assert!(left <= rules().max_time, "seed {seed}: {circuit:?}");
            let is_skipped = matches!(before.phase, Phase::Open { .. }) && circuit.is_closed();
            assert!(!is_skipped, "seed {seed}: closed without a trial");
        }
        now += rules().max_time;
        circuit = advance(&circuit, None, &rules(), now, 0.0);
        circuit = advance(&circuit, Some(Trial::Passed), &rules(), now, 0.0);
        assert!(circuit.is_closed(), "seed {seed}: {circuit:?}");
    }
}
