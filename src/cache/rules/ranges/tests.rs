//! Parts of ten bytes, conditions on them, and what no set of ranges may ask for.

use http::HeaderName;
use http::header::ETAG;
use proptest::prelude::*;

use super::*;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn map(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn of_ten(line: &str) -> Parts {
    parse(line.as_bytes(), 10)
}

#[test]
fn one_part_is_cut_to_what_is_there() {
    for (line, range) in [
        ("bytes=0-0", 0..1),
        ("bytes=0-9", 0..10),
        ("bytes=2-4", 2..5),
        ("bytes=9-", 9..10),
        ("bytes=3-99", 3..10),
        ("bytes=3-99999999999999999999999", 3..10),
        ("bytes=-3", 7..10),
        ("bytes=-10", 0..10),
        ("bytes=-99", 0..10),
        ("BYTES= 2-4 ", 2..5),
        ("bytes=,2-4,,", 2..5),
        ("bytes=2-4,50-60", 2..5),
        ("bytes=50-60, -1", 9..10),
    ] {
        assert_eq!(of_ten(line), Parts::One(range), "{line}");
    }
}

#[test]
fn several_parts_ascend() {
    assert_eq!(
        of_ten("bytes=0-1,4-5, -2"),
        Parts::Many(vec![0..2, 4..6, 8..10])
    );
    assert_eq!(of_ten("bytes=0-1,2-3"), Parts::Many(vec![0..2, 2..4]));
}

#[test]
fn what_lies_beyond_the_end_cannot_be_had() {
    for line in [
        "bytes=10-",
        "bytes=10-20",
        "bytes=-0",
        "bytes=10-,20-30",
        "bytes=99999999999999999999-",
    ] {
        assert_eq!(of_ten(line), Parts::None, "{line}");
    }
}

#[test]
fn what_is_malformed_is_not_there() {
    for line in [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=5-3",
        "bytes=0-1,5-3",
        "bytes=0-1,x",
        "bytes=+1-2",
        "bytes=1--2",
        "bytes=0x1-2",
        "bytes=1 -2",
        "bytes=0-1;2-3",
        "lines=0-1",
        "bytes 0-1",
        "=0-1",
        "bytes=\u{664}-",
    ] {
        assert_eq!(of_ten(line), Parts::Whole, "{line}");
    }
}

#[test]
fn greed_gets_the_whole() {
    for line in [
        "bytes=0-5,3-7",
        "bytes=5-6,0-1",
        "bytes=0-,0-",
        "bytes=0-1,-10",
    ] {
        assert_eq!(of_ten(line), Parts::Whole, "{line}");
    }
    let set = |count: u64| {
        let members: Vec<String> = (0..count).map(|n| format!("{}-{}", 2 * n, 2 * n)).collect();
        format!("bytes={}", members.join(","))
    };
    assert!(matches!(parse(set(16).as_bytes(), 1000), Parts::Many(parts) if parts.len() == 16));
    assert_eq!(parse(set(17).as_bytes(), 1000), Parts::Whole);
}

#[test]
fn of_nothing_there_is_no_part() {
    assert_eq!(parse(b"bytes=0-", 0), Parts::None);
    assert_eq!(parse(b"bytes=-5", 0), Parts::Whole);
}

fn parts_of(request: &[(HeaderName, &str)], stored: &[(HeaderName, &str)]) -> Parts {
    parts(
        &Method::GET,
        &map(request),
        StatusCode::OK,
        &map(stored),
        10,
    )
}

#[test]
fn only_a_get_of_a_200_is_cut() {
    let (request, stored) = (map(&[(RANGE, "bytes=0-1")]), HeaderMap::new());
    let cut = |method, status| parts(&method, &request, status, &stored, 10);
    assert_eq!(cut(Method::GET, StatusCode::OK), Parts::One(0..2));
    assert_eq!(cut(Method::HEAD, StatusCode::OK), Parts::Whole);
    assert_eq!(cut(Method::GET, StatusCode::NOT_FOUND), Parts::Whole);
    assert_eq!(parts_of(&[], &[]), Parts::Whole);
    assert_eq!(
        parts_of(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=0-1")], &[]),
        Parts::Whole
    );
}

#[test]
fn if_range_asks_for_the_very_same_bytes() {
    let stored = [(ETAG, "\"a\""), (LAST_MODIFIED, MODIFIED), (DATE, LATER)];
    for (condition, is_met) in [
        ("\"a\"", true),
        ("\"b\"", false),
        ("W/\"a\"", false),
        ("a", false),
        ("*", false),
        ("\"a\", \"b\"", false),
        (MODIFIED, true),
        ("Sunday, 06-Nov-94 08:49:37 GMT", true),
        (LATER, false),
        ("soon", false),
    ] {
        let parts = parts_of(&[(RANGE, "bytes=0-1"), (IF_RANGE, condition)], &stored);
        assert_eq!(parts == Parts::One(0..2), is_met, "{condition}");
    }
    let weak = [(ETAG, "W/\"a\"")];
    assert_eq!(
        parts_of(&[(RANGE, "bytes=0-1"), (IF_RANGE, "W/\"a\"")], &weak),
        Parts::Whole
    );
    let twice = [
        (RANGE, "bytes=0-1"),
        (IF_RANGE, "\"a\""),
        (IF_RANGE, "\"a\""),
    ];
    assert_eq!(parts_of(&twice, &stored), Parts::Whole);
}

#[test]
fn a_date_of_the_same_second_is_a_weak_validator() {
    let request = [(RANGE, "bytes=0-1"), (IF_RANGE, MODIFIED)];
    let same = [(LAST_MODIFIED, MODIFIED), (DATE, MODIFIED)];
    assert_eq!(parts_of(&request, &same), Parts::Whole);
    assert_eq!(
        parts_of(&request, &[(LAST_MODIFIED, MODIFIED)]),
        Parts::Whole
    );
}

proptest! {
    #[test]
    fn parts_lie_within_and_ascend(line in "bytes=([0-9]{0,3}-[0-9]{0,3},?){1,5}", length in 0_u64..400) {
        let ranges = match parse(line.as_bytes(), length) {
            Parts::One(range) => vec![range],
            Parts::Many(ranges) => ranges,
            Parts::Whole | Parts::None => vec![],
        };
        let mut end = 0;
        for range in ranges {
            prop_assert!(end <= range.start && range.start < range.end && range.end <= length);
            end = range.end;
        }
    }
}
