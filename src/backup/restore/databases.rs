//! Databases of a snapshot in throwaway containers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use super::{
    BackupError, Counted, Folder, Job, RestoreError, Restored, Scratch, database_folder, open,
    passwords,
};
use crate::backup::manifest::{DatabaseRecord, ObjectRecord, Role};
use crate::backup::scratch::Running;
use crate::database::{self, Access, DatabaseEngine, Format, Invocation, What};
use crate::engine::{Engine, EngineError, ExecSpec, MountKind, MountSpec, RunState};
use crate::minion::manifest::Database;
use crate::minion::parameters::env_name;
use crate::plan::desired::Service;
use crate::secret::Secret;

/// Output of a question that is kept: more would be no answer.
const LONGEST_ANSWER: usize = 16 << 20;
/// How long a command may neither take nor give a byte. Building the indexes of a large table is
/// silent; a stream that hangs is silent too.
const SILENCE: Duration = Duration::from_hours(4);

/// Where the statements of the first start lie in a container of `MySQL` or `MariaDB`.
const INIT_FILE: &str = "/summoner-passwords.sql";
/// How long a database that comes from a backup may take until it answers at all: it may have to
/// recover first.
const ANSWERS: Duration = Duration::from_mins(5);
/// Between two questions whether it answers.
const PAUSE: Duration = Duration::from_millis(250);

/// A database that was restored and looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CheckedDatabase {
    /// Service.
    pub service: String,
    /// Database.
    pub database: String,
    /// Rows by table.
    pub tables: BTreeMap<String, u64>,
}

/// Restores the databases of a dump, service by service.
pub(super) async fn from_dump(
    job: &Job<'_>,
    scratch: &mut Scratch<'_>,
    restored: &mut Restored,
) -> Result<(), RestoreError> {
    let services: BTreeSet<&str> = job
        .manifest
        .databases
        .iter()
        .map(|d| d.service.as_str())
        .collect();
    for name in services {
        if job.without.contains(name) {
            continue;
        }
        let place = place(job, name)?;
        let records: Vec<&DatabaseRecord> = job
            .manifest
            .databases
            .iter()
            .filter(|d| d.service == name)
            .collect();
        for record in &records {
            if record.engine != place.declared.engine.name() {
                return Err(RestoreError::Invalid(format!(
                    "the snapshot has a database of {} for `{}`, which is {} today",
                    record.engine,
                    place.service.target(),
                    place.declared.engine.name()
                )));
            }
        }
        let folder = scratch.folder(place.folder).await?;
        restored
            .folders
            .push((place.folder.clone(), folder.clone()));
        let folders = [(place.folder.path.clone(), folder)].into();
        let running = scratch.start(place.service, &folders).await?;
        let access = access(place.declared, job.secrets);
        // What belongs to the server first: databases are owned by its roles.
        let (globals, databases): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|r| r.database.is_empty());
        for record in globals.into_iter().chain(databases.iter().copied()) {
            load(job, &running, &place, &access, record).await?;
        }
        reset_passwords(job, &running, &place, &access).await?;
        for record in databases {
            let found = look(job, &running, &place, &access, &record.database).await?;
            fits(&found, record)?;
            restored.checked.databases.push(found);
        }
        asserts(job, &running, &place, &access, restored).await?;
        scratch.stop(&running).await?;
    }
    Ok(())
}

/// Starts the databases of a backup on their unpacked folders.
pub(super) async fn from_backup(
    job: &Job<'_>,
    scratch: &mut Scratch<'_>,
    restored: &mut Restored,
) -> Result<(), RestoreError> {
    for declared in &job.minion.databases {
        let Ok(place) = place(job, &declared.service) else {
            continue;
        };
        let unpacked = |(live, _): &&(Folder, PathBuf)| live.path == place.folder.path;
        let Some((_, folder)) = restored.folders.iter().find(unpacked) else {
            continue;
        };
        let folders = [(place.folder.path.clone(), folder.clone())].into();
        let access = access(declared, job.secrets);
        let running = start_with_passwords(job, scratch, &place, &folders, &access).await?;
        let found = look(job, &running, &place, &access, &declared.name).await?;
        if let Some(record) = job
            .manifest
            .databases
            .iter()
            .find(|d| d.service == declared.service && d.database == declared.name)
        {
            fits(&found, record)?;
        }
        restored.checked.databases.push(found);
        asserts(job, &running, &place, &access, restored).await?;
        scratch.stop(&running).await?;
    }
    Ok(())
}

