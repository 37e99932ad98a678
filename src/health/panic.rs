//! Panic: when so few endpoints are ready that the rest would be overrun, all are used.
//!
//! Definition: a tier is well when its share of ready endpoints is at least the threshold; a pool
//! panics when none of its tiers is well. Then what probes and failures say is ignored (Envoy's
//! panic threshold, which is 50 percent as well). When every endpoint has failed its probes there
//! is nobody to spare and nobody to serve: that is no panic but an outage, and answered as such.
//!
//! Pure; called by `passive`.

/// The endpoints of one tier. Those that wait for their first probe do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    pub total: usize,
    /// Healthy and not ejected.
    pub ready: usize,
    /// Healthy, ejected or not.
    pub healthy: usize,
}

/// `threshold` in percent; 0: never.
pub fn panics<'a>(tiers: impl IntoIterator<Item = &'a Tier>, threshold: u32) -> bool {
    let (mut any_healthy, mut any_well) = (false, false);
    for tier in tiers {
        any_healthy |= tier.healthy > 0;
        any_well |= tier.ready > 0 && 100 * tier.ready >= threshold as usize * tier.total;
    }
    threshold > 0 && any_healthy && !any_well
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(total: usize, healthy: usize, ready: usize) -> Tier {
        Tier {
            total,
            ready,
            healthy,
        }
    }

    #[test]
    fn a_pool_panics_below_the_threshold_and_not_at_it() {
        for (tiers, threshold, expected) in [
            (vec![tier(4, 4, 2)], 50, false),
            (vec![tier(4, 4, 1)], 50, true),
            (vec![tier(4, 1, 1)], 50, true),
            (vec![tier(4, 1, 0)], 50, true),
            // An outage.
            (vec![tier(4, 0, 0)], 50, false),
            (vec![tier(0, 0, 0)], 50, false),
            (vec![], 50, false),
            // Another tier is well.
            (vec![tier(4, 1, 1), tier(2, 1, 1)], 50, false),
            (vec![tier(4, 1, 1), tier(3, 1, 1)], 50, true),
            (vec![tier(4, 1, 1)], 0, false),
            (vec![tier(4, 4, 3)], 100, true),
            (vec![tier(4, 4, 4)], 100, false),
        ] {
            assert_eq!(panics(&tiers, threshold), expected, "{tiers:?} {threshold}");
        }
    }
}
