//! Sticky sessions: who comes back to whom, and what becomes of those whose endpoint cannot serve.

use std::collections::HashMap;

use crate::support::*;

const SECRET: &str = "a secret of 16 bytes and more";

/// A weir with one sticky pool: `sticky` is added to its cookie's settings, `$a` and `$b` are origins.
fn pool(sticky: &str, endpoints: &str) -> String {
    format!(
        "
        pools:
          web:
            balance: round_robin
            sticky: {{ {sticky} }}
            endpoints: {endpoints}
            health: {{ http: /healthz, interval: 100ms, rise: 1, fall: 1 }}
        routes: [{{ pool: web, retry: {{ attempts: 0 }} }}]
    "
    )
}

async fn start(sticky: &str, origins: &[Origin]) -> Weir {
    let yaml = pool(sticky, "[$a, $b]");
    let setup = weir(&yaml).with("a", &origins[0]).with("b", &origins[1]);
    setup.start().await
}

/// `name=value` of the cookie that is set; `None`: none is.
fn cookie(response: &Response) -> Option<String> {
    let set = response.header("set-cookie")?;
    set.split(';').next().map(str::to_owned)
}

async fn get(weir: &Weir, cookie: &str) -> Response {
    let request = weir.client().request("GET", "/").header("Cookie", cookie);
    request.send().await
}

/// The cookie for each origin, by its name.
async fn cookies(weir: &Weir, origins: &[Origin]) -> HashMap<String, String> {
    let mut cookies = HashMap::new();
    while cookies.len() < origins.len() {
        let response = weir.client().get("/").await;
        cookies.insert(response.text(), cookie(&response).unwrap());
    }
    cookies
}

