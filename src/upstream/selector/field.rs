//! The field of a pick: which slots an algorithm compares.
//!
//! All of them in a pool of up to [`Size::scan`] slots; in a larger one, [`Size::sample`] drawn by
//! weight. Two of n suffice against herding (Mitzenmacher), but a sample has a floor: with s slow
//! endpoints of n, both of two are slow with probability s(s-1)/(n(n-1)), which in a small pool is a
//! visible part of the traffic (brpc#3340). So small pools are compared whole.
//!
//! Ties go to the first met. That one is a weighted choice too, by rotation or by draw, so that
//! weights share out what costs leave open. Used by the algorithms that look for the least cost.

use super::draw::Draws;
use super::rotation::Rotation;
use super::{Slot, Slots, Tried};

pub struct Field {
    size: Size,
    start: Rotation,
    draws: Draws,
}

#[derive(Clone, Copy)]
pub struct Size {
    /// Pools of so many slots are compared whole.
    pub scan: usize,
    /// Slots compared in larger pools.
    pub sample: usize,
}

/// What an algorithm compares.
pub trait Cost: Copy {
    fn is_below(self, other: Self) -> bool;

    /// Nothing is below it, so there is no need to look further.
    #[inline]
    fn is_least(self) -> bool {
        false
    }
}

impl Cost for f32 {
    #[inline]
    fn is_below(self, other: f32) -> bool {
        self < other
    }
}

impl Field {
    pub fn new(slots: &Slots, seed: u64, size: Size) -> Self {
        Field {
            size,
            start: Rotation::new(slots, seed),
            draws: Draws::new(slots, seed),
        }
    }

    /// The eligible place of the least cost; `None` when none is eligible.
    pub fn least<C: Cost>(
        &self,
        slots: &Slots,
        tried: &Tried,
        cost: impl Fn(&Slot) -> C,
    ) -> Option<usize> {
        if slots.len() <= self.size.scan {
            self.least_of_all(slots, tried, cost)
        } else {
            self.least_of_sample(slots, tried, cost)
        }
    }

    /// An eligible place, drawn by weight.
    pub fn draw(&self, slots: &Slots, tried: &Tried) -> Option<usize> {
        let may = |place| slots.eligible(place, tried).is_some();
        self.draws.begin().draw(slots, may)
    }

    /// As [`least`](Field::least), however many slots there are.
    pub fn least_of_all<C: Cost>(
        &self,
        slots: &Slots,
        tried: &Tried,
        cost: impl Fn(&Slot) -> C,
    ) -> Option<usize> {
        let mut least: Option<(usize, C)> = None;
        for place in self.start.round(slots.len())? {
            let Some(slot) = slots.eligible(place, tried) else {
                continue;
            };
            let cost = cost(slot);
            if cost.is_least() {
                return Some(place);
            }
            if least.is_none_or(|(_, least)| cost.is_below(least)) {
                least = Some((place, cost));
            }
        }
        Some(least?.0)
    }

    fn least_of_sample<C: Cost>(
        &self,
        slots: &Slots,
        tried: &Tried,
        cost: impl Fn(&Slot) -> C,
    ) -> Option<usize> {
        let mut drawing = self.draws.begin();
        let mut least: Option<(usize, C)> = None;
        for _ in 0..self.size.sample {
            // Never compared with itself.
            let known = least.map(|(place, _)| place);
            let may = |place| Some(place) != known && slots.eligible(place, tried).is_some();
            let Some(place) = drawing.draw(slots, may) else {
                break;
            };
            let Some(slot) = slots.get(place) else {
                break;
            };
            let cost = cost(slot);
            if cost.is_least() {
                return Some(place);
            }
            if least.is_none_or(|(_, least)| cost.is_below(least)) {
                least = Some((place, cost));
            }
        }
        Some(least?.0)
    }
}