/// A database service of the minion as it is today.
struct Place<'a> {
    declared: &'a Database,
    service: &'a Service,
    folder: &'a Folder,
}

fn place<'a>(job: &'a Job<'_>, name: &str) -> Result<Place<'a>, RestoreError> {
    let declared = job.minion.databases.iter().find(|d| d.service == name);
    let (Some(declared), Some(service), Some(folder)) = (
        declared,
        job.group.services.get(name),
        database_folder(job, name),
    ) else {
        return Err(RestoreError::Invalid(format!(
            "the snapshot has databases of the service `{name}`, which `{}` does not have today",
            job.group.name
        )));
    };
    Ok(Place {
        declared,
        service,
        folder,
    })
}

/// The way in as administrator, with the password of today; as the only user where there is no other.
fn access(declared: &Database, secrets: &BTreeMap<String, Secret>) -> Access {
    let (user, parameter) = match &declared.admin {
        Some((user, parameter)) => (user.clone(), Some(parameter)),
        None => (declared.user.clone(), declared.password.as_ref()),
    };
    Access {
        user,
        password: parameter.and_then(|p| secrets.get(&env_name(p)).cloned()),
        database: declared.name.clone(),
    }
}

/// Restores one object.
async fn load(
    job: &Job<'_>,
    running: &Running,
    place: &Place<'_>,
    access: &Access,
    record: &DatabaseRecord,
) -> Result<(), RestoreError> {
    let object = object_of(job, record)?;
    let target = format!("{}/{}", running.target, record.database);
    let engine = job.context.engine.as_ref();
    let ways = database::of(place.declared.engine);
    let name = record.database.as_str();
    let reading = open(job, object).await?;
    let mut counted = Counted::new(reading, target, object.plain_bytes, &job.context.events);
    if object.role == Role::Globals {
        let doing = "restore what belongs to the server";
        let text = counted.text().await?;
        let mut step = ways.restore(access, Format::Sql, What::Globals);
        let before = step.input.take();
        let before = before.as_ref().map_or("", Secret::expose);
        step.input = Some(Secret::new(format!(
            "{before}{}",
            ways.soften_globals(&text)
        )));
        run(engine, running, step, None, doing).await?;
        return Ok(());
    }
    let format = Format::of_object(&object.name)
        .ok_or_else(|| BackupError::Damaged(format!("`{}` is no dump by its name", object.name)))?;
    let what = match (name, format) {
        ("", _) | (_, Format::Archive) => What::Server,
        (name, _) => What::Database(name),
    };
    let doing = format!("restore `{name}`");
    if let Some(step) = ways.clear(access, format, name) {
        run(engine, running, step, None, &doing).await?;
    }
    let step = ways.restore(access, format, what);
    run(engine, running, step, Some(counted), &doing).await?;
    let plain = place.declared.engine == DatabaseEngine::Postgres && format == Format::Sql;
    if plain && name == place.declared.name {
        // A plain dump does not say whose the database is.
        let owner = format!(
            "ALTER DATABASE {} OWNER TO {};\n",
            identifier(name),
            identifier(&place.declared.user)
        );
        let step = ways.run(access, "template1", &owner);
        run(engine, running, step, None, &doing).await?;
    }
    Ok(())
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Gives the users of a running database the passwords of today.
async fn reset_passwords(
    job: &Job<'_>,
    running: &Running,
    place: &Place<'_>,
    access: &Access,
) -> Result<(), RestoreError> {
    let ways = database::of(place.declared.engine);
    for (user, password) in passwords::users(place.declared, job.secrets) {
        let step = ways.set_password(access, &user, &password);
        let engine = job.context.engine.as_ref();
        let doing = format!("set the password of today for `{user}`");
        run(engine, running, step, None, &doing).await?;
    }
    Ok(())
}

/// Starts a database on folders that come from a backup. Its users get the passwords of today on
/// the way: those of then may be lost, and without them it would never be healthy.
async fn start_with_passwords(
    job: &Job<'_>,
    scratch: &mut Scratch<'_>,
    place: &Place<'_>,
    folders: &BTreeMap<PathBuf, PathBuf>,
    access: &Access,
) -> Result<Running, RestoreError> {
    let users = passwords::users(place.declared, job.secrets);
    match place.declared.engine {
        DatabaseEngine::Mysql | DatabaseEngine::Mariadb if !users.is_empty() => {
            let file = scratch.file_with(&passwords::mysql(&users))?;
            let mut service = place.service.clone();
            let mut command = service.spec.command.take().unwrap_or_default();
            command.push(format!("--init-file={INIT_FILE}"));
            service.spec.command = Some(command);
            service.spec.mounts.push(MountSpec {
                kind: MountKind::Bind,
                source: file.display().to_string(),
                target: INIT_FILE.to_owned(),
                read_only: true,
            });
            scratch.start(&service, folders).await
        }
        DatabaseEngine::Postgres if !users.is_empty() => {
            let running = scratch.launch(place.service, folders).await?;
            // Healthy it gets with the new passwords only. The socket in the container asks for none.
            let deadline = Instant::now() + ANSWERS;
            while let Err(error) = reset_passwords(job, &running, place, access).await {
                let seen = job.context.engine.inspect(&running.id).await?;
                if Instant::now() >= deadline || seen.state != RunState::Running {
                    // What it says itself is the better reason where it has ended.
                    scratch.healthy(&running).await?;
                    return Err(error);
                }
                sleep(PAUSE).await;
            }
            scratch.healthy(&running).await?;
            Ok(running)
        }
        _ => scratch.start(place.service, folders).await,
    }
}

fn object_of<'a>(
    job: &'a Job<'_>,
    record: &DatabaseRecord,
) -> Result<&'a ObjectRecord, RestoreError> {
    let same = |o: &&ObjectRecord| {
        o.name == record.object || {
            // Each destination has its own endings.
            let bare = |name: &str| {
                let name = name.strip_suffix(".age").unwrap_or(name);
                name.strip_suffix(".zst").unwrap_or(name).to_owned()
            };
            matches!(o.role, Role::Database | Role::Globals)
                && bare(&o.name) == bare(&record.object)
        }
    };
    job.manifest.objects.iter().find(same).ok_or_else(|| {
        BackupError::Damaged(format!(
            "the manifest of {} names `{}`, which is not among its objects",
            job.manifest.id, record.object
        ))
        .into()
    })
}

