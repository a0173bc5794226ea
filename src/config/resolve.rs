//! From what the user said to what it means. Data in, data out: what has to be looked up outside
//! comes in as an argument.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::{Environment, Instance, Setting};
use super::file::{Block, File, Summoner};
use super::lookup::Lookup;
use super::names::{self, accept};
use super::source::Sources;
use super::{later, paths, proxy};
use crate::problem::{Position, Problem, Problems, nearest};
use crate::yaml::{Document, Field, Reading, Value};

/// What a configuration is resolved against.
pub(super) struct Context<'a> {
    pub file: &'a Path,
    pub root: &'a Path,
    pub lookup: &'a Lookup,
    pub minions: &'a [&'a str],
}

/// Names that mean something else: a folder below `vsroot`, the proxy.
const RESERVED: [(&str, &str); 2] = [
    ("database", "`dbsroot` may be the folder of that name"),
    ("proxy", "it is the name of Summoner's own container"),
];

/// The founding design lists the proxy among the applications.
const PROXY: &str = "nginx";

/// Pools that Docker's own defaults, home routers and most offices leave alone.
const SUBNETS: [&str; 2] = ["10.210.0.0/16", "172.28.0.0/14"];

/// Docker refuses less.
const LEAST_MEMORY: u64 = 6 << 20;

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
    let mut warnings = Problems::default();
    let proxy = proxy::resolve(file.proxy.as_ref(), &sources);
    let later = later::resolve(file);
    let general = file
        .summoner
        .as_ref()
        .map(|summoner| General::read(summoner, context));
    let domain = general
        .as_ref()
        .and_then(|general| general.domain.as_deref());

    let mut instances: Vec<Instance> = Vec::new();
    for block in &file.minions {
        instances.extend(long_form(
            block,
            domain,
            &sources,
            context.minions,
            &mut warnings,
        ));
    }
    let applications = file.summoner.as_ref().and_then(|s| s.applications.as_ref());
    for word in applications
        .map(|field| words(field, document))
        .unwrap_or_default()
    {
        // A block under `minions:` says more about the same instance.
        let instance = short_form(&word, reading, domain, context.minions, &mut warnings);
        instances.extend(instance.filter(|new| instances.iter().all(|i| i.name != new.name)));
    }
    unique_hosts(reading, file, &instances);

    let general = general?;
    general.check_folders(&instances);
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
        later,
        warnings: warnings.into_result(()).err().unwrap_or_default().0,
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
    fn check_folders(&self, instances: &[Instance]) {
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

/// One word of `applications:` and its own place.
struct Word {
    text: String,
    position: Position,
    path: String,
}

fn words(field: &Field<'_>, document: &Document) -> Vec<Word> {
    let word = |text: String, position, path: &str| Word {
        text,
        position,
        path: path.to_owned(),
    };
    match field.value() {
        Value::Sequence(_) => {
            let items = field.list();
            let items = items.iter();
            items
                .filter_map(|item| Some(word(item.string()?, item.position(), item.path())))
                .collect()
        }
        Value::String(_) => {
            let words = document.words(field.node()).into_iter();
            words
                .map(|(position, text)| word(text, position, field.path()))
                .collect()
        }
        _ => field
            .wrong("a list, or names separated by blanks", None)
            .unwrap_or_default(),
    }
}

fn short_form(
    word: &Word,
    reading: &Reading,
    domain: Option<&str>,
    minions: &[&str],
    warnings: &mut Problems,
) -> Option<Instance> {
    let problem = |message: String| reading.problem(Some(word.position), &word.path, message);
    let name = word.text.as_str();
    if name == PROXY {
        return None;
    }
    if let Err(complaint) = names::name(name) {
        let found = problem(complaint.message);
        reading.push(match complaint.hint {
            Some(hint) => found.hint(hint),
            None => found,
        });
        return None;
    }
    if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
        reading.push(problem(format!("the name `{name}` is reserved: {why}")));
        return None;
    }
    if !minions.contains(&name) {
        // The list says "these", not "exactly these": what is there can run.
        warnings.push(unknown(
            problem(format!("there is no minion `{name}` yet")),
            name,
            minions,
        ));
        return None;
    }
    Some(Instance {
        name: name.to_owned(),
        minion: name.to_owned(),
        hosts: vec![domain.map_or_else(|| name.to_owned(), |domain| format!("{name}.{domain}"))],
        version: None,
        set: BTreeMap::new(),
        env: BTreeMap::new(),
        protect: false,
        memory: None,
        cpus: None,
        position: Some(word.position),
        explicit: false,
    })
}

fn unknown(problem: Problem, name: &str, minions: &[&str]) -> Problem {
    let list = "type `summoner minion list` to see what there is";
    match nearest(name, minions.iter().copied()) {
        Some(known) => problem.hint(format!("did you mean `{known}`? {list}")),
        None => problem.hint(list),
    }
}

