//! `PostgreSQL`: `pg_dump` in its own format, compressed by itself where it can.

use std::collections::BTreeMap;

use super::ending::{Text, Trailer};
use super::{Access, Database, Dump, EndCheck, Facts, Format, Invocation, Tool, What};
use crate::secret::Secret;

/// The first `pg_dump` that knows zstd.
const FIRST_WITH_ZSTD: u32 = 16;

pub(super) struct Postgres;

/// A client over the socket of the container.
fn client(access: &Access, words: &[&str]) -> Invocation {
    let mut command: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    command.extend([
        "--no-password".to_owned(),
        format!("--username={}", access.user),
    ]);
    Invocation::new(command).with("PGPASSWORD", access.password.as_ref())
}

/// `--dbname` for any name: alone, one with a `=` in it would be taken for a connection string.
fn dbname(database: &str) -> String {
    let quoted = database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("--dbname=dbname='{quoted}'")
}

fn psql(access: &Access, database: &str) -> Invocation {
    let mut psql = client(
        access,
        &[
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
        ],
    );
    psql.command.push(dbname(database));
    psql
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Database for Postgres {
    fn question(&self, access: &Access) -> Invocation {
        let mut psql = psql(access, &access.database);
        psql.command.push("--record-separator-zero".to_owned());
        for sql in [
            "SELECT current_setting('server_version')",
            "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user",
            "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname",
        ] {
            psql.command.push(format!("--command={sql}"));
        }
        psql
    }

    fn facts(&self, answer: &[u8]) -> Result<Facts, String> {
        let text =
            std::str::from_utf8(answer).map_err(|_| "a database has a name that is no UTF-8")?;
        let mut records = text.split('\0').filter(|r| !r.is_empty());
        let (Some(version), Some(powerful)) = (records.next(), records.next()) else {
            return Err("the server did not answer".to_owned());
        };
        Ok(Facts {
            server_version: version.to_owned(),
            powerful: powerful == "t",
            databases: records.map(str::to_owned).collect(),
            replica_set: false,
        })
    }

    fn programs(&self) -> &'static [&'static str] {
        &["pg_dump"]
    }

    fn parts<'a>(&self, facts: &'a Facts) -> Vec<What<'a>> {
        let databases = facts.databases.iter().map(|d| What::Database(d));
        std::iter::once(What::Globals).chain(databases).collect()
    }

    fn dump(
        &self,
        access: &Access,
        tool: &Tool,
        facts: &Facts,
        what: What<'_>,
        to: Option<&str>,
    ) -> Option<Dump> {
        let What::Database(database) = what else {
            let mut all = client(access, &["pg_dumpall", "--globals-only"]);
            all.command.push(format!("--database={}", access.database));
            if !facts.powerful {
                // What it would need is readable by superusers only.
                all.command.push("--no-role-passwords".to_owned());
            }
            if let Some(path) = to {
                all.command
                    .extend([format!("--file={path}"), "--no-sync".to_owned()]);
            }
            return Some(Dump {
                invocation: all,
                format: Format::Sql,
                consistency: "snapshot",
                reader: None,
            });
        };
        let custom = tool.major() >= FIRST_WITH_ZSTD;
        let format: &[&str] = if custom {
            &["pg_dump", "--format=custom", "--compress=zstd:3"]
        } else {
            &["pg_dump", "--format=plain", "--create"]
        };
        let mut invocation = client(access, format);
        if let Some(path) = to {
            // A pipe cannot be synced.
            invocation
                .command
                .extend([format!("--file={path}"), "--no-sync".to_owned()]);
        }
        invocation.command.push(dbname(database));
        Some(Dump {
            invocation,
            format: if custom {
                Format::CustomPg
            } else {
                Format::Sql
            },
            consistency: "snapshot",
            // Not `--list`: that one accepts an archive cut anywhere.
            reader: custom.then(|| Invocation::new(["pg_restore", "--file=/dev/null"])),
        })
    }

    fn end_check(&self, format: Format, what: What<'_>) -> Box<dyn EndCheck> {
        match (format, what) {
            (Format::CustomPg, _) => Box::new(Custom { head: Vec::new() }),
            (_, What::Database(_)) => Box::new(Text::new(Trailer::Postgres)),
            _ => Box::new(Text::new(Trailer::PostgresCluster)),
        }
    }

    fn run(&self, access: &Access, database: &str, statement: &str) -> Invocation {
        psql(access, database).fed(statement)
    }

    fn clear(&self, access: &Access, format: Format, database: &str) -> Option<Invocation> {
        // Either way the dump makes it, with its locale, owner and rights; `pg_restore --clean`
        // drops it too.
        let drop = format!("DROP DATABASE IF EXISTS {};\n", identifier(database));
        (format == Format::Sql).then(|| self.run(access, "template1", &drop))
    }

    fn restore(&self, access: &Access, format: Format, _: What<'_>) -> Invocation {
        match format {
            Format::CustomPg => {
                let mut restore = client(
                    access,
                    &[
                        "pg_restore",
                        "--exit-on-error",
                        "--clean",
                        "--if-exists",
                        "--create",
                    ],
                );
                restore.command.push(dbname("template1"));
                restore
            }
            // Not `postgres`: that one may be restored too.
            _ => psql(access, "template1"),
        }
    }

    fn soften_globals(&self, text: &str) -> String {
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
                    result.push_str("DO $summoner$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ");
                    result.push_str(&literal(&name));
                    result.push_str(") THEN ");
                    result.push_str(line);
                    result.push_str(" END IF; END $summoner$;");
                }
                None => result.push_str(line),
            }
            result.push('\n');
        }
        result
    }

    fn count(&self, access: &Access, database: &str) -> Invocation {
        self.run(
            access,
            database,
            "SELECT coalesce(json_object_agg(name, rows::bigint), '{}') FROM (SELECT n.nspname || '.' || c.relname AS name, \
             (xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM %I.%I', n.nspname, c.relname), false, true, '')))[1]::text AS rows \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%') AS counted;\n",
        )
    }

    fn counts(&self, answer: &[u8]) -> Result<BTreeMap<String, u64>, String> {
        serde_json::from_slice(answer)
            .map_err(|error| format!("the rows could not be counted: {error}"))
    }

    fn set_password(&self, access: &Access, user: &str, password: &Secret) -> Invocation {
        let statement = format!(
            "ALTER ROLE {} WITH PASSWORD {};\n",
            identifier(user),
            literal(password.expose())
        );
        self.run(access, "template1", &statement)
    }
}

/// Its own format: the proof is `pg_restore`, which reads all of it.
struct Custom {
    head: Vec<u8>,
}

impl EndCheck for Custom {
    fn feed(&mut self, bytes: &[u8]) {
        let missing = 5_usize.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..missing]);
    }

    fn finish(&self) -> Result<String, String> {
        if self.head == b"PGDMP" {
            Ok("pg_restore read all of it".to_owned())
        } else {
            Err("it does not begin like an archive of pg_dump".to_owned())
        }
    }
}
