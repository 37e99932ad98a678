//! Waits that end at their bound, and what goes on beside a request.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_ends_for_all_who_wait() {
    let mut scene = Scene::new().await;
    // Each leads in turn, until its own time is up.
    let mut clients = Vec::new();
    for place in 1..=3 {
        clients.push(scene.begin("/brief/waits").await);
        scene.in_flight(place).await;
    }
    for mut client in clients {
        assert_eq!(client.response().await.unwrap().status, 504);
        scene.expect("miss", 504, "request_timeout");
    }
    let stalls = scene.get("/brief/stalls");
    scene.ends(stalls, "miss", 200, "request_timeout").await;
    scene.agrees(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_no_longer_asks_alone() {
    let mut scene = Scene::new().await;
    let mut clients = Vec::new();
    for place in 1..=3 {
        clients.push(scene.begin("/alone/waits").await);
        scene.in_flight(place).await;
    }
    eventually("all ask", async || scene.gate.waiting() == 3).await;
    scene.gate.open();
    for mut client in clients {
        assert_eq!(client.response().await.unwrap().text(), "late");
        scene.expect("miss", 200, "ok");
    }
    scene.agrees(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_has_no_line_and_leaves_nothing_however_it_ends() {
    for (kind, result, objects) in [
        ("swr-stored", "stored", 1),
        ("swr-refused", "refused", 0),
        ("swr-reset", "failed", 1),
        ("swr-silent", "failed", 1),
        ("swr-short", "failed", 1),
    ] {
        let mut scene = Scene::new().await;
        let target = format!("/{kind}");
        let (first, second) = (scene.get(&target), scene.get(&target));
        scene.ends(first, "miss", 200, "ok").await;
        scene.ends(second, "updating", 200, "ok").await;
        let refreshes = format!("weir_cache_refreshes_total{{result=\"{result}\"}}");
        scene.weir.metric_becomes(&refreshes, 1.0).await;
        scene.agrees(objects).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_waits_no_longer_cuts_all_off_and_records_them() {
    let scene = Scene::draining_for("1s").await;
    scene.get("/patient/large").send().await;
    let mut open = Vec::new();
    for (place, kind) in ["held", "held", "waits", "waits", "large"]
        .iter()
        .enumerate()
    {
        open.push(scene.begin(&format!("/patient/{kind}")).await);
        scene.in_flight(place + 1).await;
        scene.fills(1).await;
    }
    scene.weir.signal(Signal::SIGTERM);
    let end = scene.weir.exit_status().await;
    assert!(end.success(), "{end:#?}");
    let lines = scene.weir.access_log();
    let mut words: Vec<_> = lines
        .iter()
        .map(|line| format!("{} {}", line["cache"], line["termination"]).replace('"', ""))
        .collect();
    words.sort_unstable();
    let cut = [
        "hit shutdown",
        "hit shutdown",
        "miss ok",
        "miss shutdown",
        "miss shutdown",
        "miss shutdown",
    ];
    assert_eq!(words, cut);
}
