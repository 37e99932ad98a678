//! Hedging: a request that waits long asks a second endpoint, for a small share of the traffic.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::support::*;

/// Two origins that say which request of a target they got, of all that came to either: the first one
/// for `/slow…` is answered with `first`, the second one with `second`. What else comes is answered.
fn origins(first: Reply, second: Reply) -> [Origin; 2] {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let script = move |request: &Request| {
        let is_first = seen.lock().unwrap().insert(request.target.clone());
        match (request.target.starts_with("/slow"), is_first) {
            (true, true) => first.clone(),
            (true, false) => second.clone(),
            (false, _) => Reply::ok("quick"),
        }
    };
    [Origin::start(script.clone()), Origin::start(script)]
}

async fn in_front_of(origins: &[Origin; 2], pool: &str, hedge: &str) -> Weir {
    let yaml = format!(
        "
        pools:
          web: {{ endpoints: [$a, $b]{pool} }}
        routes: [{{ pool: web, retry: {{ attempts: 0 }}{hedge} }}]
    "
    );
    let weir = weir(&yaml).with("a", &origins[0]).with("b", &origins[1]);
    weir.start().await
}

/// Every request may ask twice, after 50 ms.
const ALWAYS: &str = ", hedge: { after: 50ms, percent: 100 }";

fn hits(origins: &[Origin; 2]) -> usize {
    origins.iter().map(Origin::hits).sum()
}

fn outcomes(line: &serde_json::Value) -> Vec<&str> {
    let attempts = line["attempts"].as_array().unwrap();
    let endpoints: HashSet<_> = attempts
        .iter()
        .map(|one| one["endpoint"].as_str())
        .collect();
    assert_eq!(endpoints.len(), attempts.len(), "never one endpoint twice");
    let outcomes = attempts.iter().map(|one| one["outcome"].as_str());
    outcomes.map(Option::unwrap).collect()
}

