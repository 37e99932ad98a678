//! Clients that go before they have what they asked for.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_are_counted_where_they_were() {
    let mut scene = Scene::new().await;
    // While it leads, and while it waits: nothing has been sent.
    let leader = scene.begin("/patient/waits").await;
    scene.in_flight(1).await;
    eventually("it leads", async || scene.origin.hits() == 1).await;
    let waiter = scene.begin("/patient/waits").await;
    scene.in_flight(2).await;
    waiter.reset();
    scene.expect("miss", 0, "client_closed");
    scene.in_flight(1).await;
    leader.reset();
    scene.expect("miss", 0, "client_closed");
    scene.in_flight(0).await;
    // While it fills: the fill goes on.
    let mut leader = scene.begin("/patient/held").await;
    assert!(!leader.read_some().await.is_empty());
    leader.reset();
    scene.expect("miss", 200, "client_closed");
    // While it reads what is there, whole or in part.
    scene.gate.open();
    let large = scene.get("/patient/large");
    scene.ends(large, "miss", 200, "ok").await;
    for range in ["bytes=0-", "bytes=0-9, 100000-6000000"] {
        let mut reader = scene.weir.client().narrow().connect().await;
        let request = reader.request("GET", "/patient/large");
        reader.write(request.header("Range", range).bytes()).await;
        assert!(!reader.read_some().await.is_empty());
        reader.reset();
        scene.expect("hit", 206, "client_closed");
    }
    scene.in_flight(0).await;
    let held = scene.get("/patient/held");
    scene.ends(held, "hit", 200, "ok").await;
    scene.agrees(2).await;
}
