//! `resource`: for requests that need different amounts of compute, storage or whatever else is named.
//!
//! Definition: of the endpoints where the demand fits in every dimension, those whose dominant share
//! (the largest taken / capacity over the dimensions, the demand in) is within a tenth of the lowest;
//! of these the one where demand and free capacity are most alike. The dominant share is that of DRF
//! (Ghodsi et al., NSDI 2011), the likeness takes the place of Tetris' alignment (Grandl et al.,
//! SIGCOMM 2014), whose raw product overlooks a dimension that is nearly full; so the share decides
//! first. Equals take turns by weight. Where nothing fits there is no pick, or, if the request may be
//! squeezed in, the lowest dominant share.
//!
//! Bound: never more than the capacity, but for those squeezed in. At 70 % load of four equal
//! endpoints the largest share stays within 1.15 of the mean. Cost: two passes over the slots.

use super::rotation::Rotation;
use super::{Algorithm, Facts, Slot, Slots, Tried};

/// Shares up to this multiple of the lowest are as good.
const NEARLY_LOWEST: f64 = 1.1;

pub struct Resource {
    start: Rotation,
}

impl Algorithm for Resource {
    fn new(slots: &Slots, seed: u64) -> Self {
        Resource {
            start: Rotation::new(slots, seed),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried, facts: &Facts) -> Option<usize> {
        let wanted = &facts.wanted;
        let start = self.start.next()?;
        let fitting = |slot: &Slot| slot.room.fits(&wanted.demand);
        let share = |slot: &Slot| slot.room.dominant_share(&wanted.demand);
        let lowest = least(start, slots, tried, fitting, share);
        let Some((_, lowest)) = lowest else {
            let squeezed = wanted
                .may_exceed
                .then(|| least(start, slots, tried, |_| true, share));
            return squeezed.flatten().map(|(place, _)| place);
        };
        let nearly_lowest = |slot: &Slot| fitting(slot) && share(slot) <= lowest * NEARLY_LOWEST;
        let unlikeness = |slot: &Slot| -slot.room.likeness(&wanted.demand);
        least(start, slots, tried, nearly_lowest, unlikeness).map(|(place, _)| place)
    }
}

/// The place of the least cost among the slots that are eligible and `suit`, and that cost; the
/// first of equals from `start` on.
fn least(
    start: usize,
    slots: &Slots,
    tried: &Tried,
    suits: impl Fn(&Slot) -> bool,
    cost: impl Fn(&Slot) -> f64,
) -> Option<(usize, f64)> {
    let mut best: Option<(usize, f64)> = None;
    for place in (start..slots.len()).chain(0..start) {
        let Some(slot) = slots.eligible(place, tried).filter(|slot| suits(slot)) else {
            continue;
        };
        let cost = cost(slot);
        if best.is_none_or(|(_, least)| cost < least) {
            best = Some((place, cost));
        }
    }
    best
}

#[cfg(test)]
mod tests;
