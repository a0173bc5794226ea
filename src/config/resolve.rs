//! From what the user said to what it means. Data in, data out: what has to be looked up outside
//! comes in as an argument.

use std::path::{Path, PathBuf};

use super::environment::{Backup, Environment, Instance};
use super::file::{File, Summoner};
use super::instances::Instances;
use super::lookup::Lookup;
use super::names::{self, accept};
use super::source::Sources;
use super::{notify, paths, proxy, snapshots};
use crate::yaml::{Document, Field, Reading};

/// What a configuration is resolved against.
pub(super) struct Context<'a> {
    pub file: &'a Path,
    pub root: &'a Path,
    pub lookup: &'a Lookup,
    pub minions: &'a [&'a str],
}

/// Folder of our state, beside config.yml.
const OURS: &str = ".summoner";

/// Pools that Docker's own defaults, home routers and most offices leave alone.
const SUBNETS: [&str; 2] = ["10.210.0.0/16", "172.28.0.0/14"];

pub(super) fn resolve(
    reading: &Reading,
    document: &Document,
    file: &File<'_>,
    context: &Context<'_>,
) -> Option<Environment> {
    let sources = Sources {
        root: context.root,
        lookup: context.lookup,
    };
    let proxy = proxy::resolve(file.proxy.as_ref(), &sources);
    let destinations = snapshots::destinations(file, context);
    let known: Vec<&str> = file.destinations.iter().map(|(name, ..)| *name).collect();
    let backup = file.backup.as_ref().map_or_else(Backup::default, |field| {
        snapshots::backup(field, &Backup::default(), &known)
    });
    let notify = notify::resolve(file);
    let general = file
        .summoner
        .as_ref()
        .map(|summoner| General::read(summoner, context));
    let domain = general
        .as_ref()
        .and_then(|general| general.domain.as_deref());

    let mut instances = Instances::new(
        reading,
        domain,
        &sources,
        context.minions,
        (&backup, &known),
    );
    for block in &file.minions {
        instances.long_form(block);
    }
    if let Some(applications) = file.summoner.as_ref().and_then(|s| s.applications.as_ref()) {
        instances.short_form(applications, document, &file.minions);
    }
    instances.check_hosts(&file.minions);
    let (instances, missing, mut warnings) = instances.finish();
    if let Some(general) = &general {
        general.check_folders(&instances, context.root);
    }
    if reading.is_clean() {
        // `applications:` says "these", not "exactly these": what is there can run.
        warnings.extend(missing);
        warnings.sort();
    } else {
        for problem in missing {
            reading.push(problem);
        }
    }

    let general = general?;
    Some(Environment {
        root: context.root.to_owned(),
        file: context.file.to_owned(),
        project: general.project.or_else(|| general.domain.clone())?,
        domain: general.domain?,
        email: general.email,
        vsroot: general.vsroot,
        dbsroot: general.dbsroot,
        timezone: general.timezone,
        subnets: general.subnets,
        instances,
        proxy,
        destinations,
        backup,
        notify,
        warnings,
    })
}

/// `summoner:`, with the fields that later checks point at.
struct General<'a> {
    project: Option<String>,
    domain: Option<String>,
    email: Option<String>,
    vsroot: PathBuf,
    dbsroot: PathBuf,
    timezone: String,
    subnets: Vec<String>,
    said: &'a Summoner<'a>,
}

impl<'a> General<'a> {
    fn read(said: &'a Summoner<'a>, context: &Context<'_>) -> Self {
        let text = |field: &Option<Field<'_>>, check: fn(&str) -> names::Verdict<String>| {
            let field = field.as_ref()?;
            accept(field, check(&field.string()?))
        };
        let path = |field: &Option<Field<'_>>| {
            paths::absolute(field.as_ref()?, context.root, context.lookup)
        };
        let vsroot = path(&said.vsroot).unwrap_or_else(|| context.root.join("data"));
        // Below vsroot as in the founding file, wherever that is.
        let dbsroot = path(&said.dbsroot).unwrap_or_else(|| vsroot.join("database"));
        let pools = said.subnets.as_ref().map(Field::list).unwrap_or_default();
        let pools = pools
            .iter()
            .filter_map(|item| accept(item, names::pool(&item.string()?)));
        let pools: Vec<String> = pools.collect();
        Self {
            project: text(&said.name, project),
            domain: text(&said.domain, names::host),
            email: text(&said.email, names::email),
            vsroot,
            dbsroot,
            timezone: text(&said.timezone, names::timezone).unwrap_or_else(|| "UTC".to_owned()),
            subnets: if pools.is_empty() {
                SUBNETS.map(str::to_owned).to_vec()
            } else {
                pools
            },
            said,
        }
    }

    /// Two kinds of data in one folder is how one of them gets lost.
    fn check_folders(&self, instances: &[Instance], root: &Path) {
        let ours = root.join(OURS);
        for (field, path) in [
            (&self.said.vsroot, &self.vsroot),
            (&self.said.dbsroot, &self.dbsroot),
        ] {
            if let Some(field) = field
                && path.starts_with(&ours)
            {
                field.fail_with(
                    format!("`{OURS}` is summoner's own folder, where it removes what it does not need any more"),
                    "keep data beside it, such as in `./data`",
                );
            }
        }
        let place = self.said.dbsroot.as_ref().or(self.said.vsroot.as_ref());
        let Some(place) = place else { return };
        if self.vsroot == self.dbsroot {
            place.fail_with(
                "`vsroot` and `dbsroot` are the same folder",
                "`dbsroot` may be a folder inside `vsroot`",
            );
        } else if self.vsroot.starts_with(&self.dbsroot) {
            place.fail_with(
                "`vsroot` is inside `dbsroot`",
                "`dbsroot` may be a folder inside `vsroot`",
            );
        } else if let Ok(inside) = self.dbsroot.strip_prefix(&self.vsroot)
            && let Some(first) = inside.iter().next()
            && let Some(instance) = instances.iter().find(|i| first == i.name.as_str())
        {
            place.fail(format!(
                "`dbsroot` is in the folder of the volumes of `{}`",
                instance.name
            ));
        }
        for (field, path) in [
            (&self.said.vsroot, &self.vsroot),
            (&self.said.dbsroot, &self.dbsroot),
        ] {
            if let Some(field) = field
                && path.parent().is_none()
            {
                field.fail("the root of the file system is no place for data");
            }
        }
    }
}

fn project(text: &str) -> names::Verdict<String> {
    let lower = text.to_lowercase();
    // The name is part of keys in object stores and of labels.
    let good =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    if (1..=63).contains(&text.len())
        && text.chars().all(good)
        && !text.starts_with(['.', '-', '_'])
    {
        return Ok(text.to_owned());
    }
    let suggestion: String = lower
        .chars()
        .map(|c| if good(c) { c } else { '-' })
        .take(63)
        .collect();
    let suggestion = suggestion.trim_matches(['.', '-', '_']);
    Err(names::Complaint {
        message: format!("`{text}` is not a project name: up to 63 of a-z, 0-9, `-`, `.` and `_`"),
        hint: (!suggestion.is_empty()).then(|| format!("write `{suggestion}`")),
    })
}
