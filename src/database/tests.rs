use super::*;

const ENGINES: [DatabaseEngine; 4] = [
    DatabaseEngine::Postgres,
    DatabaseEngine::Mysql,
    DatabaseEngine::Mariadb,
    DatabaseEngine::Mongo,
];

fn access() -> Access {
    Access {
        user: "root".into(),
        password: Some(Secret::new("hunter2")),
        database: "app".into(),
    }
}

fn tool(program: &str, version: &str) -> Tool {
    Tool {
        program: program.into(),
        version: version.into(),
    }
}

fn line(engine: DatabaseEngine, version: &str, what: What<'_>, to: Option<&str>) -> String {
    let program = of(engine).programs()[0];
    let dump = of(engine).dump(
        &access(),
        &tool(program, version),
        &Facts::default(),
        what,
        to,
    );
    dump.unwrap().invocation.command.join(" ")
}

#[test]
fn dumps_are_these_commands() {
    use DatabaseEngine::{Mariadb, Mongo, Mysql, Postgres};
    let app = What::Database("app");
    assert_eq!(
        line(
            Postgres,
            "pg_dump (PostgreSQL) 17.12 (Debian 17.12-0+deb13u1)",
            app,
            None
        ),
        "pg_dump --format=custom --compress=zstd:3 --no-password --username=root --dbname=dbname='app'"
    );
    assert_eq!(
        line(
            Postgres,
            "pg_dump (PostgreSQL) 15.20",
            app,
            Some("/run/summoner/x")
        ),
        "pg_dump --format=plain --create --no-password --username=root --file=/run/summoner/x --no-sync --dbname=dbname='app'"
    );
    assert_eq!(
        line(Postgres, "pg_dump (PostgreSQL) 17.12", What::Globals, None),
        "pg_dumpall --globals-only --no-password --username=root --database=app --no-role-passwords"
    );
    assert_eq!(
        line(
            Mariadb,
            "mariadb-dump from 11.8.6-MariaDB, client 10.19 for debian-linux-gnu (x86_64)",
            app,
            None
        ),
        "mariadb-dump --default-character-set=utf8mb4 --user=root --single-transaction --routines --triggers --events --hex-blob --no-tablespaces --databases -- app"
    );
    assert_eq!(
        line(
            Mysql,
            "mysqldump  Ver 9.7.4-2 for Linux on x86_64 ((Debian))",
            app,
            Some("/run/summoner/x")
        ),
        "mysqldump --default-character-set=utf8mb4 --user=root --result-file=/run/summoner/x --single-transaction --routines --triggers --events --hex-blob --no-tablespaces --set-gtid-purged=OFF --databases -- app"
    );
    assert_eq!(
        line(
            Mariadb,
            "mariadb-dump from 11.8.6-MariaDB",
            What::Globals,
            None
        ),
        "mariadb-dump --default-character-set=utf8mb4 --user=root --system=users"
    );
    assert_eq!(
        line(Mongo, "mongodump version: 100.9.4", What::Server, None),
        "mongodump --username=root --authenticationDatabase=admin --archive"
    );
    let facts = Facts {
        replica_set: true,
        ..Facts::default()
    };
    let dump = of(Mongo)
        .dump(
            &access(),
            &tool("mongodump", ""),
            &facts,
            What::Server,
            None,
        )
        .unwrap();
    assert!(dump.invocation.command.contains(&"--oplog".to_owned()));
    assert_eq!(dump.consistency, "oplog");
}

#[test]
fn f20_no_password_is_in_any_argument() {
    let facts = Facts {
        databases: vec!["app".into()],
        ..Facts::default()
    };
    for engine in ENGINES {
        let ways = of(engine);
        let secret = Secret::new("hunter3");
        let mut all = vec![
            ways.question(&access()),
            ways.run(&access(), "app", "select 1"),
            ways.count(&access(), "app"),
            ways.set_password(&access(), "app", &secret),
            ways.restore(&access(), Format::CustomPg, What::Database("app")),
            ways.restore(&access(), Format::Sql, What::Globals),
        ];
        all.extend(ways.clear(&access(), Format::Sql, "app"));
        for what in ways.parts(&facts) {
            let dump = ways.dump(
                &access(),
                &tool(ways.programs()[0], "17.1"),
                &facts,
                what,
                None,
            );
            all.extend(dump.map(|dump| dump.invocation));
        }
        all.extend(ways.users(&access()).map(|users| users.list));
        for invocation in all {
            let words = invocation.command.join(" ");
            assert!(!words.contains("hunter"), "{words}");
            assert!(!format!("{invocation:?}").contains("hunter"));
            let carried = invocation.environment.values().chain(&invocation.input);
            assert!(
                carried.into_iter().any(|s| s.expose().contains("hunter")),
                "{words}"
            );
        }
    }
}

