//! From serde-saphyr's events to [`Node`]s: no types are asked for, so that a wrong one is our
//! reader's problem, told with path and hint, and never serde's.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::{Entry, Node, Value};
use crate::problem::Position;

/// Why there is no tree.
pub(super) enum Refusal {
    /// The reader's reason.
    Yaml(Error),
    /// A list or a mapping is the key here.
    Key(Position),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Yaml(error)
    }
}

/// The tree of `text`; `None` when there is nothing but comments in it.
pub(super) fn read(text: &str) -> Result<Option<Node>, Refusal> {
    // An editor's byte order mark is not part of the text, but would shift the first column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let raw: Raw = serde_saphyr::from_str_with_options(text, options())?;
    let node = raw.into_node(text)?;
    let empty = node.is_null() && node.text.is_empty();
    Ok((!empty).then_some(node))
}

/// Limits: a large Compose file has some thousand nodes; ten aliases of ten aliases of … are
/// refused before they cost a millisecond.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 48,
            flow_nesting_limit: 48,
            max_events: 60_000,
            max_nodes: 30_000,
            max_aliases: 2_000,
            max_anchors: 2_000,
            max_merge_keys: 2_000,
            max_recorded_anchor_events: 20_000,
            max_recorded_anchor_bytes: 8 * 1024 * 1024,
            max_total_scalar_bytes: 8 * 1024 * 1024,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 16,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    }
}

/// A node as serde hands it over: the source text is not at hand there.
struct Raw {
    value: RawValue,
    location: Location,
}

enum RawValue {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Sequence(Vec<Raw>),
    Mapping(Vec<(Raw, Raw)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::deserialize(deserializer)?;
        Ok(Self {
            value,
            location: defined,
        })
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the source text keeps every digit"
        )]
        let large = value as f64;
        Ok(i64::try_from(value).map_or(RawValue::Float(large), RawValue::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<RawValue, E> {
        Ok(RawValue::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawValue::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut entries: Vec<(Raw, Raw)> = Vec::new();
        while let Some(key) = access.next_key::<Raw>()? {
            entries.push((key, access.next_value()?));
        }
        Ok(RawValue::Mapping(entries))
    }
}

impl Raw {
    fn into_node(self, source: &str) -> Result<Node, Refusal> {
        let Self { value, location } = self;
        let text = match &value {
            RawValue::Null => written(source, location).unwrap_or_default(),
            RawValue::Bool(b) => written(source, location).unwrap_or_else(|| b.to_string()),
            RawValue::Integer(i) => written(source, location).unwrap_or_else(|| i.to_string()),
            RawValue::Float(f) => written(source, location).unwrap_or_else(|| f.to_string()),
            RawValue::String(s) => s.clone(),
            RawValue::Sequence(_) | RawValue::Mapping(_) => String::new(),
        };
        let value = match value {
            RawValue::Null => Value::Null,
            RawValue::Bool(b) => Value::Bool(b),
            RawValue::Integer(i) => Value::Integer(i),
            // serde-saphyr takes `0750` for a float; the core schema says whole number.
            RawValue::Float(f) => text.parse().map_or(Value::Float(f), Value::Integer),
            RawValue::String(s) => Value::String(s),
            RawValue::Sequence(items) => {
                let items = items.into_iter().map(|item| item.into_node(source));
                Value::Sequence(items.collect::<Result<_, _>>()?)
            }
            RawValue::Mapping(entries) => Value::Mapping(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        if matches!(key.value, RawValue::Sequence(_) | RawValue::Mapping(_)) {
                            return Err(Refusal::Key(position(key.location)));
                        }
                        let key = key.into_node(source)?;
                        let value = value.into_node(source)?;
                        Ok(Entry {
                            key: key.text,
                            key_position: key.position,
                            value,
                        })
                    })
                    .collect::<Result<_, _>>()?,
            ),
        };
        Ok(Node {
            position: position(location),
            value,
            text,
        })
    }
}

/// The characters of a plain scalar in the source. A tagged or quoted one has no use for them.
fn written(source: &str, location: Location) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(length)?)?.trim();
    (!text.is_empty() && !text.starts_with(['!', '&', '*', '"', '\''])).then(|| text.to_owned())
}

pub(super) fn position(location: Location) -> Position {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Position {
        line: number(location.line()),
        column: number(location.column()),
    }
}
