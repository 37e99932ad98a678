//! The queue against a model that is a plain list, over 10,000 random schedules; and Ghodsi's example.

use std::time::Duration;

use fastrand::Rng;

use super::*;

const SCHEDULES: u64 = 10_000;
const STEPS: usize = 40;

/// ⟨9 CPUs, 18 GB⟩.
fn capacity() -> Amounts {
    amounts(9, 18)
}

/// Whole units.
fn amounts(first: u64, second: u64) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.set(0, first * 1_000_000);
    amounts.set(1, second * 1_000_000);
    amounts
}

/// A waiter: who it is, and whether there is a place for it.
#[derive(Clone, Debug, PartialEq)]
struct Guest {
    id: usize,
    welcome: bool,
}

#[derive(Clone)]
struct Record {
    priority: Priority,
    tenant: Tenant,
    guest: Guest,
    ticket: Ticket,
}

/// What should wait, by arrival, and what runs.
#[derive(Default)]
struct Model {
    waiting: Vec<Record>,
    running: Vec<(Tenant, Amounts)>,
    capacity: Amounts,
}

impl Model {
    fn share(&self, tenant: Tenant) -> f64 {
        let running = || self.running.iter().filter(|(other, _)| *other == tenant);
        let of_one = |resource: usize| {
            let used: u64 = running().map(|(_, demand)| demand.get(resource)).sum();
            used as f64 / self.capacity.get(resource) as f64
        };
        f64::max(of_one(0), of_one(1))
    }

    /// Who is served before whom: by priority, share of the tenant, its first arrival, arrival.
    fn next(&mut self) -> Option<Record> {
        let key = |record: &Record| {
            let priority = u8::from(record.priority == Priority::Normal);
            let alike = |other: &&Record| {
                other.priority == record.priority && other.tenant == record.tenant
            };
            let first = self.waiting.iter().find(alike).unwrap();
            (
                priority,
                (self.share(record.tenant) * 1e6).round() as u64,
                first.guest.id,
                record.guest.id,
            )
        };
        let welcome = self.waiting.iter().enumerate();
        let welcome = welcome.filter(|(_, record)| record.guest.welcome);
        let (position, _) = welcome.min_by_key(|(_, record)| key(record))?;
        Some(self.waiting.remove(position))
    }
}

struct Schedule {
    rng: Rng,
    queue: Queue<Guest>,
    model: Model,
    now: Instant,
}

impl Schedule {
    fn step(&mut self, id: usize) {
        self.now += Duration::from_millis(self.rng.u64(0..50));
        match self.rng.u8(0..13) {
            0..5 => self.enter(id),
            5..8 => self.serve(),
            8..10 => self.end(),
            10..12 => self.leave(),
            _ => self.share_out(),
        }
        assert_eq!(self.queue.len(), self.model.waiting.len());
    }

    fn enter(&mut self, id: usize) {
        let priority = match self.rng.bool() {
            true => Priority::High,
            false => Priority::Normal,
        };
        let tenant = self.rng.u64(0..3);
        let welcome = self.rng.u8(0..4) > 0;
        let guest = Guest { id, welcome };
        let ticket = self.queue.enter(priority, tenant, guest.clone(), self.now);
        self.model.waiting.push(Record {
            priority,
            tenant,
            guest,
            ticket,
        });
    }

    fn serve(&mut self) {
        let leaving = self
            .queue
            .next(None, self.now, |guest| match guest.welcome {
                true => Place::Free,
                false => Place::NotForIt,
            });
        assert!(leaving.dropped.is_empty());
        let Some(served) = leaving.next else {
            return assert!(self.model.next().is_none());
        };
        if self.rng.u8(0..4) == 0 {
            return self.queue.put_back(served);
        }
        let expected = self.model.next().unwrap();
        assert_eq!(served.what, expected.guest);
        let demand = amounts(self.rng.u64(0..5), self.rng.u64(0..5));
        self.queue.started(expected.tenant, &demand);
        self.model.running.push((expected.tenant, demand));
    }

    fn end(&mut self) {
        if !self.model.running.is_empty() {
            let over = self.rng.usize(0..self.model.running.len());
            let (tenant, demand) = self.model.running.swap_remove(over);
            self.queue.ended(tenant, &demand);
        }
    }

    fn share_out(&mut self) {
        self.model.capacity = amounts(self.rng.u64(1..20), self.rng.u64(1..20));
        self.queue.share_out(self.model.capacity);
    }

