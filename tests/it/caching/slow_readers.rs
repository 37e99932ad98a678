//! Clients that read slowly or not at all: what they cost, and whom they hold up.

use std::time::Duration;

use tokio::task::JoinSet;

use super::*;

const MIB: usize = 1 << 20;
/// More than the kernel takes for a client that does not read.
const LARGE: usize = 6 * MIB;

fn large() -> Origin {
    Origin::start(|request| {
        let reply = match request.target.starts_with("/filler") {
            true => Reply::ok(vec![b'f'; 100_000]),
            false if request.target.starts_with("/chunked") => {
                Reply::ok("").chunked((0..LARGE / 65_536).map(|_| vec![b'c'; 65_536]))
            }
            false => Reply::ok(vec![b'x'; LARGE]),
        };
        reply.header("Cache-Control", "max-age=60")
    })
}

async fn with_limits(limits: &str, memory: &str, origin: &Origin) -> Weir {
    let server = format!("server: {{ limits: {{ {limits} }}, $upgradable }}\n");
    let yaml = yaml("{ lock_timeout: 1m }", memory);
    weir(&(yaml + "    " + &server))
        .with("a", origin)
        .start()
        .await
}

/// Asks, and reads nothing yet.
async fn still(weir: &Weir, target: &str) -> Connection {
    let mut connection = weir.client().narrow().connect().await;
    let request = connection.request("GET", target);
    connection.write(request.bytes()).await;
    connection
}

async fn still_ones(weir: &Weir, target: &str, count: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(still(weir, target).await);
    }
    connections
}

async fn stats(weir: &Weir) -> Value {
    let response = weir.admin().get("/-/cache/stats").await;
    serde_json::from_slice(&response.body).unwrap()
}

