//! Conditions and ranges: what clients ask of what is stored, and what weir asks of the origin.

use super::*;

/// An origin with ten letters, one tag, and a lifetime that has passed if `stale`.
fn letters(stale: bool) -> Origin {
    Origin::start(move |request| {
        let reply = match request.header("if-none-match") {
            Some("\"a\"") => Reply::status(304).header("X-New", "yes"),
            _ => Reply::ok("abcdefghij").header("Content-Type", "text/plain"),
        };
        let age = if stale && request.header("x-fresh").is_none() {
            100
        } else {
            0
        };
        reply
            .header("ETag", "\"a\"")
            .header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            .header("Cache-Control", "max-age=60")
            .header("Age", age)
    })
}

// --- conditions

#[tokio::test]
async fn a_client_whose_copy_is_good_is_told_so_without_asking() {
    let origin = letters(false);
    let weir = cached("on", &origin).await;
    weir.client().get("/").await;
    for (name, value, expected) in [
        ("If-None-Match", "\"b\", W/\"a\"", 304),
        ("If-None-Match", "\"b\"", 200),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 304),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:36 GMT", 200),
    ] {
        let response = weir
            .client()
            .request("GET", "/")
            .header(name, value)
            .send()
            .await;
        assert_eq!(response.status, expected, "{name}: {value}");
        assert_eq!(response.header("etag"), Some("\"a\""));
        assert!(status(&response).contains("hit"));
        assert_eq!(response.body.is_empty(), expected == 304);
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_condition_on_a_miss_brings_the_whole_and_is_answered_here() {
    let origin = letters(false);
    let weir = cached("on", &origin).await;
    let request = weir
        .client()
        .request("GET", "/")
        .header("If-None-Match", "\"a\"");
    assert_eq!(request.send().await.status, 304);
    assert_eq!(origin.last().header("if-none-match"), None);
    assert_eq!(weir.client().get("/").await.text(), "abcdefghij");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn what_is_stale_is_validated_and_renewed() {
    let origin = letters(true);
    let weir = cached("on", &origin).await;
    weir.client().get("/").await;
    let renewed = weir
        .client()
        .request("GET", "/")
        .header("X-Fresh", "1")
        .send()
        .await;
    assert_eq!(
        (renewed.status, renewed.text().as_str()),
        (200, "abcdefghij")
    );
    assert_eq!(renewed.header("x-new"), Some("yes"));
    let told = "weir; fwd=stale; fwd-status=304; stored; ttl=";
    assert!(status(&renewed).starts_with(told), "{}", status(&renewed));
    let asked = origin.last();
    assert_eq!(asked.header("if-none-match"), Some("\"a\""));
    assert!(asked.header("if-modified-since").is_some());

    let hit = weir.client().get("/").await;
    assert!(status(&hit).contains("hit"), "{}", status(&hit));
    assert_eq!((hit.header("x-new"), origin.hits()), (Some("yes"), 2));
    assert_eq!(logged(&weir, 3).await, ["hit", "miss", "revalidated"]);
}

#[tokio::test]
async fn all_variants_are_validated_with_their_tags() {
    let origin = Origin::start(|request| {
        let reply = match request.header("if-none-match") {
            Some(tags) if tags.contains("\"a\"") => Reply::status(304),
            _ => Reply::ok("body of a"),
        };
        let reply = reply.header("ETag", "\"a\"").header("Vary", "X-Kind");
        reply.header("Cache-Control", "max-age=60")
    });
    let weir = cached("on", &origin).await;
    let get = async |kind: &str| {
        weir.client()
            .request("GET", "/")
            .header("X-Kind", kind)
            .send()
            .await
    };
    assert_eq!(get("one").await.text(), "body of a");
    let other = get("two").await;
    assert_eq!((other.status, other.text().as_str()), (200, "body of a"));
    assert!(
        status(&other).contains("fwd=vary-miss; fwd-status=304"),
        "{}",
        status(&other)
    );
    assert_eq!(origin.last().header("if-none-match"), Some("\"a\""));
    // From now on it is theirs as well.
    for kind in ["one", "two"] {
        let hit = get(kind).await;
        assert!(status(&hit).contains("hit"), "{}", status(&hit));
        assert_eq!(hit.text(), "body of a");
    }
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn what_has_changed_takes_the_place_of_what_was_stored() {
    let origin = answering(|number| {
        let reply = Reply::ok(number.to_string()).header("ETag", format!("\"{number}\""));
        let age = if number == 1 { 100 } else { 0 };
        reply
            .header("Cache-Control", "max-age=60")
            .header("Age", age)
    });
    let weir = cached("on", &origin).await;
    assert_eq!(weir.client().get("/").await.text(), "1");
    let second = weir.client().get("/").await;
    assert_eq!(second.text(), "2");
    assert!(
        status(&second).contains("fwd=stale; stored"),
        "{}",
        status(&second)
    );
    assert_eq!(weir.client().get("/").await.text(), "2");
    assert_eq!(logged(&weir, 3).await, ["expired", "hit", "miss"]);
}

#[tokio::test]
async fn what_a_304_adds_is_not_kept_where_what_is_stored_forbids_it() {
    let origin = Origin::start(|request| {
        let (reply, age) = match request.header("if-none-match") {
            Some(_) => (Reply::status(304).header("X-Secret", "anns"), 0),
            None => (Reply::ok("x"), 100),
        };
        let control = "max-age=60, private=\"x-secret\"";
        let reply = reply.header("ETag", "\"a\"").header("Age", age);
        match age {
            0 => reply,
            _ => reply.header("Cache-Control", control),
        }
    });
    let weir = cached("on", &origin).await;
    weir.client().get("/").await;
    assert!(status(&weir.client().get("/").await).contains("fwd-status=304"));
    let hit = weir.client().get("/").await;
    assert!(status(&hit).contains("hit"), "{}", status(&hit));
    assert_eq!(hit.header("x-secret"), None);
}

#[tokio::test]
async fn who_may_not_have_an_answer_kept_takes_nothing_from_the_others() {
    let origin = letters(false);
    let weir = cached("on", &origin).await;
    weir.client().get("/").await;
    for (name, value) in [("Cache-Control", "no-store"), ("Authorization", "ann")] {
        let request = weir.client().request("GET", "/").header(name, value);
        let checked = request.header("Cache-Control", "no-cache").send().await;
        assert_eq!(checked.text(), "abcdefghij");
        assert!(status(&checked).contains("fwd-status=304"));
        let hit = weir.client().get("/").await;
        assert!(status(&hit).contains("hit"), "{}", status(&hit));
    }
    assert_eq!(origin.hits(), 3);
}

// --- ranges

#[tokio::test]
async fn parts_are_cut_from_what_is_stored_and_a_part_on_a_miss_brings_the_whole() {
    let origin = letters(false);
    let weir = cached("on", &origin).await;
    let get = async |range: &str| {
        weir.client()
            .request("GET", "/")
            .header("Range", range)
            .send()
            .await
    };
    let part = get("bytes=2-4").await;
    assert_eq!((part.status, part.text().as_str()), (206, "cde"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    assert!(status(&part).contains("fwd=uri-miss; stored"));
    assert_eq!(origin.last().header("range"), None);

    assert_eq!(get("bytes=-3").await.text(), "hij");
    assert_eq!(get("bytes=8-").await.text(), "ij");
    let none = get("bytes=10-").await;
    assert_eq!(
        (none.status, none.header("content-range")),
        (416, Some("bytes */10"))
    );
    let parts = get("bytes=0-1,5-6").await;
    assert_eq!(parts.status, 206);
    let kind = parts.header("content-type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let expected = format!(
        "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\nab\
         \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-6/10\r\n\r\nfg\
         \r\n--{boundary}--\r\n"
    );
    assert_eq!(parts.text(), expected);
    assert_eq!(get("lines=0-1").await.status, 200);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn if_range_is_met_by_the_same_tag_only() {
    let origin = letters(false);
    let weir = cached("on", &origin).await;
    for (tag, expected) in [("\"a\"", 206), ("W/\"a\"", 200), ("\"b\"", 200)] {
        let request = weir
            .client()
            .request("GET", "/")
            .header("Range", "bytes=0-0");
        let response = request.header("If-Range", tag).send().await;
        assert_eq!(response.status, expected, "{tag}");
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn with_range_pass_a_part_that_is_not_stored_is_asked_for_as_it_is() {
    let origin = Origin::start(|request| match request.header("range") {
        Some(_) => Reply::status(206)
            .body("cde")
            .header("Content-Range", "bytes 2-4/10"),
        None => Reply::ok("abcdefghij").header("Cache-Control", "max-age=60"),
    });
    let weir = cached("{ range: pass }", &origin).await;
    let get = || {
        weir.client()
            .request("GET", "/")
            .header("Range", "bytes=2-4")
            .send()
    };
    assert_eq!(get().await.text(), "cde");
    assert_eq!(origin.last().header("range"), Some("bytes=2-4"));
    weir.client().get("/").await;
    let part = get().await;
    assert_eq!((part.status, part.text().as_str()), (206, "cde"));
    assert!(status(&part).contains("hit"));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_part_of_what_is_not_kept_is_asked_for_as_it_is() {
    let origin = Origin::start(|request| match request.header("range") {
        Some(_) => Reply::status(206)
            .body("cde")
            .header("Content-Range", "bytes 2-4/10"),
        None => Reply::ok("abcdefghij").header("Cache-Control", "no-store"),
    });
    let weir = cached("on", &origin).await;
    let get = || {
        weir.client()
            .request("GET", "/")
            .header("Range", "bytes=2-4")
            .send()
    };
    assert_eq!(get().await.text(), "cde");
    assert_eq!(origin.hits(), 2, "the whole, and then the part");
    assert_eq!(get().await.text(), "cde");
    assert_eq!(origin.hits(), 3, "it is remembered");
}

#[tokio::test]
async fn fields_that_are_not_for_others_reach_the_client_that_asked() {
    let origin = Origin::start(|_| {
        Reply::ok("a")
            .header(
                "Cache-Control",
                "max-age=60, private=\"x-user\", no-cache=\"x-once\"",
            )
            .header("X-User", "ann")
            .header("X-Once", "1")
    });
    let weir = cached("on", &origin).await;
    let first = weir.client().get("/").await;
    assert_eq!(
        (first.header("x-user"), first.header("x-once")),
        (Some("ann"), Some("1"))
    );
    let second = weir.client().get("/").await;
    assert_eq!(
        (second.header("x-user"), second.header("x-once")),
        (None, None)
    );
    assert_eq!((second.text().as_str(), origin.hits()), ("a", 1));
}

#[tokio::test]
async fn what_a_304_has_for_its_asker_alone_reaches_it_and_nobody_else() {
    let origin = Origin::start(|request| {
        let (reply, age) = match request.header("if-none-match") {
            Some(_) => (Reply::status(304), 0),
            None => (Reply::ok("x"), 100),
        };
        let reply = match age {
            0 => reply
                .header("Set-Cookie", "id=ann")
                .header("Set-Cookie", "more=1")
                .header("X-Secret", "anns")
                .header("Connection", "X-Hop")
                .header("X-Hop", "1"),
            _ => reply,
        };
        let reply = reply.header("ETag", "\"a\"").header("Age", age);
        reply.header("Cache-Control", "max-age=60, private=\"x-secret\"")
    });
    let weir = cached("on", &origin).await;
    weir.client().get("/").await;
    let asker = weir.client().get("/").await;
    assert_eq!(asker.headers.all("set-cookie"), ["id=ann", "more=1"]);
    assert_eq!(asker.headers.all("x-secret"), ["anns"]);
    assert_eq!(asker.header("x-hop"), None);
    assert_eq!(asker.headers.all("etag"), ["\"a\""]);
    let hit = weir.client().get("/").await;
    assert!(status(&hit).contains("hit"), "{}", status(&hit));
    assert_eq!(
        (hit.header("set-cookie"), hit.header("x-secret")),
        (None, None)
    );
}

#[tokio::test]
async fn what_a_304_makes_uncacheable_is_not_said_to_be_stored() {
    let origin = Origin::start(|request| match request.header("if-none-match") {
        Some(_) => Reply::status(304).header("Cache-Control", "no-store"),
        None => Reply::ok("x")
            .header("ETag", "\"a\"")
            .header("Cache-Control", "max-age=60")
            .header("Age", 100),
    });
    let weir = cached("on", &origin).await;
    weir.client().get("/").await;
    let renewed = weir.client().get("/").await;
    assert_eq!(renewed.text(), "x");
    assert!(
        status(&renewed).starts_with("weir; fwd=stale; fwd-status=304; ttl="),
        "{}",
        status(&renewed)
    );
    assert!(status(&weir.client().get("/").await).contains("fwd=uri-miss"));
}
