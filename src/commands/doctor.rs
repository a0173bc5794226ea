//! `summoner doctor`: what could stand in the way, each finding with the command that mends it.

use anyhow::Result;
use serde_json::json;

use crate::cli::DoctorArgs;
use crate::commands::{Session, exit, world};
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
