//! Passwords where every user of the machine can read them: in the arguments of programs.

use crate::compose::Service;
use crate::compose::interpolate;

/// Words before `=` or as an option of their own that announce a secret.
const TELLING: [&str; 6] = ["password", "passwd", "secret", "token", "api-key", "apikey"];
/// Programs that take `-pPASSWORD`.
const MYSQL: [&str; 6] = [
    "mysql",
    "mysqladmin",
    "mysqldump",
    "mariadb",
    "mariadb-admin",
    "mariadb-dump",
];

/// What is wrong with the arguments of a service, and at which key.
pub(super) fn check(service: &Service) -> Vec<(&'static str, String)> {
    let empty = Vec::new();
    let places = [
        ("entrypoint", service.entrypoint.as_ref().unwrap_or(&empty)),
        ("command", service.command.as_ref().unwrap_or(&empty)),
        (
            "healthcheck.test",
            service
                .healthcheck
                .as_ref()
                .map_or(&empty, |check| &check.test),
        ),
    ];
    let mut found = Vec::new();
    for (key, words) in places {
        for word in words {
            // Everything that is still a variable here is a secret: nothing else is left to put in.
            for name in interpolate::names(word).unwrap_or_default() {
                let message = format!(
                    "the secret `{name}` would be an argument, which everybody on the machine can read"
                );
                found.push((key, message));
            }
        }
        // A shell's line is one word of ours.
        let words: Vec<&str> = words
            .iter()
            .flat_map(|word| word.split_whitespace())
            .collect();
        if let Some(word) = password(&words) {
            found.push((key, format!("`{word}` looks like a password")));
        }
    }
    found
}

/// The first word that holds a password as it is.
fn password<'a>(words: &[&'a str]) -> Option<&'a str> {
    words.iter().enumerate().find_map(|(i, word)| {
        let before = i.checked_sub(1).map_or("", |i| words[i]);
        (assigned(word) || in_address(word) || option(before, word) || short(words, i))
            .then_some(*word)
    })
}

/// `--password=x`, `PGPASSWORD=x`.
fn assigned(word: &str) -> bool {
    let Some((name, value)) = word.split_once('=') else {
        return false;
    };
    tells(name) && literal(value)
}

/// `--password x`.
fn option(before: &str, word: &str) -> bool {
    before.starts_with("--")
        && !before.contains('=')
        && tells(before)
        && !word.starts_with('-')
        && literal(word)
}

/// `mysql -px`, `redis-cli -a x`.
fn short(words: &[&str], i: usize) -> bool {
    let earlier = &words[..i];
    let program = |names: &[&str]| {
        earlier
            .iter()
            .any(|word| names.contains(&word.rsplit('/').next().unwrap_or_default()))
    };
    let joined = words[i]
        .strip_prefix("-p")
        .is_some_and(|value| !value.starts_with('-') && literal(value));
    joined && program(&MYSQL)
        || earlier.last() == Some(&"-a") && program(&["redis-cli"]) && literal(words[i])
}

/// `scheme://user:password@host`.
fn in_address(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.split_once(':')
        .is_some_and(|(_, password)| literal(password))
}

fn tells(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // `--password-file=/run/…` and `POSTGRES_PASSWORD_FILE` name a file.
    TELLING.iter().any(|word| name.contains(word)) && !name.ends_with("file")
}

/// Whether a value stands there itself, and is not asked from the environment.
fn literal(value: &str) -> bool {
    let bare = value.trim_matches(['"', '\'']);
    !bare.is_empty() && !bare.starts_with(['$', '`'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_arguments() {
        for (line, found) in [
            ("pg_isready -U notes", None),
            ("server --password=hunter2", Some("--password=hunter2")),
            ("server --db-password hunter2", Some("hunter2")),
            ("server --password-file /run/x", None),
            ("PGPASSWORD=\"$$APP_PASSWORD\" psql", None),
            ("PGPASSWORD=postgres psql", Some("PGPASSWORD=postgres")),
            ("mysqladmin ping -proot", Some("-proot")),
            ("mysql -p\"$$PW\" -P 3306", None),
            ("/usr/bin/mariadb --protocol=tcp -port", Some("-port")),
            ("redis-cli -a secret ping", Some("secret")),
            ("redis-cli -a $$PW ping", None),
            ("wget http://a:b@c/d", Some("http://a:b@c/d")),
            ("wget http://a:$$B@c/ http://x/y:z@w", None),
            ("app --token $$TOKEN --secret --x", None),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(password(&words), found, "{line}");
        }
    }
}
