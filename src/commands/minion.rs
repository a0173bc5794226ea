//! `summoner minion`: the catalogue.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde_json::json;

use crate::cli::{MinionArgs, MinionCommand};
use crate::commands::{Session, exit};
use crate::minion::catalog::Catalog;
use crate::minion::manifest::ParameterKind;
use crate::minion::{Minion, Origin};
use crate::problem::{Problem, nearest};
use crate::project::preflight::size;
use crate::render::lint;

pub(super) fn run(session: &Session, args: &MinionArgs) -> Result<u8> {
    let root = session.file.parent().unwrap_or(Path::new("")).to_owned();
    let root = std::path::absolute(&root).unwrap_or(root);
    let catalog = Catalog::open(Some(&root));
    match &args.command {
        MinionCommand::List { json } => list(session, &catalog, *json),
        MinionCommand::Show { name, json } => show(session, &find(&catalog, name)?, *json),
        MinionCommand::Lint { names } => lint_all(session, &catalog, names),
    }
}

fn find(catalog: &Catalog, name: &str) -> Result<Minion> {
    if !catalog.names().contains(&name) {
        let hint = nearest(name, catalog.names()).map_or_else(
            || "type `summoner minion list`".to_owned(),
            |n| format!("did you mean `{n}`?"),
        );
        return Err(anyhow!(
            "no minion `{name}` in the catalogue\n  hint: {hint}"
        ));
    }
    Ok(catalog.get(name)?)
}

fn list(session: &Session, catalog: &Catalog, json: bool) -> Result<u8> {
    let mut minions = Vec::new();
    // One folder that is broken does not hide what all the others are.
    for (name, minion) in catalog.list() {
        match minion {
            Ok(minion) => minions.push(minion),
            Err(problems) => session.report.warn(&format!(
                "`{name}` is left out:\n{problems}\n  hint: `summoner minion lint {name}` once it is mended"
            )),
        }
    }
    if json {
        let list: Vec<_> = minions.iter().map(summary).collect();
        session
            .report
            .json(&json!({"schema_version": 1, "minions": list}))?;
        return Ok(exit::OK);
    }
    let rows = minions
        .iter()
        .map(|m| {
            let m = &m.manifest;
            vec![
                m.name.clone(),
                m.version.clone(),
                m.category.clone(),
                m.summary.clone(),
            ]
        })
        .collect();
    session
        .report
        .table(&["NAME", "VERSION", "CATEGORY", "SUMMARY"], rows);
    Ok(exit::OK)
}

fn summary(minion: &Minion) -> serde_json::Value {
    let m = &minion.manifest;
    let parameters: Vec<_> = m
        .parameters
        .iter()
        .map(|(name, p)| {
            json!({
                "name": name,
                "type": kind(&p.kind),
                "default": p.default,
                "optional": p.optional,
                "description": p.description,
            })
        })
        .collect();
    json!({
        "name": m.name, "title": m.title, "summary": m.summary, "category": m.category,
        "website": m.website, "version": m.version,
        "origin": match &minion.origin {
            Origin::Catalog => "catalog".to_owned(),
            Origin::Kept(folder) | Origin::Folder(folder) => folder.display().to_string(),
        },
        "requires": {"memory": m.requires.memory, "disk": m.requires.disk, "sysctl": m.requires.sysctl},
        "parameters": parameters,
        "exposed": m.expose.iter().map(|e| &e.service).collect::<Vec<_>>(),
        "databases": m.databases.iter().map(|d| d.engine.name()).collect::<Vec<_>>(),
        "volumes": m.volumes.iter().map(|v| &v.name).collect::<Vec<_>>(),
    })
}

fn kind(kind: &ParameterKind) -> String {
    match kind {
        ParameterKind::String => "string".to_owned(),
        ParameterKind::Integer => "integer".to_owned(),
        ParameterKind::Boolean => "boolean".to_owned(),
        ParameterKind::Secret { length } => format!("secret of {length}"),
        ParameterKind::Choice(choices) => format!("one of {}", choices.join(", ")),
    }
}

fn show(session: &Session, minion: &Minion, json: bool) -> Result<u8> {
    if json {
        session
            .report
            .json(&json!({"schema_version": 1, "minion": summary(minion)}))?;
        return Ok(exit::OK);
    }
    let m = &minion.manifest;
    let report = &session.report;
    report.line(&format!("{} {}: {}", m.title, m.version, m.summary));
    report.line(&m.website);
    report.line(&format!(
        "needs {} of memory, {} of disk",
        size(m.requires.memory),
        size(m.requires.disk)
    ));
    for database in &m.databases {
        report.line(&format!(
            "database: {} `{}`",
            database.engine.name(),
            database.name
        ));
    }
    for volume in &m.volumes {
        report.line(&format!("volume: {}", volume.name));
    }
    if !m.parameters.is_empty() {
        report.line("");
        let rows = m
            .parameters
            .iter()
            .map(|(name, p)| {
                let default = match (&p.default, &p.kind) {
                    (Some(value), _) => value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned),
                    (None, ParameterKind::Secret { .. }) => "made once".to_owned(),
                    (None, _) if p.optional => "none".to_owned(),
                    (None, _) => "required".to_owned(),
                };
                vec![
                    name.clone(),
                    kind(&p.kind),
                    default,
                    p.description.clone().unwrap_or_default(),
                ]
            })
            .collect();
        report.table(&["PARAMETER", "TYPE", "DEFAULT", ""], rows);
    }
    report.line("");
    report.line(&format!(
        "add it to config.yml:\n\nminions:\n  {}: {{}}",
        m.name
    ));
    Ok(exit::OK)
}

fn lint_all(session: &Session, catalog: &Catalog, names: &[String]) -> Result<u8> {
    let names: Vec<String> = if names.is_empty() {
        catalog.names().into_iter().map(str::to_owned).collect()
    } else {
        names.to_vec()
    };
    let mut problems: Vec<Problem> = Vec::new();
    for name in &names {
        let found: Vec<Problem> = match catalog.get(name) {
            Ok(minion) => lint::lint(&minion),
            // A name that nobody has is a mistake of whoever typed it; a folder that is broken has told.
            Err(problems) if catalog.names().contains(&name.as_str()) => problems.0,
            Err(_) => return find(catalog, name).map(|_| exit::FAILED),
        };
        if found.is_empty() {
            session.report.line(&format!("{name}: good"));
        }
        problems.extend(found);
    }
    if problems.is_empty() {
        return Ok(exit::OK);
    }
    for problem in &problems {
        session.report.fail(&problem.to_string());
    }
    Ok(exit::FAILED)
}
