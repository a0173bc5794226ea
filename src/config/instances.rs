//! Instances: blocks of `minions:` and words of `applications:`.

use std::collections::BTreeMap;

use super::environment::{Backup, Instance, Setting};
use super::file::Block;
use super::names::{self, accept, accept_key};
use super::snapshots;
use super::source::Sources;
use crate::problem::{Position, Problem, nearest};
use crate::yaml::{Document, Field, Reading, Value};

/// Names that mean something else: a folder below `vsroot`, the proxy.
const RESERVED: [(&str, &str); 2] = [
    ("database", "`dbsroot` may be the folder of that name"),
    ("proxy", "it is the name of Summoner's own container"),
];

/// The founding design lists the proxy among the applications.
const PROXY: &str = "nginx";

/// Docker refuses less.
const LEAST_MEMORY: u64 = 6 << 20;

/// Instances as they are found.
pub(super) struct Instances<'a> {
    reading: &'a Reading,
    domain: Option<&'a str>,
    sources: &'a Sources<'a>,
    minions: &'a [&'a str],
    backup: (&'a Backup, &'a [&'a str]),
    found: Vec<Instance>,
    missing: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Instances<'a> {
    pub fn new(
        reading: &'a Reading,
        domain: Option<&'a str>,
        sources: &'a Sources<'a>,
        minions: &'a [&'a str],
        backup: (&'a Backup, &'a [&'a str]),
    ) -> Self {
        let (found, missing, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            reading,
            domain,
            sources,
            minions,
            backup,
            found,
            missing,
            warnings,
        }
    }

    /// The instances, words of `applications:` that no minion answers to, warnings.
    pub fn finish(self) -> (Vec<Instance>, Vec<Problem>, Vec<Problem>) {
        (self.found, self.missing, self.warnings)
    }

    /// `applications:`, a list or names separated by blanks.
    pub fn short_form(&mut self, field: &Field<'_>, document: &Document, blocks: &[Block<'_>]) {
        let words = match field.value() {
            Value::Sequence(_) => {
                let items = field.list();
                let words = items
                    .iter()
                    .filter_map(|item| Some((item.position(), item.string()?)));
                words.collect()
            }
            Value::String(_) => document.words(field.node()),
            _ => field
                .wrong("a list, or names separated by blanks", None)
                .unwrap_or_default(),
        };
        for (position, name) in words {
            // A block says more about the same instance.
            let known = blocks.iter().any(|block| block.name == name)
                || self.found.iter().any(|instance| instance.name == name);
            if !known && name != PROXY {
                self.word(field.path(), position, name);
            }
        }
    }

    fn word(&mut self, path: &str, position: Position, name: String) {
        let problem = |message: String| self.reading.problem(Some(position), path, message);
        if let Err(complaint) = names::name(&name) {
            let mut problem = problem(complaint.message);
            problem.hint = complaint.hint;
            return self.reading.push(problem);
        }
        if let Some(why) = reserved(&name) {
            return self.reading.push(problem(why));
        }
        if !self.minions.contains(&name.as_str()) {
            let problem = problem(format!("there is no minion `{name}` yet"));
            return self.missing.push(self.unknown(problem, &name));
        }
        let host = self
            .domain
            .map_or_else(|| name.clone(), |domain| format!("{name}.{domain}"));
        self.found.push(Instance {
            minion: name.clone(),
            name,
            hosts: vec![host],
            version: None,
            set: BTreeMap::new(),
            env: BTreeMap::new(),
            protect: false,
            memory: None,
            cpus: None,
            backup: self.backup.0.clone(),
            position: Some(position),
            explicit: false,
        });
    }

    /// A block of `minions:`.
    pub fn long_form(&mut self, block: &Block<'_>) {
        if block.name == PROXY && block.uses.is_none() {
            if !block.field.node().entries().is_empty() {
                let problem = at_key(block, "`nginx` is the proxy");
                self.reading
                    .push(problem.hint("its settings stand in the section `proxy`"));
            }
            return;
        }
        accept_key(&block.field, block.position, names::name(block.name));
        if let Some(why) = reserved(block.name) {
            let hint = match &block.uses {
                Some(_) => "choose another name".to_owned(),
                None => format!("choose another name and write `use: {}`", block.name),
            };
            self.reading.push(at_key(block, why).hint(hint));
        }
        for (key, place, field) in &block.env {
            accept_key(field, *place, names::variable(key));
        }
        let (set, env) = (self.settings(&block.set), self.settings(&block.env));
        let hosts = self.hosts(block);
        let version = self.version(block);
        let memory = block.memory.as_ref().and_then(|field| match field.size()? {
            bytes if bytes >= LEAST_MEMORY => Some(bytes),
            _ => field.wrong("`6m` or more", None),
        });
        let cpus = block.cpus.as_ref().and_then(|field| match field.f64()? {
            cpus if cpus > 0.0 && cpus <= 1024.0 => Some(cpus),
            _ => field.wrong("a number of cores above 0", None),
        });
        let backup = match &block.backup {
            Some(field) => snapshots::backup(field, self.backup.0, self.backup.1),
            None => self.backup.0.clone(),
        };
        let Some(minion) = self.minion(block) else {
            return;
        };
        self.found.push(Instance {
            name: block.name.to_owned(),
            minion,
            hosts,
            version,
            set,
            env,
            protect: block.protect,
            memory,
            cpus,
            backup,
            position: Some(block.position),
            explicit: true,
        });
    }

    fn settings(&self, list: &[(&str, Position, Field<'_>)]) -> BTreeMap<String, Setting> {
        let read = |(key, _, field): &(&str, Position, Field<'_>)| {
            let value = self.sources.setting(field)?;
            let position = Some(field.position());
            Some(((*key).to_owned(), Setting { value, position }))
        };
        list.iter().filter_map(read).collect()
    }

    /// The template behind a block; `None` after a problem.
    fn minion(&self, block: &Block<'_>) -> Option<String> {
        if let Some((position, compose)) = &block.compose {
            let mut problem = compose.problem("bring-your-own Compose files are not there yet");
            problem.position = Some(*position);
            problem = problem.hint("put a template into ./minions/<name>/ and write `use: <name>`");
            self.reading.push(problem);
            return None;
        }
        if let Some(expose) = &block.expose {
            expose.fail_with(
                "`expose` belongs to `compose`",
                "a minion knows what it exposes; remove this key",
            );
        }
        let name = match &block.uses {
            Some(field) => field.string()?,
            None => block.name.to_owned(),
        };
        if self.minions.contains(&name.as_str()) {
            return Some(name);
        }
        let message = format!("there is no minion `{name}`");
        let problem = match &block.uses {
            Some(field) => field.problem(message),
            None => at_key(block, message),
        };
        self.reading
            .push(match nearest(&name, self.minions.iter().copied()) {
                _ if name == PROXY => {
                    problem.hint("nginx is the proxy; `use: static` serves a folder of files")
                }
                None if block.uses.is_none() => problem.hint(
                    "write `use: <minion>`, or type `summoner minion list` to see what there is",
                ),
                _ => self.unknown(problem, &name),
            });
        None
    }

    fn unknown(&self, problem: Problem, name: &str) -> Problem {
        let list = "type `summoner minion list` to see what there is";
        match nearest(name, self.minions.iter().copied()) {
            Some(known) => problem.hint(format!("did you mean `{known}`? {list}")),
            None => problem.hint(list),
        }
    }

    fn hosts(&self, block: &Block<'_>) -> Vec<String> {
        if let Some(field) = &block.hosts {
            if let Some(subdomain) = &block.subdomain {
                subdomain.fail_with(
                    "`subdomain` has no effect beside `hosts`",
                    "keep one of the two",
                );
            }
            let items = field.list();
            if items.is_empty() && matches!(field.value(), Value::Sequence(_)) {
                field.fail("at least one host name is needed");
            }
            let read = |item: &Field<'_>| accept(item, names::host(&item.string()?));
            return items.iter().filter_map(read).collect();
        }
        let subdomain = match &block.subdomain {
            Some(field) => field
                .string()
                .and_then(|text| accept(field, names::host(&text))),
            // A bad name was reported; its host would be the same problem twice.
            None => names::name(block.name)
                .is_ok()
                .then(|| block.name.to_owned()),
        };
        let (Some(subdomain), Some(domain)) = (subdomain, self.domain) else {
            return Vec::new();
        };
        let host = format!("{subdomain}.{domain}");
        // Two good parts may still be too long together.
        if names::host(&host).is_err() {
            let message = format!("`{host}` is too long for a host name");
            self.reading.push(match &block.subdomain {
                Some(field) => field.problem(message),
                None => at_key(block, message),
            });
        }
        vec![host]
    }

    fn version(&mut self, block: &Block<'_>) -> Option<String> {
        let field = block.version.as_ref()?;
        let tag = accept(field, names::tag(&field.text()?))?;
        if names::is_floating(&tag) {
            let message = format!("the tag `{tag}` moves: what runs may change without a word");
            let problem = field.problem(message);
            self.warnings
                .push(problem.hint("write the whole version, such as `5.130.0`"));
        }
        Some(tag)
    }

    /// One host, one instance.
    pub fn check_hosts(&self, blocks: &[Block<'_>]) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for instance in &self.found {
            for host in &instance.hosts {
                let Some(other) = seen.insert(host, &instance.name) else {
                    continue;
                };
                let block = blocks.iter().find(|block| block.name == instance.name);
                let items = block
                    .and_then(|block| block.hosts.as_ref())
                    .map(Field::list);
                // The last one, since it is the second when the list has it twice.
                let item = items
                    .into_iter()
                    .flatten()
                    .rfind(|i| i.node().text.to_lowercase() == *host);
                let message = if other == instance.name {
                    format!("the host `{host}` is there twice")
                } else {
                    format!("the host `{host}` belongs to `{other}` already")
                };
                let problem = item.map_or_else(
                    || {
                        let path = format!("minions.{}", instance.name);
                        self.reading.problem(instance.position, path, &message)
                    },
                    |item| item.problem(&message),
                );
                self.reading.push(problem);
            }
        }
    }
}

fn reserved(name: &str) -> Option<String> {
    let (_, why) = RESERVED.iter().find(|(reserved, _)| *reserved == name)?;
    Some(format!("the name `{name}` is reserved: {why}"))
}

/// A problem of the block's name.
fn at_key(block: &Block<'_>, message: impl Into<String>) -> Problem {
    let mut problem = block.field.problem(message);
    problem.position = Some(block.position);
    problem
}