/// Runs a command to its proven end; its output. An exit code other than 0 is an error that shows
/// what it said.
async fn run(
    engine: &dyn Engine,
    running: &Running,
    mut step: Invocation,
    object: Option<Counted>,
    doing: &str,
) -> Result<Vec<u8>, RestoreError> {
    let input = step.input.take();
    let spec = ExecSpec {
        command: step.command,
        environment: step
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        user: step.user,
        stdin: true,
        ..ExecSpec::default()
    };
    let mut stream = engine.exec_stream(&running.id, &spec).await?;
    let sink = stream
        .input
        .take()
        .ok_or_else(|| BackupError::Other("the engine gave no standard input".into()))?;
    let mut output = Vec::new();
    let end = {
        let reading = async {
            while let Some(piece) = stream.output.next().await {
                let piece = piece?;
                if output.len() < LONGEST_ANSWER {
                    output.extend_from_slice(&piece);
                }
            }
            Ok::<_, EngineError>(())
        };
        let feeding = feed(sink, input, object);
        tokio::pin!(reading);
        tokio::pin!(feeding);
        let mut fed = false;
        loop {
            tokio::select! {
                // A source that breaks off must not look like the end of the script: the command
                // goes with the stream, and never sees an end.
                done = &mut feeding, if !fed => {
                    done?;
                    fed = true;
                }
                read = &mut reading => {
                    read?;
                    break;
                }
            }
        }
        let end = stream.end.await?;
        if end.code == 0 && !fed {
            // It had enough before the end; whether what was stored is whole shows at the end only.
            feeding.await?;
        }
        end
    };
    if end.code == 0 {
        return Ok(output);
    }
    let said: Vec<&str> = end.stderr.lines().rev().take(8).collect();
    let mut text = format!(
        "failed to {doing} in `{}`: exit code {}",
        running.target, end.code
    );
    for line in said.into_iter().rev() {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    Err(RestoreError::Invalid(text))
}

/// Feeds a command and closes its input. One that does not want more is let be, but what feeds it is
/// read to its proven end.
async fn feed(
    mut sink: Pin<Box<dyn AsyncWrite + Send>>,
    first: Option<Secret>,
    object: Option<Counted>,
) -> Result<(), RestoreError> {
    let mut wanted = true;
    if let Some(text) = first {
        wanted = sink.write_all(text.expose().as_bytes()).await.is_ok();
    }
    if let Some(mut counted) = object {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = match counted.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => {
                    let known = counted.error.take();
                    return Err(known
                        .unwrap_or_else(|| BackupError::Other(error.to_string()))
                        .into());
                }
            };
            if wanted {
                let writing = sink.write_all(&buffer[..count]);
                wanted = tokio::time::timeout(SILENCE, writing)
                    .await
                    .is_ok_and(|written| written.is_ok());
            }
        }
    }
    let _ = sink.shutdown().await;
    Ok(())
}

