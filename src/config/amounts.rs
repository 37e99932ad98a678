//! Amounts of resources: what endpoints have and requests take, dimension by dimension.
//!
//! A pool names its dimensions (`compute`, `storage` …); an amount knows them by their place in the
//! pool's sorted list. Amounts are whole millionths of a unit, so that sums of them come back to
//! exactly zero. Pure; made by `validate` and by `policy::demand`, counted by `upstream::room`.

/// Dimensions a pool may have: amounts are copied with each pick.
pub const DIMENSIONS_MAX: usize = 8;
/// The largest amount, in units. A million requests of it fit into the 64 bits of a sum.
pub const UNITS_MAX: f64 = 1_000_000.0;
/// The least amount, in units: one millionth.
pub const UNITS_MIN: f64 = 1.0 / MILLIONTHS;

const MILLIONTHS: f64 = 1_000_000.0;

/// One amount for each dimension, in millionths of a unit; 0 where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts([u64; DIMENSIONS_MAX]);

impl Amounts {
    /// One unit of each of the first `dimensions`: a demand nobody has told.
    pub fn one_of_each(dimensions: usize) -> Amounts {
        let mut amounts = Amounts::default();
        let told = amounts.0.iter_mut().take(dimensions);
        told.for_each(|amount| *amount = MILLIONTHS as u64);
        amounts
    }

    /// 0 for a dimension there is not.
    #[inline]
    pub fn get(&self, dimension: usize) -> u64 {
        self.0.get(dimension).copied().unwrap_or(0)
    }

    /// By dimension.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// A dimension there is not is left out.
    pub fn set(&mut self, dimension: usize, millionths: u64) {
        if let Some(amount) = self.0.get_mut(dimension) {
            *amount = millionths;
        }
    }

    pub fn plus(mut self, other: &Amounts) -> Amounts {
        let both = self.0.iter_mut().zip(other.0);
        both.for_each(|(amount, more)| *amount = amount.saturating_add(more));
        self
    }

    /// The lesser of both in each dimension.
    pub fn at_most(mut self, other: &Amounts) -> Amounts {
        let both = self.0.iter_mut().zip(other.0);
        both.for_each(|(amount, most)| *amount = (*amount).min(most));
        self
    }

    /// Never below nothing.
    pub fn minus(mut self, other: &Amounts) -> Amounts {
        let both = self.0.iter_mut().zip(other.0);
        both.for_each(|(amount, less)| *amount = amount.saturating_sub(less));
        self
    }

    /// The largest part of `all` that this is of it, in some dimension; what `all` has none of does
    /// not count.
    pub fn largest_part(&self, all: &Amounts) -> f64 {
        let both = self.0.iter().zip(all.0).filter(|(_, all)| *all > 0);
        both.map(|(amount, all)| *amount as f64 / all as f64)
            .fold(0.0, f64::max)
    }

    pub fn is_nothing(&self) -> bool {
        self.0.iter().all(|&amount| amount == 0)
    }
}

/// `UNITS_MIN` to `UNITS_MAX` as millionths, rounded; `None` for all else, NaN included.
pub fn millionths(units: f64) -> Option<u64> {
    (UNITS_MIN..=UNITS_MAX)
        .contains(&units)
        .then(|| (units * MILLIONTHS).round() as u64)
}

/// As [`millionths`], but what is outside of the range counts as its nearer end; `None`: NaN.
pub fn clamped_millionths(units: f64) -> Option<u64> {
    (!units.is_nan())
        .then(|| units.clamp(UNITS_MIN, UNITS_MAX))
        .and_then(millionths)
}

/// To reckon with. Sums of amounts stay below 2^63, and so many bits are converted in one step.
#[inline]
pub fn real(millionths: u64) -> f64 {
    millionths as i64 as f64
}

/// What people read.
pub fn units(millionths: u64) -> f64 {
    millionths as f64 / MILLIONTHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_counted_is_an_amount() {
        assert_eq!(millionths(8.0), Some(8_000_000));
        assert_eq!(millionths(0.000_001), Some(1));
        assert_eq!(millionths(1e6), Some(1_000_000_000_000));
        for refused in [0.0, -1.0, 1e-7, 1_000_000.1, f64::INFINITY, f64::NAN] {
            assert_eq!(millionths(refused), None, "{refused}");
        }
    }

    #[test]
    fn what_is_outside_is_clamped_and_what_is_no_number_is_nothing() {
        assert_eq!(clamped_millionths(f64::NEG_INFINITY), Some(1));
        assert_eq!(clamped_millionths(0.0), Some(1));
        assert_eq!(clamped_millionths(1e300), Some(1_000_000_000_000));
        assert_eq!(clamped_millionths(f64::NAN), None);
    }

    #[test]
    fn a_dimension_there_is_not_holds_nothing() {
        let mut amounts = Amounts::one_of_each(2);
        amounts.set(DIMENSIONS_MAX, 7);
        assert_eq!(
            [0, 1, 2, 99].map(|at| amounts.get(at)),
            [1_000_000, 1_000_000, 0, 0]
        );
        assert!(!amounts.is_nothing() && Amounts::default().is_nothing());
    }

    #[test]
    fn sums_stay_within_their_bits() {
        let mut most = Amounts::default();
        most.set(0, u64::MAX);
        let one = Amounts::one_of_each(1);
        assert_eq!(most.plus(&one), most);
        assert_eq!(one.minus(&most), Amounts::default());
        assert_eq!(one.plus(&one).minus(&one), one);
    }

    #[test]
    fn the_largest_part_counts_and_what_there_is_none_of_does_not() {
        let mut all = Amounts::one_of_each(2);
        all.set(1, 4_000_000);
        assert_eq!(Amounts::one_of_each(3).largest_part(&all), 1.0);
        all.set(0, 0);
        assert_eq!(Amounts::one_of_each(3).largest_part(&all), 0.25);
    }
}
