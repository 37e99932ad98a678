//! Regexes from the file, bounded in size so that no pattern can eat the machine.

use regex::{Regex, RegexBuilder};

use super::super::path::At;
use super::super::problem::quoted;
use super::super::report::Report;

const COMPILED_BYTES_MAX: usize = 1 << 20;

/// What follows `~ ` in a value that may be a regex.
pub(super) fn after_tilde(text: &str) -> Option<&str> {
    text.strip_prefix("~ ").map(str::trim_start)
}

pub(super) fn regex(pattern: &str, at: &At<'_>, report: &mut Report<'_>) -> Option<Regex> {
    match RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
    {
        Ok(regex) => Some(regex),
        Err(err) => {
            report.problem(
                at,
                format!(
                    "{} is not a usable regex: {}",
                    quoted(pattern),
                    reason(&err)
                ),
            );
            None
        }
    }
}

/// The last line of a syntax error says what is wrong; the lines before it draw the pattern.
fn reason(err: &regex::Error) -> String {
    let text = match err {
        regex::Error::CompiledTooBig(limit) => {
            return format!("it compiles to more than {limit} bytes");
        }
        other => other.to_string(),
    };
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_string()
}
