//! Origins and clients that say anything, in any order: nobody hangs, nothing panics, and what one asked
//! for reaches nobody else whom it was not meant for.
//!
//! Each body tells for which host, target, user and request it was made; each client looks whether that
//! is its own, and if not, whether the head that came with it lets it be shared.

use fastrand::Rng;
use tokio::task::JoinSet;

use super::*;

mod fields;

use fields::{ANSWERS, QUESTIONS, some_of};

const CLIENTS: u64 = 12;
const REQUESTS: usize = 60;
const HOSTS: [&str; 3] = ["a.test", "b.test", "a.test:81"];
const USERS: [&str; 3] = ["ann", "bob", "-"];

/// For whom a body was made.
fn made_for(request: &Request, number: usize) -> String {
    let field = |name: &str| request.header(name).unwrap_or("-").to_owned();
    let (host, user, id) = (field("host"), field("authorization"), field("x-id"));
    let (kind, target) = (field("x-user"), &request.target);
    let more = "x".repeat(number % 3000);
    format!("{host}|{target}|{user}|{id}|{kind}|{number}|{more}")
}

fn answer(request: &Request, number: usize, seed: u64) -> Reply {
    let mut rng = Rng::with_seed(seed ^ number as u64);
    let body = made_for(request, number);
    let conditional = request.header("if-none-match").is_some();
    let status = match rng.usize(0..20) {
        0 => 206,
        1 => [404, 500, 503, 301, 204, 410][rng.usize(..6)],
        2..8 if conditional => 304,
        _ => 200,
    };
    let mut reply = Reply::status(status);
    if rng.usize(0..3) > 0 {
        reply = reply.header("Cache-Control", "max-age=60");
    }
    for (name, value) in some_of(ANSWERS, &mut rng) {
        reply = reply.header(name, value);
    }
    if status == 204 || status == 304 {
        return reply;
    }
    match rng.usize(0..24) {
        0 => reply
            .body(&body)
            .header("Content-Length", body.len() + 5)
            .hang_up(),
        // What comes behind the end of a body is no answer to anybody.
        1 => reply
            .body([&body, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat())
            .header("Content-Length", body.len()),
        2 => reply.body(&body).header("Content-Length", "1, 2"),
        3 => reply.body(&body).reset(),
        4 => reply.until_close(&body),
        5 => reply.body(&body).short_by(3),
        6 => Reply::raw(format!(
            "HTTP/1.1 200\r\nCache-Control: max-age=60\r\n folded\r\n\r\n{body}"
        )),
        7..12 => reply.chunked(body.as_bytes().chunks(1000)),
        _ => reply.body(&body),
    }
}

/// What one client asks, and how it would know its own answer.
struct Question {
    request: RequestBuilder,
    method: &'static str,
    host: &'static str,
    target: String,
    user: &'static str,
    id: String,
    /// What a response may vary by.
    kind: &'static str,
}

fn question(weir: &Weir, id: String, rng: &mut Rng) -> Question {
    let method = ["GET", "GET", "GET", "GET", "HEAD", "POST", "FOO"][rng.usize(..7)];
    let (host, user) = (HOSTS[rng.usize(..3)], USERS[rng.usize(..3)]);
    let kind = ["-", "one", "two"][rng.usize(..3)];
    let target = format!(
        "/{}{}",
        rng.usize(..6),
        ["", "?", "?a=1", "?a=1&b"][rng.usize(..4)]
    );
    let client = weir.client().host(host);
    let mut request = client.request(method, &target).header("X-Id", &id);
    if user != "-" {
        request = request.header("Authorization", user);
    }
    if kind != "-" {
        request = request.header("X-User", kind);
    }
    for (name, value) in some_of(QUESTIONS, rng) {
        request = request.header(name, value);
    }
    Question {
        request,
        method,
        host,
        target,
        user,
        id,
        kind,
    }
}

/// Whether the field says so in any spelling that a reader might take for it.
fn says(response: &Response, name: &str, word: &str) -> bool {
    let values = response.headers.all(name).join(",").to_ascii_lowercase();
    values.split([',', ';']).any(|part| part.trim() == word)
}

/// What must hold of a whole body that came.
fn check(question: &Question, response: &Response) {
    let shown = || format!("{}\n{response:?}", question.request.bytes().escape_ascii());
    let text = response.text();
    let parts: Vec<&str> = text.split('|').collect();
    let [host, target, user, id, kind, ..] = parts[..] else {
        return;
    };
    assert_eq!(
        (host, target),
        (question.host, question.target.as_str()),
        "{}",
        shown()
    );
    assert!(!text.contains("evil"), "{}", shown());
    if id == question.id {
        return;
    }
    assert_eq!(question.method, "GET", "{}", shown());
    // A 304 to this very request may say anything of what it means.
    let is_renewed = status(response).contains("fwd-status=304");
    let is_its_kind = kind == question.kind || !says(response, "vary", "x-user");
    assert!(is_renewed || is_its_kind, "{}", shown());
    let sets_cookie = response.header("set-cookie").is_some();
    assert!(is_renewed || !sets_cookie, "{}", shown());
    assert!(!says(response, "vary", "*"), "{}", shown());
    if response.header("cdn-cache-control").is_none() {
        for word in ["private", "no-store"] {
            let may = word == "no-store" && says(response, "cache-control", "must-understand");
            assert!(
                may || !says(response, "cache-control", word),
                "{word}: {}",
                shown()
            );
        }
    }
    if user != "-" && user != question.user {
        let controls =
            ["cache-control", "cdn-cache-control"].map(|name| response.headers.all(name).join(","));
        let is_shared = ["public", "s-maxage", "must-revalidate"]
            .iter()
            .any(|word| controls.concat().to_ascii_lowercase().contains(word));
        let is_targeted = response.header("cdn-cache-control").is_some();
        assert!(is_shared || is_targeted, "{}", shown());
    }
}

async fn ask(weir: Arc<Weir>, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    for number in 0..REQUESTS {
        let question = question(&weir, format!("{seed}-{number}"), &mut rng);
        match question.request.clone().try_send().await {
            Ok(response) => {
                // The pieces of a part or of a coded body tell nothing.
                if response.status == 200
                    && response.complete
                    && response.header("content-encoding").is_none()
                {
                    check(&question, &response);
                }
            }
            Err(failure) => panic!("{failure}: {}", question.request.bytes().escape_ascii()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_they_say_each_gets_what_is_its_own() {
    for (seed, route) in [
        (1, "on"),
        (2, "{ compress: on, grace: 1m, stale_while_revalidate: 1m }"),
    ] {
        let count = AtomicUsize::new(0);
        let origin = Origin::start(move |request| {
            answer(request, count.fetch_add(1, Ordering::SeqCst), seed)
        });
        let weir = Arc::new(with_cache(route, "memory: 1MiB", &origin).await);
        let clients = (0..CLIENTS).map(|client| ask(weir.clone(), 1000 * seed + client));
        clients.collect::<JoinSet<()>>().join_all().await;
        weir.metric_becomes("weir_requests_in_flight", 0.0).await;
        weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
        let asked = CLIENTS as usize * REQUESTS;
        let lines = weir.logged(asked).await;
        assert_eq!(lines.len(), asked);
        assert!(lines.iter().any(|line| line["cache"] == "hit"));
        assert!(!weir.stderr().contains("panicked"), "{}", weir.stderr());
        assert!(weir.metric("weir_cache_bytes").await <= 1.02 * f64::from(1 << 20));
    }
}
