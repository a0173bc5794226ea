//! Snapshots made by hand, byte by byte, as `dump` and `backup` make them: what a restore takes must
//! not depend on who wrote it.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use summoner::backup::cold::{archive, tree::Watch};
use summoner::backup::definition::{self, Definition as Files};
use summoner::backup::destination::Target;
use summoner::backup::manifest::{
    DatabaseRecord, Definition, Kind, Manifest, Outage, Role, SnapshotId, Status,
};
use summoner::backup::writer::{Compression, SnapshotWriter};
use summoner::config::environment::Encryption;
use summoner::database::Format;
use summoner::events::Silent;
use summoner::storage::local::Dir;

use crate::engine_support::{Project, text};

/// The destination of the tests' configurations: below the project's folder.
pub const DESTINATIONS: &str = "destinations: {disk: {dir: ./backups}}\nbackup: {to: [disk]}\n";

/// A snapshot in the making.
pub struct Snapshot<'a> {
    pub project: &'a Project,
    pub minion: &'a str,
    pub kind: Kind,
    pub encryption: Option<Encryption>,
    objects: Vec<(String, Role, String, Vec<u8>)>,
    databases: Vec<DatabaseRecord>,
}

impl<'a> Snapshot<'a> {
    pub fn new(project: &'a Project, minion: &'a str, kind: Kind) -> Self {
        Self {
            project,
            minion,
            kind,
            encryption: None,
            objects: Vec::new(),
            databases: Vec::new(),
        }
    }

    fn record(&mut self, engine: &str, database: &str, object: &str, tables: Option<u64>) {
        self.databases.push(DatabaseRecord {
            service: "db".into(),
            engine: engine.into(),
            database: database.into(),
            object: format!("{object}.zst"),
            server_version: "1".into(),
            client_version: "1".into(),
            command: vec!["dump".into()],
            exit_code: 0,
            end_check: "by hand".into(),
            consistency: "snapshot".into(),
            transport: "stream".into(),
            tables,
        });
    }

    /// A database of `PostgreSQL`, plain, with the roles of its server.
    pub fn postgres(mut self, container: &str, database: &str, tables: Option<u64>) -> Self {
        let globals = exec(
            container,
            &["pg_dumpall", "-U", "postgres", "--globals-only"],
        );
        self.record("postgres", "", "globals.sql", None);
        self.add("globals.sql", Role::Globals, "", globals);
        let dump = exec(
            container,
            &["pg_dump", "--create", "-U", "postgres", database],
        );
        let object = format!("{database}.sql");
        self.record("postgres", database, &object, tables);
        self.add(&object, Role::Database, database, dump);
        self
    }

    /// The same in the tool's own format.
    pub fn postgres_custom(mut self, container: &str, database: &str) -> Self {
        let dump = exec(container, &["pg_dump", "-Fc", "-U", "postgres", database]);
        let object = format!("{database}.dump");
        self.record("postgres", database, &object, None);
        self.databases
            .last_mut()
            .unwrap()
            .object
            .clone_from(&object);
        self.add(&object, Role::Database, database, dump);
        self
    }

    /// A database of `MariaDB`.
    pub fn mariadb(mut self, container: &str, database: &str, tables: Option<u64>) -> Self {
        let script = format!(
            "MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb-dump -uroot --single-transaction --routines --triggers --events --hex-blob --databases {database}"
        );
        let dump = exec(container, &["sh", "-c", &script]);
        let object = format!("{database}.sql");
        self.record("mariadb", database, &object, tables);
        self.add(&object, Role::Database, database, dump);
        self
    }

    /// A folder as a volume; nothing may write into it.
    pub fn volume(mut self, name: &str, folder: &Path) -> Self {
        let mut tar = Vec::new();
        archive::pack(folder, &Watch::default(), &mut |piece: Bytes| {
            tar.extend_from_slice(&piece);
            true
        })
        .unwrap();
        self.add(&format!("{name}.tar"), Role::Volume, name, tar);
        self
    }

    pub fn encrypted(mut self, encryption: Encryption) -> Self {
        self.encryption = Some(encryption);
        self
    }