/// Counts tables and rows.
async fn look(
    job: &Job<'_>,
    running: &Running,
    place: &Place<'_>,
    access: &Access,
    database: &str,
) -> Result<CheckedDatabase, RestoreError> {
    let engine = job.context.engine.as_ref();
    let ways = database::of(place.declared.engine);
    // An archive of a whole server has no name: what the minion declares is looked at.
    let database = match database {
        "" => place.declared.name.as_str(),
        name => name,
    };
    let doing = format!("count the rows of `{database}`");
    let answer = run(engine, running, ways.count(access, database), None, &doing).await?;
    let tables = ways
        .counts(&answer)
        .map_err(|e| RestoreError::Invalid(format!("failed to {doing}: {e}")))?;
    Ok(CheckedDatabase {
        service: place.declared.service.clone(),
        database: database.to_owned(),
        tables,
    })
}

/// Whether a database has the tables that its snapshot says.
fn fits(found: &CheckedDatabase, record: &DatabaseRecord) -> Result<(), RestoreError> {
    let there = found.tables.len() as u64;
    match record.tables {
        Some(wanted) if wanted != there => Err(RestoreError::Invalid(format!(
            "`{}` has {there} tables after the restore, and had {wanted} when it was dumped",
            found.database
        ))),
        _ => Ok(()),
    }
}

/// The minion's own assertions: they are made of the first database that it declares.
async fn asserts(
    job: &Job<'_>,
    running: &Running,
    place: &Place<'_>,
    access: &Access,
    restored: &mut Restored,
) -> Result<(), RestoreError> {
    let first = job.minion.databases.first();
    if first.is_none_or(|d| d.service != place.declared.service) {
        return Ok(());
    }
    let ways = database::of(place.declared.engine);
    let engine = job.context.engine.as_ref();
    for assert in &job.minion.asserts {
        let statement = match place.declared.engine {
            DatabaseEngine::Mongo => assert.clone(),
            _ => format!("{};\n", assert.trim_end_matches([';', ' ', '\n'])),
        };
        let step = ways.run(access, &place.declared.name, &statement);
        let answer = run(engine, running, step, None, &format!("ask `{assert}`")).await?;
        let answer = String::from_utf8_lossy(&answer);
        if !database::is_true(&answer) {
            return Err(RestoreError::Invalid(format!(
                "`{assert}` is not true after the restore, it is `{}`",
                answer.trim()
            )));
        }
        restored.checked.asserts.push(assert.clone());
    }
    Ok(())
}
