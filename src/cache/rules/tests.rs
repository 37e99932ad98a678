//! The rules together, beside those of another implementation (`http-cache-semantics`): random
//! exchanges, one verdict each. Where the two differ, a row of a table says why, and each row occurs.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, DATE, ETAG, EXPIRES, LAST_MODIFIED, PRAGMA, SET_COOKIE,
};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};

use super::directives::RequestDirectives;
use super::freshness::{Defaults, Exchange, Terms};
use super::reuse::{Reuse, judge};
use super::storable::{Asked, may_store};
use super::targeted::Control;

const CASES: u32 = 50_000;

/// A response and a later request for it. Times are seconds from the response's arrival.
#[derive(Debug)]
struct Case {
    status: u16,
    control: Vec<&'static str>,
    date: Option<i64>,
    expires: Option<i64>,
    modified: Option<i64>,
    age: Option<i64>,
    has_set_cookie: bool,
    has_pragma: bool,
    has_authorization: bool,
    wishes: Vec<&'static str>,
    wishes_pragma: bool,
    elapsed: i64,
}

const CONTROL: [&str; 15] = [
    "public",
    "private",
    "private=\"x-a\"",
    "no-cache",
    "no-cache=\"x-a\"",
    "no-store",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "immutable",
    "max-age=0",
    "max-age=100",
    "max-age=\"100\"",
    "s-maxage=50",
    "s-maxage=-1",
];

const WISHES: [&str; 10] = [
    "no-cache",
    "no-store",
    "max-age=0",
    "max-age=40",
    "min-fresh=20",
    "min-fresh=0",
    "max-stale",
    "max-stale=30",
    "max-stale=0",
    "x-unknown=1",
];

const STATUSES: [u16; 12] = [200, 200, 200, 200, 204, 206, 302, 404, 410, 429, 500, 599];

// === impl Case ===

impl Case {
    fn random(rng: &mut fastrand::Rng) -> Case {
        let maybe = |rng: &mut fastrand::Rng, values: &[i64]| {
            rng.bool().then(|| *rng.choice(values).unwrap())
        };
        let (control, wishes) = (rng.usize(0..4), rng.usize(0..3));
        Case {
            status: *rng.choice(&STATUSES).unwrap(),
            control: distinct(rng, &CONTROL, control),
            date: maybe(rng, &[-60, -10, 0, 10]),
            expires: maybe(rng, &[-60, 0, 30, 100]),
            modified: maybe(rng, &[-100_000_000, -1000, -100, 50]),
            age: maybe(rng, &[0, 10, 45, 200]),
            has_set_cookie: rng.u8(0..8) == 0,
            has_pragma: rng.u8(0..8) == 0,
            has_authorization: rng.u8(0..8) == 0,
            wishes: distinct(rng, &WISHES, wishes),
            wishes_pragma: rng.u8(0..8) == 0,
            elapsed: *rng.choice(&[0, 5, 30, 50, 80, 100, 130, 90_000]).unwrap(),
        }
    }