    /// Changes the bytes of the last object before they are stored.
    pub fn change(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.objects.last_mut().unwrap().3);
        self
    }

    fn add(&mut self, name: &str, role: Role, of: &str, content: Vec<u8>) {
        self.objects.push((name.into(), role, of.into(), content));
    }

    /// Writes it into `./backups`; its manifest.
    pub fn write(self) -> Manifest {
        self.write_to(&self.project.path("backups"))
    }

    pub fn write_to(&self, folder: &Path) -> Manifest {
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(self.store(folder))
    }

    async fn store(&self, folder: &Path) -> Manifest {
        let opened = summoner::project::Project::open(&self.project.path("config.yml")).unwrap();
        let now = Timestamp::now();
        let id = SnapshotId::new(now);
        let target = Arc::new(target(folder, self.encryption.clone()));
        let name = &self.project.name;
        let writer = SnapshotWriter::begin(
            vec![target],
            name,
            self.minion,
            self.kind,
            &id,
            Arc::new(Silent),
        );
        let files = Files::of(&opened, self.minion, "", self.encryption.is_some()).unwrap();
        let definition = (
            definition::NAME.to_owned(),
            Role::Definition,
            "definition".to_owned(),
            files.to_tar(),
        );
        for (object, role, of, content) in self.objects.iter().chain([&definition]) {
            let compression = if Format::of_object(object).is_some_and(Format::is_compressed) {
                Compression::None
            } else {
                Compression::Zstd
            };
            let mut out = writer.object(object, *role, of, compression).await;
            for piece in content.chunks(1 << 16) {
                out.write(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            out.finish().await.unwrap();
        }
        let minion = &opened.minions[self.minion];
        let manifest = Manifest {
            schema_version: 1,
            id,
            run: "by-hand".into(),
            project: name.clone(),
            minion: self.minion.into(),
            kind: self.kind,
            status: Status::Complete,
            started: now,
            finished: now,
            slot: now,
            timezone: "UTC".into(),
            summoner: "0".into(),
            definition: Definition {
                template: minion.manifest.name.clone(),
                version: minion.manifest.version.clone(),
                images: BTreeMap::new(),
                ..Definition::default()
            },
            databases: self.databases.clone(),
            objects: Vec::new(),
            outage: (self.kind == Kind::Backup).then(|| Outage {
                method: "copy".into(),
                stopped: Vec::new(),
                were_stopped: Vec::new(),
                downtime_ms: 0,
                copy_ms: 0,
            }),
            remarks: Vec::new(),
        };
        let mut outcomes = writer.commit(manifest).await;
        outcomes.remove(0).result.unwrap()
    }
}

/// A folder as a destination.
pub fn target(folder: &Path, encryption: Option<Encryption>) -> Target {
    Target {
        name: "disk".into(),
        storage: Arc::new(Dir::new(folder)),
        encryption,
    }
}

/// What a command in a container writes; it must succeed.
pub fn exec(container: &str, command: &[&str]) -> Vec<u8> {
    let output = Command::new("timeout")
        .args(["60", "docker", "exec", container])
        .args(command)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{container}: {}: {}",
        command.join(" "),
        text(&output.stderr)
    );
    output.stdout
}

/// The answer to SQL in a container of `PostgreSQL`.
pub fn psql(container: &str, database: &str, sql: &str) -> String {
    let out = exec(
        container,
        &[
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            database,
            "-c",
            sql,
        ],
    );
    text(&out).trim().to_owned()
}

/// The answer to SQL in a container of `MariaDB`.
pub fn mysql(container: &str, database: &str, sql: &str) -> String {
    let script = format!("MYSQL_PWD=$MARIADB_ROOT_PASSWORD exec mariadb -uroot -BN {database}");
    let out = exec(container, &["sh", "-c", &format!("{script} -e \"{sql}\"")]);
    text(&out).trim().to_owned()
}

/// Names of everything in the data folders of an instance, hidden ones too.
pub fn data_folders(project: &Project, instance: &str) -> Vec<String> {
    let mut names = Vec::new();
    for root in ["data", "data/database"] {
        let Ok(entries) = std::fs::read_dir(project.path(root).join(instance)) else {
            continue;
        };
        names.extend(
            entries
                .flatten()
                .map(|e| e.file_name().into_string().unwrap()),
        );
    }
    names.sort();
    names
}

/// A minion with a page, a volume and a database, as `WordPress` is: the page needs the database.
pub fn blog(project: &Project) {
    project.write(
        "minions/blog/minion.yml",
        "name: blog\ntitle: Blog\nsummary: a page and its database\ncategory: publishing\n\
         website: https://example.org\nversion: \"1.0.0\"\n\
         requires: {memory: 64M, disk: 1M}\n\
         parameters:\n  db_password: {type: secret, length: 20}\n  db_root_password: {type: secret, length: 20}\n\
         expose: [{service: app, port: 80, health: /}]\n\
         databases:\n  - service: db\n    engine: mariadb\n    name: blog\n    user: blog\n    password: db_password\n    \
         admin: {user: root, password: db_root_password}\n    uid: 999\n    gid: 999\n    mode: \"0700\"\n\
         volumes: [{name: html, uid: 33, gid: 33, mode: \"0755\"}]\n\
         asserts:\n  - {sql: \"select count(*) > 0 from posts\"}\n",
    );
    project.write(
        "minions/blog/compose.yml.j2",
        "services:\n  app:\n    image: summoner-test/tiny:{{ version }}\n    init: true\n    \
         depends_on: {db: {condition: service_healthy}}\n    \
         command: [\"sh\", \"-c\", \"mkdir -p /srv && echo hello > /srv/index.html && exec httpd -f -p 80 -h /srv\"]\n    \
         environment: {DB_PASSWORD: \"{{ db_password }}\"}\n    \
         volumes: [\"{{ volume('html') }}:/html\"]\n    mem_limit: 32m\n    stop_grace_period: 1s\n    \
         healthcheck: {test: [CMD, wget, -q, -O, /dev/null, \"http://127.0.0.1/\"], interval: 1s, timeout: 3s, retries: 5, start_period: 10s}\n  \
         db:\n    image: mariadb:11.8.6\n    init: true\n    \
         environment: {MARIADB_DATABASE: blog, MARIADB_USER: blog, MARIADB_PASSWORD: \"{{ db_password }}\", MARIADB_ROOT_PASSWORD: \"{{ db_root_password }}\", MARIADB_AUTO_UPGRADE: \"1\"}\n    \
         volumes: [\"{{ database('db') }}:/var/lib/mysql\"]\n    mem_limit: 512m\n    stop_grace_period: 1m\n    \
         healthcheck:\n      test: [CMD-SHELL, 'MYSQL_PWD=\"$$MARIADB_PASSWORD\" mariadb -h 127.0.0.1 -u \"$$MARIADB_USER\" -e \"select 1\" blog >/dev/null']\n      \
         interval: 1s\n      timeout: 5s\n      retries: 10\n      start_period: 120s\n",
    );
}
