//! What an operator is told about a mistake: path, place, what, and what to do about it.
//!
//! Built by `report`; printed by `cli` and by a refused reload. Text that came from the file is
//! quoted, shortened and free of control characters, so printing a problem is always safe.

use std::fmt;

/// Longest piece of a source line that is shown, in characters.
const EXCERPT_CHARS: usize = 100;
/// Longest value that is repeated in a message, in characters.
const QUOTED_CHARS: usize = 60;

/// One mistake in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// YAML path, such as `pools.api.endpoints[2].weight`; empty for the file as a whole.
    pub path: String,
    /// Line and column, both from 1, the column in characters; `None` when nothing in the file is to blame
    /// (a key that is missing at the top).
    pub place: Option<(usize, usize)>,
    /// What is wrong: the value seen and what was allowed.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Every mistake found in one file, in file order; never empty. `Display` prints all of them, each with its line.
#[derive(Clone, Debug)]
pub struct Problems {
    pub file: String,
    pub source: String,
    pub list: Vec<Problem>,
}

/// What is allowed but hardly meant; may be empty. `Display` prints one line each.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    pub file: String,
    pub list: Vec<Problem>,
}

// === impl Problem ===

impl Problem {
    /// The first line of its report: `file:line:column: path: what (hint)`.
    fn headline(&self, file: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{file}:")?;
        if let Some((line, column)) = self.place {
            write!(out, "{line}:{column}:")?;
        }
        if !self.path.is_empty() {
            write!(out, " {}:", self.path)?;
        }
        write!(out, " {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(out, " ({hint})"),
            None => Ok(()),
        }
    }
}

// === impl Problems ===

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.source.lines().collect();
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                writeln!(out)?;
            }
            problem.headline(&self.file, out)?;
            if let Some((line, column)) = problem.place
                && let Some(text) = lines.get(line.wrapping_sub(1))
            {
                let (shown, caret) = excerpt(text, column);
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                write!(out, "\n {number} | {shown}\n {margin} | {:caret$}^", "")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

// === impl Warnings ===

impl fmt::Display for Warnings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, warning) in self.list.iter().enumerate() {
            if n > 0 {
                writeln!(out)?;
            }
            warning.headline(&self.file, out)?;
        }
        Ok(())
    }
}

/// The part of a line around a column, and how many characters stand before the caret.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let before = column.saturating_sub(1);
    let start = match line.chars().nth(EXCERPT_CHARS) {
        Some(_) => before.saturating_sub(EXCERPT_CHARS / 2),
        None => 0,
    };
    let shown = line.chars().skip(start).take(EXCERPT_CHARS);
    let shown: String = shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    (shown.trim_end().to_string(), before - start)
}

/// A value from the file, fit to be repeated in a message.
pub(super) fn quoted(value: &str) -> String {
    match value.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(place: Option<(usize, usize)>) -> Problem {
        Problem {
            path: "pools.api.balanse".to_string(),
            place,
            what: "unknown key".to_string(),
            hint: Some("did you mean \"balance\"?".to_string()),
        }
    }

    fn shown(source: &str, place: Option<(usize, usize)>) -> String {
        let problems = Problems {
            file: "weir.yaml".to_string(),
            source: source.to_string(),
            list: vec![problem(place)],
        };
        problems.to_string()
    }

    #[test]
    fn a_problem_shows_its_line_with_a_caret() {
        let expected = "weir.yaml:2:3: pools.api.balanse: unknown key (did you mean \"balance\"?)\n 2 |   b: 1\n   |   ^";
        assert_eq!(shown("a:\n  b: 1\n", Some((2, 3))), expected);
    }

    #[test]
    fn a_problem_without_a_place_is_one_line() {
        assert!(!shown("a: 1", None).contains('\n'));
    }

    #[test]
    fn a_place_outside_the_source_shows_no_line() {
        assert!(!shown("a: 1", Some((9, 9))).contains('\n'));
        assert!(!shown("a: 1", Some((0, 0))).contains('\n'));
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let (text, caret) = excerpt(&"x".repeat(5000), 3000);
        assert_eq!((text.len(), caret), (EXCERPT_CHARS, EXCERPT_CHARS / 2));
    }

    #[test]
    fn control_characters_reach_no_terminal() {
        assert_eq!(excerpt("\u{1b}[31mred", 1).0, " [31mred");
        assert_eq!(quoted("\u{1b}"), r#""\u{1b}""#);
    }
}
