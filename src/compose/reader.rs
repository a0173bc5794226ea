//! Reads scalars, lists and mappings of a Compose file and collects every problem on the way.
//!
//! It stands beside the readers of [`crate::yaml`] since a Compose text may hold variables: what is
//! read is the text with its values, what a message shows is the text as written, so that no
//! secret gets into a message.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::interpolate;
use crate::problem::{Problem, Problems, nearest};
use crate::secret::Secret;
use crate::yaml::{Node, Value};

/// A value and its path: `services.web.image`.
pub(super) struct At<'a> {
    pub node: &'a Node,
    pub path: String,
}

/// What is defined elsewhere in the file and looked up once all of it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Network,
    Volume,
}

/// The file being read.
pub(super) struct Reader<'a> {
    file: &'a str,
    /// `None`: the raw model, variables stay as written.
    pub variables: Option<&'a BTreeMap<String, Secret>>,
    problems: RefCell<Problems>,
    references: RefCell<Vec<(Kind, String, Problem)>>,
}

impl At<'_> {
    /// The value of a key, or an item, below this one.
    pub fn below<'b>(&self, key: &str, node: &'b Node) -> At<'b> {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        At { node, path }
    }

    pub fn is_text(&self) -> bool {
        !matches!(
            self.node.value,
            Value::Sequence(_) | Value::Mapping(_) | Value::Null
        )
    }

    /// The text as written, fit for a message.
    pub fn written(&self) -> String {
        let line = self.node.text.lines().next().unwrap_or_default();
        line.chars().take(60).collect()
    }
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a str, variables: Option<&'a BTreeMap<String, Secret>>) -> Self {
        Self {
            file,
            variables,
            problems: RefCell::default(),
            references: RefCell::default(),
        }
    }

    /// The value, or every problem that was met.
    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        self.problems.into_inner().into_result(value)
    }

    pub fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// A problem at a place.
    pub fn problem(&self, at: &At<'_>, message: impl Into<String>) -> Problem {
        Problem::new(self.file, message).at(Some(at.node.position), at.path.clone())
    }

    /// Reports a problem at a place.
    pub fn refuse(&self, at: &At<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.push(self.problem(at, message).hint(hint));
    }

    fn expected(&self, at: &At<'_>, what: &str) {
        self.push(self.problem(at, format!("expected {what}, found {}", at.node.describe())));
    }

    /// Remembers that `name`, read at `at`, must be defined.
    pub fn refers(&self, kind: Kind, name: &str, at: &At<'_>) {
        // A name that came out of a variable is shown as written, and no name is near to it.
        let shown = if at.is_text() && !at.node.text.contains(name) {
            at.written()
        } else {
            name.to_owned()
        };
        let problem = self.problem(at, shown);
        self.references
            .borrow_mut()
            .push((kind, name.to_owned(), problem));
    }

    /// Reports every reference of `kind` to something that is not among `known`.
    pub fn check_references<'k>(&self, kind: Kind, known: impl IntoIterator<Item = &'k str>) {
        let known: Vec<&str> = known.into_iter().collect();
        for (_, name, problem) in self.references.borrow().iter().filter(|(k, ..)| *k == kind) {
            if known.contains(&name.as_str()) {
                continue;
            }
            let shown = &problem.message;
            let (message, section) = match kind {
                Kind::Service => (format!("there is no service `{shown}`"), "services"),
                Kind::Network => (format!("network `{shown}` is not defined"), "networks"),
                Kind::Volume => (format!("volume `{shown}` is not defined"), "volumes"),
            };
            let hint = match nearest(shown, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if kind == Kind::Volume => {
                    format!("define it under `volumes:`, or write `./{shown}` for a folder")
                }
                None => format!("define it under `{section}:`"),
            };
            self.push(
                Problem {
                    message,
                    ..problem.clone()
                }
                .hint(hint),
            );
        }
    }

    /// Text with its variables put in. Numbers and booleans are taken as they are written.
    pub fn text(&self, at: &At<'_>) -> Option<String> {
        if !at.is_text() {
            self.expected(at, "text");
            return None;
        }
        let result = match self.variables {
            Some(variables) => interpolate::interpolate(&at.node.text, variables),
            None => interpolate::names(&at.node.text).map(|_| at.node.text.clone()),
        };
        match result {
            Ok(text) => Some(text),
            Err(fault) => {
                let (message, hint) = fault.describe();
                self.refuse(at, message, hint);
                None
            }
        }
    }

    /// A value that has a form of its own: a size, a number, `true`.
    pub fn value<T>(
        &self,
        at: &At<'_>,
        what: &str,
        example: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        if !at.is_text() {
            self.expected(at, what);
            return None;
        }
        let text = self.text(at)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            // A message shows the text as written: the value of a variable may be a secret.
            let written = at.written();
            if self.variables.is_none()
                && interpolate::names(&text).is_ok_and(|names| !names.is_empty())
            {
                self.refuse(
                    at,
                    format!("`{written}` has no value yet, and {what} is needed here"),
                    format!("write the value itself: `{example}`"),
                );
            } else {
                self.refuse(
                    at,
                    format!("`{written}` is not {what}"),
                    format!("such as `{example}`"),
                );
            }
        }
        parsed
    }

    /// Accepts a value that changes nothing here, as long as it is one that changes nothing.
    pub fn accept(&self, at: &At<'_>, what: &str, example: &str, known: &[&str]) {
        let _: Option<()> = self.value(at, what, example, |text| {
            known.contains(&text).then_some(())
        });
    }

    pub fn boolean(&self, at: &At<'_>) -> Option<bool> {
        self.value(at, "`true` or `false`", "true", |text| text.parse().ok())
    }

    pub fn size(&self, at: &At<'_>) -> Option<u64> {
        self.value(at, "a size", "512m", crate::yaml::quantity::size)
    }

    pub fn duration(&self, at: &At<'_>) -> Option<std::time::Duration> {
        self.value(at, "a duration", "1m30s", super::duration::parse)
    }

    pub fn integer(&self, at: &At<'_>, example: &str) -> Option<i64> {
        self.value(at, "a whole number", example, |text| text.parse().ok())
    }

    /// Items of a list; nothing counts as an empty one.
    pub fn items(&self, at: &At<'a>) -> Vec<At<'a>> {
        match &at.node.value {
            Value::Sequence(items) => items
                .iter()
                .enumerate()
                .map(|(i, node)| At {
                    node,
                    path: format!("{}[{i}]", at.path),
                })
                .collect(),
            Value::Null => Vec::new(),
            _ => {
                self.expected(at, "a list");
                Vec::new()
            }
        }
    }

    /// Keys and values of a mapping; nothing counts as an empty one. `x-*` keys are left out.
    pub fn entries(&self, at: &At<'a>) -> Vec<(&'a str, At<'a>)> {
        match &at.node.value {
            Value::Mapping(entries) => entries
                .iter()
                .filter(|entry| !entry.key.starts_with("x-"))
                .map(|entry| (entry.key.as_str(), at.below(&entry.key, &entry.value)))
                .collect(),
            Value::Null => Vec::new(),
            _ => {
                self.expected(at, "a mapping");
                Vec::new()
            }
        }
    }

    /// Every entry of a mapping whose keys are the user's own names, such as an environment.
    pub fn pairs(&self, at: &At<'a>) -> Vec<(&'a str, At<'a>)> {
        match &at.node.value {
            Value::Mapping(entries) => entries
                .iter()
                .map(|entry| (entry.key.as_str(), at.below(&entry.key, &entry.value)))
                .collect(),
            _ => self.entries(at),
        }
    }

    /// A list of texts.
    pub fn texts(&self, at: &At<'a>) -> Vec<String> {
        self.items(at)
            .iter()
            .filter_map(|item| self.text(item))
            .collect()
    }

    /// A mapping of texts, or a list of `name=value`. `missing` is the value of a name alone; without
    /// one that is a problem.
    pub fn dictionary(&self, at: &At<'a>, missing: Option<&str>) -> BTreeMap<String, String> {
        let mut result = BTreeMap::new();
        if matches!(at.node.value, Value::Sequence(_)) {
            for item in self.items(at) {
                let Some(text) = self.text(&item) else {
                    continue;
                };
                let separator = match self.variables {
                    Some(_) => text.find('='),
                    None => interpolate::find_outside(&text, '='),
                };
                let (name, value) = match separator {
                    Some(i) => (&text[..i], Some(&text[i + 1..])),
                    None => (text.as_str(), None),
                };
                let Some(value) = value.or(missing) else {
                    self.no_value(&item, name);
                    continue;
                };
                if result.insert(name.to_owned(), value.to_owned()).is_some() {
                    self.push(
                        self.problem(&item, "this name is there twice")
                            .hint("keep one of the two"),
                    );
                }
            }
            return result;
        }
        for (name, value) in self.pairs(at) {
            if value.node.is_null() {
                match missing {
                    Some(missing) => {
                        result.insert(name.to_owned(), missing.to_owned());
                    }
                    None => self.no_value(&value, name),
                }
            } else if let Some(text) = self.text(&value) {
                result.insert(name.to_owned(), text);
            }
        }
        result
    }

    fn no_value(&self, at: &At<'_>, name: &str) {
        // In the list form the name may come from a variable.
        let name = if at.is_text() {
            at.written()
        } else {
            name.to_owned()
        };
        self.refuse(
            at,
            format!("`{name}` has no value: nothing of the caller's environment is passed on"),
            format!("write `{name}: \"\"` for an empty one"),
        );
    }

    /// Reports a key that is not among `known`; `unsupported` are those Compose has and we do not.
    pub fn unknown_key(
        &self,
        at: &At<'_>,
        key: &str,
        position: crate::problem::Position,
        known: impl Iterator<Item = &'static str>,
        unsupported: &[(&str, &str)],
    ) {
        let problem =
            |message: String| Problem::new(self.file, message).at(Some(position), at.path.clone());
        if let Some((_, instead)) = unsupported.iter().find(|(name, _)| *name == key) {
            self.push(problem(format!("`{key}` is not supported yet")).hint(*instead));
            return;
        }
        let known: Vec<&str> = known.collect();
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of: {}", known.join(", ")),
        };
        self.push(problem(format!("unknown key `{key}`")).hint(hint));
    }

    /// Gives each entry of a mapping to the function of its key.
    pub fn table<T>(
        &self,
        at: &At<'a>,
        target: &mut T,
        table: &[(&'static str, Read<T>)],
        unsupported: &[(&str, &str)],
    ) {
        let entries = self.entries(at);
        for (key, value) in entries {
            if let Some((_, read)) = table.iter().find(|(name, _)| *name == key) {
                read(target, &value, self);
            } else if let Some(entry) = at.node.entry(key) {
                self.unknown_key(
                    &value,
                    key,
                    entry.key_position,
                    table.iter().map(|(name, _)| *name),
                    unsupported,
                );
            }
        }
    }
}

/// Reads the value of one key into its place.
pub(super) type Read<T> = for<'a> fn(&mut T, &At<'a>, &Reader<'a>);
