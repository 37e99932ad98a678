//! What a request takes of its endpoint: as a trusted client says, as was learned, or as configured.
//!
//! The first that is known counts: the demand header of a trusted client, what endpoints said in
//! response to earlier requests of the route, the route's `demand`, one of each dimension. Headers
//! are written `compute=8, storage=2.5` (a Dictionary of numbers, RFC 9651 §3.2): a number out of
//! range counts as its nearer end, what is no number and what names no dimension is passed over, and
//! a dimension that is not named takes nothing.
//!
//! Called by `proxy`: before a request's first attempt, and when an endpoint has answered.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::HeaderMap;

use crate::config::amounts::{Amounts, DIMENSIONS_MAX, clamped_millionths};
use crate::config::model::Resources;

/// Of each new answer an eighth is believed (as TCP does with its round-trip time, RFC 6298 §2).
const BELIEVED_PART: i128 = 8;

/// `configured`: what the route says.
pub fn of_request(
    headers: &HeaderMap,
    is_trusted: bool,
    resources: &Resources,
    learned: &Learned,
    configured: Option<Amounts>,
) -> Amounts {
    let told = resources.request_header.as_ref().filter(|_| is_trusted);
    told.and_then(|name| read(headers.get_all(name), &resources.dimensions))
        .or_else(|| learned.demand())
        .or(configured)
        .unwrap_or_else(|| Amounts::one_of_each(resources.dimensions.len()))
}

/// Learns from what an endpoint said of the request it has served: at most what the least of the pool's
/// endpoints has. So what is learned fits each of them: by a lie beyond that the largest one would have
/// the route to itself, and nobody else would be heard. A route that does need more says so itself.
pub fn learn(headers: &HeaderMap, resources: &Resources, most: &Amounts, learned: &Learned) {
    let told = resources.response_header.as_ref();
    let told = told.and_then(|name| read(headers.get_all(name), &resources.dimensions));
    if let Some(sample) = told {
        learned.learn(&sample, most);
    }
}

/// `None`: no dimension is named with a number.
fn read<'a>(
    lines: impl IntoIterator<Item = &'a http::HeaderValue>,
    dimensions: &[String],
) -> Option<Amounts> {
    let mut amounts = Amounts::default();
    for line in lines {
        let members = line.to_str().unwrap_or_default().split(',');
        for (name, number) in members.filter_map(|member| member.split_once('=')) {
            let dimension = dimensions.iter().position(|known| known == name.trim());
            let amount = number.trim().parse().ok().and_then(clamped_millionths);
            if let (Some(dimension), Some(amount)) = (dimension, amount) {
                amounts.set(dimension, amount);
            }
        }
    }
    (!amounts.is_nothing()).then_some(amounts)
}

/// A route's demand as its endpoints tell it: a moving average, dimension by dimension.
#[derive(Default)]
pub struct Learned {
    /// In millionths; all 0: nothing was learned yet.
    average: [AtomicU64; DIMENSIONS_MAX],
}

impl Learned {
    /// `None` before the first answer.
    pub fn demand(&self) -> Option<Amounts> {
        let mut demand = Amounts::default();
        for (dimension, average) in self.average.iter().enumerate() {
            demand.set(dimension, average.load(Relaxed));
        }
        (!demand.is_nothing()).then_some(demand)
    }

    /// The first answer is believed whole. Of two at the same time one may be lost: an average has
    /// others.
    fn learn(&self, sample: &Amounts, most: &Amounts) {
        let is_first = self.demand().is_none();
        for (dimension, average) in self.average.iter().enumerate() {
            let sample = sample.get(dimension);
            let before = average.load(Relaxed);
            let after = if is_first {
                sample
            } else {
                towards(before, sample)
            };
            average.store(after.min(most.get(dimension)), Relaxed);
        }
    }
}

