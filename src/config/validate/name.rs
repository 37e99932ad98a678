//! Host names. Pure; used for route hosts, endpoints and TLS names.

use super::super::problem::quoted;

const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Lower case and without its trailing dot, or a sentence about what is wrong with it. `_` is allowed, because
/// service names in clusters have it.
pub(super) fn host(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if !name.is_ascii() {
        return Err(format!(
            "{} is not ASCII, expected its xn-- form",
            quoted(text)
        ));
    }
    let fits = !name.is_empty() && name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label);
    if !fits {
        return Err(format!("{} is not a host name", quoted(text)));
    }
    Ok(name)
}

/// Whether a name ends as only an address can: nothing under a numeric top-level label exists.
pub(super) fn is_numeric(name: &str) -> bool {
    name.rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()))
}

fn is_label(label: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_folded_to_one_spelling() {
        assert_eq!(
            host("Shop.Example.COM."),
            Ok("shop.example.com".to_string())
        );
        assert_eq!(host("my_service"), Ok("my_service".to_string()));
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        let long = "a".repeat(64);
        for text in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a:80",
            "a/b",
            "*.a",
            "ä.de",
            long.as_str(),
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
