//! Parameters of an instance: what the user set, the manifest's defaults, secrets made once.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Minion;
use super::manifest::{Parameter, ParameterKind};
use crate::config::environment::{Instance, Setting, SettingValue};
use crate::problem::{Position, Problem, Problems, nearest};
use crate::secret::Secret;

/// Every parameter of one instance, and its further environment.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    /// What the template sees; a secret is there as the text `${NAME}`.
    pub values: BTreeMap<String, Json>,
    /// Values of the secrets by the name they have in `.env`: `DB_PASSWORD`.
    pub secrets: BTreeMap<String, Secret>,
    /// `env:` of the instance as Compose text: a secret value is there as `${NAME}` and in
    /// `secrets`, a `$` of the user's own is doubled.
    pub env: BTreeMap<String, String>,
    /// Keys of the secret book that were made now and have to be saved before they are used.
    pub generated: Vec<String>,
}

/// Generated secrets of the project, as kept in `secrets.yml`: `instance -> parameter -> value`.
/// A generated value of `env:` is there as `env_<NAME>`, which is no parameter's name.
pub type SecretBook = BTreeMap<String, BTreeMap<String, Secret>>;

/// Resolves the parameters of `instance`, whose settings stand in `config_file`. Secrets that
/// nobody gave are taken from `book`, or made and put there.
pub fn resolve(
    minion: &Minion,
    instance: &Instance,
    config_file: &str,
    book: &mut SecretBook,
) -> Result<Parameters, Problems> {
    let mut resolver = Resolver {
        file: config_file,
        instance,
        book,
        result: Parameters::default(),
        problems: Problems::default(),
    };
    let known = &minion.manifest.parameters;
    for (name, setting) in &instance.set {
        if !known.contains_key(name) {
            resolver.unknown(minion, name, setting);
        }
    }
    for (name, parameter) in known {
        match instance.set.get(name) {
            Some(setting) => resolver.set(name, parameter, setting),
            None => resolver.default(name, parameter),
        }
    }
    for (name, setting) in &instance.env {
        resolver.env(name, setting);
    }
    let Resolver {
        result, problems, ..
    } = resolver;
    problems.into_result(result)
}

/// Secrets of `instance` that stand in `config_file` as plain text, each a warning.
#[must_use]
pub fn warnings(minion: &Minion, instance: &Instance, config_file: &str) -> Vec<Problem> {
    let plain = instance.set.iter().filter(|(name, setting)| {
        let kind = minion
            .manifest
            .parameters
            .get(*name)
            .map(|parameter| &parameter.kind);
        matches!(setting.value, SettingValue::Plain(_))
            && matches!(kind, Some(ParameterKind::Secret { .. }))
    });
    let warning = |(name, setting): (&String, &Setting)| {
        Problem::new(
            config_file,
            format!("the secret `{name}` stands here for everybody to read"),
        )
        .at(setting.position, path(instance, "set", name))
        .hint("write `{env: NAME}` or `{file: path}`, or leave it out and one is made")
    };
    plain.map(warning).collect()
}

/// Name in `.env` of a key of the secret book: `db_password` is `DB_PASSWORD`. A variable of
/// `env:` keeps its own capitals: `env_Token` is `ENV_Token`.
#[must_use]
pub fn env_name(key: &str) -> String {
    match key.strip_prefix("env_") {
        Some(variable) => format!("ENV_{variable}"),
        None => key.to_ascii_uppercase().replace('-', "_"),
    }
}

fn path(instance: &Instance, section: &str, name: &str) -> String {
    format!("minions.{}.{section}.{name}", instance.name)
}

struct Resolver<'a> {
    file: &'a str,
    instance: &'a Instance,
    book: &'a mut SecretBook,
    result: Parameters,
    problems: Problems,
}

