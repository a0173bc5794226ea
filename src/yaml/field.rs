//! One value of a file: read as this or that, or reported where it stands.

use std::time::Duration;

use super::reader::{MapReader, Reading, join, names};
use super::{Entry, Node, Value, quantity};
use crate::problem::{Position, Problem, nearest};

/// A value, its path and where to report what is wrong with it.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    pub(super) reading: &'a Reading,
    pub(super) node: &'a Node,
    pub(super) path: String,
}

impl<'a> Field<'a> {
    /// The value itself.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its first character.
    #[must_use]
    pub fn position(&self) -> Position {
        self.node.position
    }

    /// Text; a number must be quoted.
    #[must_use]
    pub fn string(&self) -> Option<String> {
        match &self.node.value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => {
                let hint = format!("quote it: \"{}\"", self.node.text);
                self.wrong("text", Some(hint))
            }
            _ => self.wrong("text", None),
        }
    }

    /// Any scalar as it was written: `5.130` keeps its zero.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match &self.node.value {
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => self.wrong("text", None),
            _ => Some(self.node.text.clone()),
        }
    }

    /// A whole number from 0.
    #[must_use]
    pub fn u64(&self) -> Option<u64> {
        match self.node.value {
            Value::Integer(number) if number >= 0 => number.try_into().ok(),
            _ => self.wrong("a whole number from 0", self.unquote()),
        }
    }

    /// A whole number.
    #[must_use]
    pub fn i64(&self) -> Option<i64> {
        match self.node.value {
            Value::Integer(number) => Some(number),
            _ => self.wrong("a whole number", self.unquote()),
        }
    }

    /// A number.
    #[must_use]
    pub fn f64(&self) -> Option<f64> {
        match self.node.value {
            #[expect(clippy::cast_precision_loss, reason = "cores and factors are small")]
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => self.wrong("a number", self.unquote()),
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self.node.value {
            return Some(value);
        }
        let hint = match self.node.text.to_lowercase().as_str() {
            "yes" | "on" | "true" | "1" => Some("write `true`".to_owned()),
            "no" | "off" | "false" | "0" => Some("write `false`".to_owned()),
            _ => None,
        };
        self.wrong("`true` or `false`", hint)
    }

    /// A port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.node.value {
            Value::Integer(number @ 1..=65535) => number.try_into().ok(),
            _ => self.wrong("a port number (1 to 65535)", self.unquote()),
        }
    }

    /// Bytes: `10G`, `512m`, `1.5 GiB` or a bare number. Units are powers of 1024, as Docker's.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self.scalar().and_then(quantity::size) {
            Some(bytes) => Some(bytes),
            None => self.wrong("a size such as `512m` or `10G`", None),
        }
    }

    /// A duration: `60s`, `5m`, `1h30m`.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        if let Some(duration) = self.scalar().and_then(quantity::duration) {
            return Some(duration);
        }
        let hint = match self.node.value {
            Value::Integer(number) => Some(format!("write the unit: `{number}s`")),
            _ => None,
        };
        self.wrong("a duration such as `60s` or `5m`", hint)
    }

    /// One of `choices`.
    #[must_use]
    pub fn choice(&self, choices: &[&'static str]) -> Option<&'static str> {
        let found = choices.iter().find(|c| **c == self.node.text);
        if found.is_none() || self.scalar().is_none() {
            let hint = nearest(&self.node.text, choices.iter().copied());
            return self.wrong(
                &names(choices, "or"),
                hint.map(|c| format!("did you mean `{c}`?")),
            );
        }
        found.copied()
    }

    /// Items of a list; anything else is a problem and an empty list.
    #[must_use]
    pub fn list(&self) -> Vec<Field<'a>> {
        let Value::Sequence(items) = &self.node.value else {
            return self
                .wrong(
                    "a list",
                    self.scalar().map(|text| format!("write `[{text}]`")),
                )
                .unwrap_or_default();
        };
        let named = items.iter().enumerate();
        named
            .map(|(i, node)| self.reading.field(node, format!("{}[{i}]", self.path)))
            .collect()
    }

    /// Keys and values of a mapping whose keys the user chooses.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'a str, Position, Field<'a>)> {
        let Value::Mapping(entries) = &self.node.value else {
            return self.wrong("a mapping", None).unwrap_or_default();
        };
        let named = entries.iter().map(|entry| {
            let field = self
                .reading
                .field(&entry.value, join(&self.path, &entry.key));
            (entry.key.as_str(), entry.key_position, field)
        });
        named.collect()
    }

    /// A mapping whose keys are known. Null is an empty one: `blog:` alone is a block of defaults.
    #[must_use]
    pub fn map(&self) -> MapReader<'a> {
        let entries: &[Entry] = match &self.node.value {
            Value::Mapping(entries) => entries,
            Value::Null => &[],
            _ => self.wrong("a mapping", None).unwrap_or_default(),
        };
        let broken = !matches!(self.node.value, Value::Mapping(_) | Value::Null);
        MapReader::over(
            self.reading,
            entries,
            self.node.position,
            self.path.clone(),
            broken,
        )
    }

    /// Whether it is a list, …: for keys with a short and a long form.
    #[must_use]
    pub fn value(&self) -> &'a Value {
        &self.node.value
    }

    /// Reports `message` at this value.
    pub fn fail(&self, message: impl Into<String>) {
        self.reading.push(self.problem(message));
    }

    /// Reports `message` at this value, with the next thing to type.
    pub fn fail_with(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.reading.push(self.problem(message).hint(hint));
    }

    /// Adds a problem made elsewhere.
    pub fn push(&self, problem: Problem) {
        self.reading.push(problem);
    }

    /// A problem at this value, not yet added.
    #[must_use]
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        self.reading
            .problem(Some(self.node.position), &self.path, message)
    }

    /// Reports that something else was expected here; gives `None`, for the caller to return.
    #[must_use]
    pub fn wrong<T>(&self, expected: &str, hint: Option<String>) -> Option<T> {
        let message = format!("expected {expected}, found {}", self.node.describe());
        match hint {
            Some(hint) => self.fail_with(message, hint),
            None => self.fail(message),
        }
        None
    }

    fn scalar(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::String(_) | Value::Integer(_) | Value::Float(_) => Some(&self.node.text),
            _ => None,
        }
    }

    /// `"80"` where a number is expected.
    fn unquote(&self) -> Option<String> {
        let text = self.node.as_str()?;
        let number = text.parse::<i64>().is_ok() || text.parse::<f64>().is_ok_and(f64::is_finite);
        number.then(|| format!("write it without quotes: {text}"))
    }
}
