//! Who leads, who waits, and what each is told.

use super::*;

fn key(name: u8) -> CompactCacheKey {
    CompactCacheKey {
        primary: [name; 16],
        variance: None,
        user_tag: Box::default(),
    }
}

fn leads(flights: &Flights, key: &CompactCacheKey) -> Leader {
    match flights.join(key, Instant::now()) {
        Joined::Leads(leader) => leader,
        _ => panic!("does not lead"),
    }
}

fn waits(flights: &Flights, key: &CompactCacheKey) -> oneshot::Receiver<Turn> {
    match flights.join(key, Instant::now()) {
        Joined::Waits(waiter) => waiter,
        _ => panic!("does not wait"),
    }
}

#[test]
fn the_first_leads_and_all_others_are_told_what_came() {
    let flights = Flights::default();
    let leader = leads(&flights, &key(1));
    let mut waiters = [waits(&flights, &key(1)), waits(&flights, &key(1))];
    let _other = leads(&flights, &key(2));
    leader.land(Landed::Stored, Instant::now());
    for waiter in &mut waiters {
        assert!(matches!(waiter.try_recv(), Ok(Turn::Look)));
    }
    drop(leads(&flights, &key(1)));
}

#[test]
fn what_is_not_to_be_shared_frees_all_and_is_remembered_for_a_while() {
    let flights = Flights::default();
    let now = Instant::now();
    let leader = leads(&flights, &key(1));
    let mut waiter = waits(&flights, &key(1));
    leader.land(Landed::Uncacheable, now);
    assert!(matches!(waiter.try_recv(), Ok(Turn::Alone)));
    assert!(matches!(flights.join(&key(1), now), Joined::Alone));
    let later = now + MEMORY;
    assert!(matches!(flights.join(&key(1), later), Joined::Leads(_)));
    flights.note(&key(1), Landed::Uncacheable, now);
    flights.note(&key(1), Landed::Stored, now);
    assert!(!flights.is_alone(&key(1), now));
}

#[test]
fn a_leader_that_goes_hands_over_to_the_first_waiter_that_is_still_there() {
    let flights = Flights::default();
    let leader = leads(&flights, &key(1));
    let gone = waits(&flights, &key(1));
    let mut next = waits(&flights, &key(1));
    let mut last = waits(&flights, &key(1));
    drop(gone);
    drop(leader);
    let Ok(Turn::Lead(leader)) = next.try_recv() else {
        panic!("nobody leads");
    };
    assert!(last.try_recv().is_err());
    leader.land(Landed::NotShared, Instant::now());
    assert!(matches!(last.try_recv(), Ok(Turn::Alone)));
}

#[test]
fn a_turn_that_is_not_taken_up_passes_on() {
    let flights = Flights::default();
    let leader = leads(&flights, &key(1));
    let told = waits(&flights, &key(1));
    let mut next = waits(&flights, &key(1));
    drop(leader);
    // It was told to lead, and goes before it looks.
    drop(told);
    assert!(matches!(next.try_recv(), Ok(Turn::Lead(_))));
}

#[test]
fn what_is_remembered_is_bounded() {
    let flights = Flights::default();
    let now = Instant::now();
    let many = |number: u32| {
        let mut key = key(0);
        key.primary[4..8].copy_from_slice(&number.to_le_bytes());
        key
    };
    for number in 0..5000 {
        flights.note(&many(number), Landed::Uncacheable, now);
    }
    assert!(flights.is_alone(&many(0), now));
    assert!(!flights.is_alone(&many(4999), now));
    flights.note(&many(4999), Landed::Uncacheable, now + MEMORY);
    assert!(flights.is_alone(&many(4999), now + MEMORY));
}

#[test]
fn where_no_endpoint_answers_all_are_told_and_who_comes_later_leads() {
    let flights = Flights::default();
    let leader = leads(&flights, &key(1));
    let mut waiters = [waits(&flights, &key(1)), waits(&flights, &key(1))];
    leader.land(Landed::Down(Silence::NoEndpoint), Instant::now());
    for waiter in &mut waiters {
        let turn = waiter.try_recv();
        assert!(matches!(turn, Ok(Turn::Down(Silence::NoEndpoint))));
    }
    drop(leads(&flights, &key(1)));
}

#[test]
fn of_leaders_in_doubt_the_second_speaks_for_all() {
    let flights = Flights::default();
    let now = Instant::now();
    let leader = leads(&flights, &key(1));
    let mut next = waits(&flights, &key(1));
    let mut last = waits(&flights, &key(1));
    leader.doubt(Silence::ConnectFailed, now);
    let Ok(Turn::Lead(leader)) = next.try_recv() else {
        panic!("nobody leads");
    };
    assert!(last.try_recv().is_err());
    leader.doubt(Silence::Timeout, now);
    assert!(matches!(last.try_recv(), Ok(Turn::Down(Silence::Timeout))));
    let alone = leads(&flights, &key(1));
    alone.doubt(Silence::Timeout, now);
    drop(leads(&flights, &key(1)));
}

#[test]
fn what_was_purged_before_it_came_is_looked_for_again() {
    let flights = Flights::default();
    let leader = leads(&flights, &key(1));
    let mut waiter = waits(&flights, &key(1));
    leader.land(Landed::Voided, Instant::now());
    assert!(matches!(waiter.try_recv(), Ok(Turn::Again)));
    drop(leads(&flights, &key(1)));
}