    fn leave(&mut self) {
        if !self.model.waiting.is_empty() {
            let gone = self.rng.usize(0..self.model.waiting.len());
            let Record { guest, ticket, .. } = self.model.waiting.remove(gone);
            assert_eq!(self.queue.leave(ticket).unwrap().what, guest);
            assert!(self.queue.leave(ticket).is_none(), "nobody leaves twice");
        }
    }
}

#[test]
fn nobody_is_lost_or_served_twice_or_out_of_order_in_ten_thousand_schedules() {
    for seed in 0..SCHEDULES {
        // Shown when the test fails.
        eprintln!("seed {seed}");
        let mut schedule = Schedule {
            rng: Rng::with_seed(seed),
            queue: Queue::sharing(capacity()),
            model: Model {
                capacity: capacity(),
                ..Model::default()
            },
            now: Instant::now(),
        };
        (0..STEPS).for_each(|id| schedule.step(id));
        let Schedule {
            mut queue,
            mut model,
            now,
            ..
        } = schedule;
        while let Some(served) = queue.next(None, now, |_| Place::Free).next {
            model
                .waiting
                .iter_mut()
                .for_each(|record| record.guest.welcome = true);
            assert_eq!(served.what.id, model.next().unwrap().guest.id);
        }
        assert!(model.waiting.is_empty());
    }
}

#[test]
fn with_a_place_for_nobody_only_the_first_is_asked() {
    let mut queue = Queue::default();
    for id in 0..100 {
        queue.enter(Priority::Normal, id, id, Instant::now());
    }
    let mut asked = 0;
    let leaving = queue.next(None, Instant::now(), |_| {
        asked += 1;
        Place::None
    });
    assert!(leaving.next.is_none());
    assert_eq!((asked, queue.len()), (1, 100));
}

/// Ghodsi et al., §4.1: 9 CPUs and 18 GB; A's tasks take ⟨1 CPU, 4 GB⟩, B's ⟨3 CPUs, 1 GB⟩. A runs 3
/// tasks and B 2, which gives each two thirds of its dominant resource.
#[test]
fn ghodsis_example_runs_three_and_two() {
    let demands = [amounts(1, 4), amounts(3, 1)];
    let mut queue = Queue::sharing(capacity());
    for tenant in [0, 1] {
        for _ in 0..10 {
            queue.enter(Priority::Normal, tenant, tenant, Instant::now());
        }
    }
    let (mut taken, mut runs) = (Amounts::default(), [0, 0]);
    loop {
        let fits = |tenant: &Tenant| {
            let with = taken.plus(&demands[*tenant as usize]);
            match with.largest_part(&capacity()) <= 1.0 {
                true => Place::Free,
                false => Place::NotForIt,
            }
        };
        let Some(served) = queue.next(None, Instant::now(), fits).next else {
            break;
        };
        let demand = &demands[served.what as usize];
        taken = taken.plus(demand);
        queue.started(served.what, demand);
        runs[served.what as usize] += 1;
    }
    assert_eq!(runs, [3, 2]);
    let shares = [0, 1].map(|tenant| queue.shares.share(tenant));
    assert_eq!(shares[0], shares[1]);
}

#[test]
fn a_tenant_with_many_waiters_gets_no_more_places_than_one_with_few() {
    let one = Amounts::one_of_each(1);
    let mut queue = Queue::default();
    let (greedy, modest) = (1, 2);
    for _ in 0..100 {
        queue.enter(Priority::Normal, greedy, greedy, Instant::now());
    }
    for _ in 0..3 {
        queue.enter(Priority::Normal, modest, modest, Instant::now());
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        let next = queue.next(None, Instant::now(), |_| Place::Free).next;
        let tenant = next.unwrap().what;
        queue.started(tenant, &one);
        served.push(tenant);
    }
    assert_eq!(served, [greedy, modest, greedy, modest, greedy, modest]);
}

#[test]
fn codel_drops_from_the_front_and_leaves_the_rest_in_order() {
    let law = model::Codel::default();
    let mut queue = Queue::default();
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    for id in 0..100 {
        queue.enter(Priority::Normal, 0, id, start);
    }
    let mut left = Vec::new();
    let mut dropped = Vec::new();
    for ms in (10..400).step_by(10) {
        let leaving = queue.next(Some(law), at(ms), |_| Place::Free);
        left.extend(leaving.dropped.iter().map(|waiting| waiting.what));
        dropped.extend(leaving.dropped.iter().map(|_| ms));
        left.extend(leaving.next.map(|waiting| waiting.what));
    }
    assert_eq!(
        dropped,
        [110, 210, 290, 340, 390],
        "one interval after 10 ms"
    );
    assert_eq!(left, (0..39 + 5).collect::<Vec<_>>());
}
