//! `summoner render`: the Compose files as they would run.

use anyhow::{Result, bail};

use crate::cli::RenderArgs;
use crate::commands::{Session, exit, world};

pub(super) fn run(session: &Session, args: &RenderArgs) -> Result<u8> {
    let mut project = world::open(session)?;
    let wanted = project.render(&[], &|_| false)?;
    let chosen: Vec<_> = wanted
        .rendered
        .iter()
        .filter(|r| args.minion.as_ref().is_none_or(|m| *m == r.instance))
        .collect();
    if let (Some(name), true) = (&args.minion, chosen.is_empty()) {
        bail!(world::unknown(
            name,
            wanted.rendered.iter().map(|r| r.instance.as_str())
        ));
    }
    let texts: Vec<&str> = chosen.iter().map(|r| r.compose.as_str()).collect();
    session.report.data(&texts.join("---\n"));
    Ok(exit::OK)
}
