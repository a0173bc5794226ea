//! Putting values of variables into texts, by Compose's rules with one difference: a variable that
//! is not set and has no default is an error, never an empty text.

use std::collections::{BTreeMap, BTreeSet};

use crate::secret::Secret;

/// What is wrong with a text. Never holds a value: only names and what the file itself says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No value and no default.
    Unset(String),
    /// `${NAME:?message}` without a value.
    Required(String, String),
    /// A `$` that begins no variable.
    Stray,
    /// `${` without its `}`, or something else than a name and an operator between them.
    Malformed(String),
}

impl Fault {
    /// Message and hint for the user.
    #[must_use]
    pub fn describe(&self) -> (String, String) {
        match self {
            Self::Unset(name) => (
                format!("variable `{name}` is not set"),
                format!("set it, or give a default: `${{{name}:-default}}`"),
            ),
            Self::Required(name, message) if message.is_empty() => {
                (format!("variable `{name}` is required"), format!("set `{name}`"))
            }
            Self::Required(name, message) => {
                (format!("variable `{name}` is required: {message}"), format!("set `{name}`"))
            }
            Self::Stray => (
                "a single `$` that begins no variable".to_owned(),
                "write `$$` for a dollar sign, `${NAME}` for a variable".to_owned(),
            ),
            Self::Malformed(text) => (
                format!("`{text}` is no variable"),
                "write `${NAME}`, `${NAME:-default}`, `${NAME:?message}` or `${NAME:+replacement}`; \
                 `$$` for a dollar sign"
                    .to_owned(),
            ),
        }
    }
}

/// Deepest nesting of `${A:-${B:-…}}`; far more than anyone writes, far less than the stack holds.
const DEEPEST: usize = 32;

/// `text` with every variable replaced by its value. A value is taken as it is: a `$` in it means nothing.
pub fn interpolate(text: &str, variables: &BTreeMap<String, Secret>) -> Result<String, Fault> {
    substitute(text, variables, 0)
}

/// Names of the variables in `text`, those in defaults included.
pub fn names(text: &str) -> Result<BTreeSet<String>, Fault> {
    let mut found = BTreeSet::new();
    gather(text, &mut found, 0)?;
    Ok(found)
}

/// `text` such that interpolation gives it back: every `$` doubled.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

/// Where `separator` stands in `text` outside every `${…}`; the first such place.
#[must_use]
pub fn find_outside(text: &str, separator: char) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = '\0';
    for (i, c) in text.char_indices() {
        match c {
            '{' if before == '$' || depth > 0 => depth += 1,
            '}' if depth > 0 => depth -= 1,
            c if c == separator && depth == 0 => return Some(i),
            _ => {}
        }
        // In `$$` the second dollar is no beginning.
        before = if c == '$' && before == '$' { '\0' } else { c };
    }
    None
}

/// A piece of a text.
enum Piece<'a> {
    Literal(&'a str),
    Variable(Variable<'a>),
}

struct Variable<'a> {
    name: &'a str,
    /// Also an empty value counts as none: the operator began with `:`.
    nonempty: bool,
    /// `-`, `?` or `+`, and the word behind it.
    operation: Option<(char, &'a str)>,
}

/// Takes the first piece off `text`.
fn next_piece(text: &str) -> Result<Option<(Piece<'_>, &str)>, Fault> {
    let Some(rest) = text.strip_prefix('$') else {
        let end = text.find('$').unwrap_or(text.len());
        return Ok((end > 0).then(|| (Piece::Literal(&text[..end]), &text[end..])));
    };
    if let Some(after) = rest.strip_prefix('$') {
        return Ok(Some((Piece::Literal("$"), after)));
    }
    if let Some(inner) = rest.strip_prefix('{') {
        let end = closing(inner).ok_or_else(|| Fault::Malformed(shorten(text)))?;
        let variable =
            braced(&inner[..end]).ok_or_else(|| Fault::Malformed(shorten(&text[..end + 3])))?;
        return Ok(Some((Piece::Variable(variable), &inner[end + 1..])));
    }
    let end = name_length(rest);
    if end == 0 {
        return Err(Fault::Stray);
    }
    let variable = Variable {
        name: &rest[..end],
        nonempty: false,
        operation: None,
    };
    Ok(Some((Piece::Variable(variable), &rest[end..])))
}

/// Length of the name that `text` begins with, 0 if none.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
        .unwrap_or(text.len())
}

/// Where the `}` stands that ends a `${` whose inside begins `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let mut before = '\0';
    for (i, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
        before = if c == '$' && before == '$' { '\0' } else { c };
    }
    None
}

/// The inside of `${…}`.
fn braced(inside: &str) -> Option<Variable<'_>> {
    let end = name_length(inside);
    let (name, rest) = inside.split_at(end);
    if name.is_empty() {
        return None;
    }
    if rest.is_empty() {
        return Some(Variable {
            name,
            nonempty: false,
            operation: None,
        });
    }
    let nonempty = rest.starts_with(':');
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let operator = rest
        .chars()
        .next()
        .filter(|c| matches!(c, '-' | '?' | '+'))?;
    Some(Variable {
        name,
        nonempty,
        operation: Some((operator, &rest[1..])),
    })
}

