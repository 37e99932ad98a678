//! From text to `raw`, with every mistake of form reported.
//!
//! The typed reading stops at its first mistake. So: report it, take that node out of the tree, read again, until
//! nothing is wrong. Every field of `raw` may be absent, so taking one out always helps. A list item leaves a null
//! behind, so that the items after it keep their index and with it their place. Called by `config`.

use std::borrow::Cow;

use serde_path_to_error::Segment;
use serde_yaml::Value;

use super::path::{At, Step};
use super::places;
use super::problem::Problem;
use super::raw;
use super::report::{Blame, Report};
use super::similar;
use super::tree;

/// Mistakes of form after which reading ends: each costs a reading of the whole tree.
const MISTAKES_MAX: usize = 200;

/// What could be read. Without a tree there is nothing to validate.
pub(super) fn read(source: &str) -> Result<(Option<raw::Root>, Report<'_>), Problem> {
    let (places, duplicates) = places::index(source)?;
    let mut report = Report::new(places, duplicates);
    let mut tree = tree::parse(source)?;
    if tree.is_null() {
        report.problem(
            &At::ROOT,
            "the file is empty, expected listeners, routes and pools",
        );
        return Ok((None, report));
    }
    tree::clear(&mut tree, &At::ROOT, &mut report);
    let root = typed(tree, &mut report);
    Ok((root, report))
}

fn typed(mut tree: Value, report: &mut Report<'_>) -> Option<raw::Root> {
    for _ in 0..MISTAKES_MAX {
        let mistake = match serde_path_to_error::deserialize::<_, raw::Root>(&tree) {
            Ok(root) => return Some(root),
            Err(mistake) => mistake,
        };
        let steps = steps(mistake.path());
        describe(&tree, &steps, &mistake.inner().to_string(), report);
        if !remove(&mut tree, &steps) {
            return None;
        }
    }
    report.problem(
        &At::ROOT,
        format!("more than {MISTAKES_MAX} mistakes, the rest of the file was not read"),
    );
    None
}

/// The part of the path that names nodes of the tree.
fn steps(path: &serde_path_to_error::Path) -> Vec<Step<'static>> {
    path.iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(Cow::Owned(key.clone()))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// serde's sentence in the operator's words.
fn describe(tree: &Value, steps: &[Step<'_>], message: &str, report: &mut Report<'_>) {
    let (_, expected) = message.rsplit_once(", expected ").unwrap_or_default();
    if message.starts_with("unknown field") {
        return unknown_key(steps, expected, report);
    }
    let found = find(tree, steps);
    let seen = found.map_or_else(|| "nothing".to_string(), tree::describe);
    if message.starts_with("unknown variant") {
        let names = names(expected);
        let word = found.and_then(Value::as_str).unwrap_or_default();
        let what = format!("{seen} is not known, expected {}", list(&names));
        return report.add(
            steps,
            Blame::Value,
            what,
            similar::did_you_mean(word, names),
        );
    }
    if expected.is_empty() {
        return report.add(steps, Blame::Value, message.to_string(), None);
    }
    let expected = plain_words(expected);
    let hint = found.and_then(|found| quotes_hint(expected, found));
    report.add(
        steps,
        Blame::Value,
        format!("expected {expected}, found {seen}"),
        hint,
    );
}

fn unknown_key(steps: &[Step<'_>], expected: &str, report: &mut Report<'_>) {
    let names = names(expected);
    let key = match steps.last() {
        Some(Step::Key(key)) => key.as_ref(),
        _ => "",
    };
    let hint = match similar::nearest(key, names.iter().copied()) {
        Some(meant) => {
            let mut stands_for = steps[..steps.len() - 1].to_vec();
            stands_for.push(Step::Key(meant.into()));
            report.stands_for(&stands_for);
            format!("did you mean \"{meant}\"?")
        }
        None if key == "<<" => {
            "merge keys are not supported, use an alias for a whole value".to_string()
        }
        None => format!("known are {}", names.join(", ")),
    };
    report.add(steps, Blame::Key, "unknown key".to_string(), Some(hint));
}

/// serde puts the names it knows in backticks.
fn names(expected: &str) -> Vec<&str> {
    expected.split('`').skip(1).step_by(2).collect()
}

/// `a, b or c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_string(),
        [one] => (*one).to_string(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Rust's names of types mean nothing to an operator.
fn plain_words(expected: &str) -> &str {
    match expected {
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        // How serde_yaml calls an enum that was not given as a word.
        enumeration if enumeration.starts_with("a Value::Tag") => "one word",
        other => other,
    }
}

fn quotes_hint(expected: &str, found: &Value) -> Option<String> {
    let scalar = matches!(found, Value::Bool(_) | Value::Number(_));
    (expected == "a string" && scalar)
        .then(|| format!("put it in quotes: \"{}\"", tree::describe(found)))
}

fn find<'t>(tree: &'t Value, steps: &[Step<'_>]) -> Option<&'t Value> {
    steps.iter().try_fold(tree, |node, step| match step {
        Step::Key(key) => node.get(key.as_ref()),
        Step::Index(index) => node.get(*index),
    })
}

/// Takes a node out; `false` if there was none, and reading again would find the same mistake.
fn remove(tree: &mut Value, steps: &[Step<'_>]) -> bool {
    let Some((last, parents)) = steps.split_last() else {
        return false;
    };
    let parent = parents.iter().try_fold(tree, |node, step| match step {
        Step::Key(key) => node.get_mut(key.as_ref()),
        Step::Index(index) => node.get_mut(*index),
    });
    match (parent, last) {
        (Some(Value::Mapping(map)), Step::Key(key)) => map.remove(key.as_ref()).is_some(),
        (Some(Value::Sequence(list)), Step::Index(index)) => match list.get_mut(*index) {
            None | Some(Value::Null) => false,
            Some(item) => {
                *item = Value::Null;
                true
            }
        },
        _ => false,
    }
}
