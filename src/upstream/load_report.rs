//! What an endpoint says of its load in a response: `X-Weir-Load` or ORCA's `endpoint-load-metrics`.
//!
//! `X-Weir-Load: 12` is the number of requests the endpoint has in flight, for whomever. ORCA (as text,
//! `TEXT cpu_utilization=0.9`, or as JSON) names a utilisation; `application_utilization` goes before
//! `cpu_utilization`, and from 0.9 on the endpoint counts as saturated. ORCA's binary form is not read.
//!
//! A report can only speak against its endpoint: it adds to the attempts weir counts itself, never
//! takes away from them, so a lie cannot attract traffic. What is negative, not finite or not a number
//! is refused; what is too large is bounded. Pure; called by `Endpoint::observe`.

use http::HeaderMap;
use serde::Deserialize;

const OWN: &str = "x-weir-load";
const ORCA: &str = "endpoint-load-metrics";
/// As many requests count as saturated; more make no difference.
pub const IN_FLIGHT_MAX: f64 = 65_535.0;
const SATURATED: f64 = 0.9;

/// Requests that the endpoint says it has in flight, 0 to [`IN_FLIGHT_MAX`]; `None`: it says nothing
/// that can be believed.
pub fn in_flight(headers: &HeaderMap) -> Option<f64> {
    let text = |name| headers.get(name)?.to_str().ok();
    if let Some(own) = text(OWN) {
        return number(own).map(|count| count.min(IN_FLIGHT_MAX));
    }
    let utilisation = utilisation(text(ORCA)?)?;
    Some(if utilisation >= SATURATED {
        IN_FLIGHT_MAX
    } else {
        0.0
    })
}

/// The utilisations of an ORCA load report; the others are of no use here.
#[derive(Default, Deserialize)]
struct Orca {
    application_utilization: Option<f64>,
    cpu_utilization: Option<f64>,
}

fn utilisation(orca: &str) -> Option<f64> {
    let (form, body) = orca.trim().split_once(' ')?;
    let orca = match form {
        "JSON" => serde_json::from_str(body).ok()?,
        "TEXT" => text_form(body),
        _ => return None,
    };
    let believed = |value: Option<f64>| value.filter(|value| value.is_finite() && *value >= 0.0);
    // Zero is how an unset field reads.
    believed(orca.application_utilization)
        .filter(|value| *value > 0.0)
        .or(believed(orca.cpu_utilization))
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
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Option<f64> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        in_flight(&headers)
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
        assert_eq!(in_flight(&HeaderMap::new()), None);
    }
}
