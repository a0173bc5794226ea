//! One template: minijinja at its strictest, its errors in the user's words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter};

use super::Input;
use super::context::Context;
use crate::compose::interpolate;
use crate::problem::{Position, Problem, Problems, nearest};

/// Instructions after which a template is taken for one that never ends. The largest of the
/// catalogue needs some hundred.
const FUEL: u64 = 200_000;
/// Macros within macros.
const DEEPEST: usize = 32;

/// Filters worth knowing, for hints.
const FILTERS: [&str; 12] = [
    "default", "first", "int", "join", "length", "lower", "replace", "split", "string", "trim",
    "upper", "yaml",
];

/// A template and its name in problems.
pub(super) struct Template<'a> {
    pub file: &'a str,
    /// Path of the key that holds it, if it is not a file of its own.
    pub path: &'a str,
    pub source: &'a str,
}

/// What one of our own functions has to say, with its hint.
#[derive(Debug)]
struct Told {
    message: String,
    hint: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Told {}

fn told(message: impl Into<String>, hint: impl Into<String>) -> Error {
    let told = Told {
        message: message.into(),
        hint: hint.into(),
    };
    Error::new(ErrorKind::InvalidOperation, told.message.clone()).with_source(told)
}

impl Template<'_> {
    /// The text of this template.
    pub fn render(&self, input: &Input<'_>, context: &Context) -> Result<String, Problems> {
        let environment = environment(input, context.compose);
        let text = environment
            .template_from_named_str(self.file, self.source)
            .and_then(|template| template.render(Value::from(Serde(&context.values))));
        text.map_err(|error| self.problem(&error, context).into())
    }

    /// Names the text asks for, whatever way through it is taken.
    pub fn names(&self) -> BTreeSet<String> {
        let environment = bare();
        let template = environment.template_from_named_str(self.file, self.source);
        template
            .map(|t| t.undeclared_variables(false).into_iter().collect())
            .unwrap_or_default()
    }

    fn problem(&self, error: &Error, context: &Context) -> Problem {
        let (message, hint) = words(error, context);
        let mut problem = Problem::new(self.file, message);
        // The lines of a text within another file are not that file's.
        problem = problem.at(
            if self.path.is_empty() {
                self.position(error)
            } else {
                None
            },
            self.path,
        );
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }

    fn position(&self, error: &Error) -> Option<Position> {
        let line = error.line()?;
        let before = error
            .range()
            .and_then(|range| self.source.get(..range.start))
            .unwrap_or_default();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        // Only the start of a range on that very line gives a column.
        let same_line = before.matches('\n').count() + 1 == line && error.range().is_some();
        Some(Position {
            line,
            column: if same_line { column } else { 1 },
        })
    }
}

/// Block tags on lines of their own leave no empty lines behind.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .expect("the usual delimiters are valid")
}

/// An environment that knows no minion.
fn bare<'s>() -> Environment<'s> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // Names that end in `.yml` would be escaped as JSON by default.
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_syntax(syntax());
    env.set_recursion_limit(DEEPEST);
    env.set_fuel(Some(FUEL));
    // Gives errors their place. What else it gathers is never printed: it may hold values.
    env.set_debug(true);
    env.set_formatter(|out, state, value| {
        if value.is_none() {
            return Err(told(
                "nothing to print: the value is not set",
                "guard it: `{% if name %}…{% endif %}`",
            ));
        }
        // The engine writes `True` as Python does; files want what YAML, JSON and shells call it.
        if value.kind() == ValueKind::Bool {
            let text = if value.is_true() { "true" } else { "false" };
            return out
                .write_str(text)
                .map_err(|_| ErrorKind::WriteFailure.into());
        }
        escape_formatter(out, state, value)
    });
    env.add_filter("yaml", yaml);
    env
}

fn environment<'s>(input: &Input<'_>, compose: bool) -> Environment<'s> {
    let mut env = bare();
    let instance = input.instance.name.clone();
    let place = move |folder: &Path| {
        let path = folder.display().to_string();
        if compose {
            interpolate::escape(&path)
        } else {
            path
        }
    };
    let volumes = input.minion.manifest.volumes.iter().map(|volume| {
        (
            volume.name.clone(),
            place(&input.environment.vsroot.join(&instance).join(&volume.name)),
        )
    });
    helper(&mut env, "volume", "volume", "volumes", volumes.collect());
    let databases = input.minion.manifest.databases.iter().map(|database| {
        (
            database.service.clone(),
            place(
                &input
                    .environment
                    .dbsroot
                    .join(&instance)
                    .join(&database.service),
            ),
        )
    });
    helper(
        &mut env,
        "database",
        "database",
        "databases",
        databases.collect(),
    );
    let files = input.minion.files.keys().flat_map(|name| {
        let name = name.strip_suffix(".j2").unwrap_or(name);
        // A folder can be mounted as well as a file in it.
        let folders = name.match_indices('/').map(|(i, _)| &name[..i]);
        folders
            .chain([name])
            .map(|name| (name.to_owned(), place(&input.files_dir.join(name))))
            .collect::<Vec<_>>()
    });
    helper(
        &mut env,
        "file",
        "extra file",
        "the folder `files`",
        files.collect(),
    );
    env
}

