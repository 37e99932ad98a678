//! What an operator does while a body is on its way.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_a_fill_is_under_way_breaks_none() {
    let yaml = "
        pools: { patient: { endpoints: [$a], outlier: off } }
        routes: [{ pool: patient, name: patient, path: /patient/*, cache: on }]
        cache: { memory: 32MiB, max_object: 8MiB }
    ";
    for (change, objects) in [("purge", 0), ("reload", 1)] {
        let mut scene = Scene::new().await;
        let mut fills = Vec::new();
        for fields in ["", "Range: bytes=5000000-\r\n", "Range: bytes=-10\r\n"] {
            let mut connection = scene.weir.client().connect().await;
            let head = format!("GET /patient/held HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            connection.write(head).await;
            fills.push((connection, fields));
            scene.in_flight(fills.len()).await;
            scene.fills(1).await;
        }
        match change {
            "purge" => assert!(scene.weir.command(&["purge", "--all"]).await.success()),
            _ => assert!(scene.weir.reload_with(yaml).await),
        }
        scene.gate.open();
        for (at, (mut connection, fields)) in fills.into_iter().enumerate() {
            let response = connection.response().await.unwrap();
            let length = if fields.is_empty() {
                LARGE
            } else {
                response.body.len()
            };
            assert!(
                response.complete && response.body.len() == length,
                "{change}"
            );
            let status = if fields.is_empty() { 200 } else { 206 };
            assert_eq!(response.status, status);
            scene.expect(if at == 0 { "miss" } else { "hit" }, status.into(), "ok");
        }
        scene.agrees(objects).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wants_a_part_gets_it_though_the_whole_is_purged_meanwhile() {
    let mut scene = Scene::new().await;
    let mut leader = scene.weir.client().connect().await;
    let request = leader.request("GET", "/patient/held");
    let request = request.header("Range", "bytes=5000000-5000009");
    leader.write(request.bytes()).await;
    scene.fills(1).await;
    assert!(scene.weir.command(&["purge", "--all"]).await.success());
    scene.gate.open();
    let response = leader.response().await.unwrap();
    assert_eq!((response.status, response.text()), (206, "b".repeat(10)));
    scene.expect("miss", 206, "ok");
    drop(leader);
    scene.agrees(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_fills_and_hits_end_and_records_them() {
    let scene = Scene::new().await;
    scene.get("/patient/large").send().await;
    let mut fill = scene.begin("/patient/held").await;
    scene.fills(1).await;
    let mut waiter = scene.begin("/patient/held").await;
    let mut hit = scene.begin("/patient/large").await;
    scene.in_flight(3).await;
    scene.weir.signal(Signal::SIGTERM);
    eventually("it accepts no more", async || {
        scene.weir.client().try_connect().await.is_err()
    })
    .await;
    scene.gate.open();
    for connection in [&mut fill, &mut waiter, &mut hit] {
        let response = connection.response().await.unwrap();
        assert!(response.complete && response.body.len() == LARGE);
    }
    assert!(scene.weir.exit_status().await.success());
    let words = logged(&scene.weir, 4).await;
    assert_eq!(words, ["hit", "hit", "miss", "miss"]);
    let lines = scene.weir.access_log();
    assert!(lines.iter().all(|line| line["termination"] == "ok"));
}
