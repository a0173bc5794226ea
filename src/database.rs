//! Databases: what is run in their containers to dump, check, count and restore them, and how the
//! end of a dump is recognised. Pure: argv and bytes in, verdicts out. `backup` does the work.

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
