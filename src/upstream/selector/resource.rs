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
//! endpoints the largest share stays within 1.15 of the mean. In a pool of more than 64 endpoints the
//! rule is over eight drawn by weight among those where the demand fits. Cost: two passes over the
//! slots or the eight.

use super::draw::Draws;
use super::rotation::Rotation;
use super::{Algorithm, Facts, Slot, Slots, Tried};
use crate::config::amounts::Amounts;

/// Shares up to this multiple of the lowest are as good.
const NEARLY_LOWEST: f64 = 1.1;
/// Larger pools are sampled.
const SCAN: usize = 64;
const SAMPLE: usize = 8;

pub struct Resource {
    start: Rotation,
    draws: Draws,
}

impl Algorithm for Resource {
    fn new(slots: &Slots, seed: u64) -> Self {
        Resource {
            start: Rotation::new(slots, seed),
            draws: Draws::new(slots, seed),
        }
    }

    fn pick(&self, slots: &Slots, tried: &Tried, facts: &Facts) -> Option<usize> {
        let wanted = &facts.wanted;
        let eligible = |place| slots.eligible(place, tried);
        let fitting = |place| eligible(place).filter(|slot| slot.room.fits(&wanted.demand));
        let start = self.start.next()?;
        let all = (start..slots.len()).chain(0..start);
        let fit = if slots.len() <= SCAN {
            best_fit(all.clone(), fitting, &wanted.demand)
        } else {
            let sample = self.sample(slots, |place| fitting(place).is_some());
            sample.and_then(|sample| best_fit(sample.into_iter(), fitting, &wanted.demand))
        };
        let share = |slot: &Slot| slot.room.dominant_share(&wanted.demand);
        let squeezed = || Some(least(all, eligible, share)?.0);
        fit.or_else(|| wanted.may_exceed.then(squeezed)?)
    }
}

impl Resource {
    /// `None`: there is no place that may be drawn.
    fn sample(&self, slots: &Slots, may: impl Fn(usize) -> bool) -> Option<[usize; SAMPLE]> {
        let mut drawing = self.draws.begin();
        let mut sample = [0; SAMPLE];
        for place in &mut sample {
            *place = drawing.draw(slots, &may)?;
        }
        Some(sample)
    }
}

/// Of the places whose share is nearly the lowest, the one that is most like the demand.
fn best_fit<'a>(
    places: impl Iterator<Item = usize> + Clone,
    slot: impl Fn(usize) -> Option<&'a Slot>,
    demand: &Amounts,
) -> Option<usize> {
    let share = |slot: &Slot| slot.room.dominant_share(demand);
    let (_, lowest) = least(places.clone(), &slot, share)?;
    let nearly_lowest = |place| slot(place).filter(|slot| share(slot) <= lowest * NEARLY_LOWEST);
    let unlikeness = |slot: &Slot| -slot.room.likeness(demand);
    let (place, _) = least(places, nearly_lowest, unlikeness)?;
    Some(place)
}

/// The place of the least cost among those that have a slot, and that cost; the first of equals.
fn least<'a>(
    places: impl Iterator<Item = usize>,
    slot: impl Fn(usize) -> Option<&'a Slot>,
    cost: impl Fn(&Slot) -> f64,
) -> Option<(usize, f64)> {
    let mut best: Option<(usize, f64)> = None;
    for place in places {
        let Some(slot) = slot(place) else {
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
