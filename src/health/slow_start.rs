//! Slow start: an endpoint that begins to serve gets its share little by little.
//!
//! ```text
//! new ─ beside others ─▶ cold ─ serves ─▶ warming ─ window over ─▶ warm
//!  └─ with all others ──────────────────────────────────────────────▲
//!                         ▲── does not serve any more ──────────────┘ (warming likewise)
//! ```
//!
//! Definition: of the picks that would be its own it gets t / window, t being the time it has
//! served, and a tenth at least (Envoy's linear slow start). Endpoints that a pool begins with are
//! warm: there is nobody to spare them. Every selector honours it: see `Slots::eligible`.
//!
//! Pure; called by `passive`.

use std::time::{Duration, Instant};

use crate::upstream::warmth::{WARM, Warmth};

/// Percent. Nothing would keep an endpoint cold for ever.
const FLOOR: u8 = 10;

/// What is known of an endpoint now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for its first probe.
    Pending,
    /// Unhealthy or ejected.
    Out,
    Serving,
}

/// What follows. `joins`: the pool had other endpoints before this one. Window zero: no slow start.
pub fn advance(
    warmth: Warmth,
    standing: Standing,
    joins: bool,
    window: Duration,
    now: Instant,
) -> Warmth {
    let warmth = match warmth {
        Warmth::New if joins => Warmth::Cold,
        Warmth::New => Warmth::Warm,
        other => other,
    };
    match (standing, warmth) {
        (Standing::Pending, _) => warmth,
        (Standing::Out, _) => Warmth::Cold,
        (Standing::Serving, _) if window.is_zero() => Warmth::Warm,
        (Standing::Serving, Warmth::Cold) => Warmth::Warming(now),
        (Standing::Serving, Warmth::Warming(since)) if since + window <= now => Warmth::Warm,
        (Standing::Serving, _) => warmth,
    }
}

/// Percent of its picks that the endpoint gets. 10..=100.
pub fn percent(warmth: Warmth, window: Duration, now: Instant) -> u8 {
    match warmth {
        Warmth::New | Warmth::Warm => WARM,
        Warmth::Cold if window.is_zero() => WARM,
        Warmth::Cold => FLOOR,
        Warmth::Warming(since) => {
            let served = now.saturating_duration_since(since);
            let part = served.as_secs_f64() / window.as_secs_f64();
            // 0 / 0 is no number, and the cast makes it 0.
            ((part * f64::from(WARM)) as u8).clamp(FLOOR, WARM)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    #[test]
    fn what_begins_beside_others_or_comes_back_warms_up() {
        let now = Instant::now();
        let (warming, warm) = (Warmth::Warming(now), Warmth::Warm);
        for (warmth, standing, joins, expected) in [
            (Warmth::New, Standing::Serving, false, warm),
            (Warmth::New, Standing::Pending, false, warm),
            (Warmth::New, Standing::Serving, true, warming),
            (Warmth::New, Standing::Pending, true, Warmth::Cold),
            (Warmth::Cold, Standing::Pending, true, Warmth::Cold),
            (Warmth::Cold, Standing::Serving, true, warming),
            (warm, Standing::Serving, true, warm),
            (warm, Standing::Pending, false, warm),
            (warm, Standing::Out, false, Warmth::Cold),
            (warming, Standing::Out, false, Warmth::Cold),
            (warming, Standing::Serving, false, warming),
        ] {
            let after = advance(warmth, standing, joins, WINDOW, now);
            assert_eq!(after, expected, "{warmth:?} {standing:?} {joins}");
        }
        let at = |seconds| {
            let now = now + Duration::from_secs(seconds);
            advance(warming, Standing::Serving, false, WINDOW, now)
        };
        assert_eq!((at(29), at(30)), (warming, warm));
        let off = advance(Warmth::Cold, Standing::Serving, true, Duration::ZERO, now);
        assert_eq!(off, warm);
    }

    #[test]
    fn the_share_grows_with_the_time_from_a_tenth() {
        let now = Instant::now();
        let at = |seconds| {
            let now = now + Duration::from_secs(seconds);
            percent(
                Warmth::Warming(now - Duration::from_secs(seconds)),
                WINDOW,
                now,
            )
        };
        assert_eq!(
            [0, 3, 6, 15, 29, 30, 9999].map(at),
            [10, 10, 20, 50, 96, 100, 100]
        );
        assert_eq!(percent(Warmth::Cold, WINDOW, now), 10);
        assert_eq!(percent(Warmth::Cold, Duration::ZERO, now), 100);
        assert_eq!(percent(Warmth::Warm, WINDOW, now), 100);
    }
}
