//! The one door to YAML: text becomes a tree that knows where everything stood, and back.
//!
//! Numbers, booleans and null follow the core schema of YAML 1.2: `on`, `yes` and `012:34` are
//! text. Duplicate keys, foreign tags, several documents and texts that grow without measure by
//! aliases are refused; merge keys (`<<`) work.

#[cfg(test)]
pub(crate) mod agreement;
mod error;
mod field;
pub mod quantity;
pub mod reader;
mod tree;

use serde_json::Value as Json;

use crate::problem::{Position, Problem, Problems};

pub use field::Field;
pub use reader::{MapReader, Reading};

/// Larger files are no configuration.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A YAML file as a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    file: String,
    source: String,
    root: Node,
}

/// A value and the place it was written at. What an alias or a merge key brings in stands where
/// it was defined: that is where it can be mended.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// First character of the value.
    pub position: Position,
    /// The value.
    pub value: Value,
    /// A scalar as it was written, quotes removed: `5.130` is a number, its text keeps the zero.
    /// Empty for sequences and mappings.
    pub text: String,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the file; no key is there twice.
    Mapping(Vec<Entry>),
}

/// One `key: value` of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key as text; `80:` is the key `80`.
    pub key: String,
    /// First character of the key.
    pub key_position: Position,
    /// What belongs to it.
    pub value: Node,
}

impl Document {
    /// Reads `text`; `file` is its name in problems. A syntax error is one problem at its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        if text.len() > MAX_BYTES {
            return Err(Problem::new(file, "the file is larger than 4 MiB").into());
        }
        match tree::read(text) {
            Ok(Some(root)) => Ok(Self {
                file: file.to_owned(),
                source: text.to_owned(),
                root,
            }),
            Ok(None) => Err(Problem::new(file, "the file is empty").into()),
            Err(error) => Err(error::problem(file, &error).into()),
        }
    }

    /// The name given to [`Document::parse`].
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The whole tree.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The node at `path`, as [`Problem::path`] writes it: `minions.blog.hosts[0]`. A key may
    /// itself contain dots.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.root.at(path)
    }

    /// The words of a text and the place of each, quoted or folded over lines as it may be.
    #[must_use]
    pub fn words(&self, node: &Node) -> Vec<(Position, String)> {
        let mut position = node.position;
        let mut rest = self.source.strip_prefix('\u{feff}').unwrap_or(&self.source);
        for _ in 1..position.line {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
        let start = rest.char_indices().nth(position.column - 1);
        rest = start.map_or("", |(start, _)| &rest[start..]);
        let mut words = Vec::new();
        for word in node.text.split_whitespace() {
            // An escape (`"\x67host"`) hides a word; it then stands where the search stopped.
            if let Some((skipped, found)) = rest.find(word).map(|at| rest.split_at(at)) {
                position = after(position, skipped);
                words.push((position, word.to_owned()));
                position = after(position, word);
                rest = &found[word.len()..];
            } else {
                words.push((position, word.to_owned()));
            }
        }
        words
    }

    /// Where the value at `path` stands.
    #[must_use]
    pub fn position(&self, path: &str) -> Option<Position> {
        self.node(path).map(|node| node.position)
    }
}

impl Node {
    /// The value of `key`, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of `key`, if this is a mapping that has it.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Entries of a mapping; nothing for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Items of a sequence; nothing for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The text of a string; `None` for anything else, numbers included (see [`Node::text`]).
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The same without places.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Integer(i) => Json::from(*i),
            Value::Float(f) => Json::from(*f),
            Value::String(s) => Json::String(s.clone()),
            Value::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(entries) => Json::Object(
                entries
                    .iter()
                    .map(|e| (e.key.clone(), e.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// What it is, for messages: ``text `eighty` ``, `a list`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(_) => format!("`{}`", self.text),
            Value::Integer(_) | Value::Float(_) => format!("the number `{}`", self.text),
            Value::String(text) if text.is_empty() => "an empty text".to_owned(),
            Value::String(text) => format!("text `{}`", shorten(text)),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }

    fn at(&self, path: &str) -> Option<&Self> {
        if path.is_empty() {
            return Some(self);
        }
        if let Some(rest) = path.strip_prefix('[') {
            let (index, rest) = rest.split_once(']')?;
            let item = self.items().get(index.parse::<usize>().ok()?)?;
            return item.at(rest.strip_prefix('.').unwrap_or(rest));
        }
        self.entries().iter().find_map(|entry| {
            let rest = path.strip_prefix(entry.key.as_str())?;
            match rest.strip_prefix('.') {
                Some(rest) => entry.value.at(rest),
                None if rest.is_empty() || rest.starts_with('[') => entry.value.at(rest),
                None => None,
            }
        })
    }
}

/// The place behind `text`, which starts at `from`.
fn after(from: Position, text: &str) -> Position {
    match text.rsplit_once('\n') {
        Some((before, last)) => Position {
            line: from.line + before.matches('\n').count() + 1,
            column: last.chars().count() + 1,
        },
        None => Position {
            line: from.line,
            column: from.column + text.chars().count(),
        },
    }
}

/// Longer values are cut in messages; nobody needs a certificate in an error line.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.len() < text.len() => format!("{line}…"),
        None => line.to_owned(),
    }
}

/// Writes `value` as YAML in block style, one document, a newline at the end. Text that a reader
/// of YAML 1.1 would take for something else is quoted; text of several lines is a literal block.
///
/// # Panics
/// Never: a JSON value has no shape that YAML lacks.
#[must_use]
pub fn to_yaml(value: &Json) -> String {
    let options = serde_saphyr::ser_options! {
        // Folded text (`>`) is no easier to read and moves line ends about.
        folded_wrap_chars: usize::MAX,
    };
    let mut text = serde_saphyr::to_string_with_options(value, options)
        .expect("every JSON value can be written as YAML");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
