//! What shells and editors want: schemas, completions, man pages.

use std::fs;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs, ManArgs, SchemaArgs, SchemaOf};
use crate::commands::{Session, exit};
use crate::files;
use crate::{config, minion};

pub(super) fn schema(session: &Session, args: &SchemaArgs) -> u8 {
    session.report.data(match args.of {
        SchemaOf::Config => config::schema(),
        SchemaOf::Minion => minion::schema(),
    });
    exit::OK
}

pub(super) fn completions(session: &Session, args: &CompletionsArgs) -> u8 {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "summoner", &mut text);
    session.report.data(&String::from_utf8_lossy(&text));
    exit::OK
}

pub(super) fn man(args: &ManArgs) -> Result<u8> {
    fs::create_dir_all(&args.folder)
        .with_context(|| format!("failed to create `{}`", args.folder.display()))?;
    let mut command = Cli::command();
    command.build();
    page(&args.folder, &command, "summoner")?;
    Ok(exit::OK)
}

fn page(folder: &std::path::Path, command: &clap::Command, name: &str) -> Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name)
        .render(&mut text)?;
    files::write_atomic(&folder.join(format!("{name}.1")), &text, 0o644)?;
    for sub in command
        .get_subcommands()
        .filter(|s| !s.is_hide_set() && s.get_name() != "help")
    {
        page(folder, sub, &format!("{name}-{}", sub.get_name()))?;
    }
    Ok(())
}