    fn response(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, seconds) in [
            (DATE, self.date),
            (EXPIRES, self.expires),
            (LAST_MODIFIED, self.modified),
        ] {
            if let Some(seconds) = seconds {
                let date = httpdate::fmt_http_date(at(seconds));
                headers.insert(name, date.parse().unwrap());
            }
        }
        if let Some(age) = self.age {
            headers.insert(AGE, age.into());
        }
        insert_if(&mut headers, self.has_set_cookie, SET_COOKIE, "id=1");
        insert_if(&mut headers, self.has_pragma, PRAGMA, "no-cache");
        let control = self.control.join(", ");
        insert_if(&mut headers, !control.is_empty(), CACHE_CONTROL, &control);
        headers.insert(ETAG, "\"x\"".parse().unwrap());
        headers
    }

    /// Of the request that was answered.
    fn first_request(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert_if(
            &mut headers,
            self.has_authorization,
            AUTHORIZATION,
            "Basic eDp5",
        );
        headers
    }

    fn later_request(&self) -> HeaderMap {
        let mut headers = self.first_request();
        let wishes = self.wishes.join(", ");
        insert_if(&mut headers, !wishes.is_empty(), CACHE_CONTROL, &wishes);
        insert_if(&mut headers, self.wishes_pragma, PRAGMA, "no-cache");
        headers
    }

    fn terms(&self) -> Terms {
        let headers = self.response();
        let control = Control::of_response(&headers, &[]);
        let exchange = Exchange {
            requested: at(0),
            answered: at(0),
        };
        Terms::new(
            self.status(),
            &headers,
            &control,
            &Defaults::default(),
            &exchange,
        )
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap()
    }

    /// Whether the later request is answered without the origin.
    fn is_reused(&self) -> bool {
        let (response, request) = (self.response(), self.first_request());
        let asked = Asked {
            method: &Method::GET,
            headers: &request,
            directives: &RequestDirectives::parse(&request),
            keep_set_cookie: false,
        };
        let control = Control::of_response(&response, &[]);
        let terms = self.terms();
        let stored = may_store(&asked, self.status(), &response, &control, &terms);
        let wishes = RequestDirectives::parse(&self.later_request());
        let answer = judge(stored.ok().map(|()| &terms), &wishes, at(self.elapsed));
        matches!(answer, Reuse::Fresh | Reuse::StaleAsAsked)
    }

    /// The same, as the other implementation sees it.
    fn is_reused_by_oracle(&self) -> bool {
        let request = |headers| {
            let mut request = Request::builder()
                .uri("http://a.example/")
                .body(())
                .unwrap();
            *request.headers_mut() = headers;
            request
        };
        let mut response = Response::new(());
        *response.status_mut() = self.status();
        *response.headers_mut() = self.response();
        let options = CacheOptions {
            immutable_min_time_to_live: Duration::ZERO,
            ..CacheOptions::default()
        };
        let first = request(self.first_request());
        let policy = CachePolicy::new_options(&first, &response, at(0), options);
        let answer = policy.before_request(&request(self.later_request()), at(self.elapsed));
        policy.is_storable() && matches!(answer, BeforeRequest::Fresh(_))
    }

    fn says(&self, directive: &str) -> bool {
        self.control.contains(&directive)
    }

    fn wishes(&self, prefix: &str) -> bool {
        self.wishes.iter().any(|wish| wish.starts_with(prefix))
    }

    fn has_s_maxage(&self) -> bool {
        self.says("s-maxage=50") || self.says("s-maxage=-1")
    }

    fn is_older_by_date(&self) -> bool {
        self.date.is_some_and(|date| -date > self.age.unwrap_or(0))
    }

    fn is_stale(&self) -> bool {
        !self.terms().is_fresh(at(self.elapsed))
    }
}

fn at(seconds: i64) -> SystemTime {
    let seconds = 1_700_000_000 + seconds;
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}

