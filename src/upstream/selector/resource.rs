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
//! rule is over eight drawn by weight among those where the demand fits. Cost: a pass over the
//! slots or the eight, and one over those whose share is low.

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
            best_fit(slots, all.clone(), fitting, &wanted.demand)
        } else {
            let sample = self.sample(slots, |place| fitting(place).is_some());
            sample.and_then(|sample| best_fit(slots, sample.into_iter(), fitting, &wanted.demand))
        };
        let share = |place| Some((place, eligible(place)?.room.dominant_share(&wanted.demand)));
        let squeezed = || least(all.filter_map(share));
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

/// Of the first `SCAN` places the one that is most like the demand, among those whose share is nearly
/// the lowest.
fn best_fit<'a>(
    slots: &Slots,
    places: impl Iterator<Item = usize> + Clone,
    fitting: impl Fn(usize) -> Option<&'a Slot>,
    demand: &Amounts,
) -> Option<usize> {
    // Above all shares: it does not fit.
    let mut shares = [f64::INFINITY; SCAN];
    let mut highest = f64::MAX;
    for (share, place) in shares.iter_mut().zip(places.clone()) {
        if let Some(slot) = fitting(place) {
            *share = slot.room.dominant_share(demand);
            highest = highest.min(*share * NEARLY_LOWEST);
        }
    }
    let nearly_lowest = places.zip(&shares).filter(|(_, share)| **share <= highest);
    let unlikeness = |place| Some((place, -slots.get(place)?.room.likeness(demand)));
    least(nearly_lowest.filter_map(|(place, _)| unlikeness(place)))
}

/// The place of the least cost; the first of equals.
fn least(costs: impl Iterator<Item = (usize, f64)>) -> Option<usize> {
    let (place, _) = costs.min_by(|one, other| one.1.total_cmp(&other.1))?;
    Some(place)
}

#[cfg(test)]
mod tests;
