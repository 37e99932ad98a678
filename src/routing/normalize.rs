//! One spelling for each path: what is matched is what is forwarded, so no rule can be walked
//! around by spelling a path differently, and no endpoint sees a path that no rule saw.
//!
//! Dot segments go (RFC 3986 §5.2.4, also where a dot is `%2e`), doubled slashes merge, percent
//! encodings of unreserved characters are decoded and the others upper-cased (§6.2.2), characters
//! beyond ASCII are encoded (RFC 3987 §3.1). `%2F` and `%5C` stay as they are: an encoded slash is
//! data and never a separator. Pure; called by `proxy` once per request and by `Table::build` on
//! patterns, so both speak of the same paths. A normal path is its own normal form.

use std::borrow::Cow;

/// Why a request target is refused; the client is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    AboveRoot,
    BadPercent,
    /// A NUL ends a path for many endpoints, and not for the rules here.
    EncodedNul,
    Control,
    /// Never sent by a client (RFC 9112 §3.2), and read differently by every endpoint.
    Fragment,
    NotAPath,
}

impl Malformed {
    /// What the client is told.
    pub fn reason(self) -> &'static str {
        match self {
            Malformed::AboveRoot => "path leads above the root",
            Malformed::BadPercent => "percent sign without two hexadecimal digits in path",
            Malformed::EncodedNul => "encoded NUL in path",
            Malformed::Control => "control character or space in request target",
            Malformed::Fragment => "fragment in request target",
            Malformed::NotAPath => "request target does not start with a slash",
        }
    }
}

/// Normalises the path of a request target, given without scheme and authority.
///
/// The query, from its `?`, is kept byte for byte. An empty path becomes `/`; `*` (RFC 9112 §3.2.4)
/// and a trailing slash stay. Slashes merge before `..` is applied, as in nginx: `/a//../b` is `/b`.
/// A `..` above the root is refused, as by nginx. Borrowed when there is nothing to do.
pub fn normalize(target: &str) -> Result<Cow<'_, str>, Malformed> {
    let bytes = target.as_bytes();
    let path_end = memchr::memchr(b'?', bytes).unwrap_or(bytes.len());
    let (path, query) = target.split_at(path_end);
    // A fold and not `any`: without an early exit it is vectorised, and nearly all are allowed.
    if bytes
        .iter()
        .fold(false, |found, byte| found | is_forbidden(*byte))
    {
        return Err(why_forbidden(bytes));
    }
    if target == "*" || is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(target));
    }
    let mut normal = String::with_capacity(target.len() + 1);
    rewrite(path, &mut normal)?;
    normal.push_str(query);
    Ok(Cow::Owned(normal))
}

/// Anywhere in a target, also in its query.
fn is_forbidden(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7F || byte == b'#'
}

fn why_forbidden(target: &[u8]) -> Malformed {
    match target.iter().find(|byte| is_forbidden(**byte)) {
        Some(b'#') => Malformed::Fragment,
        _ => Malformed::Control,
    }
}

/// Whether `rewrite` would change nothing. Anything doubtful is not normal.
fn is_normal(path: &[u8]) -> bool {
    let mut rest = path;
    if rest.first() != Some(&b'/') {
        return false;
    }
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'/' if starts_with_removable(after) => return false,
            b'%' => match after {
                [high, low, after @ ..] if is_normal_percent(*high, *low) => after,
                _ => return false,
            },
            0x80.. => return false,
            _ => after,
        };
    }
    true
}

