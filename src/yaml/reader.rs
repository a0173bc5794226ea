//! Typed reading of a tree that collects every problem on the way, each with its place and path.
//!
//! A reader asks a [`MapReader`] for keys; what it did not ask for is unknown. A value that does
//! not fit is reported and reads as `None`, and reading goes on. A key with nothing behind it
//! counts as not there.

use std::cell::RefCell;
use std::time::Duration;

use super::{Document, Entry, Node, Value, quantity};
use crate::problem::{Position, Problem, Problems, nearest};

/// The problems found so far in one file.
#[derive(Debug)]
pub struct Reading {
    file: String,
    problems: RefCell<Problems>,
    known: RefCell<Vec<(String, Vec<&'static str>)>>,
}

/// A value, its path and where to report what is wrong with it.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    reading: &'a Reading,
    node: &'a Node,
    path: String,
}

/// A mapping whose keys are known beforehand.
#[derive(Debug)]
pub struct MapReader<'a> {
    reading: &'a Reading,
    entries: &'a [Entry],
    position: Position,
    path: String,
    known: Vec<&'static str>,
}

impl Reading {
    /// Starts on a file, named as in problems.
    #[must_use]
    pub fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            problems: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// The whole of `document`.
    #[must_use]
    pub fn root<'a>(&'a self, document: &'a Document) -> Field<'a> {
        self.field(document.root(), "")
    }

    /// `node` under the name `path`.
    #[must_use]
    pub fn field<'a>(&'a self, node: &'a Node, path: impl Into<String>) -> Field<'a> {
        Field {
            reading: self,
            node,
            path: path.into(),
        }
    }

    /// Adds a problem.
    pub fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// A problem of this file, not yet added.
    #[must_use]
    pub fn problem(
        &self,
        position: Option<Position>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Problem {
        Problem::new(&self.file, message).at(position, path)
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.borrow().0.is_empty()
    }

    /// Takes the problems found so far, in the order they were found.
    #[must_use]
    pub fn take(&self) -> Problems {
        std::mem::take(&mut *self.problems.borrow_mut())
    }

    /// `value` if nothing was wrong, every problem in the order of the text otherwise.
    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        self.problems.into_inner().into_result(value)
    }

    /// The mappings read so far and the keys they know: the schemas are tested against it.
    #[must_use]
    pub fn known_keys(&self) -> Vec<(String, Vec<&'static str>)> {
        self.known.borrow().clone()
    }
}

impl<'a> MapReader<'a> {
    /// Reads `node` as a mapping; anything else is a problem and an empty mapping.
    #[must_use]
    pub fn new(reading: &'a Reading, node: &'a Node, path: impl Into<String>) -> Self {
        reading.field(node, path).map()
    }

    /// The value of `key`, and `key` is known from now on.
    pub fn get(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.entry(key).map(|(_, field)| field)
    }

    /// As [`Self::get`], with the place of the key; null counts as there.
    pub fn entry(&mut self, key: &'static str) -> Option<(Position, Field<'a>)> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let field = self.reading.field(&entry.value, join(&self.path, key));
        (!entry.value.is_null()).then_some((entry.key_position, field))
    }

    /// As [`Self::get`]; not being there is a problem.
    pub fn require(&mut self, key: &'static str) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() {
            let place = self.entries.iter().find(|entry| entry.key == key);
            let position = place.map_or(self.position, |entry| entry.key_position);
            let message = match place {
                Some(_) => format!("`{key}` needs a value"),
                None => format!("the key `{key}` is missing"),
            };
            self.reading
                .push(self.reading.problem(Some(position), &self.path, message));
        }
        field
    }

    /// Text.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        self.get(key)?.string()
    }

    /// Any scalar as it was written.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.get(key)?.text()
    }

    /// A whole number from 0.
    pub fn u64(&mut self, key: &'static str) -> Option<u64> {
        self.get(key)?.u64()
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &'static str) -> Option<bool> {
        self.get(key)?.bool()
    }

    /// A port.
    pub fn port(&mut self, key: &'static str) -> Option<u16> {
        self.get(key)?.port()
    }

    /// A size in bytes.
    pub fn size(&mut self, key: &'static str) -> Option<u64> {
        self.get(key)?.size()
    }

    /// A duration.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.get(key)?.duration()
    }

    /// A list of texts; empty when not there.
    pub fn strings(&mut self, key: &'static str) -> Vec<String> {
        let items = self.get(key).map(|field| field.list()).unwrap_or_default();
        items.iter().filter_map(Field::text).collect()
    }

    /// Items of a list; empty when not there.
    pub fn list(&mut self, key: &'static str) -> Vec<Field<'a>> {
        self.get(key).map(|field| field.list()).unwrap_or_default()
    }

    /// A mapping whose keys are known; `None` when not there.
    pub fn map(&mut self, key: &'static str) -> Option<MapReader<'a>> {
        self.get(key).map(|field| field.map())
    }

    /// Keys and values of a mapping whose keys the user chooses; empty when not there.
    pub fn entries(&mut self, key: &'static str) -> Vec<(&'a str, Position, Field<'a>)> {
        self.get(key)
            .map(|field| field.entries())
            .unwrap_or_default()
    }

    /// The keys among `keys` that are there. Exactly one is right, anything else is a problem.
    pub fn exactly_one(&mut self, keys: &[&'static str]) -> Option<&'static str> {
        self.known.extend(keys);
        let there = self.entries.iter().filter_map(|entry| {
            let key = keys.iter().find(|key| **key == entry.key)?;
            Some((*key, entry.key_position))
        });
        let there: Vec<_> = there.collect();
        match there.as_slice() {
            [(key, _)] => return Some(key),
            [] => self.fail(format!("one of {} is missing", names(keys, "or"))),
            [(first, _), (second, position), ..] => self.reading.push(self.reading.problem(
                Some(*position),
                join(&self.path, second),
                format!(
                    "`{second}` cannot stand beside `{first}`: exactly one of {}",
                    names(keys, "or")
                ),
            )),
        }
        None
    }

    /// A problem of the mapping as a whole.
    pub fn fail(&self, message: impl Into<String>) {
        let problem = self
            .reading
            .problem(Some(self.position), &self.path, message);
        self.reading.push(problem);
    }

    /// First character of the mapping.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Path of the mapping.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reports keys nobody asked for; `x-…` is the user's own.
    pub fn finish(self) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if key.starts_with("x-") || self.known.contains(&key) {
                continue;
            }
            let hint = match nearest(key, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known keys: {}", self.known.join(", ")),
            };
            let path = join(&self.path, key);
            let message = format!("unknown key `{key}`");
            let problem = self
                .reading
                .problem(Some(entry.key_position), path, message);
            self.reading.push(problem.hint(hint));
        }
        self.reading
            .known
            .borrow_mut()
            .push((self.path, self.known));
    }
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
        MapReader {
            reading: self.reading,
            entries,
            position: self.node.position,
            path: self.path.clone(),
            known: Vec::new(),
        }
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

/// `path.key`, or `key` at the root.
#[must_use]
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// `` `a`, `b` or `c` ``.
#[must_use]
pub fn names(all: &[&str], last: &str) -> String {
    match all {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., end] => {
            let first: Vec<_> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} {last} `{end}`", first.join(", "))
        }
    }
}
