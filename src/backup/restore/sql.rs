//! What is run in a throwaway container to restore and look at a database. Pure: argv, text for
//! standard input, and what an answer means. Passwords only ever travel in the environment.

use std::collections::BTreeMap;

use crate::database::DatabaseEngine;
use crate::engine::ExecSpec;
use crate::minion::manifest::Database;
use crate::minion::parameters::env_name;
use crate::secret::Secret;

/// A declared database as it can be reached within its container.
pub(super) struct Access<'a> {
    pub(super) declared: &'a Database,
    pub(super) user: String,
    password: Option<Secret>,
}

impl<'a> Access<'a> {
    /// As its administrator, with the password of today; as its only user where there is none.
    pub(super) fn new(declared: &'a Database, secrets: &BTreeMap<String, Secret>) -> Self {
        let (user, parameter) = match &declared.admin {
            Some((user, parameter)) => (user.clone(), Some(parameter)),
            None => (declared.user.clone(), declared.password.as_ref()),
        };
        let password = parameter.and_then(|p| secrets.get(&env_name(p)).cloned());
        Self {
            declared,
            user,
            password,
        }
    }

    fn spec(&self, command: &[&str]) -> ExecSpec {
        let variable = match self.declared.engine {
            DatabaseEngine::Postgres => "PGPASSWORD",
            _ => "MYSQL_PWD",
        };
        let password = self.password.as_ref();
        ExecSpec {
            command: command.iter().map(|w| (*w).to_owned()).collect(),
            environment: password
                .map(|p| (variable.to_owned(), p.expose().to_owned()))
                .into_iter()
                .collect(),
            stdin: true,
            ..ExecSpec::default()
        }
    }

    /// Name of the client: images of MariaDB have had no `mysql` since 11.
    fn client(&self) -> &'static str {
        match self.declared.engine {
            DatabaseEngine::Mariadb => "mariadb",
            _ => "mysql",
        }
    }

    /// Runs the SQL of standard input in a database and ends at the first error; answers come as
    /// bare rows.
    pub(super) fn sql(&self, database: &str) -> ExecSpec {
        match self.declared.engine {
            DatabaseEngine::Postgres => self.spec(&[
                "psql",
                "--no-psqlrc",
                "--no-password",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                "--username",
                &self.user,
                "--dbname",
                database,
            ]),
            _ => self.spec(&[
                self.client(),
                "--batch",
                "--skip-column-names",
                "--raw",
                "--default-character-set=utf8mb4",
                "--user",
                &self.user,
                database,
            ]),
        }
    }
}

impl Access<'_> {
    /// What comes before the bytes of a database: it is dropped, where the first start has made it,
    /// and made anew where the dump does not do that itself.
    pub(super) fn prepare(&self, database: &str, custom: bool) -> Vec<(ExecSpec, String)> {
        let engine = self.declared.engine;
        let spec = self.sql(neutral(engine));
        match engine {
            // `pg_restore --create` makes it with its locale, owner and rights.
            DatabaseEngine::Postgres if custom => Vec::new(),
            DatabaseEngine::Postgres => {
                let name = format!("\"{}\"", database.replace('"', "\"\""));
                let owner = if database == self.declared.name {
                    format!(" OWNER \"{}\"", self.declared.user.replace('"', "\"\""))
                } else {
                    String::new()
                };
                vec![(
                    spec,
                    format!(
                        "DROP DATABASE IF EXISTS {name};\nCREATE DATABASE {name} TEMPLATE template0{owner};\n"
                    ),
                )]
            }
            DatabaseEngine::Mysql | DatabaseEngine::Mariadb => {
                let name = format!("`{}`", database.replace('`', "``"));
                vec![(
                    spec,
                    format!("DROP DATABASE IF EXISTS {name};\nCREATE DATABASE {name};\n"),
                )]
            }
            DatabaseEngine::Mongo => Vec::new(),
        }
    }

    /// Takes the bytes of a database on standard input, and ends at the first error.
    pub(super) fn restore(&self, database: &str, custom: bool) -> ExecSpec {
        match self.declared.engine {
            DatabaseEngine::Postgres if custom => self.spec(&[
                "pg_restore",
                "--no-password",
                "--exit-on-error",
                "--clean",
                "--if-exists",
                "--create",
                "--username",
                &self.user,
                "--dbname",
                neutral(DatabaseEngine::Postgres),
            ]),
            DatabaseEngine::Mongo => self.spec(&["mongorestore", "--archive", "--drop"]),
            _ => self.sql(database),
        }
    }
}

