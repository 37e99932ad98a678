//! Each way in which a request of a route with a cache can end: it is counted once, in log, metrics and
//! stats alike, and leaves nothing behind.

use std::collections::BTreeMap;

use super::*;

mod changes;
mod leaving;
mod times;

/// Bytes of a response that a client can leave in its middle.
const LARGE: usize = 6 << 20;

/// A weir, its origin, and how its requests have ended.
struct Scene {
    weir: Weir,
    origin: Arc<Origin>,
    gate: Gate,
    /// Verdict, status, termination.
    ends: Vec<(String, u64, String)>,
}

fn origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    let count = AtomicUsize::new(0);
    Origin::start(move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let (_, kind) = request.target.rsplit_once('/').unwrap();
        let fresh = |reply: Reply| reply.header("Cache-Control", "max-age=60");
        let is_known = request.header("if-none-match").is_some();
        let aged = |reply: Reply, control: &str| {
            let reply = reply.header("ETag", "\"a\"").header("Age", 100);
            reply.header("Cache-Control", control)
        };
        match kind {
            "reset" => Reply::nothing().reset(),
            "closed" => Reply::nothing(),
            "garbage" => Reply::raw("HTTP/1.1 2x0 OK\r\n\r\n"),
            "short" => fresh(Reply::ok("half").short_by(4)),
            "unfinished" => fresh(Reply::ok("").chunked(["half"]).short_by(1)),
            "silent" => Reply::ok("").after(&Gate::new()),
            "stalls" => fresh(Reply::ok("0123456789").stall_at(5, &Gate::new())),
            "waits" => fresh(Reply::ok("late").after(&gate)),
            "private" => Reply::ok("mine").header("Cache-Control", "private"),
            "huge" => fresh(Reply::ok(vec![b'h'; 9 << 20])),
            "large" => fresh(Reply::ok(vec![b'l'; LARGE])),
            "held" => fresh(Reply::ok(vec![b'b'; LARGE]).stall_at(100_000, &gate)),
            "renewed" if is_known => fresh(Reply::status(304).header("ETag", "\"a\"")),
            "renewed" => aged(Reply::ok("old"), "max-age=60"),
            "replaced" if is_known => fresh(Reply::ok("new")),
            "replaced" => aged(Reply::ok("old"), "max-age=60"),
            "swr-stored" if is_known => fresh(Reply::ok("new")),
            "swr-refused" if is_known => Reply::ok("new").header("Cache-Control", "private"),
            "swr-reset" if is_known => Reply::nothing().reset(),
            "swr-silent" if is_known => Reply::ok("").after(&Gate::new()),
            "swr-short" if is_known => fresh(Reply::ok("half").short_by(4)),
            kind if kind.starts_with("swr") => {
                aged(Reply::ok("old"), "max-age=60, stale-while-revalidate=600")
            }
            "fails" if is_known => Reply::status(503),
            "fails" => aged(Reply::ok("old"), "max-age=60, stale-if-error=600"),
            _ => fresh(Reply::ok(format!("body {number:05}")).header("ETag", "\"a\"")),
        }
    })
}

impl Scene {
    async fn new() -> Scene {
        Scene::draining_for("30s").await
    }

