//! `summoner doctor`: what could stand in the way, each finding with the command that mends it.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use crate::backup::destination;
use crate::backup::error::BackupError;
use crate::cli::DoctorArgs;
use crate::commands::{Session, exit, world};
use crate::config::environment::Destination;
use crate::engine::EngineError;
use crate::project::observe;
use crate::project::preflight::{self, Finding, Level};

pub(super) async fn run(session: &Session, args: &DoctorArgs) -> Result<u8> {
    let project = world::open(session)?;
    let mut findings = Vec::new();
    match world::engine().await {
        Ok((engine, info)) => {
            findings.extend(preflight::engine(&info));
            findings.extend(preflight::port_findings(
                &project,
                &engine.containers().await?,
            ));
            let environment = &project.environment;
            let seen =
                observe::engine_side(engine.as_ref(), &environment.project, &environment.root)
                    .await?;
            findings.extend(preflight::stand_ins(&seen.containers));
            let installed = |name: &str| {
                seen.containers.iter().any(|c| {
                    c.labels
                        .get(crate::plan::desired::labels::MINION)
                        .is_some_and(|m| m == name)
                })
            };
            findings.extend(preflight::requirements(&project, info.memory, &|name| {
                !installed(name)
            }));
        }
        Err(error) => {
            findings.push(Finding::absent(
                &error.to_string(),
                error
                    .downcast_ref::<EngineError>()
                    .and_then(EngineError::hint),
            ));
            // What can be seen without an engine: the host's ports, memory, disk, kernel settings.
            findings.extend(preflight::port_findings(&project, &[]));
            let memory = preflight::host_memory();
            findings.extend(preflight::requirements(&project, memory, &|_| true));
        }
    }
    findings.extend(preflight::state_permissions(&project));
    let destinations = &project.environment.destinations;
    let probes = destinations.iter().map(probe);
    findings.extend(join_all(probes).await.into_iter().flatten());
    let bad = findings.iter().any(|f| f.level == Level::Error);
    if args.json {
        session
            .report
            .json(&json!({"schema_version": 1, "findings": findings}))?;
    } else {
        for finding in &findings {
            let word = match finding.level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            session
                .report
                .line(&format!("{word:8}{}: {}", finding.check, finding.message));
            if let Some(mend) = &finding.mend {
                session.report.line(&format!("        hint: {mend}"));
            }
        }
    }
    Ok(if bad { exit::FAILED } else { exit::OK })
}

/// A destination that says nothing for so long is no place for tonight's backup.
const PATIENCE: Duration = Duration::from_mins(1);

/// Tries a destination; one that is down is a finding like any other.
async fn probe(destination: &Destination) -> Vec<Finding> {
    let name = &destination.name;
    let tried = async {
        let target = destination::open(destination).await?;
        Ok::<_, BackupError>(target.storage.probe(Timestamp::now()).await)
    };
    match tokio::time::timeout(PATIENCE, tried).await {
        Ok(Ok(probes)) => preflight::destination(name, &probes),
        Ok(Err(error)) => vec![preflight::destination_down(
            name,
            &error.to_string(),
            error.hint(),
        )],
        Err(_) => vec![preflight::destination_down(
            name,
            &format!("it did not answer within {} s", PATIENCE.as_secs()),
            None,
        )],
    }
}