impl Resolver<'_> {
    fn problem(&self, position: Option<Position>, name: &str, message: String) -> Problem {
        Problem::new(self.file, message).at(position, path(self.instance, "set", name))
    }

    fn unknown(&mut self, minion: &Minion, name: &str, setting: &Setting) {
        let manifest = &minion.manifest;
        let known = || manifest.parameters.keys().map(String::as_str);
        let hint = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if manifest.parameters.is_empty() => {
                format!("{} has no parameters", manifest.title)
            }
            None => format!(
                "known parameters: {}",
                known().collect::<Vec<_>>().join(", ")
            ),
        };
        let problem = self.problem(
            setting.position,
            name,
            format!("unknown parameter `{name}`"),
        );
        self.problems.push(problem.hint(hint));
    }

    fn set(&mut self, name: &str, parameter: &Parameter, setting: &Setting) {
        let is_secret = matches!(parameter.kind, ParameterKind::Secret { .. });
        let value = match (&setting.value, &parameter.kind) {
            (
                SettingValue::Generate(length),
                ParameterKind::Secret { .. } | ParameterKind::String,
            ) => Ok(self.made(name, *length)),
            (SettingValue::Generate(_), _) => {
                Err("only a secret or a text can be generated".to_owned())
            }
            (SettingValue::Plain(json), _) if is_secret => match text(json) {
                Some(text) if !text.is_empty() => {
                    Ok(self.secret(env_name(name), Secret::new(text)))
                }
                _ => Err(format!("expected a secret, found {}", describe(json))),
            },
            // Whoever takes a text from outside may have reasons to hide it: it is treated as a secret.
            (
                SettingValue::Secret(secret),
                ParameterKind::Secret { .. } | ParameterKind::String,
            ) => Ok(self.secret(env_name(name), secret.clone())),
            (SettingValue::Secret(secret), kind) => outside(secret.expose(), kind),
            (SettingValue::Plain(json), kind) => typed(json, kind),
        };
        match value {
            Ok(value) => drop(self.result.values.insert(name.to_owned(), value)),
            Err(message) => {
                let problem = self.problem(setting.position, name, message);
                self.problems.push(problem);
            }
        }
    }

    fn default(&mut self, name: &str, parameter: &Parameter) {
        let value = match (&parameter.default, &parameter.kind) {
            (Some(default), _) => default.clone(),
            (None, _) if parameter.optional => Json::Null,
            (None, ParameterKind::Secret { length }) => self.made(name, *length),
            (None, _) => {
                let message = format!("the parameter `{name}` is missing");
                let problem = self.problem(self.instance.position, name, message);
                let hint = format!("add `set: {{{name}: …}}` to `{}`", self.instance.name);
                return self.problems.push(problem.hint(hint));
            }
        };
        self.result.values.insert(name.to_owned(), value);
    }

    fn env(&mut self, name: &str, setting: &Setting) {
        let reference = match &setting.value {
            SettingValue::Plain(json) => {
                let text = text(json).unwrap_or_default();
                self.result
                    .env
                    .insert(name.to_owned(), text.replace('$', "$$"));
                return;
            }
            SettingValue::Secret(secret) => {
                self.secret(env_name(&format!("env_{name}")), secret.clone())
            }
            SettingValue::Generate(length) => self.made(&format!("env_{name}"), *length),
        };
        self.result
            .env
            .insert(name.to_owned(), text(&reference).unwrap_or_default());
    }

    /// A secret of the book, made now if it is not there yet.
    fn made(&mut self, name: &str, length: usize) -> Json {
        let secret = self.book_entry(name, length);
        self.secret(env_name(name), secret)
    }

    fn book_entry(&mut self, key: &str, length: usize) -> Secret {
        let page = self.book.entry(self.instance.name.clone()).or_default();
        if let Some(secret) = page.get(key) {
            return secret.clone();
        }
        let secret = Secret::generate(length);
        page.insert(key.to_owned(), secret.clone());
        self.result.generated.push(key.to_owned());
        secret
    }

    /// Keeps the value and gives the text that stands for it.
    fn secret(&mut self, name: String, secret: Secret) -> Json {
        let reference = Json::String(format!("${{{name}}}"));
        self.result.secrets.insert(name, secret);
        reference
    }
}

fn typed(json: &Json, kind: &ParameterKind) -> Result<Json, String> {
    let wrong = |expected: &str| Err(format!("expected {expected}, found {}", describe(json)));
    match kind {
        ParameterKind::String | ParameterKind::Secret { .. } => match text(json) {
            Some(text) => Ok(Json::String(text)),
            None => wrong("text"),
        },
        ParameterKind::Integer if json.is_i64() => Ok(json.clone()),
        ParameterKind::Integer => wrong("a whole number"),
        ParameterKind::Boolean if json.is_boolean() => Ok(json.clone()),
        ParameterKind::Boolean => wrong("`true` or `false`"),
        ParameterKind::Choice(choices) => {
            if let Some(text) = text(json).filter(|text| choices.contains(text)) {
                return Ok(Json::String(text));
            }
            let choices: Vec<_> = choices.iter().map(String::as_str).collect();
            wrong(&crate::yaml::reader::names(&choices, "or"))
        }
    }
}

/// A number, a switch or a choice from the environment or a file: not shown in the message, since
/// it may be the wrong variable.
fn outside(text: &str, kind: &ParameterKind) -> Result<Json, String> {
    let json = match kind {
        ParameterKind::Integer => text.parse::<i64>().map(Json::from).ok(),
        ParameterKind::Boolean => text.parse::<bool>().map(Json::from).ok(),
        _ => Some(Json::from(text)),
    };
    json.and_then(|json| typed(&json, kind).ok())
        .ok_or_else(|| {
            let expected = match kind {
                ParameterKind::Integer => "a whole number",
                ParameterKind::Boolean => "`true` or `false`",
                _ => "one of the choices",
            };
            format!("expected {expected}, found something else in the variable or file")
        })
}

fn text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(json.to_string()),
        _ => None,
    }
}

fn describe(json: &Json) -> String {
    match json {
        Json::String(text) if text.is_empty() => "an empty text".to_owned(),
        Json::String(text) => format!("text `{text}`"),
        Json::Number(number) => format!("the number `{number}`"),
        other => format!("`{other}`"),
    }
}

#[cfg(test)]
mod tests;
