//! Durations and sizes as they are written in the file.
//!
//! Pure: text in, value or a sentence out; no input panics. Called by `validate`, which checks the range.

use std::time::Duration;

use super::problem::quoted;

/// Why a text is not a duration or a size, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct UnitError {
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

/// Milliseconds per unit, largest first.
const DURATIONS: [(&str, u64); 5] = [
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Bytes per unit, the binary ones first, largest first.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// `250ms`, `30s`, `5m`, `1h`, `1d`. A number without a unit is refused: nobody remembers which one it was.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text).ok_or_else(|| not_a_duration(text))?;
    if unit.is_empty() {
        return Err(UnitError {
            what: format!("{} has no unit", quoted(text)),
            hint: Some(format!("write \"{number}s\"")),
        });
    }
    let Some((_, factor)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
        return Err(not_a_duration(text));
    };
    let millis = number.checked_mul(*factor).ok_or_else(|| too_large(text))?;
    Ok(Duration::from_millis(millis))
}

/// `512B`, `64KiB`, `256MiB`, `10MB`; a number without a unit is bytes.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text).ok_or_else(|| not_a_size(text, None))?;
    if unit.is_empty() {
        return Ok(number);
    }
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(not_a_size(text, binary_unit(number, unit)));
    };
    number.checked_mul(*factor).ok_or_else(|| too_large(text))
}

/// A duration as the file would say it.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_string();
    }
    show(millis, &DURATIONS)
}

/// A size as the file would say it.
pub(super) fn show_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_string();
    }
    show(bytes, &SIZES)
}

/// The first unit that divides the value; the last unit of a table is 1, so there always is one.
fn show(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units
        .iter()
        .find(|(_, factor)| value.is_multiple_of(*factor));
    let (unit, factor) = fits.copied().unwrap_or(("", 1));
    format!("{}{unit}", value / factor)
}

/// Digits, then the rest; `None` without digits or when they do not fit.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

fn not_a_duration(text: &str) -> UnitError {
    UnitError {
        what: format!(
            "{} is not a duration, expected a whole number with ms, s, m, h or d, such as \"30s\"",
            quoted(text)
        ),
        hint: None,
    }
}

fn not_a_size(text: &str, hint: Option<String>) -> UnitError {
    UnitError {
        what: format!(
            "{} is not a size, expected a whole number of bytes or one with B, KiB, MiB, GiB, KB, MB or GB, such as \"64KiB\"",
            quoted(text)
        ),
        hint,
    }
}

fn too_large(text: &str) -> UnitError {
    UnitError {
        what: format!("{} is too large", quoted(text)),
        hint: None,
    }
}

/// `64k`, `64K` and `64kb` are not accepted, because half the world means 1000 and the other half 1024.
fn binary_unit(number: u64, unit: &str) -> Option<String> {
    let letter = unit.chars().next()?.to_ascii_uppercase();
    let known = matches!(
        unit.to_ascii_lowercase().as_str(),
        "k" | "m" | "g" | "t" | "kb" | "mb" | "gb" | "tb" | "kib" | "mib" | "gib" | "tib"
    );
    known.then(|| format!("write \"{number}{letter}iB\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_the_one_that_was_meant() {
        assert_eq!(
            duration("30").unwrap_err().hint.as_deref(),
            Some("write \"30s\"")
        );
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "s",
            "1.5s",
            "-1s",
            " 1s",
            "1 s",
            "1S",
            "1h30m",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes() {
        for (text, bytes) in [
            ("512B", 512),
            ("64KiB", 65_536),
            ("256MiB", 268_435_456),
            ("10MB", 10_000_000),
            ("7", 7),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn an_ambiguous_size_is_refused_with_what_to_write() {
        for text in ["64k", "64K", "64kb", "64kib"] {
            assert_eq!(
                size(text).unwrap_err().hint.as_deref(),
                Some("write \"64KiB\""),
                "{text}"
            );
        }
        for text in ["", "KiB", "1.5MiB", "18446744073709551615TiB", "1kx"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_shown_in_their_largest_whole_unit() {
        assert_eq!(show_duration(Duration::from_secs(300)), "5m");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_size(512 << 10), "512KiB");
        assert_eq!(show_size(0), "0B");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = duration(&text);
            let _ = size(&text);
        }

        #[test]
        fn what_is_shown_reads_back(millis in 0u64..1 << 50, bytes in any::<u64>()) {
            let shown = show_duration(Duration::from_millis(millis));
            prop_assert_eq!(duration(&shown), Ok(Duration::from_millis(millis)));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
