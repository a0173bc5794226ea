//! `summoner check`: is config.yml good, and does every minion render?

use anyhow::Result;

use crate::commands::{Session, exit, world};

pub(super) fn run(session: &Session) -> Result<u8> {
    let mut project = world::open(session)?;
    let count = project.environment.instances.len();
    project.render(&[], &|_| false)?;
    session.report.line(&format!(
        "{}: {count} minions, no problem; `summoner plan` shows what `summoner up` would do",
        project.environment.file.display()
    ));
    Ok(exit::OK)
}