#[test]
fn names_are_no_options_and_no_connection_strings() {
    let odd = "it's a=b \\ -x";
    assert!(
        line(DatabaseEngine::Postgres, "17.1", What::Database(odd), None)
            .ends_with("--dbname=dbname='it\\'s a=b \\\\ -x'")
    );
    assert!(
        line(
            DatabaseEngine::Mariadb,
            "MariaDB",
            What::Database("--all"),
            None
        )
        .ends_with(" -- --all")
    );
    let clear = of(DatabaseEngine::Mysql)
        .clear(&access(), Format::Sql, "a`b")
        .unwrap();
    assert_eq!(
        clear.input.unwrap().expose(),
        "DROP DATABASE IF EXISTS `a``b`;\n"
    );
}

#[test]
fn versions_are_found() {
    for (version, major) in [
        ("pg_dump (PostgreSQL) 17.12 (Debian 17.12-0+deb13u1)", 17),
        ("pg_dump (PostgreSQL) 9.6.24", 9),
        ("pg_dump (PostgreSQL) 18beta1", 0),
        ("mysqldump  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", 9),
        (
            "mariadb-dump from 11.8.6-MariaDB, client 10.19 for debian-linux-gnu (x86_64)",
            11,
        ),
        ("mongodump version: 100.9.4", 100),
        ("", 0),
    ] {
        assert_eq!(tool("x", version).major(), major, "{version}");
    }
}

#[test]
fn answers_are_read() {
    let postgres = of(DatabaseEngine::Postgres);
    let facts = postgres
        .facts(b"17.12 (Debian)\0t\0a b\nc\0postgres\0")
        .unwrap();
    assert_eq!(facts.databases, ["a b\nc", "postgres"]);
    assert!(facts.powerful && facts.server_version == "17.12 (Debian)");
    assert!(postgres.facts(b"").is_err());
    assert!(
        postgres
            .facts(b"17\0t\0\xff\xfe\0")
            .unwrap_err()
            .contains("UTF-8")
    );
    let mysql = of(DatabaseEngine::Mysql);
    let facts = mysql.facts(b"9.7.4\n1\n617070\nC3BC6265722D\n").unwrap();
    assert_eq!(facts.databases, ["app", "über-"]);
    assert_eq!(mysql.parts(&facts)[0], What::Globals);
    assert!(!mysql.facts(b"9.7.4\n0\n").unwrap().powerful);
    assert!(mysql.facts(b"9.7.4\n1\nFF\n").is_err());
    let mongo = of(DatabaseEngine::Mongo);
    let facts = mongo.facts(b"hello\n{\"version\":\"8.0\",\"set\":\"rs0\",\"databases\":[\"admin\",\"b\",\"a\",\"local\"]}\n").unwrap();
    assert!(facts.replica_set && facts.databases == ["a", "b"]);
    assert!(mongo.facts(b"MongoServerError: not authorized").is_err());
    assert_eq!(mysql.counts(b"7770 12\n6162 0\n").unwrap()["ab"], 0);
    assert!(mysql.counts(b"ERROR\n").is_err());
    assert_eq!(
        postgres.counts(b"{\"public.a\": 3}\n").unwrap()["public.a"],
        3
    );
    assert!(is_true("t\n") && is_true("1") && is_true("true\n"));
    assert!(!is_true("f") && !is_true("") && !is_true("t\nt") && !is_true("10"));
}

fn verdict(
    engine: DatabaseEngine,
    format: Format,
    what: What<'_>,
    bytes: &[u8],
) -> Result<String, String> {
    let mut check = of(engine).end_check(format, what);
    for piece in bytes.chunks(7) {
        check.feed(piece);
    }
    check.finish()
}

