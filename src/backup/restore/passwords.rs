//! Statements that give the users of a restored database the passwords of today: those of the
//! snapshot may be lost, and the application is going to come with its own of today.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::minion::manifest::Database;
use crate::minion::parameters::env_name;
use crate::secret::Secret;

/// Users of a declared database with their passwords of today. A password that nobody declared is
/// nobody's business.
pub(super) fn users(
    declared: &Database,
    secrets: &BTreeMap<String, Secret>,
) -> Vec<(String, Secret)> {
    let mut users = Vec::new();
    let admin = declared.admin.as_ref();
    let pairs = [
        admin.map(|(user, parameter)| (user, parameter)),
        declared.password.as_ref().map(|p| (&declared.user, p)),
    ];
    for (user, parameter) in pairs.into_iter().flatten() {
        let Some(secret) = secrets.get(&env_name(parameter)) else {
            continue;
        };
        if !users.iter().any(|(known, _)| known == user) {
            users.push((user.clone(), secret.clone()));
        }
    }
    users
}

/// For `--init-file` of `MySQL` and `MariaDB`, a line a statement: runs before anybody can sign in, so
/// that the old passwords need not be known.
pub(super) fn mysql(users: &[(String, Secret)]) -> Secret {
    let mut sql = String::new();
    for (user, password) in users {
        for host in ["%", "localhost"] {
            let _ = writeln!(
                sql,
                "ALTER USER IF EXISTS {}@'{host}' IDENTIFIED BY {};",
                literal(user),
                literal(password.expose())
            );
        }
    }
    Secret::new(sql)
}

/// A text for `MySQL`; the server reads its init file with the default SQL mode, where `\\` escapes.
fn literal(text: &str) -> String {
    let quoted = text.replace('\\', "\\\\").replace('\'', "''");
    format!("'{}'", quoted.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(password: &str) -> Vec<(String, Secret)> {
        vec![("app".to_owned(), Secret::new(password))]
    }

    #[test]
    fn a_password_cannot_end_its_own_quotes() {
        let sql = mysql(&users("a'b\\"));
        assert!(
            sql.expose()
                .starts_with("ALTER USER IF EXISTS 'app'@'%' IDENTIFIED BY 'a''b\\\\';\n"),
            "{}",
            sql.expose()
        );
    }
}
