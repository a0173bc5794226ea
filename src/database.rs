//! Databases: what is run in their containers to dump, check, count and restore them, and how the
//! end of a dump is recognised. Pure: argv and bytes in, verdicts out. `backup` does the work.
//!
//! Passwords travel in the environment of a command or, where a tool knows no variable, in the first
//! line of its standard input: never in its arguments.

mod ending;
mod mongo;
mod mysql;
mod postgres;
mod recognise;

use std::collections::BTreeMap;

use crate::secret::Secret;

pub use self::recognise::{by_name, recognise};

/// Kind of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DatabaseEngine {
    /// `PostgreSQL`.
    Postgres,
    /// `MySQL`.
    Mysql,
    /// `MariaDB`.
    Mariadb,
    /// `MongoDB`.
    Mongo,
}

impl DatabaseEngine {
    /// Its name in files and in container names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
            Self::Mongo => "mongo",
        }
    }
}

/// The ways of an engine.
#[must_use]
pub fn of(engine: DatabaseEngine) -> &'static dyn Database {
    match engine {
        DatabaseEngine::Postgres => &postgres::Postgres,
        DatabaseEngine::Mysql => &mysql::Mysql { mariadb: false },
        DatabaseEngine::Mariadb => &mysql::Mysql { mariadb: true },
        DatabaseEngine::Mongo => &mongo::Mongo,
    }
}

/// How one gets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// User; empty where the server asks for none.
    pub user: String,
    /// Its password, where one is known.
    pub password: Option<Secret>,
    /// A database that is sure to be there.
    pub database: String,
}

/// A command to run in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    /// argv, fit to be shown.
    pub command: Vec<String>,
    /// Further environment.
    pub environment: BTreeMap<String, Secret>,
    /// User it runs as; `None` = that of the image.
    pub user: Option<String>,
    /// What goes to its standard input first; with none, and nothing else to give, it needs no input.
    pub input: Option<Secret>,
}

impl Invocation {
    fn new<W: Into<String>>(command: impl IntoIterator<Item = W>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    fn with(mut self, variable: &str, value: Option<&Secret>) -> Self {
        if let Some(value) = value {
            self.environment.insert(variable.to_owned(), value.clone());
        }
        self
    }

    fn fed(mut self, input: impl Into<String>) -> Self {
        self.input = Some(Secret::new(input));
        self
    }
}

/// What the bytes of a dump are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `pg_dump --format=custom`, compressed in itself.
    CustomPg,
    /// Text of SQL.
    Sql,
    /// `mongodump --archive`.
    Archive,
}

impl Format {
    /// Ending of the object's name, without what compression and encryption add.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::CustomPg => "dump",
            Self::Sql => "sql",
            Self::Archive => "archive",
        }
    }

    /// Whether it is compressed in itself.
    #[must_use]
    pub fn is_compressed(self) -> bool {
        self == Self::CustomPg
    }

    /// The format of an object, by its name.
    #[must_use]
    pub fn of_object(name: &str) -> Option<Self> {
        let bare = name.strip_suffix(".age").unwrap_or(name);
        let bare = bare.strip_suffix(".zst").unwrap_or(bare);
        [Self::CustomPg, Self::Sql, Self::Archive]
            .into_iter()
            .find(|format| bare.ends_with(&format!(".{}", format.ending())))
    }
}

/// What is dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'a> {
    /// One database.
    Database(&'a str),
    /// What belongs to the server: roles, users, their rights.
    Globals,
    /// Everything at once (`MongoDB`).
    Server,
}

/// What a server tells about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Version.
    pub server_version: String,
    /// Whether the user may read what belongs to the server.
    pub powerful: bool,
    /// Databases of users, sorted.
    pub databases: Vec<String>,
    /// Member of a replica set (`MongoDB`).
    pub replica_set: bool,
}

/// The tool that dumps, as it is in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Name of the program.
    pub program: String,
    /// What it says of itself, one line.
    pub version: String,
}

impl Tool {
    /// First number of the version, 0 where there is none.
    #[must_use]
    pub fn major(&self) -> u32 {
        let digits = |text: &str| -> Option<u32> {
            let number: String = text.chars().take_while(char::is_ascii_digit).collect();
            number.parse().ok()
        };
        let words = self.version.split_whitespace();
        words
            .filter(|w| w.contains('.') || w.parse::<u32>().is_ok())
            .find_map(digits)
            .unwrap_or(0)
    }
}

