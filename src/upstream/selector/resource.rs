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
use super::{Algorithm, Facts, Slots, Tried};
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
        let choice = Choice {
            slots,
            tried,
            demand: &wanted.demand,
        };
        let all = self.start.round(slots.len())?;
        let fit = if slots.len() <= SAMPLE {
            choice.best_fit::<SAMPLE>(all.clone())
        } else if slots.len() <= SCAN {
            choice.best_fit::<SCAN>(all.clone())
        } else {
            let sample = self.sample(slots, |place| choice.share(place).is_some());
            sample.and_then(|sample| choice.best_fit::<SAMPLE>(sample.into_iter()))
        };
        fit.or_else(|| wanted.may_exceed.then(|| choice.least_filled(all))?)
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

// === Choice ===

/// What one pick chooses from.
struct Choice<'a> {
    slots: &'a Slots,
    tried: &'a Tried,
    demand: &'a Amounts,
}

impl Choice<'_> {
    /// The dominant share of a place with the demand in; `None`: it does not fit there.
    #[inline(always)]
    fn share(&self, place: usize) -> Option<f64> {
        let slot = self.slots.eligible(place, self.tried)?;
        let filled = slot.room.filled(self.demand);
        filled.fits.then_some(filled.dominant_share)
    }

    /// Of up to `N` places the one that is most like the demand, among those whose share is nearly the
    /// lowest; the first of equals.
    fn best_fit<const N: usize>(&self, places: impl Iterator<Item = usize>) -> Option<usize> {
        let mut shares = [(0, f64::INFINITY); N];
        let mut lowest = f64::INFINITY;
        for (kept, place) in shares.iter_mut().zip(places) {
            let share = self.share(place).unwrap_or(f64::INFINITY);
            *kept = (place, share);
            if share < lowest {
                lowest = share;
            }
        }
        if lowest == f64::INFINITY {
            return None;
        }
        let highest = lowest * NEARLY_LOWEST;
        let nearly_lowest = shares.iter().filter(|(_, share)| *share <= highest);
        let likenesses = nearly_lowest.filter_map(|&(place, _)| {
            let slot = self.slots.get(place)?;
            Some((place, slot.room.likeness(self.demand)))
        });
        let (place, _) =
            likenesses.reduce(|most, next| if next.1.is_above(most.1) { next } else { most })?;
        Some(place)
    }

    /// The eligible place with the lowest dominant share.
    fn least_filled(&self, places: impl Iterator<Item = usize>) -> Option<usize> {
        let shares = places.filter_map(|place| {
            let slot = self.slots.eligible(place, self.tried)?;
            Some((place, slot.room.filled(self.demand).dominant_share))
        });
        let (place, _) = shares.min_by(|one, other| one.1.total_cmp(&other.1))?;
        Some(place)
    }
}

#[cfg(test)]
mod tests;