async fn hedges(weir: &Weir, result: &str) -> f64 {
    let selector = format!(r#"weir_hedges_total{{result="{result}"}}"#);
    weir.find_metric(&selector).await.unwrap_or_default()
}

#[tokio::test]
async fn who_waits_long_is_served_by_a_second_endpoint_and_the_first_is_let_go() {
    let gate = Gate::new();
    let origins = origins(Reply::ok("first").after(&gate), Reply::ok("second"));
    let weir = in_front_of(&origins, "", ALWAYS).await;
    assert_eq!(weir.client().get("/slow").await.text(), "second");
    eventually("the first attempt is cancelled", async || {
        origins.iter().map(Origin::aborted).sum::<usize>() == 1
    })
    .await;
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    let lines = weir.logged(1).await;
    assert_eq!(outcomes(&lines[0]), ["cancelled", "ok"]);
    assert_eq!(lines[0]["termination"], "ok");
    assert_eq!((hits(&origins), hedges(&weir, "won").await), (2, 1.0));
    gate.open();
}

#[tokio::test]
async fn the_first_endpoint_may_still_be_the_faster_one() {
    let (gate, never) = (Gate::new(), Gate::new());
    let origins = origins(
        Reply::ok("first").after(&gate),
        Reply::ok("second").after(&never),
    );
    let weir = in_front_of(&origins, "", ALWAYS).await;
    let asking = tokio::spawn(weir.client().get("/slow"));
    eventually("both are asked", async || hits(&origins) == 2).await;
    gate.open();
    assert_eq!(asking.await.unwrap().text(), "first");
    let lines = weir.logged(1).await;
    assert_eq!(outcomes(&lines[0]), ["ok", "cancelled"]);
    assert_eq!(hedges(&weir, "lost").await, 1.0);
    never.open();
}

#[tokio::test]
async fn second_requests_are_a_share_of_all_and_some_of_it_is_kept_for_those_who_hang() {
    let gate = Gate::new();
    let origins = origins(Reply::ok("first").after(&gate), Reply::ok("second"));
    let weir = in_front_of(&origins, "", ", hedge: { after: 50ms, percent: 10 }").await;
    weir.client().get_many("/", 100, 8).await;
    let asking: Vec<_> = (0..15)
        .map(|n| tokio::spawn(weir.client().get(&format!("/slow{n}"))))
        .collect();
    // Of the 11 that 115 requests pay for, 6 are for who is late, 10 for who is later, all for who hangs:
    // nine are refused once, five of them twice, four of them three times.
    weir.metric_becomes(r#"weir_hedges_total{result="refused"}"#, 18.0)
        .await;
    weir.metric_becomes(r#"weir_hedges_total{result="won"}"#, 11.0)
        .await;
    assert_eq!(hits(&origins), 126);
    gate.open();
    for asked in asking {
        assert_eq!(asked.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn by_default_long_is_what_one_in_twenty_waits_for() {
    let gate = Gate::new();
    let origins = origins(Reply::ok("first").after(&gate), Reply::ok("second"));
    let weir = in_front_of(&origins, "", ", hedge: { percent: 50 }").await;
    // Nothing is known of the pool yet: the first one waits.
    let asking = tokio::spawn(weir.client().get("/slow1"));
    weir.client().get_many("/", 200, 4).await;
    assert_eq!(weir.client().get("/slow2").await.text(), "second");
    let requests = origins.iter().flat_map(Origin::requests);
    let slow = requests.filter(|request| request.target.starts_with("/slow"));
    assert_eq!(slow.count(), 3);
    gate.open();
    assert_eq!(asking.await.unwrap().text(), "first");
}

#[tokio::test]
async fn a_failure_is_no_answer_while_the_other_endpoint_is_at_work() {
    for (failure, outcome) in [
        (Reply::status(503), "bad_status"),
        (Reply::nothing().reset(), "reset"),
    ] {
        let gate = Gate::new();
        let origins = origins(Reply::ok("first").after(&gate), failure);
        let weir = in_front_of(&origins, "", ALWAYS).await;
        let asking = tokio::spawn(weir.client().get("/slow"));
        let at_work = async || origins.iter().map(Origin::in_flight).sum::<usize>();
        eventually("both are asked", async || hits(&origins) == 2).await;
        eventually("one has failed", async || at_work().await == 1).await;
        // What was sent before is read before.
        assert_eq!(weir.client().get("/").await.status, 200);
        gate.open();
        assert_eq!(asking.await.unwrap().text(), "first");
        let lines = weir.logged(2).await;
        let slow = lines.iter().find(|line| line["target"] == "/slow");
        assert_eq!(outcomes(slow.unwrap()), ["ok", outcome]);
    }
}

#[tokio::test]
async fn when_the_first_endpoint_fails_the_second_goes_on() {
    let (gate, other) = (Gate::new(), Gate::new());
    let origins = origins(
        Reply::nothing().after(&gate).reset(),
        Reply::ok("second").after(&other),
    );
    let weir = in_front_of(&origins, "", ALWAYS).await;
    let asking = tokio::spawn(weir.client().get("/slow"));
    eventually("both are asked", async || hits(&origins) == 2).await;
    gate.open();
    weir.metric_becomes(r#"weir_endpoint_failures_total{outcome="reset"}"#, 1.0)
        .await;
    other.open();
    assert_eq!(asking.await.unwrap().text(), "second");
    assert_eq!(outcomes(&weir.logged(1).await[0]), ["reset", "ok"]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_both() {
    let gate = Gate::new();
    let held = Reply::ok("late").after(&gate);
    let origins = origins(held.clone(), held);
    let weir = in_front_of(&origins, "", ALWAYS).await;
    let mut client = weir.client().connect().await;
    client.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("both are asked", async || hits(&origins) == 2).await;
    drop(client);
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    let lines = weir.logged(1).await;
    assert_eq!(lines[0]["termination"], "client_closed");
    assert_eq!(outcomes(&lines[0]), ["pending", "pending"]);
    gate.open();
}

#[tokio::test]
async fn only_what_may_be_done_twice_is() {
    let gate = Gate::new();
    let origins = origins(Reply::ok("first").after(&gate), Reply::ok("second"));
    let weir = in_front_of(&origins, "", ALWAYS).await;
    let client = weir.client();
    let posts = ["POST", "DELETE", "PUT"].map(|method| {
        let target = format!("/slow/{method}");
        tokio::spawn(client.request(method, &target).body("x").send())
    });
    let with_body = tokio::spawn(client.request("GET", "/slow/body").body("x").send());
    eventually("each has reached an origin", async || hits(&origins) == 4).await;
    // A later request has waited for its second endpoint, and they have not.
    assert_eq!(client.get("/slow").await.text(), "second");
    gate.open();
    for asked in posts.into_iter().chain([with_body]) {
        assert_eq!(asked.await.unwrap().text(), "first");
    }
    assert_eq!(hits(&origins), 6);
}

#[tokio::test]
async fn a_pool_at_its_limit_has_no_place_for_a_second_request() {
    let gate = Gate::new();
    let origins = origins(Reply::ok("first").after(&gate), Reply::ok("second"));
    let weir = in_front_of(&origins, ", max_in_flight: 2", ALWAYS).await;
    assert_eq!(weir.client().get("/slow1").await.text(), "second");
    // The cancelled one keeps its place for a moment.
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    let asking = ["/slow2", "/slow3"].map(|target| tokio::spawn(weir.client().get(target)));
    weir.metric_becomes("weir_endpoint_in_flight", 2.0).await;
    let waiting = tokio::spawn(weir.client().get("/"));
    weir.metric_becomes("weir_queue_length", 1.0).await;
    gate.open();
    for asked in asking {
        assert_eq!(asked.await.unwrap().text(), "first");
    }
    assert_eq!(waiting.await.unwrap().text(), "quick");
    assert_eq!(hits(&origins), 5);
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
}

#[tokio::test]
async fn interim_responses_of_the_one_that_serves_reach_the_client() {
    let gate = Gate::new();
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let origins = origins(
        Reply::ok("first")
            .interim("HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n")
            .after(&gate),
        Reply::ok("second").interim(hint),
    );
    let weir = in_front_of(&origins, "", ALWAYS).await;
    let mut client = weir.client().connect().await;
    client.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let interim = client.next_response("GET").await.unwrap();
    assert_eq!(
        (interim.status, interim.header("link")),
        (103, Some("</a.css>"))
    );
    assert_eq!(client.next_response("GET").await.unwrap().text(), "second");
    gate.open();
}

#[tokio::test]
async fn an_endpoint_that_hangs_does_not_look_idle_because_nobody_waits_for_it_any_more() {
    let gate = Gate::new();
    let hanging = Reply::ok("late").after(&gate);
    let (a, b) = (
        Origin::start(move |_| hanging.clone()),
        Origin::serving("b"),
    );
    let origins = [a, b];
    let weir = in_front_of(&origins, "", ALWAYS).await;
    // Least connections: a second request goes where none is in flight.
    for _ in 0..20 {
        assert_eq!(weir.client().get("/").await.text(), "b");
    }
    assert!(origins[0].hits() <= 3, "{} hits", origins[0].hits());
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    gate.open();
}
