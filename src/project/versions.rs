//! Which template and which version an instance runs: what it was installed with, until the user asks for
//! the newest. A newer binary offers, it never plans.

use std::collections::BTreeSet;

use crate::config::environment::Instance;
use crate::files::FileError;
use crate::minion::{Minion, Origin, kept};
use crate::problem::Problem;
use crate::state::Upgrade;

use super::Project;

impl Project {
    /// Image tag of an instance: what config.yml says, else what it was installed with, else the
    /// minion's default.
    #[must_use]
    pub fn version<'a>(&'a self, instance: &'a Instance) -> &'a str {
        let minion = &self.minions[&instance.name].manifest;
        instance.version.as_deref().unwrap_or_else(|| {
            self.state
                .minions
                .get(&instance.name)
                .filter(|r| r.minion == minion.name && !self.upgrading.contains(&instance.name))
                .map_or(&minion.version, |r| &r.version)
        })
    }

    /// Takes the newest template and default version for these instances; `None` means all.
    pub fn upgrade(&mut self, scope: Option<&BTreeSet<String>>) {
        let instances = self.environment.instances.iter().map(|i| &i.name);
        let chosen = instances.filter(|name| scope.is_none_or(|s| s.contains(*name)));
        self.upgrading.extend(chosen.cloned());
        self.choose_templates();
    }

    /// What an upgrade of an instance leads to, if there is one on its way.
    pub(super) fn upgrade_to(&self, instance: &Instance) -> Option<Upgrade> {
        let remembered = self.state.minions.get(&instance.name)?;
        let minion = &self.minions[&instance.name];
        let to = Upgrade {
            version: self.version(instance).to_owned(),
            template_hash: minion.hash.clone(),
        };
        let new = remembered.template_hash != to.template_hash || remembered.version != to.version;
        let upgrading = self.upgrading.contains(&instance.name);
        (new && upgrading && remembered.minion == minion.manifest.name).then_some(to)
    }

    /// Decides for every instance which template it is rendered from: to be called whenever the state
    /// or the wish to upgrade has changed.
    pub(super) fn choose_templates(&mut self) {
        for instance in &self.environment.instances {
            let name = &instance.name;
            let newest = &self.newest[name];
            let begun = self
                .state
                .minions
                .get(name)
                .and_then(|r| r.upgrade.as_ref());
            if begun.is_some_and(|to| to.template_hash == newest.hash) {
                self.upgrading.insert(name.clone());
            }
            let minion = self
                .kept(instance, newest)
                .unwrap_or_else(|| newest.clone());
            self.minions.insert(name.clone(), minion);
        }
    }

    /// What an instance was installed from, where the catalogue has another one by now. A copy that is
    /// lost or damaged is no reason to stop: the newest takes its place, and the plan shows it.
    fn kept(&self, instance: &Instance, newest: &Minion) -> Option<Minion> {
        let name = &newest.manifest.name;
        let remembered = self.state.minions.get(&instance.name)?;
        let other = remembered.minion == *name && remembered.template_hash != newest.hash;
        // What lies in the user's own folder is as the user wants it.
        if !other || newest.origin != Origin::Catalog || self.upgrading.contains(&instance.name) {
            return None;
        }
        let copy = kept::read(name, &self.paths.minion(&instance.name)).ok()?;
        (copy.hash == remembered.template_hash).then_some(copy)
    }

    /// Keeps a copy of what each instance (of `scope`) is installed from, as far as the state says so.
    pub fn keep_templates(&self, scope: Option<&BTreeSet<String>>) -> Result<(), FileError> {
        for (name, minion) in &self.minions {
            let remembered = self.state.minions.get(name);
            if scope.is_some_and(|s| !s.contains(name))
                || remembered.is_none_or(|r| r.template_hash != minion.hash)
            {
                continue;
            }
            let folder = self.paths.minion(name);
            match minion.origin {
                Origin::Folder(_) => kept::forget(&folder)?,
                Origin::Catalog | Origin::Kept(_) => kept::keep(minion, &folder)?,
            }
        }
        Ok(())
    }

    /// A step from the version that is installed over one that must not be left out.
    pub(super) fn skipped_stop(&self, instance: &Instance, version: &str) -> Option<Problem> {
        let minion = &self.minions[&instance.name].manifest;
        let remembered = self.state.minions.get(&instance.name)?;
        if remembered.minion != minion.name {
            return None;
        }
        let (from, to) = (major(&remembered.version)?, major(version)?);
        let stops = minion.upgrade_stops.iter().filter_map(|s| major(s));
        let stop = stops.filter(|s| from < *s && *s < to).min()?;
        let (name, installed) = (&instance.name, &remembered.version);
        Some(
            Problem::new(
                self.environment.file.display().to_string(),
                format!("`{name}` runs {installed} and must not skip {stop} on its way to {version}"),
            )
            .at(instance.position, format!("minions.{name}.version"))
            .hint(format!(
                "give it the last {stop} first: `minions: {{{name}: {{version: \"{stop}.…\"}}}}`, `summoner up {name}`; then go on"
            )),
        )
    }
}

/// `31` of `31.0.8-apache`.
fn major(version: &str) -> Option<u64> {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
