//! `summoner pin` and `summoner unpin`: what is never pruned.

use anyhow::{Result, bail};

use crate::backup::catalog::{Which, choose};
use crate::backup::pin;
use crate::cli::PinArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::{Session, exit, shelf, world};

pub(super) async fn run(session: &Session, args: &PinArgs, pinned: bool) -> Result<u8> {
    let project = world::open(session)?;
    let shelf = shelf::look(session, &project, args.from.as_deref(), None).await?;
    let entries = shelf.entries();
    let chosen = &choose(&entries, &Which::Id(args.snapshot.clone()))?.manifest;
    let mut failed = false;
    for (target, listing) in &shelf.shelves {
        let Some(entry) = listing.entries.iter().find(|e| e.manifest.id == chosen.id) else {
            continue;
        };
        let result = if pinned {
            pin::pin(target, entry, SystemClock.now()).await
        } else {
            pin::unpin(target, entry).await
        };
        let word = match (pinned, &result) {
            (true, Ok(true)) => "pinned: `summoner prune` leaves it alone",
            (true, Ok(false)) => "was pinned already",
            (false, Ok(true)) => "is not pinned any more",
            (false, Ok(false)) => "was not pinned",
            (_, Err(error)) => {
                failed = true;
                session
                    .report
                    .fail(&format!("destination `{}`: {error}", target.name));
                if let Some(hint) = error.hint() {
                    session.report.hint(&hint);
                }
                continue;
            }
        };
        session.report.line(&format!(
            "{} of `{}`, {} in `{}`: {word}",
            chosen.kind.name(),
            chosen.minion,
            chosen.id.short(),
            target.name
        ));
    }
    if failed && shelf.shelves.len() == 1 {
        bail!("nothing was changed");
    }
    let partial = failed || !shelf.down.is_empty();
    Ok(if partial { exit::PARTIAL } else { exit::OK })
}
