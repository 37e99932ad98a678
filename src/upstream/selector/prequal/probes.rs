//! The pool of probes: places of slots that a pick compares, oldest first.
//!
//! Definition (Wydrowski et al., NSDI 2024, §4): at most 16 probes; a newer one of a slot replaces the
//! older; one that is too old or has been used as often as it may is gone; each pick takes one more
//! out, in turn the oldest and the worst. Here that ends at half of the places: picks do not wait for
//! probes, so they must not use them up. Pure; used by `prequal`.

use std::time::Instant;

use super::super::{Slot, Slots, Tried};
use super::Rank;

pub(super) const SIZE: usize = 16;
/// With fewer there is nothing to choose.
const PROBES_MIN: usize = 2;

#[derive(Default)]
pub(super) struct Probes {
    probes: Vec<Probe>,
    /// Whether the next one to be taken out is the worst, not the oldest.
    worst_is_next: bool,
}

pub(super) struct Probe {
    pub(super) place: usize,
    /// `None`: it does not age.
    pub(super) expires: Option<Instant>,
    /// Picks it may still decide; at least 1.
    pub(super) uses: u32,
}

impl Probe {
    /// A look at what weir knows of a slot, which is always true.
    pub(super) fn look(place: usize) -> Probe {
        Probe {
            place,
            expires: None,
            uses: u32::MAX,
        }
    }

    fn holds(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now <= expires)
    }
}

impl Probes {
    pub(super) fn push(&mut self, probe: Probe) {
        self.probes.retain(|other| other.place != probe.place);
        if self.probes.len() >= SIZE {
            self.probes.remove(0);
        }
        self.probes.push(probe);
    }

    /// The best eligible one, the newest of equals; `None` with fewer than two.
    pub(super) fn take_best(
        &mut self,
        slots: &Slots,
        tried: &Tried,
        now: Instant,
        rank: impl Fn(&Slot) -> Rank,
    ) -> Option<usize> {
        self.probes.retain(|probe| probe.holds(now));
        let mut eligible = 0;
        let mut best: Option<(Rank, usize)> = None;
        let mut worst: Option<(Rank, usize)> = None;
        for (index, probe) in self.probes.iter().enumerate().rev() {
            let Some(slot) = slots.eligible(probe.place, tried) else {
                continue;
            };
            eligible += 1;
            let rank = rank(slot);
            if best.is_none_or(|(best, _)| rank < best) {
                best = Some((rank, index));
            }
            if worst.is_none_or(|(worst, _)| rank >= worst) {
                worst = Some((rank, index));
            }
        }
        let ((_, best), (_, worst)) = (best?, worst?);
        (eligible >= PROBES_MIN).then(|| self.used(best, worst, slots))
    }

    /// The place of the best one, which is used once; takes out what has to go.
    fn used(&mut self, best: usize, worst: usize, slots: &Slots) -> usize {
        let probe = &mut self.probes[best];
        let place = probe.place;
        probe.uses -= 1;
        if self.probes.len() > SIZE.min(slots.len()) / 2 {
            let out = if self.worst_is_next { worst } else { 0 };
            self.worst_is_next = !self.worst_is_next;
            self.probes.remove(out);
        }
        self.probes.retain(|probe| probe.uses > 0);
        place
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::tests::Bench;
    use super::*;

    /// Slots rank by their port's order: the first is best.
    fn by_place(slot: &Slot) -> Rank {
        let std::net::IpAddr::V4(address) = slot.endpoint.address().ip() else {
            panic!("the bench has IPv4 addresses only");
        };
        Rank::hot(f32::from(address.octets()[3]))
    }

    struct Pool {
        probes: Probes,
        slots: Slots,
        now: Instant,
    }

    impl Pool {
        fn of(slots: usize) -> Pool {
            Pool {
                probes: Probes::default(),
                slots: Bench::new(&vec![1; slots]).slots(),
                now: Instant::now(),
            }
        }

        fn push(&mut self, place: usize, age_max_ms: u64, uses: u32) {
            self.probes.push(Probe {
                place,
                expires: Some(self.now + Duration::from_millis(age_max_ms)),
                uses,
            });
        }

        fn take(&mut self, after_ms: u64) -> Option<usize> {
            let now = self.now + Duration::from_millis(after_ms);
            self.probes
                .take_best(&self.slots, &Tried::default(), now, by_place)
        }

        fn places(&self) -> Vec<usize> {
            self.probes.probes.iter().map(|probe| probe.place).collect()
        }
    }

    #[test]
    fn the_newest_sixteen_places_are_kept() {
        let mut pool = Pool::of(40);
        (0..20).for_each(|place| pool.push(place, 1000, 9));
        pool.push(10, 1000, 9);
        let expected: Vec<usize> = (4..20).filter(|&place| place != 10).chain([10]).collect();
        assert_eq!(pool.places(), expected);
    }

    #[test]
    fn a_probe_decides_so_many_picks_for_so_long() {
        let mut pool = Pool::of(40);
        for (place, uses) in [(3, 2), (5, 9), (7, 9)] {
            pool.push(place, 1000, uses);
        }
        assert_eq!([pool.take(0), pool.take(1000)], [Some(3), Some(3)]);
        assert_eq!(pool.take(1000), Some(5));
        assert_eq!(pool.take(1001), None);
        assert!(pool.places().is_empty());
    }

    #[test]
    fn the_oldest_and_the_worst_go_in_turn_while_more_than_half_are_left() {
        let mut pool = Pool::of(8);
        for place in [4, 1, 7, 2, 6, 5] {
            pool.push(place, 1000, 9);
        }
        assert_eq!(pool.take(0), Some(1));
        assert_eq!(pool.places(), [1, 7, 2, 6, 5]);
        assert_eq!(pool.take(0), Some(1));
        assert_eq!(pool.places(), [1, 2, 6, 5]);
        assert_eq!(pool.take(0), Some(1));
        assert_eq!(pool.places(), [1, 2, 6, 5]);
    }

    #[test]
    fn one_probe_is_no_choice() {
        let mut pool = Pool::of(8);
        pool.push(3, 1000, 9);
        assert_eq!(pool.take(0), None);
        assert_eq!(pool.places(), [3]);
    }
}