/// Waits until probes have found the origin so.
async fn becomes(weir: &Weir, origin: &Origin, healthy: bool) {
    origin.health(healthy);
    let ready = format!(r#"weir_endpoint_ready{{endpoint="{origin}"}}"#);
    weir.metric_becomes(&ready, f64::from(u8::from(healthy)))
        .await;
}

#[tokio::test]
async fn a_client_comes_back_to_the_endpoint_that_answered_it() {
    let origins = Origin::several(2);
    let weir = start(&format!("cookie: at, secrets: '{SECRET}'"), &origins).await;
    let cookies = cookies(&weir, &origins).await;

    assert_ne!(cookies["a"], cookies["b"]);
    for (name, own) in &cookies {
        assert!(own.starts_with("at=") && own.len() == 25, "{own}");
        for _ in 0..5 {
            let response = get(&weir, &format!("x=1; {own}")).await;
            assert_eq!(&response.text(), name);
            assert_eq!(response.header("set-cookie"), None, "it has its cookie");
        }
    }
}

#[tokio::test]
async fn the_cookie_has_the_attributes_that_are_asked_for() {
    let origins = Origin::several(2);
    for (sticky, attributes) in [
        ("", "; Path=/; Secure; HttpOnly; SameSite=Lax"),
        (
            ", ttl: 2h, path: /app, same_site: strict",
            "; Path=/app; Max-Age=7200; Secure; HttpOnly; SameSite=Strict",
        ),
        (", secure: false", "; Path=/; HttpOnly; SameSite=Lax"),
        (
            ", same_site: none",
            "; Path=/; Secure; HttpOnly; SameSite=None",
        ),
    ] {
        let weir = start(&format!("secrets: '{SECRET}'{sticky}"), &origins).await;
        let response = weir.client().get("/").await;
        let set = response.header("set-cookie").unwrap();
        assert!(
            set.starts_with("weir_sticky=") && set.ends_with(attributes),
            "{set}"
        );
    }
}

#[tokio::test]
async fn a_forged_cookie_is_as_none() {
    let origins = Origin::several(2);
    let weir = start(&format!("cookie: at, secrets: '{SECRET}'"), &origins).await;
    let true_one = cookies(&weir, &origins).await.remove("a").unwrap();

    let turned = true_one
        .trim_start_matches("at=")
        .chars()
        .rev()
        .collect::<String>();
    for forged in [
        "at=".to_owned(),
        format!("at={}", origins[0].address()),
        format!("at={turned}"),
        format!("{true_one}x"),
        true_one.to_uppercase(),
        "at=0123456789abcdefghijkl; ".repeat(9),
    ] {
        let responses = [get(&weir, &forged).await, get(&weir, &forged).await];
        assert!(
            responses.iter().all(|response| cookie(response).is_some()),
            "{forged}"
        );
        assert_ne!(responses[0].text(), responses[1].text(), "{forged}");
    }
}

#[tokio::test]
async fn a_drained_endpoint_keeps_its_clients_and_gets_no_others() {
    let origins = Origin::several(2);
    let sticky = format!("secrets: '{SECRET}'");
    let weir = start(&sticky, &origins).await;
    let cookies = cookies(&weir, &origins).await;

    let drained = pool(&sticky, "[{ address: $a, weight: 0 }, $b]");
    assert!(weir.reload_with(&drained).await, "{}", weir.stderr());

    for _ in 0..3 {
        assert_eq!(get(&weir, &cookies["a"]).await.text(), "a");
        assert_eq!(weir.client().get("/").await.text(), "b");
    }
}

#[tokio::test]
async fn a_dead_endpoints_clients_get_another_and_its_cookie() {
    let origins = Origin::several(2);
    let weir = start(&format!("secrets: '{SECRET}'"), &origins).await;
    let cookies = cookies(&weir, &origins).await;
    becomes(&weir, &origins[0], false).await;

    let response = get(&weir, &cookies["a"]).await;

    assert_eq!(response.text(), "b");
    assert_eq!(cookie(&response).as_ref(), Some(&cookies["b"]));
    becomes(&weir, &origins[0], true).await;
    assert_eq!(get(&weir, &cookies["b"]).await.text(), "b");
}

#[tokio::test]
async fn a_client_whose_endpoint_fails_is_tried_elsewhere_and_never_there_again() {
    let (gone, b) = (Origin::serving("gone"), Origin::serving("b"));
    let yaml = format!(
        "
        pools: {{ web: {{ sticky: {{ secrets: '{SECRET}' }}, endpoints: [$gone, $b] }} }}
        routes: [{{ pool: web }}]
    "
    );
    let weir = weir(&yaml).with("gone", &gone).with("b", &b).start().await;
    let mut own = None;
    while own.is_none() {
        let response = weir.client().get("/").await;
        own = cookie(&response).filter(|_| response.text() == "gone");
    }
    gone.stop().await;

    let response = get(&weir, &own.unwrap()).await;

    assert_eq!(response.text(), "b");
    assert!(cookie(&response).is_some());
    eventually("an attempt at each is logged", async || {
        let lines = weir.access_log();
        let mut attempts = lines.iter().map(|line| line["attempts"].as_array());
        attempts.any(|attempts| attempts.map(Vec::len) == Some(2))
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_at_its_adaptive_limit_sends_its_clients_elsewhere() {
    let gate = Gate::new();
    let origins = ["a", "b"].map(|name| {
        let gate = gate.clone();
        Origin::start(move |request| match request.target.as_str() {
            "/held" => Reply::ok(name).after(&gate),
            _ => Reply::ok(name),
        })
    });
    let yaml = pool(&format!("secrets: '{SECRET}'"), "[$a, $b]");
    let limited = yaml.replace(
        "balance:",
        "adaptive_limit: { min: 1, max: 1 }\n            balance:",
    );
    let setup = weir(&limited).with("a", &origins[0]).with("b", &origins[1]);
    let weir = setup.start().await;
    let cookies = cookies(&weir, &origins).await;

    let held = weir.client().request("GET", "/held");
    let held = tokio::spawn(held.header("Cookie", &cookies["a"]).send());
    eventually("it is held", async || origins[0].in_flight() == 1).await;
    let elsewhere = get(&weir, &cookies["a"]).await;

    assert_eq!(elsewhere.text(), "b");
    assert_eq!(cookie(&elsewhere).as_ref(), Some(&cookies["b"]));
    gate.open();
    assert_eq!(held.await.unwrap().text(), "a");
    weir.metric_becomes("weir_endpoint_in_flight", 0.0).await;
    assert_eq!(get(&weir, &cookies["a"]).await.text(), "a");
}

#[tokio::test]
async fn with_strict_a_dead_endpoints_clients_are_refused() {
    let origins = Origin::several(2);
    let weir = start(&format!("secrets: '{SECRET}', strict: true"), &origins).await;
    let cookies = cookies(&weir, &origins).await;
    becomes(&weir, &origins[0], false).await;

    assert_eq!(get(&weir, &cookies["a"]).await.status, 503);
    assert_eq!(get(&weir, &cookies["b"]).await.text(), "b");
    assert_eq!(weir.client().get("/").await.text(), "b");
    becomes(&weir, &origins[0], true).await;
    assert_eq!(get(&weir, &cookies["a"]).await.text(), "a");
}

#[tokio::test]
async fn a_new_secret_in_front_keeps_the_clients_and_renews_their_cookies() {
    let origins = Origin::several(2);
    let weir = start(&format!("secrets: ['{SECRET}']"), &origins).await;
    let old = cookies(&weir, &origins).await;

    let rotated = format!("secrets: ['the secret of tomorrow', '{SECRET}']");
    assert!(
        weir.reload_with(&pool(&rotated, "[$a, $b]")).await,
        "{}",
        weir.stderr()
    );
    let renewed = get(&weir, &old["a"]).await;
    assert_eq!(renewed.text(), "a");
    let new = cookie(&renewed).unwrap();
    assert_ne!(new, old["a"]);

    let later = "secrets: ['the secret of tomorrow']";
    assert!(
        weir.reload_with(&pool(later, "[$a, $b]")).await,
        "{}",
        weir.stderr()
    );
    assert_eq!(get(&weir, &new).await.text(), "a");
    assert!(
        cookie(&get(&weir, &old["a"]).await).is_some(),
        "it is forged now"
    );
}

#[tokio::test]
async fn secrets_may_stand_in_a_file() {
    let origins = Origin::several(2);
    let yaml = pool("secret_file: $dir/secrets", "[$a, $b]");
    let weir = weir(&yaml)
        .with("a", &origins[0])
        .with("b", &origins[1])
        .file("secrets", format!("{SECRET}\n\nanother one of 16 bytes\n"))
        .start()
        .await;
    let in_file = cookies(&weir, &origins).await;

    let given = pool(&format!("secrets: '{SECRET}'"), "[$a, $b]");
    assert!(weir.reload_with(&given).await, "{}", weir.stderr());
    assert_eq!(cookies(&weir, &origins).await, in_file);
}

#[tokio::test]
async fn a_file_without_secrets_is_refused() {
    let origin = Origin::serving("");
    let yaml = pool("secret_file: $dir/secrets", "[$a]");
    let setup = weir(&yaml).with("a", &origin).file("secrets", "short\n");
    let end = setup.refused().await;
    assert!(end.stderr.contains("holds no secret"), "{}", end.stderr);
}
