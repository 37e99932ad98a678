//! Whom a route serves: `allow` and `deny`, by the client's address.
//!
//! Clients connect from 127.0.0.1 and the addresses next to it.

use crate::support::*;

async fn statuses(weir: &Weir, target: &str, addresses: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for address in addresses {
        let client = weir.client().from(address);
        statuses.push(client.get(target).await.status);
    }
    statuses
}

#[tokio::test]
async fn only_allowed_clients_are_served_by_any_action() {
    let origin = Origin::serving("inside");
    let weir = weir(
        "
        pools: { web: { endpoints: [$origin] } }
        routes:
          - { path: /pool, allow: 127.0.0.2, pool: web }
          - { path: /moved, allow: 127.0.0.2, redirect: { to: / } }
          - { path: /fixed, allow: 127.0.0.2, respond: { body: inside } }
          - { pool: web }
    ",
    )
    .with("origin", &origin)
    .start()
    .await;
    let (stranger, friend) = (weir.client(), weir.client().from("127.0.0.2"));
    for (target, status) in [("/pool", 200), ("/moved", 308), ("/fixed", 200)] {
        assert_eq!(friend.get(target).await.status, status, "{target}");
        let refused = stranger.request("GET", target);
        let refused = refused.header("Accept", "application/json").send().await;
        assert_eq!(refused.status, 403, "{target}");
        assert!(refused.text().contains(r#""reason":"forbidden""#));
    }
    assert_eq!(origin.hits(), 1);
    assert_eq!(stranger.get("/elsewhere").await.status, 200);
    let lines = weir.logged(7).await;
    let refused = lines.iter().filter(|line| line["status"] == 403);
    for line in refused.clone() {
        assert_eq!(line["termination"], "forbidden", "{line}");
        assert_ne!(line["route"], "-", "{line}");
    }
    assert_eq!(refused.count(), 3);
    let reason = r#"weir_rejections_total{reason="forbidden"}"#;
    assert_eq!(weir.metric(reason).await, 3.0);
}

#[tokio::test]
async fn the_most_specific_network_decides() {
    let yaml = "routes: [{ deny: 127.0.0.2, respond: {} }]";
    let weir = weir(yaml).start().await;
    let addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.1.1"];
    assert_eq!(statuses(&weir, "/", &addresses).await, [200, 403, 200, 200]);

    for (lists, expected) in [
        ("allow: 127.0.0.0/24, deny: 127.0.0.2", [200, 403, 200, 403]),
        (
            "allow: [127.0.0.0/8, 127.0.0.2], deny: [127.0.0.0/24]",
            [403, 200, 403, 200],
        ),
        ("allow: 127.0.0.2, deny: 127.0.0.2", [403, 403, 403, 403]),
        ("deny: '::/0'", [200, 200, 200, 200]),
        (
            "deny: ['::ffff:127.0.0.2', '::ffff:127.0.1.0/120']",
            [200, 403, 200, 403],
        ),
    ] {
        let yaml = format!("routes: [{{ {lists}, respond: {{}} }}]");
        assert!(weir.reload_with(&yaml).await, "{}", weir.stderr());
        assert_eq!(statuses(&weir, "/", &addresses).await, expected, "{lists}");
    }
}

#[tokio::test]
async fn the_client_that_a_trusted_proxy_names_is_the_one_that_counts() {
    let weir = weir(
        "
        server: { trusted_proxies: [127.0.0.2], $upgradable }
        routes: [{ allow: [192.0.2.0/24, '2001:db8::/32'], respond: {} }]
    ",
    )
    .start()
    .await;
    for (peer, named, status) in [
        ("127.0.0.2", "192.0.2.7", 200),
        ("127.0.0.2", "::ffff:192.0.2.7", 200),
        ("127.0.0.2", "2001:db8::7", 200),
        ("127.0.0.2", "192.0.2.7, 198.51.100.1", 403),
        // Nobody believes this one.
        ("127.0.0.1", "192.0.2.7", 403),
    ] {
        let client = weir.client().from(peer);
        let request = client.request("GET", "/").header("X-Forwarded-For", named);
        assert_eq!(request.send().await.status, status, "{peer} names {named}");
    }
}
