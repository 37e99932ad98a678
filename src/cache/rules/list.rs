//! Fields that are lists (RFC 9110 §5.6.1): several lines are one list, empty members do not count,
//! and a comma in a quoted string separates nothing.

use http::{HeaderMap, HeaderName};

/// The members over all lines of a field, without white space around them and never empty.
pub fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| split(line.as_bytes()))
}

/// The members of one line. A quoted string without its end takes the rest of the line.
pub fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    let members = std::iter::from_fn(move || {
        let line = rest?;
        let end = unquoted_comma(line);
        rest = end.map(|end| &line[end + 1..]);
        Some(line[..end.unwrap_or(line.len())].trim_ascii())
    });
    members.filter(|member| !member.is_empty())
}

fn unquoted_comma(line: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    line.iter().position(|&byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        byte == b',' && !is_quoted
    })
}

/// Whether a member of the list is `token`, in any case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    members(headers, name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}

/// A single header name for each member; `None` if any is none.
pub fn names(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<HeaderName>> {
    let members = members(headers, name);
    members
        .map(|member| HeaderName::from_bytes(member).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, VARY};

    use super::*;

    fn split_text(line: &str) -> Vec<&str> {
        let members = split(line.as_bytes());
        members.map(|m| std::str::from_utf8(m).unwrap()).collect()
    }

    #[test]
    fn a_comma_in_quotes_separates_nothing() {
        assert_eq!(split_text(r#"a="x, y", b"#), [r#"a="x, y""#, "b"]);
        assert_eq!(split_text(r#"a="x\", y", b"#), [r#"a="x\", y""#, "b"]);
        assert_eq!(split_text(r#"a\, b"#), [r"a\", "b"]);
        assert_eq!(split_text(r#"a="x, b"#), [r#"a="x, b"#]);
    }

    #[test]
    fn empty_members_and_white_space_do_not_count() {
        assert_eq!(split_text(" , a ,,\tb\t, "), ["a", "b"]);
        assert_eq!(split_text(""), [""; 0]);
    }

    #[test]
    fn lines_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(VARY, "A, b".parse().unwrap());
        headers.append(VARY, "c".parse().unwrap());
        let members: Vec<&[u8]> = members(&headers, &VARY).collect();
        assert_eq!(members, [b"A", b"b", b"c"]);
        assert_eq!(names(&headers, &VARY).unwrap(), ["a", "b", "c"]);
        assert!(has_token(&headers, &VARY, "B"));
        assert!(!has_token(&headers, &CONNECTION, "b"));
        headers.append(VARY, "not a name".parse().unwrap());
        assert_eq!(names(&headers, &VARY), None);
    }
}
