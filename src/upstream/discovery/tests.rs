//! Discovery against a scripted lookup, and against a name server on a real socket.

use std::collections::VecDeque;
use std::net::IpAddr;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use parking_lot::Mutex;

use super::*;
use crate::upstream::tests::{config, registry};

fn pool(endpoints: &[&str]) -> Arc<Pool> {
    Pool::build(&config(endpoints), &registry()).unwrap()
}

fn members(pool: &Pool) -> Vec<String> {
    let members = pool.members();
    let members = members.all().iter();
    members
        .map(|member| member.endpoint.name().to_owned())
        .collect()
}

/// Answers with one line of the script after the other; `None` is a failure.
struct Script(Mutex<VecDeque<Option<(&'static str, u64)>>>);

#[async_trait]
impl Lookup for Script {
    async fn lookup(&self, _host: &str) -> Answer {
        let line = self.0.lock().pop_front().flatten();
        let failed = || Err("for the test".to_owned());
        let (v4, ttl) = line.map_or_else(
            || (failed(), 0),
            |(ip, ttl)| (Ok(vec![ip.parse().unwrap()]), ttl),
        );
        Answer {
            v6: if v4.is_ok() { Ok(Vec::new()) } else { failed() },
            v4,
            ttl: Duration::from_secs(ttl),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_loop_follows_the_ttl_and_keeps_the_last_good_answer() {
    let pool = pool(&["db.internal:5"]);
    let script = [Some(("10.0.0.1", 20)), None, None, Some(("10.0.0.2", 300))];
    let script = Script(Mutex::new(script.into()));
    let discovery = Discovery::with_lookup(pool.clone(), script);
    assert!(discovery.update().await);
    assert_eq!(members(&pool), ["10.0.0.1:5"]);

    let mut changes = pool.changes();
    let started = Instant::now();
    let running = tokio::spawn(discovery.run());
    changes.changed().await.unwrap();
    assert_eq!(members(&pool), ["10.0.0.2:5"]);
    // 20 s for the TTL, 1 s and 2 s for the two failures, each ±10 %.
    let waited = started.elapsed().as_secs_f64();
    assert!((20.7..25.4).contains(&waited), "{waited}");
    running.abort();
}

#[tokio::test]
async fn a_pool_without_names_needs_no_loop() {
    let discovery = Discovery::with_lookup(pool(&["10.0.0.1:1"]), Script(Mutex::default()));
    assert!(!discovery.update().await);
    discovery.run().await;
}

#[test]
fn the_pace_is_the_shortest_ttl_within_bounds() {
    let seconds = Duration::from_secs;
    for (ttls, pause) in [
        (vec![Some(seconds(30)), Some(seconds(7))], 7),
        (vec![Some(seconds(0))], 1),
        (vec![Some(seconds(4000))], 60),
        (vec![Some(seconds(30)), None], 1),
        (vec![None], 1),
    ] {
        assert_eq!(Pace::START.after(&ttls).pause(), seconds(pause), "{ttls:?}");
    }
}

#[test]
fn failures_back_off_to_ten_seconds_and_a_good_round_forgets_them() {
    let mut pace = Pace::START;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        pace = pace.after(&[None]);
        pauses.push(pace.pause().as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    let good = pace.after(&[Some(Duration::from_secs(30))]);
    assert_eq!(good.pause().as_secs(), 30);
    assert_eq!(good.after(&[None]).pause().as_secs(), 1);
}

/// A name server that knows `db.internal` by the addresses given, and no other name.
async fn name_server(addresses: &[&str]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    tokio::spawn(async move {
        let mut query = [0; 1500];
        loop {
            let (length, client) = socket.recv_from(&mut query).await.unwrap();
            let reply = reply(&Message::from_vec(&query[..length]).unwrap(), &addresses);
            socket
                .send_to(&reply.to_vec().unwrap(), client)
                .await
                .unwrap();
        }
    });
    server
}

fn reply(query: &Message, addresses: &[IpAddr]) -> Message {
    let mut reply = query.clone();
    reply.metadata.message_type = MessageType::Response;
    let asked = &query.queries[0];
    if asked.name().to_utf8() != "db.internal." {
        reply.metadata.response_code = ResponseCode::NXDomain;
        return reply;
    }
    let records = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(ip) if asked.query_type() == RecordType::A => Some(RData::A(A(*ip))),
        IpAddr::V6(ip) if asked.query_type() == RecordType::AAAA => Some(RData::AAAA(AAAA(*ip))),
        _ => None,
    });
    for data in records {
        reply.add_answer(Record::from_rdata(asked.name().clone(), 30, data));
    }
    reply
}

#[tokio::test]
async fn all_addresses_of_both_families_are_found_by_a_name_server_of_ones_own() {
    let server = name_server(&["10.0.0.2", "10.0.0.1", "fd00::1"]).await;
    let pool = pool(&["10.0.0.9:1", "db.internal:5", "unknown.internal:5"]);
    let discovery = Discovery::new(pool.clone(), &[server]);
    assert!(discovery.update().await);
    let expected = ["10.0.0.9:1", "10.0.0.1:5", "10.0.0.2:5", "[fd00::1]:5"];
    assert_eq!(members(&pool), expected);
    assert!(!discovery.update().await, "the same answer is no change");
    let pause = discovery.pool.pace.lock().pause();
    assert_eq!(
        pause,
        Duration::from_secs(2),
        "one name does not resolve, twice"
    );
}
#[tokio::test]
async fn the_ttl_comes_from_the_answer() {
    let server = name_server(&["10.0.0.2"]).await;
    let answer = Dns::new(&[server]).lookup("db.internal").await;
    assert!(
        (29..=30).contains(&answer.ttl.as_secs()),
        "{:?}",
        answer.ttl
    );
    assert_eq!(answer.v6, Ok(Vec::new()));
}
