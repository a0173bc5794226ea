//! The dump of what is there, before it is replaced.

use super::into_live::Subject;
use super::{BackupError, Project, Result, Session, bail};
use crate::cli::dump::DumpArgs;
use crate::commands::{dump, exit};
use crate::engine::RunState;
use crate::plan::desired::labels;

/// Whether there is a database that runs: what does not run cannot be dumped, and its folder is kept.
pub(super) fn possible(subject: &Subject<'_>, minion: &crate::minion::Manifest) -> bool {
    minion.databases.iter().any(|database| {
        subject.containers.iter().any(|c| {
            c.state == RunState::Running
                && c.labels
                    .get(labels::SERVICE)
                    .is_some_and(|s| *s == database.service)
        })
    })
}

/// Dumps the minion to where its dumps go, else to where the snapshot came from.
pub(super) async fn dump(
    session: &Session,
    project: &Project,
    minion: &str,
    from: &str,
) -> Result<()> {
    let instances = &project.environment.instances;
    let instance = instances.iter().find(|i| i.name == minion);
    let to = match instance {
        Some(instance) if !instance.backup.to.is_empty() => Vec::new(),
        _ => vec![from.to_owned()],
    };
    session
        .report
        .note(&format!("dumping what `{minion}` has now"));
    let args = DumpArgs {
        minions: vec![minion.to_owned()],
        to,
        all_containers: false,
        json: false,
    };
    match dump::run(session, &args).await? {
        exit::OK => Ok(()),
        _ => bail!(BackupError::Refused(format!(
            "what `{minion}` has now could not be dumped, so it is not replaced\n  \
             hint: see above; `--no-safety-dump` goes without, the replaced folders are kept all the same"
        ))),
    }
}
