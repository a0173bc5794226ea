//! Values and secrets: plain, `{env: NAME}`, `{file: path}`, `{generate: 32}`.

use std::path::Path;

use serde_json::Value as Json;

use super::environment::SettingValue;
use super::lookup::Lookup;
use super::names::{accept, variable};
use super::paths;
use crate::secret::{Secret, SecretSource};
use crate::yaml::{Field, Value};

/// Shorter ones can be guessed, longer ones overflow a column somewhere.
const LENGTHS: std::ops::RangeInclusive<u64> = 8..=128;

/// Where a value comes from, and what may be looked at to get it.
pub(super) struct Sources<'a> {
    pub root: &'a Path,
    pub lookup: &'a Lookup,
}

impl Sources<'_> {
    /// A value of `set:` or `env:`, read now.
    pub fn setting(&self, field: &Field<'_>) -> Option<SettingValue> {
        match field.value() {
            Value::Mapping(_) => match form(field)? {
                Form::Env(name) => self.variable(&name).map(SettingValue::Secret),
                Form::File(path) => self.file(&path).map(SettingValue::Secret),
                Form::Generate(length) => Some(SettingValue::Generate(length)),
            },
            Value::Sequence(_) => field.wrong(
                "a value, `{env: NAME}`, `{file: path}` or `{generate: 32}`",
                None,
            ),
            Value::Null => field.wrong("a value", Some("write \"\" for an empty text".to_owned())),
            _ => Some(SettingValue::Plain(plain(field))),
        }
    }

    fn variable(&self, field: &Field<'_>) -> Option<Secret> {
        let name = accept(field, variable(&field.text()?))?;
        match (self.lookup.variable)(&name) {
            Some(value) if !value.is_empty() => Some(Secret::new(value)),
            Some(_) => fail(
                field,
                format!("the environment variable `{name}` is empty"),
                &name,
            ),
            None => fail(
                field,
                format!("the environment variable `{name}` is not set"),
                &name,
            ),
        }
    }

    fn file(&self, field: &Field<'_>) -> Option<Secret> {
        let path = paths::absolute(field, self.root, self.lookup)?;
        match (self.lookup.read)(&path) {
            // Editors and `echo` end a file with a newline that is no part of the password.
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => {
                    field.fail(format!("`{}` is empty", field.node().text));
                    None
                }
                text => Some(Secret::new(text)),
            },
            Err(error) => {
                field.fail(format!("failed to read `{}`: {error}", field.node().text));
                None
            }
        }
    }
}

fn fail(field: &Field<'_>, message: String, name: &str) -> Option<Secret> {
    field.fail_with(message, format!("export {name}=…"));
    None
}

enum Form<'a> {
    Env(Field<'a>),
    File(Field<'a>),
    Generate(usize),
}

fn form<'a>(field: &Field<'a>) -> Option<Form<'a>> {
    let mut map = field.map();
    let form = match map.exactly_one(&["env", "file", "generate"]) {
        Some("env") => map.get("env").map(Form::Env),
        Some("file") => map.get("file").map(Form::File),
        Some(_) => map.get("generate").and_then(|length| match length.u64()? {
            n if LENGTHS.contains(&n) => Some(Form::Generate(usize::try_from(n).ok()?)),
            _ => length.wrong("a length from 8 to 128", None),
        }),
        None => None,
    };
    map.finish();
    form
}

/// Where a secret is to be had when it is needed.
pub(super) fn source(
    field: &Field<'_>,
    context: &super::resolve::Context<'_>,
) -> Option<SecretSource> {
    if !matches!(field.value(), Value::Mapping(_)) {
        return field
            .text()
            .map(|text| SecretSource::Plain(Secret::new(text)));
    }
    match form(field)? {
        Form::Env(name) => accept(&name, variable(&name.text()?)).map(SecretSource::Env),
        Form::File(path) => {
            paths::absolute(&path, context.root, context.lookup).map(SecretSource::File)
        }
        Form::Generate(_) => {
            field.fail_with(
                "this secret is given by somebody else and cannot be generated",
                "`{env: NAME}` or `{file: path}`",
            );
            None
        }
    }
}

/// Checks a secret that nobody needs yet: text or one of the forms.
pub(super) fn check(field: &Field<'_>) {
    if let Value::Mapping(_) = field.value() {
        match form(field) {
            Some(Form::Env(name)) => drop(name.text().and_then(|n| accept(&name, variable(&n)))),
            Some(Form::File(path)) => drop(path.string()),
            Some(Form::Generate(_)) => field.fail_with(
                "this secret is given by somebody else and cannot be generated",
                "`{env: NAME}` or `{file: path}`",
            ),
            None => {}
        }
    } else {
        let _ = field.text();
    }
}

/// A scalar as JSON. What a number would lose stays text: `5.130`, `0750`.
fn plain(field: &Field<'_>) -> Json {
    let json = field.node().to_json();
    let written = &field.node().text;
    if json.is_number() && json.to_string().as_str() != written {
        return Json::String(written.clone());
    }
    json
}
