//! Dumps of real databases and their restores: everything that a database holds, and what must
//! not pass for a dump. Needs the database images of `tests/images/`.

mod engine_lab;

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_lab::RealLab;
use futures_util::StreamExt as _;
use summoner::backup::error::BackupError;
use summoner::backup::source::{self, IDLE, Look, Source, Verdict, exec_spec};
use summoner::database::{self, Access, DatabaseEngine, Format, Invocation, What};
use summoner::engine::{Container, ContainerSpec, Engine, ExecEnd, MountKind, MountSpec};
use summoner::secret::Secret;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

/// A database server of the test's own.
struct Server {
    _lab: RealLab,
    engine: Arc<dyn Engine>,
    container: Container,
    kind: DatabaseEngine,
    access: Access,
    _pipes: TempDir,
}

impl Server {
    /// Starts one and waits until it answers. With `pipes` dumps can travel through a named pipe.
    async fn start(image: &str, kind: DatabaseEngine, pipes: bool) -> Self {
        let lab = RealLab::new();
        let folder = tempfile::tempdir().unwrap();
        let (user, variables): (&str, &[&str]) = match kind {
            DatabaseEngine::Postgres => ("postgres", &["POSTGRES_PASSWORD"]),
            DatabaseEngine::Mysql => ("root", &["MYSQL_ROOT_PASSWORD"]),
            DatabaseEngine::Mariadb => ("root", &["MARIADB_ROOT_PASSWORD"]),
            DatabaseEngine::Mongo => ("root", &["MONGO_INITDB_ROOT_PASSWORD"]),
        };
        let mut spec = ContainerSpec {
            image: image.to_owned(),
            labels: lab.labels(),
            restart: "no".into(),
            init: true,
            ..ContainerSpec::default()
        };
        for variable in variables {
            spec.environment
                .insert((*variable).to_owned(), "hunter2".to_owned());
        }
        if kind == DatabaseEngine::Mongo {
            spec.environment
                .insert("MONGO_INITDB_ROOT_USERNAME".into(), user.into());
        }
        if pipes {
            spec.mounts.push(MountSpec {
                kind: MountKind::Bind,
                source: folder.path().display().to_string(),
                target: source::PIPES.to_owned(),
                read_only: false,
            });
        }
        let id = lab.create(kind.name(), &spec).await;
        lab.docker.start(&id).await.unwrap();
        let container = lab.docker.inspect(&id).await.unwrap();
        let database = match kind {
            DatabaseEngine::Postgres => "postgres",
            DatabaseEngine::Mongo => "admin",
            _ => "mysql",
        };
        let server = Self {
            engine: Arc::new(lab.docker.clone()),
            _lab: lab,
            container,
            kind,
            access: Access {
                user: user.to_owned(),
                password: Some(Secret::new("hunter2")),
                database: database.to_owned(),
            },
            _pipes: folder,
        };
        server.ready().await;
        server
    }