/// Up to `count` of `values`, of each directive one at most: the other implementation makes a
/// response that names one twice stale, where this one takes the smaller.
fn distinct(rng: &mut fastrand::Rng, values: &[&'static str], count: usize) -> Vec<&'static str> {
    let name = |value: &str| value.split('=').next().unwrap().to_owned();
    let mut chosen: Vec<&'static str> = Vec::new();
    for _ in 0..count {
        let value = *rng.choice(values).unwrap();
        if chosen.iter().all(|known| name(known) != name(value)) {
            chosen.push(value);
        }
    }
    chosen
}

fn insert_if(headers: &mut HeaderMap, condition: bool, name: HeaderName, value: &str) {
    if condition {
        headers.insert(name, value.parse().unwrap());
    }
}

type Difference = (&'static str, fn(&Case) -> bool);

/// Where a response is not used here and is there.
const STRICTER: [Difference; 6] = [
    // RFC 9111 §4.2.3 counts the age from `Date` too; the other only from `Age`.
    (
        "a response is as old as its Date says",
        Case::is_older_by_date,
    ),
    // §4.2.2 leaves it to the cache; a day is the bound that RFC 2616 warned of.
    ("a guess is a day at most", |case| {
        case.modified == Some(-100_000_000) && case.elapsed > 86_400
    }),
    // §7.3 leaves it to the cache; the other shares cookies with `public` and `immutable`.
    ("cookies are not shared", |case| case.has_set_cookie),
    // §4.2.4 forbids it, for `no-cache` …
    (
        "no-cache is not sent unvalidated, whatever the client takes",
        |case| (case.says("no-cache") || case.has_pragma) && case.wishes("max-stale"),
    ),
    // … as for what means `proxy-revalidate` to a shared cache.
    ("s-maxage is not sent stale", |case| {
        case.has_s_maxage() && case.wishes("max-stale") && case.is_stale()
    }),
    ("proxy-revalidate is not sent stale", |case| {
        case.says("proxy-revalidate") && case.wishes("max-stale") && case.is_stale()
    }),
];

/// Where a response is used here and not there.
const LAXER: [Difference; 8] = [
    // §5.2.2.8: until it is stale, it needs no validation.
    ("proxy-revalidate is sent while fresh", |case| {
        case.says("proxy-revalidate") && !case.is_stale()
    }),
    // §3: any final status may be kept with an explicit lifetime or `public`.
    ("a status need not be known", |case| {
        ![200, 204, 302, 404, 410].contains(&case.status)
    }),
    // §5.2.2.3.
    ("must-understand outdoes no-store", |case| {
        case.says("must-understand") && case.says("no-store")
    }),
    // §5.2.2.4, §5.2.2.7: only these fields are left out.
    ("private may name fields", |case| {
        case.says("private=\"x-a\"")
    }),
    ("no-cache may name fields", |case| {
        case.says("no-cache=\"x-a\"")
    }),
    // RFC 8246 §2.
    ("a reload does not ask for what never changes", |case| {
        case.says("immutable") && case.wishes("max-age")
    }),
    // §5.2.1.2: "no more than" includes as much.
    ("max-stale includes its last second", |case| {
        let limits = [("max-stale=30", 30), ("max-stale=0", 0)];
        let staleness = case.terms().staleness(at(case.elapsed)).as_secs();
        limits
            .iter()
            .any(|(wish, limit)| case.wishes(wish) && staleness == *limit)
    }),
    // §5.4: `Pragma` counts only where there is no `Cache-Control`, and of a response not at all; it
    // is heeded here where nothing else is said.
    ("Cache-Control and Expires outdo Pragma", |case| {
        case.wishes_pragma && !case.wishes.is_empty() || case.has_pragma && case.expires.is_some()
    }),
];

#[test]
fn verdicts_differ_from_those_of_http_cache_semantics_only_where_a_row_says_why() {
    let mut rng = fastrand::Rng::with_seed(9111);
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut reused = 0;
    for _ in 0..CASES {
        let case = Case::random(&mut rng);
        let (here, there) = (case.is_reused(), case.is_reused_by_oracle());
        reused += u32::from(here && there);
        let rows = match (here, there) {
            (false, true) => &STRICTER[..],
            (true, false) => &LAXER[..],
            _ => continue,
        };
        let row = rows.iter().find(|(_, explains)| explains(&case));
        let (why, _) = row.unwrap_or_else(|| panic!("used here: {here}, there: {there}: {case:?}"));
        *seen.entry(why).or_default() += 1;
    }
    for (why, _) in STRICTER.iter().chain(&LAXER) {
        assert!(seen.contains_key(why), "never occurs: {why}");
    }
    assert!(reused > CASES / 50, "both reuse only {reused} of {CASES}");
}