fn long_form(
    block: &Block<'_>,
    domain: Option<&str>,
    sources: &Sources<'_>,
    minions: &[&str],
    warnings: &mut Problems,
) -> Option<Instance> {
    let at_key = |message: String| {
        let mut problem = block.field.problem(message);
        problem.position = Some(block.position);
        problem
    };
    if block.name == PROXY && block.uses.is_none() {
        if !block.field.node().entries().is_empty() {
            let problem = at_key("`nginx` is the proxy".to_owned());
            block
                .field
                .push(problem.hint("its settings stand in the section `proxy`"));
        }
        return None;
    }
    if let Err(complaint) = names::name(block.name) {
        let problem = at_key(complaint.message);
        block.field.push(match complaint.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }
    if let Some((_, why)) = RESERVED
        .iter()
        .find(|(reserved, _)| *reserved == block.name)
    {
        let problem = at_key(format!("the name `{}` is reserved: {why}", block.name));
        block.field.push(problem.hint(format!(
            "choose another name and write `use: {}`",
            block.name
        )));
    }
    let settings = |list: &[(&str, Position, Field<'_>)]| -> BTreeMap<String, Setting> {
        let read = |(key, _, field): &(&str, Position, Field<'_>)| {
            let value = sources.setting(field)?;
            Some((
                (*key).to_owned(),
                Setting {
                    value,
                    position: Some(field.position()),
                },
            ))
        };
        list.iter().filter_map(read).collect()
    };
    for (key, _, field) in &block.env {
        accept(field, names::variable(key));
    }
    let instance = Instance {
        name: block.name.to_owned(),
        minion: minion(block, minions, &at_key)?,
        hosts: hosts(block, domain, &at_key),
        version: version(block, warnings),
        set: settings(&block.set),
        env: settings(&block.env),
        protect: block.protect,
        memory: block.memory.as_ref().and_then(|field| match field.size()? {
            bytes if bytes >= LEAST_MEMORY => Some(bytes),
            _ => field.wrong("at least `6m`", None),
        }),
        cpus: block.cpus.as_ref().and_then(|field| match field.f64()? {
            cpus if cpus > 0.0 && cpus <= 1024.0 => Some(cpus),
            _ => field.wrong("a number of cores above 0", None),
        }),
        position: Some(block.position),
        explicit: true,
    };
    Some(instance)
}

/// The template behind a block; `None` after a problem.
fn minion(
    block: &Block<'_>,
    minions: &[&str],
    at_key: &dyn Fn(String) -> Problem,
) -> Option<String> {
    if let Some((position, compose)) = &block.compose {
        let mut problem = compose.problem("bring-your-own Compose files are not there yet");
        problem.position = Some(*position);
        compose.push(problem.hint("put a template into ./minions/<name>/ and write `use: <name>`"));
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
    if minions.contains(&name.as_str()) {
        return Some(name);
    }
    let message = format!("there is no minion `{name}`");
    let problem = match &block.uses {
        Some(field) => field.problem(message),
        None => at_key(message),
    };
    block
        .field
        .push(match nearest(&name, minions.iter().copied()) {
            _ if name == PROXY => {
                problem.hint("nginx is the proxy; `use: static` serves a folder of files")
            }
            None if block.uses.is_none() => problem
                .hint("write `use: <minion>`, or type `summoner minion list` to see what there is"),
            _ => unknown(problem, &name, minions),
        });
    None
}

fn hosts(
    block: &Block<'_>,
    domain: Option<&str>,
    at_key: &dyn Fn(String) -> Problem,
) -> Vec<String> {
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
        Some(field) => match field
            .string()
            .and_then(|text| accept(field, names::host(&text)))
        {
            Some(text) => text,
            None => return Vec::new(),
        },
        None => block.name.to_owned(),
    };
    let Some(domain) = domain else {
        return vec![subdomain];
    };
    let host = format!("{subdomain}.{domain}");
    // Two good parts may still be too long together.
    if names::name(block.name).is_ok() && names::host(&host).is_err() {
        let message = format!("`{host}` is too long for a host name");
        block.field.push(
            block
                .subdomain
                .as_ref()
                .map_or_else(|| at_key(message.clone()), |f| f.problem(message.clone())),
        );
    }
    vec![host]
}

fn version(block: &Block<'_>, warnings: &mut Problems) -> Option<String> {
    let field = block.version.as_ref()?;
    let tag = accept(field, names::tag(&field.text()?))?;
    if names::is_floating(&tag) {
        let message = format!("the tag `{tag}` moves: what runs may change without a word");
        warnings.push(
            field
                .problem(message)
                .hint("write the whole version, such as `5.130.0`"),
        );
    }
    Some(tag)
}

/// One host, one instance.
fn unique_hosts(reading: &Reading, file: &File<'_>, instances: &[Instance]) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for instance in instances {
        for (index, host) in instance.hosts.iter().enumerate() {
            let Some(other) = seen.insert(host, &instance.name) else {
                continue;
            };
            let block = file
                .minions
                .iter()
                .find(|block| block.name == instance.name);
            // With a bad name in the list, items and hosts no longer go side by side.
            let items = block
                .and_then(|block| block.hosts.as_ref())
                .map(|field| field.node().items());
            let item = items
                .filter(|i| i.len() == instance.hosts.len())
                .and_then(|i| i.get(index));
            let position = item.map(|node| node.position).or(instance.position);
            let path = format!("minions.{}", instance.name);
            let message = if other == instance.name {
                format!("the host `{host}` is there twice")
            } else {
                format!("the host `{host}` belongs to `{other}` already")
            };
            reading.push(reading.problem(position, path, message));
        }
    }
}