fn ended(lines: &[Value], word: &str) -> usize {
    let is_meant = |line: &&Value| line["termination"] == word;
    lines.iter().filter(is_meant).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_that_nobody_reads_share_their_bytes() {
    const READERS: usize = 200;
    let origin = large();
    let weir = with_limits("send_timeout: 1m", "memory: 32MiB", &origin).await;
    assert_eq!(weir.client().get("/").await.body.len(), LARGE);
    let idle = weir.resident_bytes();
    let readers = still_ones(&weir, "/", READERS).await;
    weir.metric_becomes("weir_requests_in_flight", READERS as f64)
        .await;
    let whole = weir.client().get("/").await;
    assert!(whole.complete && status(&whole).contains("hit"));
    let grown = weir.resident_bytes().saturating_sub(idle);
    assert!(grown < 40 * MIB as u64, "{grown} for {READERS} readers");
    let bytes = weir.metric("weir_cache_bytes").await;
    assert!(bytes < 1.25 * LARGE as f64, "{bytes}");

    readers.into_iter().for_each(Connection::reset);
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    let lines = weir.logged(READERS + 2).await;
    assert_eq!(ended(&lines, "client_closed"), READERS);
    assert_eq!(ended(&lines, "ok"), 2);
    verdicts(&weir, "hit", READERS + 1).await;
    assert_eq!(origin.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_that_nobody_reads_is_ended() {
    const READERS: usize = 20;
    let origin = large();
    let weir = with_limits("send_timeout: 300ms", "memory: 32MiB", &origin).await;
    assert_eq!(weir.client().get("/").await.body.len(), LARGE);
    let readers = still_ones(&weir, "/", READERS).await;
    let lines = weir.logged(READERS + 1).await;
    assert_eq!(ended(&lines, "client_stalled"), READERS);
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    for mut reader in readers {
        let response = reader.response().await.unwrap();
        assert!(!response.complete && response.body.len() < LARGE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_slowly_stays_whole_though_it_is_purged_and_counts_until_it_is_read() {
    const READERS: usize = 10;
    let origin = large();
    let weir = with_limits(
        "send_timeout: 1m",
        "memory: 10MiB, max_object: 8MiB",
        &origin,
    )
    .await;
    assert_eq!(weir.client().get("/").await.body.len(), LARGE);
    let mut readers = still_ones(&weir, "/", READERS).await;
    weir.metric_becomes("weir_requests_in_flight", READERS as f64)
        .await;
    assert!(weir.command(&["purge", "--all"]).await.success());
    let fillers = async || {
        for number in 0..60 {
            let target = format!("/filler{number}");
            let filler = weir.client().get(&target).await;
            assert!(filler.complete && filler.body.len() == 100_000);
        }
    };
    fillers().await;
    let (bytes, objects) = ("weir_cache_bytes", "weir_cache_objects");
    eventually("it is counted", async || weir.metric(objects).await > 20.0).await;
    let pinned = stats(&weir).await;
    assert!(
        pinned["bytes"].as_u64() <= Some(10 * MIB as u64),
        "{pinned}"
    );
    assert!(pinned["objects"].as_u64() < Some(40), "{pinned}");

    for reader in &mut readers {
        let response = reader.response().await.unwrap();
        assert!(response.complete && response.body == vec![b'x'; LARGE]);
    }
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    fillers().await;
    weir.metric_becomes(objects, 60.0).await;
    assert!(weir.metric(bytes).await > 6e6);
    assert_eq!(weir.client().get("/").await.body.len(), LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_ended_for_its_slowness_takes_nobody_with_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let reply = Reply::ok(vec![b'x'; 8 * MIB]).stall_at(LARGE, &held);
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = with_limits(
        "send_timeout: 2s",
        "memory: 32MiB, max_object: 16MiB",
        &origin,
    )
    .await;
    let leader = still(&weir, "/").await;
    eventually("it leads", async || origin.hits() == 1).await;
    let mut others = JoinSet::new();
    for _ in 0..10 {
        others.spawn(weir.client().get("/"));
    }
    weir.metric_becomes("weir_requests_in_flight", 11.0).await;
    gate.open();
    for response in others.join_all().await {
        let (is_whole, lines) = (response.complete, weir.access_lines());
        assert!(is_whole && response.body.len() == 8 * MIB, "{lines:#?}");
    }
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    let lines = weir.logged(11).await;
    assert_eq!(
        (ended(&lines, "client_stalled"), ended(&lines, "ok")),
        (1, 10)
    );
    assert_eq!(origin.hits(), 1);
    drop(leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_by_the_cache_waits_for_its_client_at_the_origin() {
    const HUGE: usize = 64 * MIB;
    for is_chunked in [false, true] {
        let origin = Origin::start(move |request| {
            let bytes = if request.target == "/" { HUGE } else { LARGE };
            let reply = match is_chunked {
                true => Reply::ok("").chunked((0..bytes / MIB).map(|_| vec![b'x'; MIB])),
                false => Reply::ok(vec![b'x'; bytes]),
            };
            reply.header("Cache-Control", "max-age=60")
        });
        let weir = with_cache("on", "memory: 2MiB, max_object: 1MiB", &origin).await;
        assert_eq!(weir.client().get("/warm").await.body.len(), LARGE);
        let idle = weir.resident_bytes();
        let reader = still(&weir, "/").await;
        eventually("it begins", async || origin.in_flight() == 1).await;
        steadily("the rest waits", Duration::from_millis(300), async || {
            let grown = weir.resident_bytes().saturating_sub(idle);
            assert!(grown < 12 * MIB as u64, "{grown}");
            origin.in_flight() == 1
        })
        .await;
        assert!(weir.metric("weir_cache_bytes").await <= 1.02 * 2.0 * MIB as f64);
        reader.reset();
        eventually("the origin is let go", async || origin.aborted() == 1).await;
        weir.metric_becomes("weir_requests_in_flight", 0.0).await;
        let left = stats(&weir).await;
        assert_eq!((&left["fills"], &left["objects"]), (&0.into(), &0.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_reads_nothing_holds_up_nobody_of_what_outgrew_the_cache() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let chunks = (0..LARGE / 65_536).map(|_| vec![b'c'; 65_536]);
        let reply = Reply::ok("").chunked(chunks).each_after(&held);
        reply.header("Cache-Control", "max-age=60")
    });
    gate.admit(1);
    let memory = "memory: 2MiB, max_object: 1MiB";
    let weir = with_limits("send_timeout: 1m", memory, &origin).await;
    let leader = still(&weir, "/").await;
    eventually("it leads", async || origin.hits() == 1).await;
    let mut follower = weir.client().connect().await;
    let request = follower.request("GET", "/");
    follower.write(request.bytes()).await;
    assert!(!follower.read_some().await.is_empty());
    // More than the kernel takes for the leader, who is never ahead of the follower by more than one.
    for number in 1..90 {
        gate.admit(1);
        assert!(follower.read(65_536).await.is_some(), "chunk {number}");
    }
    assert_eq!(origin.hits(), 1);
    drop(leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_readers_of_what_outgrew_the_cache_all_get_it_whole() {
    for memory in ["memory: 1MiB", "memory: 1MiB, max_object: 16KiB"] {
        outgrown_by_forty(memory).await;
    }
}

async fn outgrown_by_forty(memory: &str) {
    const READERS: usize = 40;
    let origin = large();
    let weir = with_limits("send_timeout: 1m", memory, &origin).await;
    let mut readers = Vec::new();
    for number in 0..READERS {
        readers.push(still(&weir, &format!("/chunked{number}")).await);
    }
    eventually("all have begun", async || origin.hits() == READERS).await;
    let bytes = stats(&weir).await["bytes"].as_u64().unwrap();
    assert!(bytes <= MIB as u64 * 102 / 100, "{bytes}");
    let mut reading = JoinSet::new();
    for mut reader in readers {
        reading.spawn(async move { reader.response().await.unwrap() });
    }
    for response in reading.join_all().await {
        let got = response.body.len();
        assert!(response.complete && got == LARGE, "{got}");
    }
    weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    assert_eq!(stats(&weir).await["fills"], 0);
}