/// Whether the segment after a slash is `.`, `..`, or empty with another slash behind it.
fn starts_with_removable(after_slash: &[u8]) -> bool {
    matches!(
        after_slash,
        [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
    )
}

fn is_normal_percent(high: u8, low: u8) -> bool {
    let is_upper_hex = |digit: u8| digit.is_ascii_digit() || matches!(digit, b'A'..=b'F');
    is_upper_hex(high)
        && is_upper_hex(low)
        && decode(high, low).is_some_and(|byte| byte != 0 && !is_unreserved(byte))
}

/// Appends the normal form of `path` to `normal`, which is empty.
fn rewrite(path: &str, normal: &mut String) -> Result<(), Malformed> {
    normal.push('/');
    if path.is_empty() {
        return Ok(());
    }
    let mut segments = path.strip_prefix('/').ok_or(Malformed::NotAPath)?;
    loop {
        // `normal` ends with a slash here.
        let start = normal.len();
        let (segment, others) = match segments.split_once('/') {
            Some((segment, others)) => (segment, Some(others)),
            None => (segments, None),
        };
        push_segment(segment, normal)?;
        match &normal[start..] {
            "" => {}
            "." => normal.truncate(start),
            ".." => normal.truncate(parent(&normal[..start])?),
            _ if others.is_some() => normal.push('/'),
            _ => {}
        }
        match others {
            Some(others) => segments = others,
            None => return Ok(()),
        }
    }
}

/// The length of `path` without its last segment; both end with a slash.
fn parent(path: &str) -> Result<usize, Malformed> {
    let segments = path.strip_suffix('/').unwrap_or(path);
    let slash = segments.rfind('/').ok_or(Malformed::AboveRoot)?;
    Ok(slash + 1)
}

fn push_segment(segment: &str, normal: &mut String) -> Result<(), Malformed> {
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let [high, low, after @ ..] = after else {
                    return Err(Malformed::BadPercent);
                };
                rest = after;
                match decode(*high, *low).ok_or(Malformed::BadPercent)? {
                    0 => return Err(Malformed::EncodedNul),
                    byte if is_unreserved(byte) => normal.push(byte.into()),
                    byte => push_percent(byte, normal),
                }
            }
            0x80.. => push_percent(byte, normal),
            _ => normal.push(byte.into()),
        }
    }
    Ok(())
}

fn push_percent(byte: u8, normal: &mut String) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    normal.push('%');
    normal.push(DIGITS[usize::from(byte >> 4)].into());
    normal.push(DIGITS[usize::from(byte & 0xF)].into());
}