#[test]
fn f02_only_a_whole_trailer_is_an_end() {
    use DatabaseEngine::{Mariadb, Postgres};
    let app = What::Database("app");
    let filler = "INSERT INTO note VALUES (1);\n".repeat(100);
    for (engine, what, text) in [
        (
            Postgres,
            app,
            format!("--\n{filler}--\n-- PostgreSQL database dump complete\n--\n\n"),
        ),
        (
            Postgres,
            app,
            format!(
                "--\n\n\\restrict Token1\n{filler}--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict Token1\n\n"
            ),
        ),
        (
            Postgres,
            What::Globals,
            format!(
                "--\n\n\\restrict Token1\n{filler}\\unrestrict Token1\n\n--\n-- PostgreSQL database cluster dump complete\n--\n\n"
            ),
        ),
        (
            Mariadb,
            app,
            format!(
                "/*M!999999\\- enable the sandbox mode */\n{filler}-- Dump completed on 2026-11-20 12:35:33\n"
            ),
        ),
        (Mariadb, app, format!("{filler}-- Dump completed\n")),
    ] {
        let whole = verdict(engine, Format::Sql, what, text.as_bytes());
        assert!(whole.is_ok(), "{whole:?}: {text}");
        for cut in 0..text.len() {
            let cut = verdict(engine, Format::Sql, what, &text.as_bytes()[..cut]);
            assert!(cut.is_err(), "{cut:?}");
        }
        // What comes after the end is not of the tool.
        let more = format!("{text}INSERT INTO note VALUES (2);\n");
        assert!(verdict(engine, Format::Sql, what, more.as_bytes()).is_err());
    }
    // The words in the middle of a line, as data would have them.
    assert!(verdict(Mariadb, Format::Sql, app, b"INSERT '-- Dump completed\n").is_err());
}

#[test]
fn f03_an_empty_dump_is_none() {
    for engine in ENGINES {
        for format in [Format::CustomPg, Format::Sql, Format::Archive] {
            assert!(verdict(engine, format, What::Database("app"), b"").is_err());
        }
    }
}

fn string(name: &str, value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len() + 1).unwrap().to_le_bytes();
    [
        b"\x02",
        name.as_bytes(),
        b"\0",
        &length,
        value.as_bytes(),
        b"\0",
    ]
    .concat()
}

fn document(fields: &[Vec<u8>]) -> Vec<u8> {
    let body = [&fields.concat()[..], b"\0"].concat();
    let length = u32::try_from(body.len() + 4).unwrap().to_le_bytes();
    [&length[..], &body].concat()
}

fn header(collection: &str, end: u8) -> Vec<u8> {
    let end = [b"\x08EOF\0", &[end][..]].concat();
    let crc = [b"\x12CRC\0", &[0; 8][..]].concat();
    document(&[
        string("db", "app"),
        string("collection", collection),
        end,
        crc,
    ])
}

#[test]
fn f05_an_archive_of_mongodump_cut_anywhere_is_none() {
    let terminator = vec![0xff; 4];
    let about = |name: &str, kind: &str| {
        document(&[
            string("db", "app"),
            string("collection", name),
            string("metadata", "{}"),
            string("type", kind),
        ])
    };
    let note = document(&[string("words", &"\u{7f}".repeat(50))]);
    let archive = [
        0x8199_e26d_u32.to_le_bytes().to_vec(),
        document(&[string("version", "0.1"), string("tool_version", "100.9.4")]),
        about("note", "collection"),
        about("empty", "collection"),
        about("seen", "view"),
        terminator.clone(),
        header("note", 0),
        note.clone(),
        note,
        terminator.clone(),
        header("note", 1),
        terminator.clone(),
        header("empty", 1),
        terminator,
    ]
    .concat();
    let check = |bytes: &[u8]| verdict(DatabaseEngine::Mongo, Format::Archive, What::Server, bytes);
    assert_eq!(
        check(&archive).unwrap(),
        "archive terminator, 2 collections"
    );
    for cut in 0..archive.len() {
        assert!(
            check(&archive[..cut]).is_err(),
            "cut at {cut} of {}",
            archive.len()
        );
    }
    assert!(check(b"not an archive").is_err());
}