/// A function from the name of something declared to its path on the host.
fn helper(
    env: &mut Environment<'_>,
    name: &'static str,
    what: &'static str,
    section: &'static str,
    known: BTreeMap<String, String>,
) {
    env.add_function(name, move |wanted: String| {
        let Some(path) = known.get(&wanted) else {
            let hint = match nearest(&wanted, known.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if name == "file" => format!("put it into {section} of the minion"),
                None => format!("declare it under `{section}:` of minion.yml"),
            };
            return Err(told(format!("there is no {what} `{wanted}`"), hint));
        };
        // A template writes `"{{ volume('x') }}:/path"`: these would end the text or the source.
        if path.contains(['"', '\\', ':', '\n', '\r']) {
            return Err(told(
                format!(
                    "`{path}` cannot be mounted: a quote, colon, backslash or line end is in it"
                ),
                "choose another folder",
            ));
        }
        Ok(path.clone())
    });
}

/// A value as YAML reads it back, whatever is in it: text in quotes, numbers and lists as they are.
fn yaml(value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        // Asked for a part of it, the engine says itself what is not defined.
        value.get_attr("part")?;
    }
    if value.is_none() {
        return Err(told(
            "nothing to print: the value is not set",
            "guard it: `{% if name %}…{% endif %}`",
        ));
    }
    // JSON is YAML, but for characters that YAML wants escaped and JSON does not.
    let json = serde_json::to_string(value).map_err(|_| {
        told(
            "this cannot be written as YAML",
            "texts, numbers, booleans, lists and mappings can",
        )
    })?;
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    Ok(text)
}

/// Message and hint.
fn words(error: &Error, context: &Context) -> (String, Option<String>) {
    if let Some(told) =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<Told>())
    {
        return (told.message.clone(), Some(told.hint.clone()));
    }
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::UndefinedError => undefined(quoted(detail), context),
        ErrorKind::OutOfFuel => ("the template runs without end".to_owned(), None),
        ErrorKind::TemplateNotFound => ("a template cannot include another".to_owned(), None),
        ErrorKind::UnknownFunction => {
            let name = detail
                .split_whitespace()
                .find(|w| *w != "function")
                .unwrap_or_default();
            let near = nearest(name, ["volume", "database", "file"]);
            let hint = near.map_or(
                "`volume('…')`, `database('…')` and `file('…')` are there".to_owned(),
                mean,
            );
            (format!("there is no function `{name}`"), Some(hint))
        }
        ErrorKind::UnknownFilter => {
            let name = detail
                .split_whitespace()
                .find(|w| *w != "filter")
                .unwrap_or_default();
            (
                format!("there is no filter `{name}`"),
                nearest(name, FILTERS).map(mean),
            )
        }
        kind if detail.is_empty() => (kind.to_string(), None),
        ErrorKind::SyntaxError => (format!("not a valid template: {detail}"), None),
        _ => (detail.to_owned(), None),
    }
}

fn mean(near: &str) -> String {
    format!("did you mean `{near}`?")
}

/// The first text between backticks.
fn quoted(detail: &str) -> Option<&str> {
    detail.split('`').nth(1)
}

fn undefined(expression: Option<&str>, context: &Context) -> (String, Option<String>) {
    let Some(expression) = expression else {
        return ("a value that is not defined".to_owned(), None);
    };
    let name = expression.split(['.', '[', '(']).next().unwrap_or_default();
    if context.secrets.contains(name) {
        return (
            format!("`{name}` is a secret, and people can read this text"),
            Some("pass it to the container with `environment` in compose.yml.j2".to_owned()),
        );
    }
    let known = context.values.keys().map(String::as_str);
    let hint = match nearest(name, known) {
        Some(near) if near != name => mean(near),
        Some(_) => format!("see what `{name}` holds"),
        None => "declare it under `parameters:` of minion.yml".to_owned(),
    };
    (format!("`{expression}` is not defined"), Some(hint))
}