/// The byte two hexadecimal digits stand for.
fn decode(high: u8, low: u8) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(high)? << 4 | value(low)?).ok()
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_normal_forms(cases: &[(&str, &str)]) {
        for (target, normal) in cases {
            assert_eq!(normalize(target).as_deref(), Ok(*normal), "{target:?}");
        }
    }

    #[test]
    fn what_is_normal_is_borrowed() {
        for target in [
            "/",
            "*",
            "/a/b/c",
            "/a/",
            "/.well-known/acme-challenge/x",
            "/a/...",
            "/a/..b/.c/d./e..",
            "/a%2Fb%5C%20%25",
            "/a\\..\\b",
            "/a;p=1/b:c@d!$&'()*+,=",
            "/a?x=/../%zz//%2e",
            "/?",
        ] {
            let normal = normalize(target).unwrap();
            assert!(matches!(normal, Cow::Borrowed(_)), "{target:?}");
            assert_eq!(normal, target);
        }
    }

    #[test]
    fn dot_segments_are_removed() {
        assert_normal_forms(&[
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/.", "/a/"),
            ("/a/./", "/a/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/..", "/a/"),
            ("/./a", "/a"),
            ("/.", "/"),
            ("/a/../b", "/b"),
        ]);
    }

    #[test]
    fn an_encoded_dot_is_a_dot() {
        assert_normal_forms(&[
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2E./b", "/b"),
            ("/a/.%2e", "/"),
            ("/a/%2e", "/a/"),
            ("/a%2eb", "/a.b"),
        ]);
    }

    #[test]
    fn unreserved_characters_are_decoded_once_and_others_upper_cased() {
        assert_normal_forms(&[
            ("/%41%7a%30%2d%5f%7e", "/Az0-_~"),
            ("/%2541", "/%2541"),
            ("/%252e%252e/", "/%252e%252e/"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/a%3fb%23", "/a%3Fb%23"),
        ]);
    }

    #[test]
    fn an_encoded_slash_or_backslash_is_no_separator() {
        assert_normal_forms(&[
            ("/a%2f..%2fb", "/a%2F..%2Fb"),
            ("/a%2f/../b", "/b"),
            ("/a%5c..%5cb", "/a%5C..%5Cb"),
            ("/a\\..\\b", "/a\\..\\b"),
        ]);
    }

    #[test]
    fn slashes_merge_before_dots_are_applied() {
        assert_normal_forms(&[
            ("//", "/"),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/b"),
            ("/a/.//b", "/a/b"),
        ]);
    }

    #[test]
    fn characters_beyond_ascii_are_encoded() {
        assert_normal_forms(&[("/café", "/caf%C3%A9"), ("/a?é", "/a?é")]);
    }

    #[test]
    fn an_empty_path_is_the_root() {
        assert_normal_forms(&[("", "/"), ("?x=1", "/?x=1")]);
    }

    #[test]
    fn the_query_is_kept_byte_for_byte() {
        assert_normal_forms(&[
            ("/a/../b?q=%zz&/../%2e//?", "/b?q=%zz&/../%2e//?"),
            ("//?%00", "/?%00"),
        ]);
    }

    #[test]
    fn a_path_above_the_root_is_refused() {
        for target in ["/..", "/../a", "/a/../..", "/a/../../b", "/%2e%2e", "//.."] {
            assert_eq!(normalize(target), Err(Malformed::AboveRoot), "{target:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_reason() {
        for (target, reason) in [
            ("/%", Malformed::BadPercent),
            ("/%4", Malformed::BadPercent),
            ("/%zz", Malformed::BadPercent),
            ("/%+1", Malformed::BadPercent),
            ("/%4/1", Malformed::BadPercent),
            ("/%4?1", Malformed::BadPercent),
            ("/%é", Malformed::BadPercent),
            ("/a%00", Malformed::EncodedNul),
            ("/a\0", Malformed::Control),
            ("/a b", Malformed::Control),
            ("/a\r\nx: y", Malformed::Control),
            ("/a\x7f", Malformed::Control),
            ("/a?b c", Malformed::Control),
            ("/a#b", Malformed::Fragment),
            ("/a?b#c", Malformed::Fragment),
            ("a", Malformed::NotAPath),
            ("*?", Malformed::NotAPath),
            ("http://a/", Malformed::NotAPath),
        ] {
            assert_eq!(normalize(target), Err(reason), "{target:?}");
        }
    }

    /// Targets made of what the rules are about, so that nearly every one is interesting.
    fn target() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "/", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", "%41", "%25", "%zz", "%0", "%00",
            "%c3", "a", "B", "~", "\\", "?", "#", " ", "é", ";",
        ]);
        let piecewise =
            prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()));
        prop_oneof![4 => piecewise, 1 => any::<String>()]
    }

    fn split(target: &str) -> (&str, Option<&str>) {
        match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn a_normal_form_is_its_own_normal_form(target in target()) {
            if let Ok(normal) = normalize(&target) {
                prop_assert_eq!(normalize(&normal), Ok(Cow::Borrowed(&*normal)));
                prop_assert!(matches!(normalize(&normal), Ok(Cow::Borrowed(_))));
            }
        }

        #[test]
        fn a_normal_form_leads_nowhere_else_and_keeps_its_query(target in target()) {
            if let Ok(normal) = normalize(&target) {
                let (path, query) = split(&normal);
                prop_assert!(path.starts_with('/') || path == "*");
                for removed in ["//", "/./", "/../", "%2e", "%2E", "%2f"] {
                    prop_assert!(!path.contains(removed), "{} in {}", removed, path);
                }
                prop_assert!(!path.ends_with("/.") && !path.ends_with("/.."));
                prop_assert_eq!(query, split(&target).1);
            }
        }

        #[test]
        fn no_target_is_changed_by_an_encoding_of_its_letters(path in "(/[a-z.~]{1,4}){1,5}") {
            let encoded: String = path
                .bytes()
                .map(|byte| match byte {
                    b'/' => "/".into(),
                    byte => format!("%{byte:02x}"),
                })
                .collect();
            prop_assert_eq!(normalize(&encoded), normalize(&path));
        }
    }
}
