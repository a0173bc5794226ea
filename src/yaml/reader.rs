//! Typed reading of a tree that collects every problem on the way, each with its place and path.
//!
//! A reader asks a [`MapReader`] for keys; what it did not ask for is unknown. A value that does
//! not fit is reported and reads as `None`, and reading goes on. A key with nothing behind it
//! counts as not there.

use std::cell::RefCell;
use std::time::Duration;

use super::field::Field;
use super::{Document, Entry, Node};
use crate::problem::{Position, Problem, Problems, nearest};

/// The problems found so far in one file.
#[derive(Debug)]
pub struct Reading {
    file: String,
    problems: RefCell<Problems>,
    known: RefCell<Vec<(String, Vec<&'static str>)>>,
}

/// A mapping whose keys are known beforehand.
#[derive(Debug)]
pub struct MapReader<'a> {
    reading: &'a Reading,
    entries: &'a [Entry],
    position: Position,
    path: String,
    known: Vec<&'static str>,
    /// Not a mapping at all, and reported: nothing is missing in it.
    broken: bool,
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

    pub(super) fn over(
        reading: &'a Reading,
        entries: &'a [Entry],
        position: Position,
        path: String,
        broken: bool,
    ) -> Self {
        Self {
            reading,
            entries,
            position,
            path,
            known: Vec::new(),
            broken,
        }
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
        if field.is_none() && !self.broken {
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
            [] if self.broken => {}
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