    async fn draining_for(time: &str) -> Scene {
        let gate = Gate::new();
        let origin = Arc::new(origin(&gate));
        let weir = weir(
            "
            pools:
              web: { endpoints: [$a], outlier: off, read_timeout: 1s }
              patient: { endpoints: [$a], outlier: off }
              none: { endpoints: [$none], outlier: off }
            routes:
              - { pool: web, name: site, cache: { lock_timeout: 1m } }
              - { pool: patient, name: patient, path: /patient/*, cache: { lock_timeout: 1m } }
              - { pool: patient, name: brief, path: /brief/*, timeout: 300ms, cache: { lock_timeout: 1m } }
              - { pool: patient, name: alone, path: /alone/*, cache: { lock_timeout: 200ms } }
              - { pool: none, name: none, path: /none/*, cache: on }
            cache: { memory: 32MiB, max_object: 8MiB }
            server: { drain_timeout: $drain, $upgradable }
            ",
        );
        let weir = weir
            .with("a", &origin)
            .with("none", free_address())
            .with("drain", time);
        Scene {
            weir: weir.start().await,
            origin,
            gate,
            ends: Vec::new(),
        }
    }

    fn expect(&mut self, verdict: &str, status: u64, termination: &str) {
        let end = (verdict.to_owned(), status, termination.to_owned());
        self.ends.push(end);
    }

    /// A request that gets a response.
    async fn ends(&mut self, request: RequestBuilder, verdict: &str, status: u16, word: &str) {
        self.expect(verdict, status.into(), word);
        let shown = format!("{:?}", request.clone().bytes().escape_ascii().to_string());
        let response = request.send().await;
        assert_eq!(response.status, status, "{shown}: {}", response.text());
        assert_eq!(response.complete, word == "ok" || status >= 400, "{shown}");
    }

    fn get(&self, target: &str) -> RequestBuilder {
        self.weir.client().request("GET", target)
    }

    /// Asks, and reads nothing yet.
    async fn begin(&self, target: &str) -> Connection {
        let mut connection = self.weir.client().narrow().connect().await;
        let request = connection.request("GET", target);
        connection.write(request.bytes()).await;
        connection
    }

    async fn in_flight(&self, count: usize) {
        let metric = "weir_requests_in_flight";
        self.weir.metric_becomes(metric, count as f64).await;
    }

    /// Waits until the head of so many is there, and the body is on its way.
    async fn fills(&self, count: usize) {
        let what = format!("{count} under way");
        eventually(what, async || self.stats().await["fills"] == count).await;
    }

    async fn stats(&self) -> Value {
        let response = self.weir.admin().get("/-/cache/stats").await;
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Everything that counts says the same, and nothing is left.
    async fn agrees(mut self, objects: usize) {
        self.in_flight(0).await;
        for gauge in ["weir_endpoint_in_flight", "weir_connections"] {
            self.weir.metric_becomes(gauge, 0.0).await;
        }
        eventually("the origin has let go", async || {
            self.origin.in_flight() == 0
        })
        .await;
        let lines = self.weir.logged(self.ends.len()).await;
        let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        let end = |line: &Value| {
            let status = line["status"].as_u64().unwrap();
            (word(line, "cache"), status, word(line, "termination"))
        };
        let mut logged: Vec<_> = lines.iter().map(end).collect();
        logged.sort_unstable();
        self.ends.sort_unstable();
        assert_eq!(logged, self.ends, "{lines:#?}");

        let mut verdicts = BTreeMap::<String, u64>::new();
        for (verdict, ..) in &self.ends {
            *verdicts.entry(verdict.clone()).or_default() += 1;
        }
        let stats = self.stats().await;
        for (verdict, count) in stats["requests"].as_object().unwrap() {
            let expected = verdicts.get(verdict).copied().unwrap_or(0);
            assert_eq!(count, &Value::from(expected), "{verdict} in {stats}");
            let metric = format!("weir_cache_requests_total{{verdict=\"{verdict}\"}}");
            assert_eq!(
                self.weir.metric(&metric).await,
                expected as f64,
                "{verdict}"
            );
        }
        let all = self.weir.metric("weir_requests_total").await;
        assert_eq!(all, self.ends.len() as f64);
        assert_eq!(
            (&stats["fills"], &stats["objects"]),
            (&0.into(), &objects.into())
        );
        assert!(self.weir.command(&["purge", "--all"]).await.success());
        eventually("nothing is held", async || self.stats().await["bytes"] == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_counted_as_what_it_was() {
    let mut scene = Scene::new().await;
    let get = |scene: &Scene, kind: &str| scene.get(&format!("/{kind}"));
    for (kind, verdict) in [
        ("a", "miss"),
        ("a", "hit"),
        ("renewed", "miss"),
        ("renewed", "revalidated"),
        ("renewed", "hit"),
        ("replaced", "miss"),
        ("replaced", "expired"),
        ("replaced", "hit"),
        ("fails", "miss"),
        ("fails", "stale"),
        ("private", "miss"),
        ("private", "miss"),
        ("huge", "miss"),
    ] {
        let request = get(&scene, kind);
        scene.ends(request, verdict, 200, "ok").await;
    }
    let a = get(&scene, "a");
    let head = scene.weir.client().request("HEAD", "/a");
    for (request, verdict, status) in [
        (head, "hit", 200),
        (a.clone().header("If-None-Match", "\"a\""), "hit", 304),
        (a.clone().header("Range", "bytes=0-3"), "hit", 206),
        (a.clone().header("Range", "bytes=900-"), "hit", 416),
        (a.clone().header("Range", "bytes=0-1, 4-5"), "hit", 206),
        (a.clone().header("Cache-Control", "no-store"), "hit", 200),
        (a.clone().header("If-Match", "\"b\""), "bypass", 200),
        (scene.weir.client().request("HEAD", "/head"), "miss", 200),
        (
            get(&scene, "inm").header("If-None-Match", "\"a\""),
            "miss",
            304,
        ),
        (
            get(&scene, "part").header("Range", "bytes=0-3"),
            "miss",
            206,
        ),
        (
            get(&scene, "far").header("Range", "bytes=900-"),
            "miss",
            416,
        ),
    ] {
        scene.ends(request, verdict, status, "ok").await;
    }
    let absent = get(&scene, "absent").header("Cache-Control", "only-if-cached");
    scene.ends(absent, "miss", 504, "not_cached").await;
    let purge = scene.weir.client().request("PURGE", "/a");
    scene.ends(purge, "bypass", 405, "method_not_allowed").await;
    scene.agrees(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_fails_leaves_nothing_behind() {
    let mut scene = Scene::new().await;
    for (target, status, word) in [
        ("/none/x", 502, "connect_failed"),
        ("/reset", 502, "upstream_closed"),
        ("/closed", 502, "upstream_closed"),
        ("/garbage", 502, "upstream_malformed"),
        ("/short", 200, "upstream_closed"),
        ("/unfinished", 200, "upstream_closed"),
        ("/silent", 504, "upstream_timeout"),
        ("/stalls", 200, "upstream_timeout"),
    ] {
        for method in ["GET", "HEAD"] {
            if method == "GET" || status >= 500 {
                let request = scene.weir.client().request(method, target);
                scene.ends(request, "miss", status, word).await;
            }
        }
    }
    scene.agrees(0).await;
}
