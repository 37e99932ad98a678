//! The transition as a table, and against a model that knows all results so far.

use proptest::prelude::*;

use super::*;
use crate::config::model::Initial;
use crate::upstream::tests::health;

fn rule(rise: u32, fall: u32) -> Health {
    Health {
        rise,
        fall,
        ..health(Initial::Healthy)
    }
}

/// The states after each result, from `state`.
fn walk(mut state: State, results: &str, rule: &Health) -> Vec<State> {
    let mut history = History::default();
    let mut step = |result| {
        if let Verdict::Becomes(next, _) = history.observe(state, result == '+', rule) {
            state = next;
        }
        state
    };
    results.chars().map(&mut step).collect()
}

#[test]
fn states_change_after_rise_or_fall_results_in_a_row() {
    use State::{Healthy, Pending, Unhealthy, Unproven};
    for (start, results, end) in [
        (Healthy, "--", Healthy),
        (Healthy, "---", Unhealthy),
        (Healthy, "--+--", Healthy),
        (Healthy, "---+", Unhealthy),
        (Healthy, "---++", Healthy),
        (Healthy, "---+-+", Unhealthy),
        (Unproven, "+", Healthy),
        (Unproven, "--", Unproven),
        (Unproven, "--+--", Healthy),
        (Unproven, "---", Unhealthy),
        (Pending, "+", Healthy),
        (Pending, "--+", Healthy),
        (Pending, "---", Unhealthy),
        (Pending, "---+", Unhealthy),
        (Unhealthy, "++", Healthy),
    ] {
        let states = walk(start, results, &rule(2, 3));
        assert_eq!(states.last(), Some(&end), "{start:?} {results}");
    }
}

#[test]
fn an_endpoint_wavers_while_its_state_is_contradicted() {
    let rule = rule(2, 3);
    let mut history = History::default();
    let mut observe = |state, pass| history.observe(state, pass, &rule);
    assert_eq!(observe(State::Healthy, true), Verdict::Steady);
    assert_eq!(observe(State::Healthy, false), Verdict::Wavering);
    assert_eq!(observe(State::Healthy, true), Verdict::Steady);
    assert_eq!(observe(State::Healthy, false), Verdict::Wavering);
    assert_eq!(observe(State::Healthy, false), Verdict::Wavering);
    let becomes = Verdict::Becomes(State::Unhealthy, 3);
    assert_eq!(observe(State::Healthy, false), becomes);
    assert_eq!(observe(State::Unhealthy, false), Verdict::Steady);
    assert_eq!(observe(State::Unhealthy, true), Verdict::Wavering);
    let becomes = Verdict::Becomes(State::Healthy, 2);
    assert_eq!(observe(State::Unhealthy, true), becomes);
    assert_eq!(observe(State::Pending, false), Verdict::Wavering);
    let becomes = Verdict::Becomes(State::Healthy, 1);
    assert_eq!(observe(State::Pending, true), becomes);
}

/// The state by definition: unhealthy or healthy by the last full run of results after the last
/// change.
fn model(start: State, results: &[bool], rule: &Health) -> State {
    let mut state = start;
    let mut since = 0;
    for end in 1..=results.len() {
        let recent = &results[since..end];
        let run = |pass| {
            recent
                .iter()
                .rev()
                .take_while(|&&result| result == pass)
                .count() as u32
        };
        let next = match state {
            State::Unproven | State::Pending if run(true) >= 1 => State::Healthy,
            State::Unhealthy if run(true) >= rule.rise => State::Healthy,
            State::Unproven | State::Pending | State::Healthy if run(false) >= rule.fall => {
                State::Unhealthy
            }
            unchanged => unchanged,
        };
        if next != state {
            state = next;
            since = end;
        }
    }
    state
}

proptest! {
    #[test]
    fn the_transition_agrees_with_the_model(
        start in prop::sample::select(State::ALL.to_vec()),
        results in prop::collection::vec(any::<bool>(), 1..60),
        rise in 1u32..5,
        fall in 1u32..5,
    ) {
        let rule = rule(rise, fall);
        let text: String = results.iter().map(|&pass| if pass { '+' } else { '-' }).collect();
        let states = walk(start, &text, &rule);
        prop_assert_eq!(states.last().copied(), Some(model(start, &results, &rule)));
    }
}
