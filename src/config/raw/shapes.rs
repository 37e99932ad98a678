//! Values that may be written in more than one form: text or map, one or many, `off` or map.
//!
//! Each reads with its own visitor, never serde's `untagged`: that one tries every form and then cannot say which
//! one was meant or where inside it the mistake is.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};

/// A list; a null is an item that was wrong and has been reported.
pub(crate) type List<T> = Vec<Option<T>>;

/// A whole number and its unit, such as `250ms`, `30s`, `5m`, `1h` or `1d`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, extend("pattern" = "^[0-9]+(ms|s|m|h|d)$"))]
pub(crate) struct Duration(pub(crate) String);

/// A whole number of bytes, or one with a unit, such as `64KiB`, `256MiB` or `10MB`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, extend("type" = ["string", "integer"], "pattern" = "^[0-9]+(B|[KMGT]i?B)?$", "minimum" = 0))]
pub(crate) struct Size(pub(crate) String);

/// A status, such as `204`, or a range of them, such as `200-299`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, extend("type" = ["string", "integer"], "pattern" = "^[0-9]{3}(-[0-9]{3})?$"))]
pub(crate) struct StatusRange(pub(crate) String);

/// A number such as `1.25`, or `off`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, extend("type" = ["string", "number", "boolean"], "pattern" = "^(off|[0-9]+([.][0-9]+)?)$"))]
pub(crate) struct Factor(pub(crate) String);

/// Text that YAML may take for something else, such as `off`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Word(pub(crate) String);

/// `on`, `off`, or a map.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, untagged)]
pub(crate) enum Toggle<M> {
    #[schemars(with = "Switch")]
    Flag(bool),
    Map(M),
}

/// How a flag may be written.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
#[allow(dead_code, reason = "only for the schema")]
enum Switch {
    Flag(bool),
    Word(OnOff),
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
#[allow(dead_code, reason = "only for the schema")]
enum OnOff {
    On,
    Off,
}

/// A short form as text, or a map with everything.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, untagged)]
pub(crate) enum TextOr<M> {
    Text(String),
    Map(M),
}

/// One of some words, or a map with settings.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, untagged)]
pub(crate) enum WordOr<W, M> {
    Word(W),
    Map(M),
}

/// One value, or a list of them.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(List<T>),
}

// === Scalars ===

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Scalar("a duration such as \"30s\""))
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Scalar("a size such as \"64KiB\""))
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Scalar("a status such as 200 or \"200-299\""))
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(Scalar("a number such as 1.25, or off"))?;
        Ok(Factor(match text.as_str() {
            "false" => "off".to_string(),
            _ => text,
        }))
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = deserializer.deserialize_any(Scalar("a string"))?;
        Ok(Word(if word == "false" {
            "off".to_string()
        } else {
            word
        }))
    }
}

/// YAML 1.1 takes `off` for false, so `false` stands for it here.
impl<'de> Deserialize<'de> for super::Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
        let Word(word) = Word::deserialize(deserializer)?;
        Ok(match word.as_str() {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            other => return Err(D::Error::unknown_variant(other, NAMES)),
        })
    }
}

/// Any scalar, kept as text; the field says what it expects.
struct Scalar(&'static str);

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_string())
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

// === impl Toggle ===

impl<'de, M: Deserialize<'de>> Deserialize<'de> for Toggle<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ToggleVisitor(PhantomData))
    }
}

struct ToggleVisitor<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de>> Visitor<'de> for ToggleVisitor<M> {
    type Value = Toggle<M>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("on, off or a map")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
        Ok(Toggle::Flag(on))
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
        match word {
            "on" => Ok(Toggle::Flag(true)),
            "off" => Ok(Toggle::Flag(false)),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(Toggle::Map)
    }
}

// === impl TextOr ===

impl<'de, M: Deserialize<'de>> Deserialize<'de> for TextOr<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

struct TextOrVisitor<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de>> Visitor<'de> for TextOrVisitor<M> {
    type Value = TextOr<M>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("text or a map")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Map)
    }
}

// === impl WordOr ===

impl<'de, W: Deserialize<'de>, M: Deserialize<'de>> Deserialize<'de> for WordOr<W, M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrVisitor(PhantomData))
    }
}

struct WordOrVisitor<W, M>(PhantomData<(W, M)>);

impl<'de, W: Deserialize<'de>, M: Deserialize<'de>> Visitor<'de> for WordOrVisitor<W, M> {
    type Value = WordOr<W, M>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("one word or a map")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
        W::deserialize(word.into_deserializer()).map(WordOr::Word)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(WordOr::Map)
    }
}

// === impl OneOrMany ===

impl<T> OneOrMany<T> {
    /// The values with their index in the list; a single one has none.
    pub(crate) fn items(&self) -> Vec<(Option<usize>, &T)> {
        match self {
            OneOrMany::One(one) => vec![(None, one)],
            OneOrMany::Many(many) => {
                let indexed = many.iter().enumerate();
                indexed
                    .filter_map(|(index, item)| Some((Some(index), item.as_ref()?)))
                    .collect()
            }
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("one value or a list")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        List::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMany::Many)
    }
}
