//! The cache from outside: purges, lookups and counts over the admin listener.

use serde_json::{Value, json};

use crate::support::*;

const NOTHING: &str = "routes: [{ respond: {} }]";
const PURGE: &str = "/-/cache/purge";

fn order(weir: &Weir, body: impl AsRef<[u8]>) -> RequestBuilder {
    let request = weir.admin().request("POST", PURGE).body(body);
    request.header("Content-Type", "application/json")
}

fn json_of(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap()
}

// --- the admin listener

#[tokio::test]
async fn a_purge_of_nothing_is_no_error() {
    let weir = weir(NOTHING).start().await;
    for soft in [false, true] {
        let body = json!({"all": true, "soft": soft}).to_string();
        let response = order(&weir, body).send().await;
        assert_eq!(response.status, 200);
        assert_eq!(json_of(&response), json!({"purged": 0}));
    }
    let stats = json_of(&weir.admin().get("/-/cache/stats").await);
    assert_eq!((&stats["objects"], &stats["bytes"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn only_an_order_in_json_is_one() {
    let weir = weir(NOTHING).start().await;
    let admin = weir.admin();
    for method in ["GET", "HEAD", "PUT", "DELETE", "PURGE"] {
        let response = admin.request(method, PURGE).send().await;
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("allow"), Some("POST"), "{method}");
    }
    for path in ["/-/cache/stats", "/-/cache/lookup?url=http://a/"] {
        let response = admin.post(path, "{}").await;
        assert_eq!(response.status, 405, "{path}");
    }
    let all = json!({"all": true}).to_string();
    // What a page of somebody else could make an operator's browser send.
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/jsonp",
    ] {
        let request = admin.request("POST", PURGE).header("Content-Type", kind);
        let response = request.body(&all).send().await;
        assert_eq!(
            (response.status, &json_of(&response)["code"]),
            (415, &json!("not_json"))
        );
    }
    assert_eq!(admin.post(PURGE, &all).await.status, 415);
    let response = order(&weir, "{").send().await;
    assert_eq!(
        (response.status, &json_of(&response)["code"]),
        (400, &json!("invalid"))
    );
    let response = order(&weir, vec![b' '; 65 * 1024]).send().await;
    assert_eq!(
        (response.status, &json_of(&response)["code"]),
        (413, &json!("too_large"))
    );
    // A body in chunks is as good, and one connection takes many orders.
    let mut connection = admin.connect().await;
    for _ in 0..2 {
        let request = connection
            .request("POST", PURGE)
            .header("Content-Type", "application/json; charset=utf-8")
            .chunked(all.as_bytes().chunks(3));
        assert_eq!(connection.exchange(&request).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_lookup_of_what_is_not_there_finds_nothing() {
    let weir = weir(NOTHING).start().await;
    let admin = weir.admin();
    let response = admin.get("/-/cache/lookup?url=http://a.test/%3Fx").await;
    assert_eq!(json_of(&response), json!({"objects": []}));
    let response = admin.get("/-/cache/lookup").await;
    assert_eq!(
        (response.status, &json_of(&response)["code"]),
        (400, &json!("invalid"))
    );
}

// --- the command

#[tokio::test]
async fn weir_purge_says_how_much_it_did() {
    let weir = weir(NOTHING).start().await;
    for (arguments, said) in [
        (&["--all"][..], "0 objects purged\n"),
        (
            &["--url", "http://a.test/", "--soft"],
            "0 objects marked stale\n",
        ),
        (&["--prefix", "http://a.test/img/"], "0 objects purged\n"),
        (&["--host", "a.test"], "0 objects purged\n"),
        (&["--tag", "a \"b\""], "0 objects purged\n"),
    ] {
        let end = weir.command(&[&["purge"], arguments].concat()).await;
        assert_eq!((end.code, end.stdout.as_str()), (Some(0), said), "{end:?}");
    }
    let end = weir.command(&["purge", "--url", "a.test"]).await;
    assert_eq!((end.code, end.stdout.as_str()), (Some(1), ""), "{end:?}");
    assert!(end.stderr.contains("\"a.test\" is no URL"), "{end:?}");

    weir.signal(Signal::SIGTERM);
    weir.exit_status().await;
    let end = weir.command(&["purge", "--all"]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.stderr.contains("cannot ask"), "{end:?}");
}

#[tokio::test]
async fn weir_purge_wants_one_thing_to_purge() {
    for arguments in [
        &["purge"][..],
        &["purge", "--all", "--tag", "x"],
        &["purge", "--soft"],
    ] {
        let end = Program::run(arguments).await;
        assert_eq!((end.code, end.stdout.as_str()), (Some(2), ""), "{end:?}");
    }
}
