//! serde-saphyr's errors in the user's words.

use serde_saphyr::{Error, Location};

use super::tree::{self, Refusal};
use crate::problem::Problem;

pub(super) fn problem(file: &str, refusal: &Refusal) -> Problem {
    let error = match refusal {
        Refusal::Yaml(error) => error,
        Refusal::Key(position) => {
            return Problem::new(file, "a key must be text, not a list or a mapping")
                .at(Some(*position), "");
        }
    };
    let inner = innermost(error);
    let (message, hint) = words(inner);
    let place = inner
        .location()
        .or_else(|| error.location())
        .filter(|l| *l != Location::UNKNOWN);
    let problem = Problem::new(file, message).at(place.map(tree::position), "");
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn innermost(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => innermost(error),
        other => other,
    }
}

fn words(error: &Error) -> (String, Option<&'static str>) {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => (
            format!("the key `{}` is there twice", super::shorten(key)),
            Some("keep one of the two"),
        ),
        Error::DuplicateMappingKey { key: None, .. } => (
            "this key is there twice".to_owned(),
            Some("keep one of the two"),
        ),
        Error::MultipleDocuments { .. } => (
            "a second document starts here, where one is expected".to_owned(),
            Some("remove the line `---`"),
        ),
        Error::Budget { breach, .. } => budget(&format!("{breach:?}")),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => (
            "the aliases (`*name`) of this file unfold to too much text".to_owned(),
            None,
        ),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            ("this alias (`*name`) contains itself".to_owned(), None)
        }
        Error::UnknownAnchor { .. } => (
            "this alias (`*name`) has no anchor (`&name`) above it".to_owned(),
            Some("quote text that starts with `*`"),
        ),
        Error::UnsupportedTag { tag, .. } => (
            format!("the tag `{}` is not supported", super::shorten(tag)),
            Some("quote text that starts with `!`"),
        ),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => (
            "`<<` takes a mapping, or a list of mappings".to_owned(),
            None,
        ),
        Error::NonFiniteFloat { .. } => (
            "a number without end has no place here".to_owned(),
            Some("quote it if it is text"),
        ),
        Error::Eof { .. } => ("the file ends too early".to_owned(), None),
        Error::Message { msg, .. } => (plain(msg), None),
        Error::ExternalMessage { msg, .. } if msg.contains("recursion limit") => {
            budget("Recursion")
        }
        Error::ExternalMessage { msg, .. } => (format!("not valid YAML: {}", plain(msg)), None),
        other => {
            let message = plain(&other.to_string());
            let hint = message
                .starts_with("tabs disallowed")
                .then_some("indent with blanks instead of tabs");
            (format!("not valid YAML: {message}"), hint)
        }
    }
}

fn budget(breach: &str) -> (String, Option<&'static str>) {
    let message =
        if breach.contains("Depth") || breach.contains("Nesting") || breach.contains("Recursion") {
            "the file is nested too deeply"
        } else if breach.contains("Alias") || breach.contains("Anchor") || breach.contains("Merge")
        {
            "the aliases (`*name`) of this file unfold to too much text"
        } else if breach.contains("Documents") {
            return (
                "a second document starts here, where one is expected".to_owned(),
                Some("remove the line `---`"),
            );
        } else {
            "the file holds too much for a configuration"
        };
    (message.to_owned(), None)
}

/// One lowercase line without the place, which stands in front already.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line.trim_end_matches(['.', ':', ' ']);
    let mut characters = line.chars();
    match characters.next() {
        // Leave words such as `YAML` as they are.
        Some(first) if !characters.as_str().starts_with(char::is_uppercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => line.to_owned(),
    }
}
