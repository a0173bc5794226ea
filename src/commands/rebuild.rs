//! `summoner rebuild`: an empty server and a destination become the project again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::backup::catalog;
use crate::backup::destination::{self, Target};
use crate::backup::encryption::Key;
use crate::backup::error::BackupError;
use crate::backup::manifest::Manifest;
use crate::backup::rebuild::{self, Newest};
use crate::backup::restore::{self, Job, Restored};
use crate::backup::scratch::{self, Purpose, Scratch};
use crate::cli::{RebuildArgs, UpArgs};
use crate::clock::{Clock as _, SystemClock};
use crate::commands::restore::{Subject, show, swap_in};
use crate::commands::world::{self, World};
use crate::commands::{Session, exit, shelf, signals, up};
use crate::config::environment::Encryption;
use crate::events::Events;
use crate::plan::observed::FolderState;
use crate::project::{Project, observe};
use crate::secret::SecretSource;
use crate::state::secrets::Book;

pub(super) async fn run(session: &Session, args: &RebuildArgs) -> Result<u8> {
    let report = &session.report;
    let base = session.file.parent().unwrap_or(Path::new(""));
    let folder = std::path::absolute(base.join(&args.folder))?;
    let (target, key) = open(args).await?;
    let name = project_of(&target, args).await?;
    let begun = rebuild::may_use(&folder, &name)?;
    let listing = catalog::list(&target, &name, None).await?;
    for broken in &listing.broken {
        report.warn(&format!(
            "{} {}: {}",
            broken.minion, broken.id, broken.reason
        ));
    }
    let newest = rebuild::newest(&listing.entries);
    if newest.is_empty() {
        bail!(BackupError::Usage(format!(
            "`{name}` has no snapshot that can be used"
        )));
    }
    say(session, &name, &folder, &newest);
    if !args.yes && !report.confirm("rebuild it?")? {
        report.note("nothing was done");
        return Ok(exit::OK);
    }
    rebuild::write_project(&target, key.clone(), &name, &newest, &folder).await?;
    let session = Session {
        file: folder.join("config.yml"),
        report: Arc::clone(report),
    };
    if rebuild::is_blanked(&folder) {
        bail!(BackupError::Usage(format!(
            "`{}` held secrets that a copy which is not encrypted does not have: each stands there as REDACTED\n  \
             hint: put them back, or take those lines out where the password is only the database's, and run the same again",
            session.file.display()
        )));
    }
    let mut project = match world::open(&session) {
        Ok(project) => project,
        Err(error) => {
            report.note(&format!(
                "`{}` is back as it was; where it needs variables, files or ports of this machine, give them and run the same again",
                session.file.display()
            ));
            return Err(error);
        }
    };
    let lock = project.lock("rebuild")?;
    let known = project.secrets.book.clone();
    let world = world::look(&session, project).await?;
    world.project.secrets.save(&world.project.paths)?;
    tell_new_secrets(&session, &world.project, &known, &newest);
    let listening = signals::listen(report);
    for instance in &world.project.environment.instances {
        let Some(newest) = newest.get(&instance.name) else {
            report.warn(&format!(
                "there is no snapshot of `{}`: it begins empty",
                instance.name
            ));
            continue;
        };
        let cancelled = listening.cancelled.clone();
        let source = Source {
            target: &target,
            key: key.clone(),
            newest,
        };
        let limit = Duration::from_secs(args.wait_timeout);
        one(
            &session,
            &world,
            &instance.name,
            &source,
            limit,
            begun,
            cancelled,
        )
        .await?;
        if *listening.cancelled.borrow() {
            report.fail("interrupted\n  hint: run the same again, it goes on from here");
            return Ok(exit::INTERRUPTED);
        }
    }
    drop(listening);
    drop(lock);
    let up = UpArgs {
        minions: Vec::new(),
        yes: true,
        dry_run: false,
        upgrade: false,
        wait_timeout: args.wait_timeout,
    };
    let code = Box::pin(up::run(&session, &up)).await?;
    if code == exit::OK {
        rebuild::done(&folder);
    }
    Ok(code)
}

async fn open(args: &RebuildArgs) -> Result<(Arc<Target>, Option<Arc<Key>>)> {
    let key = match (&args.identity, &args.passphrase_file) {
        (Some(file), _) => Some(Arc::new(Key::of_file(file)?)),
        (None, Some(file)) => {
            let passphrase = Encryption::Passphrase(SecretSource::File(file.clone()));
            Some(Arc::new(Key::of(&args.from, &passphrase)?))
        }
        (None, None) => None,
    };
    let destination = rebuild::destination(&args.from, None)?;
    Ok((Arc::new(destination::open(&destination).await?), key))
}

async fn project_of(target: &Target, args: &RebuildArgs) -> Result<String> {
    let projects = rebuild::projects(target).await?;
    let there = projects.join(", ");
    match (&args.project, projects.as_slice()) {
        (_, []) => bail!(BackupError::NoDestination(format!(
            "{} holds no snapshots",
            target.storage.place()
        ))),
        (Some(name), all) if all.contains(name) => Ok(name.clone()),
        (Some(name), _) => bail!(BackupError::Usage(format!(
            "there is no project `{name}`\n  hint: there are: {there}"
        ))),
        (None, [only]) => Ok(only.clone()),
        (None, _) => bail!(BackupError::Usage(format!(
            "there are several projects\n  hint: choose with `--project`: {there}"
        ))),
    }
}

