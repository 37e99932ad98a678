//! YAML text to a tree of values, without its types yet.
//!
//! Unlike serde_yaml's own reading it goes on at a duplicate key (the index has reported each of them; the first
//! one counts). What no key of ours can hold, an empty value or a key that is not text, is reported and taken out,
//! so in the tree that is left a null means "reported and removed". Called by `read`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::path::At;
use super::places::{self, Place};
use super::problem::{Problem, quoted};
use super::report::Report;

/// Reads the text; fails only if it is not YAML.
pub(super) fn parse(source: &str) -> Result<Value, Problem> {
    let Tree(tree) =
        Tree::deserialize(serde_yaml::Deserializer::from_str(source)).map_err(|err| {
            let place = err.location().map_or((1, 1), |at| (at.line(), at.column()));
            places::syntax(place, without_place(&err.to_string(), place))
        })?;
    Ok(tree)
}

/// serde_yaml ends its messages with the place, which a problem says in front.
fn without_place(message: &str, (line, column): Place) -> &str {
    let place = format!(" at line {line} column {column}");
    message.strip_suffix(&place).unwrap_or(message)
}

/// Reports and removes empty values and keys that are not text.
pub(super) fn clear(tree: &mut Value, at: &At<'_>, report: &mut Report<'_>) {
    match tree {
        Value::Sequence(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                let at = at.index(index);
                match item {
                    Value::Null => report.problem(&at, "an empty list item"),
                    item => clear(item, &at, report),
                }
            }
        }
        Value::Mapping(map) => clear_map(map, at, report),
        _ => {}
    }
}

fn clear_map(map: &mut Mapping, at: &At<'_>, report: &mut Report<'_>) {
    map.retain(|key, value| {
        let Value::String(name) = key else {
            let name = scalar_text(key);
            let hint = format!("write \"{name}\" in quotes");
            report.problem_at_key(&at.key(&name), "a key must be text", hint);
            return false;
        };
        let at = at.key(name);
        if value.is_null() {
            report.problem_at_key(
                &at,
                "has no value",
                "give one, or leave the key out".to_string(),
            );
            return false;
        }
        clear(value, &at, report);
        true
    });
}

/// A scalar as text, as near to how it was written as the tree still knows.
fn scalar_text(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => value.clone(),
        _ => String::new(),
    }
}

/// A value in the words of a message.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_string(),
        Value::Bool(_) | Value::Number(_) => scalar_text(value),
        Value::String(text) => quoted(text),
        Value::Sequence(_) => "a list".to_string(),
        Value::Mapping(_) => "a map".to_string(),
        Value::Tagged(_) => "a tagged value".to_string(),
    }
}

/// A tree that was read without stopping at duplicate keys.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Tree)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    /// Too large for any key of ours; kept as text, so that the key that has it can say so.
    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Sequence(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Mapping::new();
        while let Some((Tree(key), Tree(value))) = entries.next_entry()? {
            map.entry(key).or_insert(value);
        }
        Ok(Value::Mapping(map))
    }
}
