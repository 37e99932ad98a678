//! Who stands out, and who may be ejected, as tables.

use super::*;
use crate::upstream::tests::outlier;

/// Of 1000 requests so many errors.
fn errors(counts: &[u32]) -> Vec<Interval> {
    let interval = |&errors: &u32| Interval {
        requests: 1000,
        errors,
        took: Duration::ZERO,
    };
    counts.iter().map(interval).collect()
}

/// 100 responses of so many milliseconds each.
fn latencies(millis: &[u64]) -> Vec<Interval> {
    let interval = |&millis: &u64| Interval {
        requests: 100,
        errors: 0,
        took: Duration::from_millis(100 * millis),
    };
    millis.iter().map(interval).collect()
}

fn places(intervals: &[Interval], rules: &Outlier) -> Vec<usize> {
    let found = standing_out(intervals, rules);
    found.into_iter().map(|(place, _)| place).collect()
}

#[test]
fn a_row_of_failures_is_long_enough_or_not() {
    assert_eq!(failing(4, &outlier()), None);
    assert_eq!(failing(5, &outlier()), Some(Reason::Failures(5)));
    let off = Outlier {
        consecutive_failures: None,
        ..outlier()
    };
    assert_eq!(failing(5000, &off), None);
}

#[test]
fn a_success_rate_far_below_the_others_stands_out() {
    for (counts, expected) in [
        (&[0, 0, 0, 0, 500][..], &[4][..]),
        (&[100, 100, 400, 100, 100], &[2]),
        // 5 points below the mean at least.
        (&[0, 0, 0, 0, 62], &[]),
        (&[0, 0, 0, 0, 63], &[4]),
        (&[0, 0, 0, 0, 1], &[]),
        // All alike, whatever rounding does.
        (&[0, 0, 0, 0, 0], &[]),
        (&[333, 333, 333, 333, 333], &[]),
        (&[1000, 1000, 1000, 1000, 1000], &[]),
        // Half of them: that is no outlier.
        (&[0, 0, 0, 500, 500, 500], &[]),
        (&[0, 0, 0, 500], &[]),
    ] {
        assert_eq!(places(&errors(counts), &outlier()), expected, "{counts:?}");
    }
    let off = Outlier {
        success_rate: false,
        ..outlier()
    };
    assert!(places(&errors(&[0, 0, 0, 0, 500]), &off).is_empty());
}

#[test]
fn endpoints_with_few_requests_neither_stand_out_nor_count() {
    let mut intervals = errors(&[0, 0, 0, 0, 500, 0]);
    intervals[4].requests = 99;
    intervals[4].errors = 99;
    assert!(places(&intervals, &outlier()).is_empty());
    intervals[4] = errors(&[500])[0];
    assert_eq!(places(&intervals, &outlier()), [4]);
    intervals[0].requests = 99;
    assert_eq!(places(&intervals, &outlier()), [4]);
    intervals[1].requests = 0;
    assert!(places(&intervals, &outlier()).is_empty());
}

#[test]
fn a_latency_far_above_the_median_stands_out_when_asked_for() {
    let rules = Outlier {
        slow_factor: Some(3),
        ..outlier()
    };
    for (millis, expected) in [
        (&[20, 20, 20, 20, 61][..], &[4][..]),
        (&[20, 20, 20, 20, 60], &[]),
        // Nobody waits for a few milliseconds.
        (&[1, 1, 1, 1, 11], &[]),
        (&[1, 1, 1, 1, 12], &[4]),
        (&[20, 20, 20, 900, 900], &[3, 4]),
        (&[20, 20, 900, 900, 900], &[]),
    ] {
        assert_eq!(places(&latencies(millis), &rules), expected, "{millis:?}");
        assert!(places(&latencies(millis), &outlier()).is_empty());
    }
    let mut failing = latencies(&[20, 20, 20, 20, 900]);
    failing[4].errors = 100;
    assert!(
        !standing_out(&failing, &rules)
            .iter()
            .any(|(_, reason)| matches!(reason, Reason::Latency { .. }))
    );
}

#[test]
fn the_cap_is_looked_at_as_it_would_be_after_the_ejection() {
    for (total, ejected, others, max_percent, expected) in [
        (1, 0, 0, 100, false),
        (2, 0, 1, 33, false),
        (2, 0, 1, 50, true),
        (3, 0, 2, 33, true),
        (3, 1, 1, 33, false),
        (3, 1, 1, 100, true),
        (3, 2, 0, 100, false),
        (6, 1, 4, 33, true),
        (6, 2, 3, 33, false),
        (10, 0, 9, 9, false),
        (10, 0, 9, 0, false),
    ] {
        let rules = Outlier {
            max_percent,
            ..outlier()
        };
        assert_eq!(
            may_eject(total, ejected, others, &rules),
            expected,
            "{ejected} of {total}, {others} others, {max_percent}%"
        );
    }
}