#[test]
fn globals_are_made_fit_for_a_server_that_has_some() {
    let text = of(DatabaseEngine::Postgres).soften_globals(
        "CREATE ROLE app;\nALTER ROLE app WITH LOGIN;\nCREATE ROLE \"it's \"\"x\";\n",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("rolname = 'app') THEN CREATE ROLE app; END IF"));
    assert_eq!(lines[1], "ALTER ROLE app WITH LOGIN;");
    assert!(lines[2].contains("rolname = 'it''s \"x') THEN CREATE ROLE \"it's \"\"x\";"));
    let text = of(DatabaseEngine::Mysql).soften_globals(
        "CREATE USER `a`@`%` IDENTIFIED WITH x;\nCREATE USER IF NOT EXISTS b;\nGRANT ALL;\n",
    );
    assert_eq!(
        text,
        "CREATE USER IF NOT EXISTS `a`@`%` IDENTIFIED WITH x;\nCREATE USER IF NOT EXISTS b;\nGRANT ALL;\n"
    );
}

#[test]
fn users_of_mysql_are_asked_for_one_by_one() {
    let users = of(DatabaseEngine::Mysql).users(&access()).unwrap();
    let script = (users.script)("'app'@'%'\n'root'@'localhost'\n");
    assert!(
        script.ends_with(
            "SHOW CREATE USER 'root'@'localhost';\nSHOW GRANTS FOR 'root'@'localhost';\n"
        )
    );
    let answer =
        "CREATE USER `app`@`%` X\nGRANT USAGE\nCREATE USER `root`@`localhost` X\nGRANT ALL\n";
    let text = (users.text)(answer, &script).unwrap();
    assert!(text.starts_with("CREATE USER `app`@`%` X;\nGRANT USAGE;\n"));
    assert!(
        verdict(
            DatabaseEngine::Mysql,
            Format::Sql,
            What::Globals,
            text.as_bytes()
        )
        .is_ok()
    );
    assert!((users.text)("CREATE USER `app`@`%` X\n", &script).is_err());
}

#[test]
fn containers_of_others_are_recognised() {
    use DatabaseEngine::{Mariadb, Mongo, Mysql, Postgres};
    let none = BTreeMap::new();
    for (image, engine) in [
        ("postgres:17", Some(Postgres)),
        (
            "registry.example.org:5000/db/postgis:16-3.4",
            Some(Postgres),
        ),
        ("timescale/timescaledb-ha:pg17", Some(Postgres)),
        ("pgvector/pgvector:pg17@sha256:00", Some(Postgres)),
        ("mariadb", Some(Mariadb)),
        ("mysql:8.4", Some(Mysql)),
        ("percona/percona-server:8.0", Some(Mysql)),
        ("percona/percona-server-mongodb:7", Some(Mongo)),
        ("mongo:7", Some(Mongo)),
        ("mongo-express:1", None),
        ("prom/mysqld-exporter", None),
        ("phpmyadmin:5", None),
        ("mysql-repository.example.org/blog:1", None),
        ("wordpress:6", None),
    ] {
        assert_eq!(recognise(image, &none).map(|(e, _)| e), engine, "{image}");
    }
    let environment = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let own = environment(&[
        ("PG_MAJOR", "17"),
        ("PGDATA", "/x"),
        ("POSTGRES_USER", "boss"),
        ("POSTGRES_PASSWORD", "p"),
    ]);
    let (engine, access) = recognise("local/database:3", &own).unwrap();
    assert_eq!(
        (
            engine,
            access.user.as_str(),
            access.password.unwrap().expose()
        ),
        (Postgres, "boss", "p")
    );
    let (_, access) = recognise(
        "mariadb",
        &environment(&[("MARIADB_USER", "u"), ("MYSQL_ROOT_PASSWORD", "r")]),
    )
    .unwrap();
    assert_eq!(
        (access.user.as_str(), access.password.unwrap().expose()),
        ("root", "r")
    );
    assert_eq!(
        recognise(
            "blog:1",
            &environment(&[("MYSQL_PASSWORD", "an application's")])
        ),
        None
    );
    assert_eq!(by_name("postgresql-wiki-example.org"), Some(Postgres));
    assert_eq!(by_name("mariadb-my-blog-example.org"), Some(Mariadb));
    assert_eq!(by_name("mongodb-chat-example.org"), Some(Mongo));
    assert_eq!(by_name("mysql-backup"), None);
    assert_eq!(by_name("redis-blog-example.org"), None);
}
