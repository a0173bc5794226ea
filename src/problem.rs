//! A problem of a file the user wrote: where it is, what was expected, what to type next.

use std::fmt;

/// A place in a file; lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One thing wrong in one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file as the user would name it: `config.yml`, `minions/blog/minion.yml`.
    pub file: String,
    /// Where in the file, if it is one place.
    pub position: Option<Position>,
    /// Path of the key, dots between: `minions.blog.version`. May be empty.
    pub path: String,
    /// Lowercase fragment, names in backticks, no full stop.
    pub message: String,
    /// What to type next.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of the whole file.
    #[must_use]
    pub fn new(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            position: None,
            path: String::new(),
            message: message.into(),
            hint: None,
        }
    }

    /// The same problem at a place.
    #[must_use]
    pub fn at(mut self, position: Option<Position>, path: impl Into<String>) -> Self {
        self.position = position;
        self.path = path.into();
        self
    }

    /// The same problem with the next thing to type.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Text of the user's file without what a terminal would obey: an escape shows as `\u{1b}`.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if self.path.is_empty() {
            write!(f, ": {}", plain(&self.message))?;
        } else {
            write!(f, " {}: {}", plain(&self.path), plain(&self.message))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Every problem of one or more files, in the order of the text; never empty when used as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// `Ok(value)` when there are none, `Err(self)` otherwise, sorted by place and without repeats.
    pub fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort();
        self.0.dedup();
        Err(self)
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Takes over the problems of `result` and gives its value, if there is one.
    pub fn collect<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(other) => {
                self.0.extend(other.0);
                None
            }
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// The known name nearest to `name`, near enough to be what the user meant.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // 0.6 keeps `versoin` -> `version` and leaves out `port` -> `protect`.
    known
        .into_iter()
        .map(|k| (strsim::normalized_damerau_levenshtein(name, k), k))
        .filter(|(score, _)| *score >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cannot_give_orders_to_the_terminal() {
        let problem = Problem::new("config.yml", "unknown key `\u{1b}[2J`").at(None, "a.\u{7}b");
        assert_eq!(
            problem.to_string(),
            "config.yml a.\\u{7}b: unknown key `\\u{1b}[2J`"
        );
    }
}