/// A part of the way, rounded away from `before`, so that it arrives.
fn towards(before: u64, sample: u64) -> u64 {
    let distance = i128::from(sample) - i128::from(before);
    let step = (distance.abs() + BELIEVED_PART - 1) / BELIEVED_PART * distance.signum();
    u64::try_from(i128::from(before) + step).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn resources() -> Resources {
        Resources {
            dimensions: vec!["compute".to_owned(), "storage".to_owned()],
            request_header: Some(HeaderName::from_static("x-demand")),
            response_header: Some(HeaderName::from_static("x-cost")),
            ..Resources::default()
        }
    }

    fn amounts(compute: u64, storage: u64) -> Amounts {
        let mut amounts = Amounts::default();
        amounts.set(0, compute);
        amounts.set(1, storage);
        amounts
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).unwrap();
        HeaderMap::from_iter([(HeaderName::from_static(name), value)])
    }

    fn told(value: &str) -> Amounts {
        let headers = headers("x-demand", value);
        of_request(&headers, true, &resources(), &Learned::default(), None)
    }

    const NOBODY_SAYS: (u64, u64) = (1_000_000, 1_000_000);

    #[test]
    fn a_header_is_read_clamped_and_never_fails() {
        for (value, (compute, storage)) in [
            ("compute=8, storage=2.5", (8_000_000, 2_500_000)),
            ("storage=3", (0, 3_000_000)),
            ("compute=8, compute=9", (9_000_000, 0)),
            ("compute=-4,storage=0", (1, 1)),
            (
                "compute=inf, storage=1e300",
                (1_000_000_000_000, 1_000_000_000_000),
            ),
            ("compute=NaN, storage=2", (0, 2_000_000)),
            ("memory=7", NOBODY_SAYS),
            ("compute=NaN", NOBODY_SAYS),
            ("compute", NOBODY_SAYS),
            ("", NOBODY_SAYS),
        ] {
            assert_eq!(told(value), amounts(compute, storage), "{value:?}");
        }
    }

    #[test]
    fn a_trusted_header_goes_before_the_learned_before_the_configured() {
        let (resources, learned) = (resources(), Learned::default());
        let asks = headers("x-demand", "compute=5");
        let route = Some(amounts(3, 3));
        let demand = |is_trusted| of_request(&asks, is_trusted, &resources, &learned, route);
        assert_eq!(demand(false), amounts(3, 3));
        learn(
            &headers("x-cost", "storage=4"),
            &resources,
            &amounts(100_000_000, 100_000_000),
            &learned,
        );
        assert_eq!(demand(false), amounts(0, 4_000_000));
        assert_eq!(demand(true), amounts(5_000_000, 0));
    }

    #[test]
    fn what_is_learned_follows_what_is_told_and_arrives() {
        let (resources, learned) = (resources(), Learned::default());
        let tell = |cost| {
            let capacity = amounts(100_000_000, 100_000_000);
            learn(&headers("x-cost", cost), &resources, &capacity, &learned);
            learned.demand().unwrap().get(0)
        };
        assert_eq!(tell("compute=8"), 8_000_000);
        assert_eq!(tell("compute=16"), 9_000_000);
        let least = "compute=0.000001";
        let steps = (1..200).find(|_| tell(least) == 1);
        assert!(steps.is_some() && tell(least) == 1);
    }

    #[test]
    fn an_endpoint_cannot_say_that_a_request_takes_more_than_there_is() {
        let (resources, learned) = (resources(), Learned::default());
        let (small, large) = (
            amounts(20_000_000, 5_000_000),
            amounts(5_000_000, 40_000_000),
        );
        let tell = |cost, capacity: &Amounts| {
            learn(&headers("x-cost", cost), &resources, capacity, &learned);
            learned.demand().unwrap()
        };
        assert_eq!(tell("compute=1e300, storage=1e300", &small), small);
        // Whatever others said, it fits the one that answered last.
        let mixed = tell("compute=0.000001, storage=1e300", &large);
        assert_eq!(mixed.at_most(&large), mixed);
        let honest = "compute=1, storage=1";
        (0..200).for_each(|_| assert!(!tell(honest, &large).is_nothing()));
        assert_eq!(tell(honest, &large), amounts(1_000_000, 1_000_000));
    }
}
