//! What is stale: sent while it is fetched anew, or when the origin fails, and never where that is
//! forbidden.

use super::*;

const REFRESHES: &str = "weir_cache_refreshes_total";

/// The first response is forty seconds stale, the others are fresh; the second waits at the gate.
fn ageing(control: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    answering(move |number| {
        let age = if number == 1 { 100 } else { 0 };
        let reply = Reply::ok(number.to_string()).header("Cache-Control", control);
        let reply = reply.header("Age", age);
        if number == 2 {
            reply.after(&gate)
        } else {
            reply
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_while_revalidate_serves_at_once_and_refreshes_once() {
    for (route, control) in [
        ("on", "max-age=60, stale-while-revalidate=600"),
        ("{ stale_while_revalidate: 10m }", "max-age=60"),
    ] {
        let gate = Gate::new();
        let origin = ageing(control, &gate);
        let weir = cached(route, &origin).await;
        assert_eq!(weir.client().get("/").await.text(), "1");
        let report = weir.client().get_many("/", 50, 10).await;
        report.expect_lossless();
        let stale = weir.client().get("/").await;
        assert_eq!(stale.text(), "1");
        assert!(
            status(&stale).starts_with("weir; hit; ttl=-"),
            "{}",
            status(&stale)
        );
        eventually("it is fetched anew", async || origin.hits() == 2).await;
        gate.open();
        weir.metric_becomes(&format!("{REFRESHES}{{result=\"stored\"}}"), 1.0)
            .await;
        let fresh = weir.client().get("/").await;
        assert_eq!((fresh.text().as_str(), origin.hits()), ("2", 2));
        verdicts(&weir, "updating", 51).await;
        weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
        weir.metric_becomes("weir_requests_in_flight", 0.0).await;
    }
}

#[tokio::test]
async fn a_refresh_validates_what_it_has() {
    let origin = Origin::start(|request| {
        let (reply, age) = match request.header("if-none-match") {
            Some(_) => (Reply::status(304), 0),
            None => (Reply::ok("x"), 100),
        };
        let reply = reply.header("ETag", "\"a\"").header("Age", age);
        reply.header("Cache-Control", "max-age=60, stale-while-revalidate=600")
    });
    let weir = cached("on", &origin).await;
    weir.client().get("/").await;
    let request = weir
        .client()
        .request("GET", "/")
        .header("X_Real_IP", "6.6.6.6");
    request.header("X-Own", "1").send().await;
    weir.metric_becomes(&format!("{REFRESHES}{{result=\"revalidated\"}}"), 1.0)
        .await;
    let hit = weir.client().get("/").await;
    assert!(status(&hit).starts_with("weir; hit; ttl=") && !status(&hit).contains("ttl=-"));
    assert_eq!(origin.hits(), 2);
    let asked = origin.last();
    assert_eq!(
        (asked.header("x_real_ip"), asked.header("x-own")),
        (None, Some("1"))
    );
}

#[tokio::test]
async fn a_stale_response_stands_in_for_an_error_and_for_an_origin_that_is_down() {
    for (route, control) in [
        ("on", "max-age=60, stale-if-error=600"),
        ("{ grace: 10m }", "max-age=60"),
    ] {
        let origin = answering(move |number| match number {
            1 => Reply::ok("good")
                .header("Cache-Control", control)
                .header("Age", 100),
            2 => Reply::status(503),
            3 => Reply::nothing(),
            _ => Reply::status(404),
        });
        let weir = cached(route, &origin).await;
        weir.client().get("/").await;
        let error = weir.client().get("/").await;
        assert_eq!((error.status, error.text().as_str()), (200, "good"));
        assert!(
            status(&error).contains("fwd=stale; fwd-status=503; ttl=-"),
            "{}",
            status(&error)
        );
        verdicts(&weir, "stale", 1).await;
        origin.stop().await;
        let down = weir.client().get("/").await;
        assert_eq!((down.status, down.text().as_str()), (200, "good"));
        assert_eq!(weir.client().get("/other").await.status, 502);
    }
}

#[tokio::test]
async fn what_must_be_revalidated_is_never_served_stale() {
    for control in [
        "max-age=60, must-revalidate, stale-while-revalidate=600, stale-if-error=600",
        "max-age=60, no-cache",
        "s-maxage=60",
    ] {
        let origin = answering(move |number| match number {
            1 => Reply::ok("x")
                .header("Cache-Control", control)
                .header("Age", 100)
                .header("ETag", "\"a\""),
            _ => Reply::status(503),
        });
        let weir = cached("{ grace: 10m, stale_while_revalidate: 10m }", &origin).await;
        weir.client().get("/").await;
        assert_eq!(weir.client().get("/").await.status, 503, "{control}");
        let request = weir
            .client()
            .request("GET", "/")
            .header("Cache-Control", "max-stale");
        assert_eq!(request.send().await.status, 503, "{control}");
    }
}

#[tokio::test]
async fn a_client_that_takes_stale_responses_gets_them() {
    let origin = answering(|number| {
        Reply::ok(number.to_string())
            .header("Cache-Control", "max-age=60")
            .header("Age", 100)
            .header("ETag", "\"x\"")
    });
    let weir = cached("on", &origin).await;
    weir.client().get("/").await;
    let get = |directive| {
        weir.client()
            .request("GET", "/")
            .header("Cache-Control", directive)
            .send()
    };
    assert_eq!(get("max-stale=600").await.text(), "1");
    assert_eq!(get("max-stale=10").await.text(), "2");
}
