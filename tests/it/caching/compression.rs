//! What is coded, once, and what its clients see of it.

use std::io::Read;

use super::{cached, status};
use crate::support::*;

const TEXT: &str = "It is a text that says the same again and again. ";

fn page() -> String {
    TEXT.repeat(100)
}

/// A page that is fresh for a minute, of a type.
fn origin(content_type: &'static str) -> Origin {
    Origin::start(move |_| {
        let reply = Reply::ok(page()).header("Cache-Control", "max-age=60");
        let reply = reply.header("Content-Type", content_type);
        reply.header("ETag", "\"one\"")
    })
}

async fn get(weir: &Weir, accept_encoding: &str) -> Response {
    let request = weir.client().request("GET", "/");
    request
        .header("Accept-Encoding", accept_encoding)
        .send()
        .await
}

/// Asks until the answer has this coding.
async fn coded(weir: &Weir, accept_encoding: &str, coding: &str) -> Response {
    eventually(format!("{accept_encoding} gets {coding}"), async || {
        let response = get(weir, accept_encoding).await;
        (response.header("content-encoding") == Some(coding)).then_some(response)
    })
    .await
}

fn decoded(response: &Response) -> String {
    let (bytes, mut text) = (&response.body[..], String::new());
    match response.header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text),
        Some("zstd") => zstd::Decoder::new(bytes).unwrap().read_to_string(&mut text),
        other => panic!("{other:?}"),
    }
    .unwrap();
    text
}

#[tokio::test]
async fn each_client_gets_the_coding_it_likes_best_and_the_origin_is_asked_once() {
    let origin = origin("text/html");
    let weir = cached("{ compress: on }", &origin).await;
    for (accept_encoding, coding) in [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip;q=0.5, zstd", "zstd"),
        ("gzip, br;q=0", "gzip"),
        ("*", "br"),
    ] {
        let response = coded(&weir, accept_encoding, coding).await;
        assert_eq!(decoded(&response), page());
        assert!(response.body.len() < 500, "{}", response.body.len());
        let length = response.body.len().to_string();
        assert_eq!(response.header("content-length"), Some(&*length));
        assert_eq!(response.header("etag"), Some("W/\"one\""));
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
        assert!(status(&response).contains("hit"), "{}", status(&response));
    }
    for accept_encoding in ["identity", "deflate", "gzip;q=0.5, identity", ""] {
        let plain = get(&weir, accept_encoding).await;
        assert_eq!(plain.header("content-encoding"), None, "{accept_encoding}");
        assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
        assert_eq!(
            (plain.text(), plain.header("etag")),
            (page(), Some("\"one\""))
        );
    }
    let plain = weir.client().get("/").await;
    assert_eq!(
        (plain.text(), plain.header("content-encoding")),
        (page(), None)
    );
    assert_eq!(origin.hits(), 1);
    assert_eq!(
        origin.last().headers.get("accept-encoding"),
        Some("identity")
    );
}

#[tokio::test]
async fn what_is_coded_is_coded_once() {
    let origin = origin("text/html");
    let weir = cached("{ compress: on }", &origin).await;
    coded(&weir, "gzip", "gzip").await;
    // The response and its coded form.
    weir.metric_becomes("weir_cache_objects", 2.0).await;
    let load = weir
        .client()
        .request("GET", "/")
        .header("Accept-Encoding", "gzip");
    for _ in 0..20 {
        let response = load.clone().send().await;
        assert_eq!(response.header("content-encoding"), Some("gzip"));
    }
    weir.metric_becomes("weir_cache_objects", 2.0).await;
    let replaced = weir.admin().get("/-/cache/stats").await;
    let stats: serde_json::Value = serde_json::from_slice(&replaced.body).unwrap();
    assert_eq!(stats["left"]["replaced"], 0);
}

#[tokio::test]
async fn coded_forms_take_no_variant_its_place() {
    let origin = Origin::start(|request| {
        let kind = request.headers.get("x-kind").unwrap_or_default();
        let reply = Reply::ok(format!("{kind} {}", page()));
        let reply = reply.header("Cache-Control", "max-age=60");
        let reply = reply.header("Content-Type", "text/html");
        reply.header("Vary", "X-Kind")
    });
    let weir = cached("{ compress: on }", &origin).await;
    let load = |kind: usize| {
        let request = weir.client().request("GET", "/");
        let request = request.header("X-Kind", kind.to_string());
        request.header("Accept-Encoding", "gzip")
    };
    for kind in 0..16 {
        eventually(format!("variant {kind} is coded"), async || {
            let response = load(kind).send().await;
            response.header("content-encoding").map(|_| ())
        })
        .await;
    }
    for kind in 0..16 {
        let response = load(kind).send().await;
        assert_eq!(decoded(&response), format!("{kind} {}", page()));
    }
    assert_eq!(origin.hits(), 16);
    weir.metric_becomes("weir_cache_objects", 32.0).await;
}

