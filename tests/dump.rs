//! What becomes of dumps when servers, destinations and other runs behave as the test says. The
//! databases are made up; real ones are in `engine_dump.rs`.

mod backup_support;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use backup_support::{Side, body, read_object, to_recipient};
use bytes::Bytes;
use summoner::backup::discover::Server;
use summoner::backup::dump::{
    self, Dumper, Files, Look, MinionReport, Outcome, Run, Subject, Task,
};
use summoner::backup::error::BackupError;
use summoner::backup::manifest::{DatabaseRecord, Definition, MANIFEST, Manifest, Role, Status};
use summoner::backup::writer::{Compression, ObjectWriter};
use summoner::clock::SystemClock;
use summoner::database::{Access, DatabaseEngine};
use summoner::engine::{Container, Health, RunState};
use summoner::events::Silent;
use summoner::state::Paths;
use summoner::state::lock::Lock;
use tokio::sync::{Notify, watch};

/// Databases made up.
struct Fake {
    /// Plain bytes of each database, by name.
    databases: BTreeMap<&'static str, usize>,
    /// This one breaks off in the middle.
    breaks: Option<&'static str>,
    /// This one never ends, after it has told so.
    hangs: Option<(&'static str, Arc<Notify>)>,
}

impl Fake {
    fn of(databases: &[(&'static str, usize)]) -> Self {
        Self {
            databases: databases.iter().copied().collect(),
            breaks: None,
            hangs: None,
        }
    }
}

#[async_trait]
impl Dumper for Fake {
    async fn look(&self, _: &Server) -> Result<Look, BackupError> {
        let tasks = self.databases.keys().map(|name| Task {
            database: (*name).to_owned(),
            object: format!("{name}.sql"),
            role: Role::Database,
            compression: Compression::Zstd,
        });
        Ok(Look {
            tasks: tasks.collect(),
        })
    }

    async fn dump(
        &self,
        server: &Server,
        task: &Task,
        object: &mut ObjectWriter,
    ) -> Result<DatabaseRecord, BackupError> {
        let data = body(self.databases[task.database.as_str()]);
        for (index, piece) in data.chunks(100_000).enumerate() {
            if index > 0 && self.breaks == Some(task.database.as_str()) {
                return Err(BackupError::Damaged("the dump ends in the middle".into()));
            }
            object.write(Bytes::copy_from_slice(piece)).await?;
        }
        if let Some((name, told)) = &self.hangs
            && *name == task.database
        {
            told.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(DatabaseRecord {
            service: server.service.clone(),
            engine: server.engine.name().to_owned(),
            database: task.database.clone(),
            object: String::new(),
            server_version: "17".into(),
            client_version: "17".into(),
            command: vec!["pg_dump".into()],
            exit_code: 0,
            end_check: "made up".into(),
            consistency: "snapshot".into(),
            transport: "stream".into(),
            tables: None,
        })
    }
}

fn container(state: RunState) -> Container {
    Container {
        id: "0".into(),
        name: "postgres-blog-example.org".into(),
        image: "postgres:17".into(),
        image_id: "sha256:0".into(),
        labels: BTreeMap::new(),
        state,
        health: Health::None,
        exit_code: None,
        oom_killed: false,
        error: String::new(),
        created: None,
        started: None,
        restarts: 0,
        environment: BTreeMap::new(),
        memory: 0,
        nano_cpus: 0,
        restart: "no".into(),
        binds: BTreeMap::new(),
        networks: BTreeMap::new(),
        ports: Vec::new(),
        stop_timeout: None,
        pid: 0,
    }
}

fn server(service: &str, state: Option<RunState>) -> Server {
    Server {
        minion: "blog".into(),
        service: service.into(),
        engine: DatabaseEngine::Postgres,
        access: Access {
            user: "postgres".into(),
            password: None,
            database: "postgres".into(),
        },
        container: state.map(container),
    }
}

struct World {
    folder: tempfile::TempDir,
    sides: Vec<Side>,
    servers: Vec<Server>,
    cancel: watch::Sender<bool>,
}

impl World {
    fn new(sides: Vec<Side>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            sides,
            servers: vec![server("db", Some(RunState::Running))],
            cancel: watch::channel(false).0,
        }
    }

    fn paths(&self) -> Paths {
        Paths::new(self.folder.path())
    }

    async fn dump(&self, fake: Fake) -> MinionReport {
        let run = Run {
            id: "run".into(),
            project: "ours".into(),
            timezone: "UTC".into(),
            paths: self.paths(),
            clock: Arc::new(SystemClock),
            events: Arc::new(Silent),
            dumper: Arc::new(fake),
            cancelled: self.cancel.subscribe(),
        };
        let subject = Subject {
            minion: "blog".into(),
            servers: self.servers.clone(),
            targets: self.sides.iter().map(|s| Arc::clone(&s.target)).collect(),
            missing: Vec::new(),
            definition: Definition::default(),
            files: Some(Files {
                open: b"open".to_vec(),
                secret: b"secret".to_vec(),
            }),
        };
        dump::run(&run, vec![subject]).await.remove(0)
    }

    fn nothing_anywhere(&self) {
        for side in &self.sides {
            let left = side.memory.objects();
            assert!(left.is_empty(), "{}: {:?}", side.target.name, left.keys());
            assert_eq!(side.memory.under_way(), 0);
        }
    }
}

/// The manifests in a destination, oldest first.
fn manifests(side: &Side) -> Vec<Manifest> {
    let objects = side.memory.objects();
    let found = objects.iter().filter(|(key, _)| key.ends_with(MANIFEST));
    found
        .map(|(_, text)| Manifest::parse(text).unwrap())
        .collect()
}

#[tokio::test]
async fn every_database_is_in_every_destination_and_secrets_only_where_they_are_encrypted() {
    let keys = tempfile::tempdir().unwrap();
    let world = World::new(vec![
        Side::plain("near"),
        Side::sealed("far", to_recipient(keys.path(), "far")),
    ]);
    let report = world
        .dump(Fake::of(&[("a", 300_000), ("b", 0), ("c", 10)]))
        .await;
    assert!(matches!(report.outcome, Outcome::Complete), "{report:?}");
    assert_eq!(report.plain_bytes(), 300_010);
    for (side, wanted) in world.sides.iter().zip(["open", "secret"]) {
        let manifest = manifests(side).remove(0);
        assert_eq!(manifest.status, Status::Complete);
        assert_eq!(manifest.objects.len(), 4);
        let named: Vec<_> = manifest
            .databases
            .iter()
            .map(|d| d.object.as_str())
            .collect();
        assert_eq!(named, ["a.sql.zst", "b.sql.zst", "c.sql.zst"]);
        let definition = manifest
            .objects
            .iter()
            .find(|o| o.role == Role::Definition)
            .unwrap();
        let content = read_object(&side.target, &manifest, definition)
            .await
            .unwrap();
        assert_eq!(content, wanted.as_bytes());
        for object in &manifest.objects {
            read_object(&side.target, &manifest, object).await.unwrap();
        }
    }
}

#[tokio::test]
async fn f16_a_destination_that_fails_has_its_own_outcome() {
    let world = World::new(vec![Side::plain("near"), Side::plain("far")]);
    world.sides[1].memory.missing(true);
    let report = world.dump(Fake::of(&[("a", 300_000)])).await;
    assert!(matches!(report.outcome, Outcome::Partial), "{report:?}");
    assert!(report.id.is_some());
    assert!(report.destinations[0].result.is_ok());
    let error = report.destinations[1].result.as_ref().unwrap_err();
    assert!(matches!(**error, BackupError::Storage(_)), "{error:?}");
    assert_eq!(manifests(&world.sides[0]).len(), 1);
}

#[tokio::test]
async fn f16_no_destination_left_is_a_failure() {
    let world = World::new(vec![Side::plain("near"), Side::plain("far")]);
    world.sides[0].memory.room(1000);
    world.sides[1].memory.unreachable(true);
    let report = world.dump(Fake::of(&[("a", 3_000_000)])).await;
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{report:?}");
    assert!(report.id.is_none());
    world.nothing_anywhere();
}

#[tokio::test]
async fn f02_a_dump_that_breaks_off_leaves_nothing_anywhere() {
    let world = World::new(vec![Side::plain("near"), Side::plain("far")]);
    let fake = Fake {
        breaks: Some("b"),
        ..Fake::of(&[("a", 10), ("b", 500_000), ("c", 10)])
    };
    let report = world.dump(fake).await;
    let Outcome::Failed(error) = &report.outcome else {
        panic!("{report:?}")
    };
    assert!(error.to_string().contains("ends in the middle"), "{error}");
    world.nothing_anywhere();
    // And the lock is free again.
    Lock::take_minion(&world.paths(), "blog", "test").unwrap();
}

#[tokio::test]
async fn f03_a_dump_much_smaller_than_those_before_it_is_suspect() {
    let world = World::new(vec![Side::plain("near")]);
    for size in [100_000, 110_000, 90_000, 100_000, 105_000] {
        let report = world.dump(Fake::of(&[("a", size)])).await;
        assert!(
            matches!(report.outcome, Outcome::Complete),
            "{size}: {report:?}"
        );
    }
    let report = world.dump(Fake::of(&[("a", 49_000)])).await;
    assert!(matches!(report.outcome, Outcome::Suspect), "{report:?}");
    assert!(
        report.remarks[0].contains("less than half"),
        "{:?}",
        report.remarks
    );
    assert_eq!(manifests(&world.sides[0])[5].status, Status::Suspect);
    let report = world.dump(Fake::of(&[("a", 60_000)])).await;
    assert!(matches!(report.outcome, Outcome::Complete), "{report:?}");
    // An empty server after full ones too.
    let report = world.dump(Fake::of(&[])).await;
    assert!(matches!(report.outcome, Outcome::Suspect), "{report:?}");
}

#[tokio::test]
async fn a_container_that_does_not_run_is_skipped_and_beside_one_that_does_it_is_suspect() {
    for state in [Some(RunState::Exited), Some(RunState::Paused), None] {
        let mut world = World::new(vec![Side::plain("near")]);
        world.servers = vec![server("db", state)];
        let report = world.dump(Fake::of(&[("a", 10)])).await;
        assert!(
            matches!(&report.outcome, Outcome::Skipped(why) if why.contains("blog/db")),
            "{report:?}"
        );
        world.nothing_anywhere();
        world.servers.push(server("other", Some(RunState::Running)));
        let report = world.dump(Fake::of(&[("a", 10)])).await;
        assert!(matches!(report.outcome, Outcome::Suspect), "{report:?}");
        assert!(
            report.remarks[0].contains("`blog/db` did not run"),
            "{:?}",
            report.remarks
        );
    }
}

#[tokio::test]
async fn f18_another_run_on_the_same_minion_is_told_with_its_pid() {
    let world = World::new(vec![Side::plain("near")]);
    let held = Lock::take_minion(&world.paths(), "blog", "backup").unwrap();
    let report = world.dump(Fake::of(&[("a", 10)])).await;
    let Outcome::Locked(holder) = &report.outcome else {
        panic!("{report:?}")
    };
    assert!(
        holder.contains(&format!("pid {}, `summoner backup`", std::process::id())),
        "{holder}"
    );
    world.nothing_anywhere();
    drop(held);
    let report = world.dump(Fake::of(&[("a", 10)])).await;
    assert!(matches!(report.outcome, Outcome::Complete), "{report:?}");
}

#[tokio::test]
async fn an_interrupted_dump_is_taken_back() {
    let world = World::new(vec![Side::plain("near")]);
    let told = Arc::new(Notify::new());
    let fake = Fake {
        hangs: Some(("b", Arc::clone(&told))),
        ..Fake::of(&[("a", 300_000), ("b", 300_000)])
    };
    let (report, ()) = tokio::join!(world.dump(fake), async {
        told.notified().await;
        world.cancel.send_replace(true);
    });
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{report:?}");
    world.nothing_anywhere();
}

/// Killed at every call of the destination: the next process sees a whole snapshot or none.
#[tokio::test]
async fn f02_killed_at_every_call_there_is_no_partial_snapshot() {
    let databases = [("a", 300_000), ("b", 10)];
    let quiet = World::new(vec![Side::plain("near")]);
    quiet.dump(Fake::of(&databases)).await;
    let calls = quiet.sides[0].memory.calls();
    for at in 1..=calls {
        let world = World::new(vec![Side::plain("near")]);
        world.sides[0].memory.die_at(at);
        let report = world.dump(Fake::of(&databases)).await;
        world.sides[0].memory.revive();
        for manifest in manifests(&world.sides[0]) {
            assert_eq!(manifest.objects.len(), 3, "call {at}");
            for object in &manifest.objects {
                read_object(&world.sides[0].target, &manifest, object)
                    .await
                    .unwrap();
            }
        }
        // Only the manifest's own call makes a snapshot, and nobody died there and was told so.
        assert!(
            report.id.is_none() || manifests(&world.sides[0]).len() == 1,
            "call {at}"
        );
    }
}
