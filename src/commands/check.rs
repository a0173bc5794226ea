//! `summoner check`: is config.yml good, and does every minion render?

use anyhow::Result;

use crate::commands::{Session, exit, world};

pub(super) fn run(session: &Session) -> Result<u8> {
    let mut project = world::open(session)?;
    let count = project.environment.instances.len();
    project.render(&[], &|_| false)?;
    let next = match count {
        0 => "no minion yet; `summoner minion list` shows what there is",
        1 => "1 minion, no problem; `summoner plan` shows what `summoner up` would do",
        _ => "no problem; `summoner plan` shows what `summoner up` would do",
    };
    let file = project.environment.file.display();
    session.report.line(&if count > 1 {
        format!("{file}: {count} minions, {next}")
    } else {
        format!("{file}: {next}")
    });
    Ok(exit::OK)
}