#[tokio::test]
async fn a_copy_that_is_still_good_is_not_sent_again_in_any_coding() {
    let origin = origin("text/html");
    let weir = cached("{ compress: on }", &origin).await;
    coded(&weir, "gzip", "gzip").await;
    for (accept_encoding, tag) in [("gzip", "W/\"one\""), ("identity", "\"one\"")] {
        let request = weir.client().request("GET", "/");
        let request = request.header("Accept-Encoding", accept_encoding);
        let response = request.header("If-None-Match", tag).send().await;
        assert_eq!(response.status, 304);
        assert_eq!(response.header("etag"), Some(tag));
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
    }
    let head = weir
        .client()
        .request("HEAD", "/")
        .header("Accept-Encoding", "gzip");
    let head = head.send().await;
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    let request = weir
        .client()
        .request("GET", "/")
        .header("Range", "bytes=0-1");
    let part = request.header("Accept-Encoding", "gzip").send().await;
    assert_eq!((part.status, part.text()), (206, "It".to_owned()));
    assert_eq!(part.header("content-encoding"), None);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_revalidated_response_keeps_its_coded_form() {
    let origin = Origin::start(|request| {
        let reply = match request.headers.get("if-none-match") {
            Some(_) => Reply::status(304).header("X-Round", "two"),
            None => Reply::ok(page()).header("X-Round", "one"),
        };
        let reply = reply
            .header("Content-Type", "text/css")
            .header("ETag", "\"one\"");
        let reply = reply.header("Vary", "X-Other");
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("{ compress: on }", &origin).await;
    coded(&weir, "gzip", "gzip").await;
    let purge = weir.command(&["purge", "--all", "--soft"]).await;
    assert!(purge.success(), "{purge:?}");
    let response = get(&weir, "gzip").await;
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(response.header("x-round"), Some("two"));
    assert_eq!(decoded(&response), page());
    assert_eq!(origin.hits(), 2);
    assert!(status(&get(&weir, "gzip").await).contains("hit"));
}

#[tokio::test]
async fn a_response_that_is_not_to_be_coded_any_more_is_given_as_it_is() {
    let origin = Origin::start(|request| {
        let reply = match request.headers.get("if-none-match") {
            Some(_) => Reply::status(304).header("Cache-Control", "max-age=60, no-transform"),
            None => Reply::ok(page()).header("Cache-Control", "max-age=60"),
        };
        let reply = reply.header("Content-Type", "text/css");
        reply.header("ETag", "\"one\"")
    });
    let weir = cached("{ compress: on }", &origin).await;
    coded(&weir, "gzip", "gzip").await;
    let purge = weir.command(&["purge", "--all", "--soft"]).await;
    assert!(purge.success(), "{purge:?}");
    for _ in 0..2 {
        let response = get(&weir, "gzip").await;
        assert_eq!(response.header("content-encoding"), None);
        assert_eq!(response.header("etag"), Some("\"one\""));
        assert_eq!(response.text(), page());
    }
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_purge_takes_the_coded_form_with_it() {
    let origin = super::answering(|number| {
        let reply = Reply::ok(page() + &number.to_string()).header("Cache-Control", "max-age=60");
        reply.header("Content-Type", "text/html")
    });
    let weir = cached("{ compress: on }", &origin).await;
    assert_eq!(decoded(&coded(&weir, "br", "br").await), page() + "1");
    let url = format!("http://{}/", weir.address());
    let end = weir.command(&["purge", "--url", &url]).await;
    assert_eq!(end.stdout, "2 objects purged\n", "{end:?}");
    assert_eq!(decoded(&coded(&weir, "br", "br").await), page() + "2");
}

#[tokio::test]
async fn only_what_the_route_names_is_coded() {
    let named =
        "{ compress: { algorithms: [gzip, zstd], min_size: 4KiB, types: [text/*, image/x] } }";
    for (kind, rule, accept_encoding, coding) in [
        ("text/html", named, "br, gzip, zstd", Some("gzip")),
        ("text/html", named, "br", None),
        ("image/x", named, "zstd", Some("zstd")),
        ("application/json", named, "gzip", None),
        ("application/json", "{ compress: on }", "gzip", Some("gzip")),
        ("image/x", "{ compress: on }", "gzip", None),
        (
            "text/html",
            "{ compress: { min_size: 1MiB } }",
            "gzip",
            None,
        ),
        ("text/html", "{ compress: off }", "gzip", None),
    ] {
        let origin = origin(kind);
        let weir = cached(rule, &origin).await;
        match coding {
            Some(coding) => drop(coded(&weir, accept_encoding, coding).await),
            None => {
                for _ in 0..3 {
                    let plain = get(&weir, accept_encoding).await;
                    assert_eq!(plain.header("content-encoding"), None, "{kind}, {rule}");
                }
                weir.metric_becomes("weir_cache_objects", 1.0).await;
            }
        }
    }
}

#[tokio::test]
async fn what_the_origin_coded_or_forbids_to_code_stays_as_it_is() {
    let origin = Origin::start(|request| {
        let reply = Reply::ok(page()).header("Content-Type", "text/html");
        match request.target.as_str() {
            "/coded" => reply
                .header("Content-Encoding", "gzip")
                .header("Vary", "Accept-Encoding")
                .header("Cache-Control", "max-age=60"),
            _ => reply.header("Cache-Control", "max-age=60, no-transform"),
        }
    });
    let weir = cached("{ compress: on }", &origin).await;
    for (target, coding) in [("/coded", Some("gzip")), ("/plain", None)] {
        for _ in 0..3 {
            let request = weir.client().request("GET", target);
            let response = request.header("Accept-Encoding", "br").send().await;
            assert_eq!(response.header("content-encoding"), coding, "{target}");
            assert_eq!(response.text(), page());
        }
    }
    weir.metric_becomes("weir_cache_objects", 2.0).await;
}
