//! What an endpoint says of its load: in any response by `X-Weir-Load` or ORCA's `endpoint-load-metrics`,
//! and in the answer to a load probe by its body as well.
//!
//! `X-Weir-Load: 12` is the number of requests the endpoint has in flight, for whomever. ORCA (as text,
//! `TEXT cpu_utilization=0.9`, or as JSON) names a utilisation; `application_utilization` goes before
//! `cpu_utilization`, and from 0.9 on the endpoint counts as saturated. ORCA's binary form is not read.
//! A probe's body is `{ "in_flight": 12, "latency_ms": 35 }`, either of the two, or ORCA's JSON; what a
//! header says goes before it.
//!
//! A report can only speak against its endpoint: it adds to the attempts weir counts itself and to the
//! time it has seen, never takes away from them, so a lie cannot attract traffic. What is negative, not
//! finite or not a number is refused; what is too large is bounded. Pure; called by `Endpoint::observe`
//! and by `health::load`.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use super::latency::WAIT_MAX;

const OWN: &str = "x-weir-load";
const ORCA: &str = "endpoint-load-metrics";
/// As many requests count as saturated; more make no difference.
pub const IN_FLIGHT_MAX: f64 = 65_535.0;
const SATURATED: f64 = 0.9;

/// What can be believed of what an endpoint says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Requests it has in flight, 0 to [`IN_FLIGHT_MAX`]; `None`: it does not say.
    pub in_flight: Option<f64>,
    /// How long a request takes it at that load, an hour at most; `None`: it does not say.
    pub latency: Option<Duration>,
}

impl LoadReport {
    /// Of a response to a request.
    pub fn of_response(headers: &HeaderMap) -> LoadReport {
        LoadReport {
            in_flight: in_flight(headers),
            latency: None,
        }
    }

    /// Of the answer to a load probe.
    pub fn of_probe(headers: &HeaderMap, body: &[u8]) -> LoadReport {
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let latency = believed(body.latency_ms);
        LoadReport {
            in_flight: in_flight(headers)
                .or_else(|| believed(body.in_flight).map(bounded))
                .or_else(|| body.orca.in_flight()),
            latency: latency.map(|ms| {
                let seconds = (ms / 1000.0).min(WAIT_MAX.as_secs_f64());
                Duration::from_secs_f64(seconds)
            }),
        }
    }
}

fn in_flight(headers: &HeaderMap) -> Option<f64> {
    let text = |name| headers.get(name)?.to_str().ok();
    match text(OWN) {
        Some(own) => number(own).map(bounded),
        None => orca(text(ORCA)?)?.in_flight(),
    }
}

fn bounded(in_flight: f64) -> f64 {
    in_flight.min(IN_FLIGHT_MAX)
}

/// The body of a probe's answer; keys it has besides are of no use here.
#[derive(Default, Deserialize)]
struct Body {
    in_flight: Option<f64>,
    latency_ms: Option<f64>,
    #[serde(flatten)]
    orca: Orca,
}

/// The utilisations of an ORCA load report; the others are of no use here.
#[derive(Default, Deserialize)]
struct Orca {
    application_utilization: Option<f64>,
    cpu_utilization: Option<f64>,
}

impl Orca {
    fn in_flight(&self) -> Option<f64> {
        // Zero is how an unset field reads.
        let utilisation = believed(self.application_utilization)
            .filter(|value| *value > 0.0)
            .or(believed(self.cpu_utilization))?;
        Some(match utilisation >= SATURATED {
            true => IN_FLIGHT_MAX,
            false => 0.0,
        })
    }
}

/// An ORCA header.
fn orca(text: &str) -> Option<Orca> {
    let (form, body) = text.trim().split_once(' ')?;
    match form {
        "JSON" => serde_json::from_str(body).ok(),
        "TEXT" => Some(text_form(body)),
        _ => None,
    }
}

fn text_form(body: &str) -> Orca {
    let mut orca = Orca::default();
    for (name, value) in body.split(',').filter_map(|pair| pair.split_once('=')) {
        match name.trim() {
            "application_utilization" => orca.application_utilization = number(value),
            "cpu_utilization" => orca.cpu_utilization = number(value),
            _ => {}
        }
    }
    orca
}

fn number(text: &str) -> Option<f64> {
    believed(text.trim().parse().ok())
}

fn believed(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Option<f64> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        LoadReport::of_response(&headers).in_flight
    }

    #[test]
    fn a_count_is_believed_within_bounds() {
        for (value, expected) in [
            ("12", Some(12.0)),
            (" 0.5 ", Some(0.5)),
            ("0", Some(0.0)),
            ("1e300", Some(IN_FLIGHT_MAX)),
            ("99999999999999999999", Some(IN_FLIGHT_MAX)),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1e999", None),
            ("twelve", None),
            ("", None),
        ] {
            assert_eq!(read(OWN, value), expected, "{value:?}");
        }
    }

    #[test]
    fn orca_tells_who_is_saturated() {
        for (value, saturated) in [
            ("TEXT cpu_utilization=0.95,mem_utilization=0.1", Some(true)),
            ("TEXT mem_utilization=0.1, cpu_utilization=0.5", Some(false)),
            (
                "TEXT cpu_utilization=0.2,application_utilization=1.5",
                Some(true),
            ),
            (
                "TEXT cpu_utilization=0.95,application_utilization=0",
                Some(true),
            ),
            (
                r#"JSON {"cpu_utilization": 0.9, "named_metrics": {"a": 1}}"#,
                Some(true),
            ),
            (r#"JSON {"application_utilization": 0.3}"#, Some(false)),
            ("TEXT cpu_utilization=NaN", None),
            ("TEXT cpu_utilization=-1", None),
            (r#"JSON {"cpu_utilization": -0.5}"#, None),
            (r#"JSON {"cpu_utilization": "much"}"#, None),
            ("TEXT rps_fractional=7", None),
            ("BIN CAFE", None),
            ("TEXT", None),
        ] {
            let expected = saturated.map(|is| if is { IN_FLIGHT_MAX } else { 0.0 });
            assert_eq!(read(ORCA, value), expected, "{value:?}");
        }
        assert_eq!(
            LoadReport::of_response(&HeaderMap::new()),
            LoadReport::default()
        );
    }

    #[test]
    fn a_probe_is_answered_by_a_header_or_by_a_body() {
        let report = |in_flight, latency_ms: Option<u64>| LoadReport {
            in_flight,
            latency: latency_ms.map(Duration::from_millis),
        };
        for (body, expected) in [
            (
                r#"{"in_flight": 12, "latency_ms": 35.0}"#,
                report(Some(12.0), Some(35)),
            ),
            (
                r#"{"latency_ms": 1e300, "more": []}"#,
                report(None, Some(3_600_000)),
            ),
            (r#"{"in_flight": 1e300}"#, report(Some(IN_FLIGHT_MAX), None)),
            (
                r#"{"cpu_utilization": 0.95}"#,
                report(Some(IN_FLIGHT_MAX), None),
            ),
            (
                r#"{"in_flight": -1, "latency_ms": -0.5}"#,
                report(None, None),
            ),
            (r#"{"in_flight": "many"}"#, report(None, None)),
            ("12", report(None, None)),
            ("", report(None, None)),
        ] {
            let read = LoadReport::of_probe(&HeaderMap::new(), body.as_bytes());
            assert_eq!(read, expected, "{body}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(OWN, "3".parse().unwrap());
        let both = LoadReport::of_probe(&headers, br#"{"in_flight": 9, "latency_ms": 7}"#);
        assert_eq!(both, report(Some(3.0), Some(7)));
    }
}