fn substitute(
    text: &str,
    variables: &BTreeMap<String, Secret>,
    depth: usize,
) -> Result<String, Fault> {
    if depth > DEEPEST {
        return Err(Fault::Malformed(shorten(text)));
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((piece, after)) = next_piece(rest)? {
        rest = after;
        match piece {
            Piece::Literal(literal) => result.push_str(literal),
            Piece::Variable(variable) => {
                let value = variables
                    .get(variable.name)
                    .map(Secret::expose)
                    .filter(|value| !(variable.nonempty && value.is_empty()));
                match (variable.operation, value) {
                    (Some(('+', word)), Some(_)) | (Some(('-', word)), None) => {
                        result.push_str(&substitute(word, variables, depth + 1)?);
                    }
                    (Some(('+', _)), None) => {}
                    (_, Some(value)) => result.push_str(value),
                    // The message stays as written: a variable in it might be a secret.
                    (Some((_, word)), None) => {
                        return Err(Fault::Required(variable.name.to_owned(), word.to_owned()));
                    }
                    (None, None) => return Err(Fault::Unset(variable.name.to_owned())),
                }
            }
        }
    }
    Ok(result)
}

fn gather(text: &str, found: &mut BTreeSet<String>, depth: usize) -> Result<(), Fault> {
    if depth > DEEPEST {
        return Err(Fault::Malformed(shorten(text)));
    }
    let mut rest = text;
    while let Some((piece, after)) = next_piece(rest)? {
        rest = after;
        if let Piece::Variable(variable) = piece {
            found.insert(variable.name.to_owned());
            if let Some(('-' | '+', word)) = variable.operation {
                gather(word, found, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// Enough of a text to find it again.
fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, Secret> {
        [
            ("A", "a"),
            ("B", "b b"),
            ("EMPTY", ""),
            ("NASTY", "p$A\"'${B}\n: # $$\\"),
            ("_9", "nine"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Secret::new(value)))
        .collect()
    }

    fn filled(text: &str) -> String {
        interpolate(text, &variables()).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
    }

    #[test]
    fn every_form_of_the_compose_specification() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$A", "a"),
            ("${A}", "a"),
            ("x${A}y$A-z", "xaya-z"),
            ("$_9", "nine"),
            ("$$", "$"),
            ("$$A", "$A"),
            ("$${A}", "${A}"),
            ("$$$A", "$a"),
            ("${A:-d}", "a"),
            ("${X:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${X-d}", "d"),
            ("${X:-}", ""),
            ("${X-}", ""),
            ("${EMPTY}", ""),
            ("${A:?no}", "a"),
            ("${A?no}", "a"),
            ("${EMPTY?no}", ""),
            ("${A:+r}", "r"),
            ("${X:+r}", ""),
            ("${EMPTY:+r}", ""),
            ("${EMPTY+r}", "r"),
            ("${X+r}", ""),
            ("${A+${B}}", "b b"),
            ("${X:-${Y:-${A}}}", "a"),
            ("${X:-a$$b}", "a$b"),
            ("${X:-{\"a\":1}", "{\"a\":1"),
            ("${X:-a:b-c?d}", "a:b-c?d"),
            ("${X:-$A/$B}", "a/b b"),
            ("é${A}é", "éaé"),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn a_value_is_taken_as_it_is() {
        assert_eq!(filled("<${NASTY}>"), "<p$A\"'${B}\n: # $$\\>");
        assert_eq!(filled("${X:-${NASTY}}"), filled("$NASTY"));
    }

    #[test]
    fn faults_name_the_variable_and_never_a_value() {
        let fault = |text: &str| interpolate(text, &variables()).unwrap_err();
        assert_eq!(fault("$X"), Fault::Unset("X".into()));
        assert_eq!(fault("${X}"), Fault::Unset("X".into()));
        assert_eq!(fault("${X:-$Y}"), Fault::Unset("Y".into()));
        assert_eq!(
            fault("${X:?say ${A}}"),
            Fault::Required("X".into(), "say ${A}".into())
        );
        assert_eq!(
            fault("${EMPTY:?}"),
            Fault::Required("EMPTY".into(), String::new())
        );
        for text in ["$", "5$", "$ a", "$1", "$é", "a$-b"] {
            assert_eq!(fault(text), Fault::Stray, "{text}");
        }
        for text in [
            "${",
            "${A",
            "${}",
            "${1}",
            "${A:}",
            "${A:x}",
            "${A!}",
            "${ A }",
            "${A:-${B}",
        ] {
            assert!(matches!(fault(text), Fault::Malformed(_)), "{text}");
        }
        assert_eq!(fault("a${A b}c"), Fault::Malformed("${A b}".into()));
    }

    #[test]
    fn nesting_without_end_ends() {
        let deep = "${X:-".repeat(100_000) + &"}".repeat(100_000);
        assert!(matches!(
            interpolate(&deep, &variables()),
            Err(Fault::Malformed(_))
        ));
    }

    #[test]
    fn names_are_found_also_in_defaults() {
        let found = names("$A ${B:-${C}} $$D ${E:?$F}").unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["A", "B", "C", "E"]);
    }

    #[test]
    fn separators_within_variables_do_not_count() {
        assert_eq!(find_outside("${A:-b}:c", ':'), Some(7));
        assert_eq!(find_outside("${A:-${B:-c}}=d", '='), Some(13));
        assert_eq!(find_outside("$${A:b", ':'), Some(4));
        assert_eq!(find_outside("${A:-b}", ':'), None);
    }
}