fn say(session: &Session, name: &str, folder: &Path, newest: &BTreeMap<String, Newest>) {
    let report = &session.report;
    report.line(&format!("`{name}` is rebuilt in {}", folder.display()));
    let now = SystemClock.now();
    for (minion, newest) in newest {
        let parts = [&newest.backup, &newest.dump];
        let parts: Vec<String> = parts
            .into_iter()
            .flatten()
            .map(|e| {
                format!(
                    "{} {} ({} ago, {})",
                    e.manifest.kind.name(),
                    e.manifest.id,
                    shelf::age(e.manifest.started, now),
                    shelf::size(e.manifest.stored_bytes()),
                )
            })
            .collect();
        report.line(&format!("  {minion}: {}", parts.join(", then ")));
    }
}

/// Secrets that no snapshot gave back were made anew.
fn tell_new_secrets(
    session: &Session,
    project: &Project,
    known: &Book,
    newest: &BTreeMap<String, Newest>,
) {
    for (minion, book) in &project.secrets.book {
        let old = known.get(minion);
        let made: Vec<&str> = book
            .keys()
            .filter(|name| old.is_none_or(|o| !o.contains_key(*name)))
            .map(String::as_str)
            .collect();
        if made.is_empty() || !newest.contains_key(minion) {
            continue;
        }
        let databases = project
            .minions
            .get(minion)
            .map_or(&[][..], |m| &m.manifest.databases);
        let set: BTreeSet<&str> = databases
            .iter()
            .flat_map(|d| {
                let admin = d.admin.as_ref().map(|(_, parameter)| parameter.as_str());
                admin.into_iter().chain(d.password.as_deref())
            })
            .collect();
        let (databases, others): (Vec<&str>, Vec<&str>) =
            made.into_iter().partition(|name| set.contains(name));
        if !databases.is_empty() {
            session.report.warn(&format!(
                "`{minion}`: its snapshots are not encrypted and hold no secrets; new ones were made and are set in its database: {}",
                databases.join(", ")
            ));
        }
        if !others.is_empty() {
            session.report.warn(&format!(
                "`{minion}`: made anew, while what it keeps in its data goes on with the old ones: {}",
                others.join(", ")
            ));
        }
    }
}

/// Where the data of a minion comes from.
struct Source<'a> {
    target: &'a Target,
    key: Option<Arc<Key>>,
    newest: &'a Newest,
}

/// Restores one minion.
async fn one(
    session: &Session,
    world: &World,
    minion: &str,
    source: &Source<'_>,
    limit: Duration,
    begun: bool,
    cancelled: tokio::sync::watch::Receiver<bool>,
) -> Result<()> {
    let subject = Subject::of(world, minion)?;
    let filled = subject
        .group
        .folders
        .iter()
        .find(|f| observe::folder(&f.path) == Some(FolderState::Filled));
    if let Some(folder) = filled {
        if begun {
            session
                .report
                .note(&format!("`{minion}` has its data already"));
            return Ok(());
        }
        bail!(BackupError::Refused(format!(
            "`{}` holds data already\n  hint: move it away, or let `vsroot` and `dbsroot` of config.yml name other folders",
            folder.path.display()
        )));
    }
    let context = scratch::context(
        Arc::clone(&world.engine),
        Arc::clone(&session.report) as Arc<dyn Events>,
        &world.project.environment,
        &world.project.paths,
        cancelled,
    );
    scratch::sweep(&context, minion, Purpose::Restore).await?;
    let now = SystemClock.now();
    let mut scratch = Scratch::new(&context, subject.group, Purpose::Restore, now, limit);
    let job = |manifest, without| Job {
        context: &context,
        group: subject.group,
        minion: &world.project.minions[minion].manifest,
        secrets: &subject.rendered.secrets,
        target: source.target,
        key: source.key.clone(),
        manifest,
        without,
    };
    let newest = source.newest;
    let backup = newest.backup.as_ref().filter(|_| newest.uses_backup());
    let mut jobs: Vec<(&Manifest, BTreeSet<String>)> = Vec::new();
    jobs.extend(backup.map(|b| (&b.manifest, newest.from_dump())));
    jobs.extend(newest.dump.as_ref().map(|d| (&d.manifest, BTreeSet::new())));
    let mut all = Restored::default();
    for (manifest, without) in jobs {
        match restore::into_scratch(&job(manifest, without), &mut scratch).await {
            Ok(restored) => {
                show::checked(session, &restored.checked);
                all.folders.extend(restored.folders);
            }
            Err(error) => {
                session.report.finish_progress();
                scratch.leave().await?;
                return Err(error.into());
            }
        }
    }
    session.report.finish_progress();
    let Some(entry) = newest.entry() else {
        return Ok(());
    };
    let id = entry.manifest.id.to_string();
    swap_in(session, &context, &subject, &id, scratch, all, limit).await
}