    /// The first start runs a server that only initialises: the real one listens on the network too.
    async fn ready(&self) {
        let over_network = match self.kind {
            DatabaseEngine::Postgres => "psql -h 127.0.0.1 -U postgres -c 'select 1'",
            DatabaseEngine::Mysql => "mysql -h 127.0.0.1 -u root -e 'select 1'",
            DatabaseEngine::Mariadb => "mariadb -h 127.0.0.1 -u root -e 'select 1'",
            DatabaseEngine::Mongo => {
                "mongosh --quiet --norc --host $(hostname) --eval 'db.version()'"
            }
        };
        let password = Secret::new("hunter2");
        let ask = Invocation {
            command: ["sh", "-c", over_network].map(str::to_owned).into(),
            environment: ["PGPASSWORD", "MYSQL_PWD"]
                .map(|name| (name.to_owned(), password.clone()))
                .into(),
            ..Invocation::default()
        };
        let begin = Instant::now();
        while let Err(error) = source::ask_text(self.engine.as_ref(), &self.container, &ask).await {
            assert!(begin.elapsed() < Duration::from_mins(5), "{error}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn ask(&self, invocation: &Invocation) -> String {
        source::ask_text(self.engine.as_ref(), &self.container, invocation)
            .await
            .unwrap()
    }

    async fn sql(&self, database: &str, statements: &str) -> String {
        self.ask(&database::of(self.kind).run(&self.access, database, statements))
            .await
    }

    async fn look(&self) -> Look {
        source::look(
            self.engine.as_ref(),
            &self.container,
            self.kind,
            &self.access,
        )
        .await
        .unwrap()
    }

    async fn begin(
        &self,
        look: &Look,
        what: What<'_>,
        idle: Duration,
    ) -> Result<Source, BackupError> {
        Source::start(
            &self.engine,
            &self.container,
            &self.access,
            look,
            what,
            idle,
        )
        .await
    }

    async fn dump(&self, look: &Look, what: What<'_>) -> (Vec<u8>, Format, Verdict) {
        let source = self.begin(look, what, IDLE).await.unwrap();
        let format = source.format;
        let (bytes, verdict) = drain(source).await.unwrap();
        (bytes, format, verdict)
    }

    /// Runs it with these bytes as its input.
    async fn feed(&self, invocation: &Invocation, bytes: &[u8]) -> ExecEnd {
        let mut stream = self
            .engine
            .exec_stream(&self.container.id, &exec_spec(invocation, true))
            .await
            .unwrap();
        let mut input = stream.input.take().unwrap();
        let first = invocation.input.as_ref().map_or("", Secret::expose);
        let all = [first.as_bytes(), bytes].concat();
        let writer = tokio::spawn(async move {
            let _ = input.write_all(&all).await;
            let _ = input.shutdown().await;
        });
        while let Some(piece) = stream.output.next().await {
            piece.unwrap();
        }
        let end = stream.end.await.unwrap();
        writer.await.unwrap();
        end
    }

    async fn restore(&self, format: Format, what: What<'_>, bytes: &[u8]) {
        let ways = database::of(self.kind);
        let softened;
        let bytes = if what == What::Globals {
            softened = ways.soften_globals(std::str::from_utf8(bytes).unwrap());
            softened.as_bytes()
        } else {
            bytes
        };
        if let What::Database(database) = what
            && let Some(clear) = ways.clear(&self.access, format, database)
        {
            self.ask(&clear).await;
        }
        let restore = ways.restore(&self.access, format, what);
        let end = self.feed(&restore, bytes).await;
        assert_eq!(end.code, 0, "{what:?}: {}", end.stderr);
    }

    /// Rows of every table.
    async fn counts(&self, database: &str) -> std::collections::BTreeMap<String, u64> {
        let ways = database::of(self.kind);
        let answer = self.ask(&ways.count(&self.access, database)).await;
        ways.counts(answer.as_bytes()).unwrap()
    }
}

async fn drain(mut source: Source) -> Result<(Vec<u8>, Verdict), BackupError> {
    let mut bytes = Vec::new();
    while let Some(piece) = source.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((bytes, source.finish().await?))
}

/// Dumps everything of one server into another, through the way that is expected.
async fn move_all(from: &Server, to: &Server, transport: &str) -> Look {
    let look = from.look().await;
    for what in database::of(from.kind).parts(&look.facts) {
        let (bytes, format, verdict) = from.dump(&look, what).await;
        assert!(!bytes.is_empty());
        let own = from.kind == DatabaseEngine::Mysql && what == What::Globals;
        assert_eq!(
            verdict.transport,
            if own { "stream" } else { transport },
            "{what:?}"
        );
        assert!(!verdict.command.join(" ").contains("hunter2"));
        to.restore(format, what, &bytes).await;
    }
    look
}

const POSTGRES: &str = r#"
CREATE ROLE reader LOGIN PASSWORD 'read-only';
CREATE ROLE "Odd ""role""" NOLOGIN;
CREATE DATABASE "it's ""odd""=x" OWNER reader;
CREATE DATABASE empty;
CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C';
"#;

const POSTGRES_TYPES: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE every (
  id serial PRIMARY KEY, big bigint, exact numeric(30, 10), real8 double precision, words text, raw bytea, flag boolean,
  day date, moment timestamptz, span interval, doc json, tree jsonb, list int[], key uuid, address inet, vector tsvector,
  range int4range, mood mood, bits bit(5), place point, money money, nothing text);
INSERT INTO every (big, exact, real8, words, raw, flag, day, moment, span, doc, tree, list, key, address, vector, range, mood, bits, place, money)
SELECT i * 9007199254740993, i / 3.0, CASE i % 4 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE i / 7.0 END::float8,
  E'line\nof \\ "words" \t ü€𝄞 ' || i, decode(repeat(lpad(to_hex(i % 256), 2, '0'), 40), 'hex'), i % 2 = 0,
  date '0001-01-01' + i * 700, timestamptz '2026-03-29 02:30:00+01' + i * interval '1 hour', i * interval '1 month 3 days',
  json_build_object('i', i), jsonb_build_object('ü', i), ARRAY[i, NULL, -i], md5(i::text)::uuid, '2001:db8::1'::inet,
  to_tsvector('simple', 'a b ' || i), int4range(i, i + 5), 'happy', B'10101', point(i, -i), i::money
FROM generate_series(1, 500) i;
CREATE TABLE "Größe ""x""" (n int);
INSERT INTO "Größe ""x""" SELECT generate_series(1, 30);
CREATE TABLE nothing_in_it (n int);
CREATE VIEW happy AS SELECT id, words FROM every WHERE mood = 'happy';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.nothing := 'stamped'; RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT ON every FOR EACH ROW EXECUTE FUNCTION stamp();
GRANT SELECT ON every TO reader;
SELECT lo_from_bytea(4242, decode(repeat('00ff0a0d', 20000), 'hex'));
"#;

const POSTGRES_DIGEST: &str = "SELECT (SELECT md5(string_agg(every::text, '|' ORDER BY id)) FROM every) || (SELECT sum(n) FROM \"Größe \"\"x\"\"\") \
  || (SELECT count(*) FROM happy) || md5(lo_get(4242)) || has_table_privilege('reader', 'every', 'SELECT') \
  || (SELECT string_agg(tgname, ',') FROM pg_trigger WHERE NOT tgisinternal) || nextval('every_id_seq')";

async fn postgres(image: &str, pipes: bool, format: Format) {
    let from = Server::start(image, DatabaseEngine::Postgres, pipes).await;
    from.sql("postgres", POSTGRES).await;
    let odd = "it's \"odd\"=x";
    from.sql(odd, POSTGRES_TYPES).await;
    // Bytes that are no UTF-8: the name of a table and its rows.
    from.sql("latin", "SET client_encoding = 'UTF8'; CREATE TABLE \"café\" (w text); INSERT INTO \"café\" SELECT 'naïve ' || i FROM generate_series(1, 50) i;").await;
    let counts = from.counts(odd).await;
    assert_eq!(counts["public.every"], 500);

    let to = Server::start("postgres:17.12", DatabaseEngine::Postgres, false).await;
    let look = move_all(&from, &to, if pipes { "fifo" } else { "stream" }).await;
    assert_eq!(look.facts.databases, ["empty", odd, "latin", "postgres"]);
    let (_, made, verdict) = from.dump(&look, What::Database(odd)).await;
    assert_eq!(made, format);
    assert!(verdict.end_check.contains(if format == Format::CustomPg {
        "pg_restore"
    } else {
        "complete"
    }));

    assert_eq!(to.counts(odd).await, counts);
    // The sequence moves with each look.
    assert_eq!(
        to.sql(odd, POSTGRES_DIGEST).await,
        from.sql(odd, POSTGRES_DIGEST).await
    );
    to.sql(odd, "INSERT INTO every (words) VALUES ('new')")
        .await;
    assert_eq!(
        to.sql(odd, "SELECT nothing FROM every ORDER BY id DESC LIMIT 1")
            .await,
        "stamped\n"
    );
    let latin = "SET client_encoding = 'UTF8'; SELECT md5(string_agg(w, ',' ORDER BY w)), count(*) FROM \"café\"";
    assert_eq!(to.sql("latin", latin).await, from.sql("latin", latin).await);
    assert!(to.counts("empty").await.is_empty());
    let roles = "SELECT string_agg(rolname || rolcanlogin || coalesce(rolpassword, ''), ',' ORDER BY rolname) FROM pg_authid WHERE rolname IN ('reader', 'Odd \"role\"')";
    assert_eq!(
        to.sql("postgres", roles).await,
        from.sql("postgres", roles).await
    );

    // A password of today, and whether it works over the network.
    let ways = database::of(DatabaseEngine::Postgres);
    to.ask(&ways.set_password(&to.access, "reader", &Secret::new("it's \\new")))
        .await;
    let sign_in = Invocation {
        command: [
            "psql",
            "-h",
            "127.0.0.1",
            "-U",
            "reader",
            "-d",
            "empty",
            "-Atc",
            "SELECT current_user",
        ]
        .map(str::to_owned)
        .into(),
        environment: [("PGPASSWORD".to_owned(), Secret::new("it's \\new"))].into(),
        ..Invocation::default()
    };
    assert_eq!(to.ask(&sign_in).await, "reader\n");
}

#[tokio::test]
async fn postgres_17_comes_back_as_it_was() {
    postgres("postgres:17.12", true, Format::CustomPg).await;
}

#[tokio::test]
async fn postgres_15_comes_back_in_17() {
    postgres("postgres:15.20", false, Format::Sql).await;
}

const MYSQL: &str = r"
CREATE DATABASE app CHARACTER SET latin1;
CREATE DATABASE `odd ``name-` CHARACTER SET utf8mb4;
CREATE DATABASE hollow;
CREATE USER 'reader'@'%' IDENTIFIED BY 'read-only';
GRANT SELECT ON app.* TO 'reader'@'%';
USE app;
CREATE TABLE every (
  id INT AUTO_INCREMENT PRIMARY KEY, big BIGINT UNSIGNED, exact DECIMAL(30, 10), real8 DOUBLE, words TEXT CHARACTER SET utf8mb4,
  old VARCHAR(50) CHARACTER SET latin1, raw LONGBLOB, fixed BINARY(4), day DATE, moment DATETIME(6), stamp TIMESTAMP NULL, year YEAR,
  doc JSON, mood ENUM('sad', 'happy'), flags SET('a', 'b'), bits BIT(5), place POINT, nothing TEXT) CHARACTER SET utf8mb4;
SET SESSION cte_max_recursion_depth = 5000;
INSERT INTO every (big, exact, real8, words, old, raw, fixed, day, moment, stamp, year, doc, mood, flags, bits, place)
SELECT 18446744073709551615 - n, n / 3, n / 7, CONCAT('line\nof ''words'' \\ ü€𝄞 ', n), 'caf\u00e9', UNHEX(REPEAT(HEX(n MOD 256), 40)), UNHEX('00FF0A27'),
  '2026-03-29', '2026-03-29 02:30:00.123456', '2026-07-01 12:00:00', 2026, JSON_OBJECT('n', n), 'happy', 'a,b', b'10101', ST_GeomFromText('POINT(1 2)')
FROM numbers;
CREATE TABLE `Größe ``x` (n INT);
INSERT INTO `Größe ``x` VALUES (1), (2), (3);
CREATE TABLE nothing_in_it (n INT);
CREATE VIEW happy AS SELECT id, words FROM every WHERE mood = 'happy';
CREATE TRIGGER stamp BEFORE INSERT ON every FOR EACH ROW SET NEW.nothing = 'stamped';
CREATE PROCEDURE twice(IN n INT) SELECT n * 2;
CREATE FUNCTION thrice(n INT) RETURNS INT DETERMINISTIC RETURN n * 3;
CREATE EVENT later ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO DELETE FROM nothing_in_it;
";

async fn mysql(image: &str, kind: DatabaseEngine, pipes: bool) {
    let from = Server::start(image, kind, pipes).await;
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7)";
    let numbers = format!("{digits} a, {digits} b, {digits} c");
    let numbers = format!("(SELECT a.d + 8 * b.d + 64 * c.d + 1 AS n FROM {numbers}) numbers");
    let mut text = MYSQL.replace("FROM numbers", &format!("FROM {numbers}"));
    text = text.replace("SET SESSION cte_max_recursion_depth = 5000;\n", "");
    from.sql("mysql", &text).await;
    let to = Server::start(image, kind, false).await;
    let look = move_all(&from, &to, if pipes { "fifo" } else { "stream" }).await;
    assert_eq!(look.facts.databases, ["app", "hollow", "odd `name-"]);
    let counts = from.counts("app").await;
    assert_eq!(
        (counts["every"], counts["Größe `x"], counts["nothing_in_it"]),
        (512, 3, 0)
    );
    assert_eq!(to.counts("app").await, counts);
    assert!(to.counts("hollow").await.is_empty());
    for question in [
        "CHECKSUM TABLE every, `Größe ``x`, nothing_in_it",
        "SELECT COUNT(*), SHA2(GROUP_CONCAT(words ORDER BY id), 256) FROM happy",
        "CALL twice(21); SELECT thrice(14)",
        "SELECT EVENT_NAME, STARTS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'app'",
        "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ('app', 'hollow') ORDER BY 1",
        "SHOW GRANTS FOR 'reader'@'%'",
        "SHOW CREATE TABLE every",
    ] {
        let before = from.sql("app", question).await;
        assert!(!before.trim().is_empty(), "{question}");
        assert_eq!(to.sql("app", question).await, before, "{question}");
    }
    to.sql("app", "INSERT INTO every (words) VALUES ('new')")
        .await;
    assert_eq!(
        to.sql("app", "SELECT nothing FROM every ORDER BY id DESC LIMIT 1")
            .await,
        "stamped\n"
    );
    // The users came with their passwords; and a password of today works.
    let client = if kind == DatabaseEngine::Mariadb {
        "mariadb"
    } else {
        "mysql"
    };
    let sign_in = |password: &str| Invocation {
        command: [
            client,
            "-h",
            "127.0.0.1",
            "-u",
            "reader",
            "-BNe",
            "SELECT COUNT(*) FROM app.nothing_in_it",
        ]
        .map(str::to_owned)
        .into(),
        environment: [("MYSQL_PWD".to_owned(), Secret::new(password))].into(),
        ..Invocation::default()
    };
    assert_eq!(to.ask(&sign_in("read-only")).await, "0\n");
    to.ask(&database::of(kind).set_password(&to.access, "reader", &Secret::new("it's \\new")))
        .await;
    assert_eq!(to.ask(&sign_in("it's \\new")).await, "0\n");
}

#[tokio::test]
async fn mariadb_comes_back_as_it_was() {
    mysql("mariadb:11.8.6", DatabaseEngine::Mariadb, true).await;
}

#[tokio::test]
async fn mysql_comes_back_as_it_was() {
    mysql("mysql:9.7.4", DatabaseEngine::Mysql, false).await;
}

/// The server and its tools are stand-ins: see tests/images.
#[tokio::test]
async fn mongo_standin_comes_back_as_it_was() {
    let from = Server::start("mongo:8.0.26", DatabaseEngine::Mongo, true).await;
    from.sql(
        "app",
        "db.note.insertMany([{n: 1, words: 'ü'}, {n: 2, deep: {list: [1, 'two']}}]).acknowledged",
    )
    .await;
    let to = Server::start("mongo:8.0.26", DatabaseEngine::Mongo, false).await;
    let look = move_all(&from, &to, "fifo").await;
    assert!(!look.facts.replica_set);
    let counts = from.counts("app").await;
    assert_eq!(counts["note"], 2);
    assert_eq!(to.counts("app").await, counts);
}

#[tokio::test]
async fn what_is_no_dump_is_an_error() {
    let server = Server::start("postgres:17.12", DatabaseEngine::Postgres, true).await;
    server
        .sql(
            "postgres",
            "CREATE TABLE big AS SELECT i, md5(i::text) AS words FROM generate_series(1, 200000) i",
        )
        .await;
    let look = server.look().await;
    let database = What::Database("postgres");

    // f05: what reads the archive while it is made takes a whole one and refuses one cut anywhere.
    let (bytes, _, verdict) = server.dump(&look, database).await;
    assert_eq!(verdict.transport, "fifo");
    let reader = Invocation {
        command: ["pg_restore", "--file=/dev/null"].map(str::to_owned).into(),
        ..Invocation::default()
    };
    assert_eq!(server.feed(&reader, &bytes).await.code, 0);
    for cut in (0..16)
        .map(|i| bytes.len() * i / 16)
        .chain([bytes.len() - 1])
    {
        let end = server.feed(&reader, &bytes[..cut]).await;
        assert_ne!(end.code, 0, "cut at {cut} of {}", bytes.len());
    }

    // f02: the database ends the tool's session in the middle.
    let mut source = server.begin(&look, database, IDLE).await.unwrap();
    source.next().await.unwrap().unwrap();
    server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_dump'").await;
    let error = drain(source).await.unwrap_err().to_string();
    assert!(
        error.contains("`pg_dump` in `") && error.contains("ended with 1"),
        "{error}"
    );
    assert!(!error.contains("hunter2"));

    // f20: a table that is locked; the tool is ended when its time is up.
    let access = server.access.clone();
    let (engine, container) = (server.engine.clone(), server.container.clone());
    let holder = tokio::spawn(async move {
        let sleep = "BEGIN; LOCK TABLE big; SELECT pg_sleep(60)";
        let locked = database::of(DatabaseEngine::Postgres).run(&access, "postgres", sleep);
        let _ = source::ask_text(engine.as_ref(), &container, &locked).await;
    });
    let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted";
    let begin = Instant::now();
    while server.sql("postgres", held).await == "0\n" {
        assert!(begin.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let source = server
        .begin(&look, database, Duration::from_secs(2))
        .await
        .unwrap();
    let error = drain(source).await.unwrap_err().to_string();
    assert!(error.contains("was silent for 2s"), "{error}");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'";
    let begin = Instant::now();
    while server.sql("postgres", sessions).await != "0\n" {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "the tool goes with its stream"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    holder.abort();

    // f01: a tool that cannot even begin; and a container without any.
    let missing = server
        .begin(&look, What::Database("nowhere"), IDLE)
        .await
        .unwrap();
    let error = drain(missing).await.unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
    let error = source::look(
        server.engine.as_ref(),
        &server.container,
        DatabaseEngine::Mongo,
        &server.access,
    )
    .await
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has none of the tools that dump: `mongodump`"),
        "{error}"
    );
}
