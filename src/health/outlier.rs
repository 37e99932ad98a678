//! Which endpoints of a pool are outliers, and whether one may be ejected: pure rules.
//!
//! Failures in a row are looked at after each; success rate and latency after each interval, among
//! the endpoints that had enough requests. Definitions and numbers are those of Envoy's outlier
//! detection, with two differences. A rate must also be 5 points below the mean: of five endpoints
//! a single one that deviates is always two standard deviations away, be it by one error in a
//! thousand requests. And the cap is looked at as it would be after the ejection, so that a small
//! pool is not emptied.

use std::time::Duration;

use crate::config::model::Outlier;
use crate::upstream::circuit::Reason;
use crate::upstream::record::Interval;

#[cfg(test)]
mod tests;

/// How many standard deviations below the mean a success rate is an outlier.
const DEVIATIONS: f64 = 1.9;

/// What it must at least be below the mean.
const RATE_GAP_MIN: f64 = 0.05;

/// What a latency must at least be above the median: less is of no interest to anybody.
const LATENCY_GAP_MIN: Duration = Duration::from_millis(10);

/// Whether so many failures in a row are too many.
pub fn failing(failures_in_a_row: u32, rules: &Outlier) -> Option<Reason> {
    let most = rules.consecutive_failures?;
    (failures_in_a_row >= most).then_some(Reason::Failures(failures_in_a_row))
}

/// The places whose interval stands out from the others', and why.
pub fn standing_out(intervals: &[Interval], rules: &Outlier) -> Vec<(usize, Reason)> {
    let judged = intervals.iter().enumerate();
    let judged: Vec<(usize, &Interval)> = judged
        .filter(|(_, interval)| interval.requests >= rules.min_requests)
        .collect();
    if judged.len() < rules.min_endpoints {
        return Vec::new();
    }
    let mut found = Vec::new();
    if rules.success_rate {
        found.extend(unsuccessful(&judged));
    }
    if let Some(factor) = rules.slow_factor {
        found.extend(slow(&judged, factor));
    }
    found
}

fn unsuccessful(judged: &[(usize, &Interval)]) -> Vec<(usize, Reason)> {
    let rates = judged.iter();
    let rates: Vec<(usize, f64)> = rates
        .filter_map(|(place, interval)| Some((*place, interval.success_rate()?)))
        .collect();
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let squares = rates.iter().map(|(_, rate)| (rate - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    let least = mean - (DEVIATIONS * deviation).max(RATE_GAP_MIN);
    let is_low = |(_, rate): &(usize, f64)| *rate < least;
    let reason = |(place, rate)| {
        let percent = 100.0 * rate;
        let mean = 100.0 * mean;
        (place, Reason::SuccessRate { percent, mean })
    };
    rates.into_iter().filter(is_low).map(reason).collect()
}

fn slow(judged: &[(usize, &Interval)], factor: u32) -> Vec<(usize, Reason)> {
    let latencies = judged.iter();
    let latencies: Vec<(usize, Duration)> = latencies
        .filter_map(|(place, interval)| Some((*place, interval.latency()?)))
        .collect();
    let mut sorted: Vec<Duration> = latencies.iter().map(|(_, latency)| *latency).collect();
    sorted.sort_unstable();
    let Some(&median) = sorted.get(sorted.len() / 2) else {
        return Vec::new();
    };
    let most = (median * factor).max(median + LATENCY_GAP_MIN);
    let is_slow = |(_, mean): &(usize, Duration)| *mean > most;
    let reason = |(place, mean)| (place, Reason::Latency { mean, median });
    latencies.into_iter().filter(is_slow).map(reason).collect()
}

/// Whether one more of `total` endpoints may be ejected, when `ejected` are and `others` serve
/// besides it. Never the last one; of three, one is 33 percent.
pub fn may_eject(total: usize, ejected: usize, others: usize, rules: &Outlier) -> bool {
    let percent = 100 * (ejected + 1) / total.max(1);
    others > 0 && percent <= rules.max_percent as usize
}