/// How to dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// What to run.
    pub invocation: Invocation,
    /// What comes out.
    pub format: Format,
    /// `snapshot`, `oplog` or `per collection`.
    pub consistency: &'static str,
    /// Reads the whole dump on its standard input and ends with 0 if it can: to be run beside it.
    pub reader: Option<Invocation>,
}

/// How the end of a dump is recognised, while its bytes pass by.
pub trait EndCheck: Send {
    /// The next bytes.
    fn feed(&mut self, bytes: &[u8]);
    /// What was recognised at the end, or what is missing.
    fn finish(&self) -> Result<String, String>;
}

/// The ways of one kind of database.
pub trait Database: Send + Sync {
    /// Asks a running server for its [`Facts`].
    fn question(&self, access: &Access) -> Invocation;
    /// Reads the answer.
    fn facts(&self, answer: &[u8]) -> Result<Facts, String>;
    /// Programs that dump, the best first: the first that is there is used. Each tells its version
    /// with `--version`.
    fn programs(&self) -> &'static [&'static str];
    /// What there is to dump, in the order of a restore.
    fn parts<'a>(&self, facts: &'a Facts) -> Vec<What<'a>>;
    /// How to dump it: to standard output, or into the file `to`. `None` for what is not dumped by
    /// a tool ([`Database::users`]).
    fn dump(
        &self,
        access: &Access,
        tool: &Tool,
        facts: &Facts,
        what: What<'_>,
        to: Option<&str>,
    ) -> Option<Dump>;
    /// The end of such a dump.
    fn end_check(&self, format: Format, what: What<'_>) -> Box<dyn EndCheck>;
    /// Two steps to the users of a server whose tool does not dump them: a command whose answer
    /// goes through [`Users::script`] into a second one, whose answer goes through [`Users::text`].
    fn users(&self, access: &Access) -> Option<Users> {
        let _ = access;
        None
    }

    /// Runs statements of its input (see [`Invocation::input`], or bytes that follow) in a database and
    /// ends at the first error; rows come bare. For `MongoDB` the statement is the argument.
    fn run(&self, access: &Access, database: &str, statement: &str) -> Invocation;
    /// To be run before a database is restored where it may be there already.
    fn clear(&self, access: &Access, format: Format, database: &str) -> Option<Invocation>;
    /// Takes a dump on its standard input, after [`Invocation::input`], and ends at the first error.
    fn restore(&self, access: &Access, format: Format, what: What<'_>) -> Invocation;
    /// Makes globals fit for a server whose first start has made some of its users already.
    fn soften_globals(&self, text: &str) -> String {
        text.to_owned()
    }
    /// Counts the rows of every table of a database: an invocation whose answer
    /// [`Database::counts`] reads.
    fn count(&self, access: &Access, database: &str) -> Invocation;
    /// Reads the answer: rows by table.
    fn counts(&self, answer: &[u8]) -> Result<BTreeMap<String, u64>, String>;
    /// Gives a user a password, both without a place in any argument.
    fn set_password(&self, access: &Access, user: &str, password: &Secret) -> Invocation;
}

/// See [`Database::users`].
pub struct Users {
    /// Lists statements.
    pub list: Invocation,
    /// Runs them.
    pub show: Invocation,
    /// From the answer of `list` to what `show` is fed with.
    pub script: fn(&str) -> String,
    /// From the answer of `show` to SQL with the given server version; an error when a statement is
    /// missing. The second text is that of `script`.
    pub text: fn(&str, &str) -> Result<String, String>,
}

/// Whether the answer to an assertion is a yes: one row with one true value.
#[must_use]
pub fn is_true(answer: &str) -> bool {
    matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "t" | "true" | "1"
    )
}

/// Names that the answer has in hexadecimal digits, a line each.
fn unhex(line: &str) -> Option<String> {
    let digits = line.trim().as_bytes();
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(pairs.map(byte).collect::<Option<_>>()?).ok()
}

#[cfg(test)]
mod tests;
