//! `summoner guard`, started by `backup` and by nobody else.

use std::sync::Arc;

use anyhow::Result;

use crate::backup::cold::guard;
use crate::cli::GuardArgs;
use crate::commands::exit;
use crate::engine::Engine;
use crate::engine::docker::Docker;

pub(super) async fn run(args: &GuardArgs) -> Result<u8> {
    let engine: Arc<dyn Engine> = Arc::new(Docker::connect()?);
    let done = guard::watch(engine, &args.root, &args.minion, &args.staging).await?;
    Ok(if done { exit::OK } else { exit::NOT_BACK })
}
