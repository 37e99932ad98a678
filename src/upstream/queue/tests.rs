//! The queue against a model that is a plain list, over 10,000 random schedules.

use std::time::Duration;

use fastrand::Rng;

use super::*;

const SCHEDULES: u64 = 10_000;
const STEPS: usize = 40;

/// A waiter of the model: who it is, and whether there is a place for it.
#[derive(Clone, Debug, PartialEq)]
struct Guest {
    id: usize,
    welcome: bool,
}

/// What should wait, in the order of service.
#[derive(Default)]
struct Model(Vec<(Priority, Guest, Ticket)>);

impl Model {
    fn enter(&mut self, priority: Priority, guest: Guest, ticket: Ticket) {
        let behind = |(other, ..): &&(Priority, Guest, Ticket)| *other <= priority;
        let position = self.0.iter().filter(behind).count();
        self.0.insert(position, (priority, guest, ticket));
    }

    fn next(&mut self) -> Option<Guest> {
        let position = self.0.iter().position(|(_, guest, _)| guest.welcome)?;
        Some(self.0.remove(position).1)
    }
}

fn step(rng: &mut Rng, queue: &mut Queue<Guest>, model: &mut Model, id: usize, now: Instant) {
    match rng.u8(0..10) {
        0..5 => {
            let priority = *rng.choice(&[Priority::High, Priority::Normal]).unwrap();
            let welcome = rng.u8(0..4) > 0;
            let guest = Guest { id, welcome };
            let ticket = queue.enter(priority, guest.clone(), now);
            model.enter(priority, guest, ticket);
        }
        5..8 => {
            let place = |guest: &Guest| match guest.welcome {
                true => Place::Free,
                false => Place::NotForIt,
            };
            let served = queue.next(place);
            if let Some(served) = served {
                if rng.u8(0..4) == 0 {
                    queue.put_back(served);
                } else {
                    assert_eq!(Some(served.what), model.next());
                }
            } else {
                assert_eq!(model.next(), None);
            }
        }
        _ => {
            let gone = rng.usize(0..model.0.len().max(1));
            if gone < model.0.len() {
                let (_, guest, ticket) = model.0.remove(gone);
                assert_eq!(queue.leave(ticket).unwrap().what, guest);
                assert!(queue.leave(ticket).is_none(), "nobody leaves twice");
            }
        }
    }
    assert_eq!(queue.len(), model.0.len());
}

#[test]
fn nobody_is_lost_or_served_twice_or_out_of_order_in_ten_thousand_schedules() {
    for seed in 0..SCHEDULES {
        let mut rng = Rng::with_seed(seed);
        let (mut queue, mut model) = (Queue::default(), Model::default());
        // Shown when the test fails.
        eprintln!("seed {seed}");
        let mut now = Instant::now();
        for id in 0..STEPS {
            now += Duration::from_millis(rng.u64(0..50));
            step(&mut rng, &mut queue, &mut model, id, now);
        }
        let rest: Vec<_> = std::iter::from_fn(|| queue.next(|_| Place::Free)).collect();
        let rest: Vec<_> = rest.into_iter().map(|waiting| waiting.what).collect();
        let expected: Vec<_> = model.0.into_iter().map(|(_, guest, _)| guest).collect();
        assert_eq!(rest, expected);
    }
}

#[test]
fn with_a_place_for_nobody_only_the_first_is_asked() {
    let mut queue = Queue::default();
    for id in 0..100 {
        queue.enter(Priority::Normal, id, Instant::now());
    }
    let mut asked = 0;
    let none = queue.next(|_| {
        asked += 1;
        Place::None
    });
    assert!(none.is_none());
    assert_eq!((asked, queue.len()), (1, 100));
}
