//! `MySQL` and `MariaDB`, whose tools differ in names and in a few options.

use std::collections::BTreeMap;

use super::ending::{Text, Trailer};
use super::{
    Access, Database, Dump, EndCheck, Facts, Format, Invocation, Tool, Users, What, unhex,
};
use crate::secret::Secret;

/// The last line of the users of `MySQL`, whose own tool does not dump them.
pub(super) const USERS_COMPLETE: &str = "-- Users completed";

pub(super) struct Mysql {
    pub(super) mariadb: bool,
}

fn client(access: &Access, program: &str, words: &[&str]) -> Invocation {
    let mut command = vec![program.to_owned()];
    command.extend(words.iter().map(|w| (*w).to_owned()));
    command.push(format!("--user={}", access.user));
    Invocation::new(command).with("MYSQL_PWD", access.password.as_ref())
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Mysql {
    fn sql(&self, access: &Access, database: &str) -> Invocation {
        // Images of MariaDB have had no `mysql` since 11.
        let program = if self.mariadb { "mariadb" } else { "mysql" };
        let mut sql = client(
            access,
            program,
            &[
                "--batch",
                "--skip-column-names",
                "--raw",
                "--default-character-set=utf8mb4",
            ],
        );
        sql.command.push(format!("--database={database}"));
        sql
    }
}

impl Database for Mysql {
    fn question(&self, access: &Access) -> Invocation {
        let mut question = self.sql(access, "information_schema");
        question.command.push(
            "--execute=SELECT VERSION(); \
             SELECT COUNT(*) FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'CREATE USER'; \
             SELECT HEX(SCHEMA_NAME) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN \
             ('information_schema', 'performance_schema', 'mysql', 'sys') ORDER BY SCHEMA_NAME"
                .to_owned(),
        );
        question
    }

    fn facts(&self, answer: &[u8]) -> Result<Facts, String> {
        let text = String::from_utf8_lossy(answer);
        let mut lines = text.lines();
        let (Some(version), Some(powerful)) = (lines.next(), lines.next()) else {
            return Err("the server did not answer".to_owned());
        };
        let names: Option<Vec<String>> = lines.map(unhex).collect();
        Ok(Facts {
            server_version: version.to_owned(),
            powerful: powerful != "0",
            databases: names.ok_or("a database has a name that is no UTF-8")?,
            replica_set: false,
        })
    }

    fn programs(&self) -> &'static [&'static str] {
        if self.mariadb {
            &["mariadb-dump", "mysqldump"]
        } else {
            &["mysqldump", "mariadb-dump"]
        }
    }

    fn parts<'a>(&self, facts: &'a Facts) -> Vec<What<'a>> {
        let globals = facts.powerful.then_some(What::Globals);
        let databases = facts.databases.iter().map(|d| What::Database(d));
        globals.into_iter().chain(databases).collect()
    }

    fn dump(
        &self,
        access: &Access,
        tool: &Tool,
        _: &Facts,
        what: What<'_>,
        to: Option<&str>,
    ) -> Option<Dump> {
        let of_mariadb = tool.version.contains("MariaDB");
        let mut invocation = client(access, &tool.program, &["--default-character-set=utf8mb4"]);
        let command = &mut invocation.command;
        if let Some(path) = to {
            command.push(format!("--result-file={path}"));
        }
        match what {
            What::Database(database) => {
                command.extend(
                    [
                        "--single-transaction",
                        "--routines",
                        "--triggers",
                        "--events",
                        "--hex-blob",
                        "--no-tablespaces",
                    ]
                    .map(str::to_owned),
                );
                if !of_mariadb {
                    // Or the restore would want to rewrite the history of its server.
                    command.push("--set-gtid-purged=OFF".to_owned());
                }
                // With `--databases` the character set of the database itself is kept.
                command.extend([
                    "--databases".to_owned(),
                    "--".to_owned(),
                    database.to_owned(),
                ]);
            }
            _ if of_mariadb => command.push("--system=users".to_owned()),
            _ => return None,
        }
        Some(Dump {
            invocation,
            format: Format::Sql,
            consistency: "snapshot",
            reader: None,
        })
    }

    fn end_check(&self, _: Format, what: What<'_>) -> Box<dyn EndCheck> {
        let own = !self.mariadb && what == What::Globals;
        Box::new(Text::new(if own { Trailer::Own } else { Trailer::Mysql }))
    }

    fn users(&self, access: &Access) -> Option<Users> {
        let mut list = self.sql(access, "mysql");
        list.command.push(
            "--execute=SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.user WHERE user NOT LIKE 'mysql.%' ORDER BY user, host"
                .to_owned(),
        );
        Some(Users {
            list,
            show: self.sql(access, "mysql"),
            script: show_users,
            text: users_text,
        })
    }

    fn run(&self, access: &Access, database: &str, statement: &str) -> Invocation {
        self.sql(access, database).fed(statement)
    }

    fn clear(&self, access: &Access, _: Format, database: &str) -> Option<Invocation> {
        // The dump makes it, with its character set.
        Some(self.run(
            access,
            "mysql",
            &format!("DROP DATABASE IF EXISTS {};\n", identifier(database)),
        ))
    }

    fn restore(&self, access: &Access, _: Format, _: What<'_>) -> Invocation {
        self.sql(access, "mysql")
    }

    fn soften_globals(&self, text: &str) -> String {
        // MariaDB's own say `CREATE USER IF NOT EXISTS` already.
        let soften = |line: &str| match line.strip_prefix("CREATE USER ") {
            Some(rest) if !rest.starts_with("IF NOT EXISTS") => {
                format!("CREATE USER IF NOT EXISTS {rest}\n")
            }
            _ => format!("{line}\n"),
        };
        text.lines().map(soften).collect()
    }

    /// One statement that counts them all: built by the server, which knows the names.
    fn count(&self, access: &Access, database: &str) -> Invocation {
        let schema = literal(database);
        self.run(
            access,
            "information_schema",
            &format!(
                "SET SESSION group_concat_max_len = 16777216;\n\
                 SELECT COALESCE(GROUP_CONCAT(CONCAT('SELECT CONCAT(', QUOTE(HEX(TABLE_NAME)), ', '' '', COUNT(*)) FROM `', \
                 REPLACE(TABLE_SCHEMA, '`', '``'), '`.`', REPLACE(TABLE_NAME, '`', '``'), '`') SEPARATOR ' UNION ALL '), 'DO 0') \
                 INTO @summoner FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} AND TABLE_TYPE = 'BASE TABLE';\n\
                 PREPARE summoner FROM @summoner;\nEXECUTE summoner;\n"
            ),
        )
    }

    fn counts(&self, answer: &[u8]) -> Result<BTreeMap<String, u64>, String> {
        let text = String::from_utf8_lossy(answer);
        let row = |line: &str| {
            let (name, rows) = line.split_once(' ')?;
            Some((unhex(name)?, rows.trim().parse().ok()?))
        };
        let rows: Option<_> = text.lines().filter(|l| !l.is_empty()).map(row).collect();
        rows.ok_or_else(|| "the rows could not be counted".to_owned())
    }

    fn set_password(&self, access: &Access, user: &str, password: &Secret) -> Invocation {
        // Every host the user may come from.
        let (user, password) = (literal(user), literal(password.expose()));
        self.run(
            access,
            "mysql",
            &format!(
                "SELECT GROUP_CONCAT(CONCAT(QUOTE(user), '@', QUOTE(host), ' IDENTIFIED BY ', QUOTE({password})) SEPARATOR ', ') \
                 INTO @users FROM mysql.user WHERE user = {user};\n\
                 SET @summoner = CONCAT('ALTER USER ', @users);\nPREPARE summoner FROM @summoner;\nEXECUTE summoner;\n"
            ),
        )
    }
}

/// Two questions a user. Passwords are stored with bytes that are no text: in hexadecimal digits
/// they are.
fn show_users(list: &str) -> String {
    let mut script = "SET SESSION print_identified_with_as_hex = ON;\n".to_owned();
    for user in list.lines().filter(|l| !l.is_empty()) {
        script.push_str("SHOW CREATE USER ");
        script.push_str(user);
        script.push_str(";\nSHOW GRANTS FOR ");
        script.push_str(user);
        script.push_str(";\n");
    }
    script
}

fn users_text(answer: &str, script: &str) -> Result<String, String> {
    let expected = script.matches("SHOW CREATE USER ").count();
    let mut text = String::new();
    let mut found = 0;
    for line in answer.lines().filter(|l| !l.is_empty()) {
        found += usize::from(line.starts_with("CREATE USER "));
        text.push_str(line);
        text.push_str(";\n");
    }
    if found != expected {
        return Err(format!("{found} of {expected} users were told"));
    }
    text.push_str(USERS_COMPLETE);
    text.push('\n');
    Ok(text)
}
