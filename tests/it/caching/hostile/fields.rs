//! Fields as nobody should send them, and some as everybody does.

use fastrand::Rng;

/// Values of response fields; a response gets some of them, fields twice as well.
pub(super) const ANSWERS: &[(&str, &[&str])] = &[
    (
        "Cache-Control",
        &[
            "max-age=60",
            "public, max-age=60",
            "s-maxage=60",
            "max-age=\"60\"",
            "max-age=-1",
            "max-age=1.5",
            "max-age",
            "max-age=99999999999999999999",
            "MAX-AGE=60",
            "max-age=60, max-age=0",
            "private",
            "PRIVATE, max-age=60",
            "no-store, max-age=60",
            "max-age=60, private=\"x-user\"",
            "private=, max-age=60",
            "no-cache",
            ", ,,max-age=60",
            "no-cache=\"set-cookie, x-user\", max-age=60",
            "max-age=60, must-revalidate",
            "max-age = 60",
            "=60",
            "\"",
            "max-age=60;",
            "max-age=1, stale-while-revalidate=60",
            "max-age=0, stale-if-error=60",
            "must-understand, no-store, max-age=60",
            "immutable",
        ],
    ),
    (
        "CDN-Cache-Control",
        &[
            "max-age=60",
            "no-store",
            "private",
            "max-age=abc",
            "(",
            "max-age=60;x=\"",
            "",
        ],
    ),
    (
        "Vary",
        &[
            "*",
            "X-User",
            "x-user,X-USER",
            "Accept-Encoding",
            " , ",
            "X User",
            "Cookie",
            "Authorization",
            "*, X-User",
            "Host",
            "\u{e9}",
        ],
    ),
    (
        "ETag",
        &["\"a\"", "W/\"a\"", "a", "\"", "W/", "\"a\", \"b\"", ""],
    ),
    (
        "Age",
        &["0", "59", "-1", "1, 2", "99999999999999999999", "x", "1.5"],
    ),
    (
        "Date",
        &[
            "Tue, 15 Nov 1994 08:12:31 GMT",
            "0",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "x",
        ],
    ),
    (
        "Expires",
        &[
            "0",
            "-1",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Tue, 15 Nov 1994 08:12:31 GMT",
            "",
        ],
    ),
    (
        "Last-Modified",
        &[
            "Tue, 15 Nov 1994 08:12:31 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "x",
        ],
    ),
    ("Set-Cookie", &["id=1", "", "=;"]),
    (
        "Content-Range",
        &[
            "bytes 0-1/2",
            "bytes */5",
            "bytes 5-1/2",
            "x",
            "bytes 0-18446744073709551615/*",
        ],
    ),
    ("Content-Encoding", &["gzip", "identity", "x, y", ""]),
    ("Surrogate-Key", &["a b", "", "  ", "a a a a a a"]),
    ("Surrogate-Control", &["no-store", "max-age=60"]),
    ("Cache-Tag", &["a,b,,", "\"x\""]),
    ("Connection", &["X-User", "close", "Cache-Control", ","]),
    (
        "Content-Location",
        &["/1", "//b.test/1", "http://a.test/2", ":", "/\u{0}"],
    ),
    ("Location", &["/2", "http://b.test/1", "\\"]),
    ("Content-Type", &["text/html", "text/html; charset=\"", "/"]),
    ("Warning", &["110 - \"x\""]),
    ("Pragma", &["no-cache"]),
];

/// The same for requests.
pub(super) const QUESTIONS: &[(&str, &[&str])] = &[
    (
        "Cache-Control",
        &[
            "no-cache",
            "no-store",
            "max-age=0",
            "max-stale",
            "max-stale=99999999999999999999",
            "min-fresh=10",
            "only-if-cached",
            "\"",
            "max-age=x",
        ],
    ),
    (
        "Range",
        &[
            "bytes=0-",
            "bytes=0-0,-1",
            "bytes=5-2",
            "bytes=-0",
            "bytes=99999999999999999999-",
            "x=0-1",
            "bytes=0-0,0-0,0-0,0-0,0-0,0-0",
            "bytes=",
        ],
    ),
    (
        "If-Range",
        &["\"a\"", "W/\"a\"", "Tue, 15 Nov 1994 08:12:31 GMT", "x"],
    ),
    ("If-None-Match", &["*", "\"a\"", "W/\"a\", \"b", ",,", "a"]),
    (
        "If-Modified-Since",
        &["Fri, 31 Dec 9999 23:59:59 GMT", "0", "x"],
    ),
    ("If-Match", &["\"a\"", "*"]),
    (
        "Accept-Encoding",
        &["gzip", "br;q=0", "*", "gzip;q=x, ,", "identity;q=0"],
    ),
    ("Accept-Language", &["de", "DE , fr"]),
    ("Cookie", &["a=1", "a=1; a=2; =", ";"]),
    ("X-Forwarded-Host", &["b.test"]),
    ("X-Forwarded-For", &["1.2.3.4"]),
    ("X-Original-URL", &["/1"]),
    ("X-HTTP-Method-Override", &["POST"]),
    ("Forwarded", &["host=b.test"]),
    (
        "Connection",
        &["X-User", "Authorization", "close", "Cache-Control"],
    ),
    ("TE", &["trailers"]),
    ("Pragma", &["no-cache"]),
];

/// A few of the fields, with one of their values each.
pub(super) fn some_of(
    table: &[(&'static str, &[&'static str])],
    rng: &mut Rng,
) -> Vec<(&'static str, &'static str)> {
    let count = rng.usize(0..6);
    let mut one = || {
        let (name, values) = table[rng.usize(..table.len())];
        (name, values[rng.usize(..values.len())])
    };
    (0..count).map(|_| one()).collect()
}