/// Roles and tablespaces of a dump for a server whose first start has made some of the roles
/// already: those are left, and get their rights all the same. Errors stay errors.
pub(super) fn globals(engine: DatabaseEngine, text: &str) -> String {
    if engine != DatabaseEngine::Postgres {
        return text.to_owned();
    }
    let mut result = String::with_capacity(text.len());
    for line in text.lines() {
        let role = line
            .strip_prefix("CREATE ROLE ")
            .and_then(|l| l.strip_suffix(';'));
        match role {
            Some(role) => {
                let name = match role.strip_prefix('"').and_then(|r| r.strip_suffix('"')) {
                    Some(quoted) => quoted.replace("\"\"", "\""),
                    None => role.to_owned(),
                };
                let name = name.replace('\'', "''");
                let made = format!(
                    "DO $summoner$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{name}') THEN {line} END IF; END $summoner$;"
                );
                result.push_str(&made);
            }
            None => result.push_str(line),
        }
        result.push('\n');
    }
    result
}

/// The database that is always there, to be connected to while others come and go.
pub(super) fn neutral(engine: DatabaseEngine) -> &'static str {
    match engine {
        // Not `postgres`: that one may be restored too.
        DatabaseEngine::Postgres => "template1",
        _ => "mysql",
    }
}

/// Reads the rows of every table: one JSON object (`PostgreSQL`), or the statement for the next
/// question (MySQL, MariaDB: see [`count_rows`]).
pub(super) fn tables(engine: DatabaseEngine, database: &str) -> String {
    match engine {
        DatabaseEngine::Postgres => "SELECT coalesce(json_object_agg(name, rows::bigint), '{}') FROM (\
             SELECT n.nspname || '.' || c.relname AS name, (xpath('/row/c/text()', \
             query_to_xml(format('SELECT count(*) AS c FROM %I.%I', n.nspname, c.relname), \
             false, true, '')))[1]::text AS rows FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%') AS counted;\n"
            .to_owned(),
        _ => format!(
            "SELECT HEX(TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{}' \
             AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME;\n",
            database.replace('\\', "\\\\").replace('\'', "''")
        ),
    }
}

/// Names of tables from the answer to [`tables`] of MySQL and MariaDB.
pub(super) fn names(answer: &str) -> Vec<String> {
    let unhex = |line: &str| {
        let pairs = line.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        Some(String::from_utf8_lossy(&bytes?).into_owned())
    };
    answer
        .lines()
        .filter(|l| !l.is_empty())
        .filter_map(unhex)
        .collect()
}

/// Counts the rows of tables of MySQL and MariaDB: a line each, in their order.
pub(super) fn count_rows(tables: &[String]) -> String {
    let counts: Vec<String> = tables
        .iter()
        .map(|name| format!("SELECT COUNT(*) FROM `{}`;\n", name.replace('`', "``")))
        .collect();
    counts.concat()
}

/// Whether the answer to an assertion is a yes: one row, one value.
pub(super) fn is_true(answer: &str) -> bool {
    matches!(answer.trim(), "t" | "true" | "1" | "TRUE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(engine: DatabaseEngine) -> (Database, BTreeMap<String, Secret>) {
        let declared = Database {
            service: "db".into(),
            engine,
            name: "app".into(),
            user: "app".into(),
            password: Some("db_password".into()),
            admin: Some(("root".into(), "db_root_password".into())),
            uid: 999,
            gid: 999,
            mode: 0o700,
        };
        let secrets = [("DB_ROOT_PASSWORD".to_owned(), Secret::new("hunter2"))];
        (declared, secrets.into())
    }

    #[test]
    fn f20_passwords_travel_in_the_environment_only() {
        for engine in [DatabaseEngine::Postgres, DatabaseEngine::Mariadb] {
            let (declared, secrets) = access(engine);
            let spec = Access::new(&declared, &secrets).sql("app");
            assert!(!spec.command.join(" ").contains("hunter2"));
            assert!(spec.environment.values().any(|v| v == "hunter2"));
        }
    }

    #[test]
    fn roles_that_are_there_are_no_error() {
        let text = globals(
            DatabaseEngine::Postgres,
            "CREATE ROLE app;\nALTER ROLE app WITH LOGIN;\nCREATE ROLE \"it's \"\"x\";\n",
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("rolname = 'app') THEN CREATE ROLE app; END IF"));
        assert_eq!(lines[1], "ALTER ROLE app WITH LOGIN;");
        assert!(lines[2].contains("rolname = 'it''s \"x') THEN CREATE ROLE \"it's \"\"x\";"));
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(names("7770\n61276062\n\n"), ["wp", "a'`b"]);
        assert_eq!(
            count_rows(&["a`b".into()]),
            "SELECT COUNT(*) FROM `a``b`;\n"
        );
        assert!(is_true("t\n") && is_true("1"));
        assert!(!is_true("f") && !is_true("") && !is_true("t\nt") && !is_true("10"));
    }
}
