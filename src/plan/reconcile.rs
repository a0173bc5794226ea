//! `plan(desired, observed) -> Plan`: pure, and the only place that decides what is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::compose::Condition;
use crate::engine::NetworkSpec;
use crate::plan::desired::{Desired, Group, PROXY, labels};
use crate::plan::observed::{FolderState, Observed};
use crate::plan::removal::{orphans, protected_sites_gone, unused_networks};
use crate::plan::{Action, Operation, Plan, service, subnets};

/// Why a plan is refused as a whole: going on could harm data or somebody else's containers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A protected instance would be removed.
    #[error("`{0}` is protected and will not be removed")]
    Protected(String),
    /// A container name belongs to someone else.
    #[error("the container name `{name}` is taken by {owner}")]
    Foreign {
        /// The name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// A network name belongs to someone else.
    #[error("the network `{0}` exists and is not summoner's")]
    ForeignNetwork(String),
    /// Data was seen in a folder that is empty or gone now.
    #[error("`{}` of `{minion}` held data before and is {} now", path.display(), if *gone { "gone" } else { "empty" })]
    Shadowed {
        /// The instance.
        minion: String,
        /// The folder.
        path: PathBuf,
        /// Not there at all.
        gone: bool,
    },
    /// Data was seen in another folder, and the one that takes its place holds nothing.
    #[error("the data of `{minion}` is in `{}`, and there is none in `{}`", before.display(), path.display())]
    Elsewhere {
        /// The instance.
        minion: String,
        /// The folder as it shall be.
        path: PathBuf,
        /// Where the data is.
        before: PathBuf,
    },
    /// An instance that holds data of one minion is now to be another.
    #[error("`{instance}` holds data of `{before}`, and is `{now}` in config.yml")]
    OtherMinion {
        /// The instance.
        instance: String,
        /// Whose data it is.
        before: String,
        /// What config.yml says.
        now: String,
    },
    /// No /26 is free.
    #[error("no free subnet is left for the network `{0}`")]
    NoSubnet(String),
}

impl Refusal {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Protected(minion) => format!(
                "put the block of `{minion}` back into config.yml, or take `protect: true` out of it and run `summoner up` before you remove it"
            ),
            Self::Foreign { name, .. } => format!(
                "work from that folder, give this project another `summoner.domain`, or remove it: `docker rm {name}`"
            ),
            Self::ForeignNetwork(name) => {
                format!(
                    "give this project another `summoner.name`, or remove it: `docker network rm {name}`"
                )
            }
            Self::Shadowed { minion, path, .. } => format!(
                "mount the disk of `{}` or put its data back; if the data is meant to be gone: `summoner down --purge {minion}`",
                path.display()
            ),
            Self::Elsewhere {
                minion,
                path,
                before,
            } => format!(
                "set `vsroot` and `dbsroot` back, or `summoner down {minion}`, then `mkdir -p {} && mv {} {}`",
                path.parent().unwrap_or(path).display(),
                before.display(),
                path.display()
            ),
            Self::OtherMinion {
                instance,
                before,
                now,
            } => format!(
                "give the new one another name in config.yml, or remove the old data: `summoner down --purge {instance}`; \
                 if `{before}` was only renamed to `{now}`, say so in `.summoner/state.json`"
            ),
            Self::NoSubnet(_) => {
                "give summoner a pool that is free: `summoner: {subnets: [10.99.0.0/16]}`"
                    .to_owned()
            }
        }
    }
}

/// All refusals of a plan, each with its own hint: one `hint:` at the end could not help with all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|r| format!("{r}\n  hint: {}", r.hint())).collect::<Vec<_>>().join("\n"))]
pub struct Refusals(pub Vec<Refusal>);

/// Which instances are looked at; `None` means all, and removals with them.
pub type Scope<'a> = Option<&'a BTreeSet<String>>;

/// An operation, its name, and the names of what must come before it.
type Item = (String, Operation, Vec<(String, Condition)>);

/// Operations under names, so that one can come after another before both have a number.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) items: Vec<Item>,
}

impl Builder {
    pub(super) fn add(
        &mut self,
        key: impl Into<String>,
        operation: Operation,
        after: Vec<(String, Condition)>,
    ) {
        self.items.push((key.into(), operation, after));
    }

    /// Numbers in place of names; a name nobody has is something that is done already.
    pub(super) fn build(self) -> Plan {
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        for (index, (key, ..)) in self.items.iter().enumerate() {
            last.insert(key.clone(), index);
        }
        let operations = self
            .items
            .into_iter()
            .enumerate()
            .map(|(index, (_, mut operation, after))| {
                let mut after: Vec<(usize, Condition)> = after
                    .into_iter()
                    .filter_map(|(key, condition)| last.get(&key).map(|i| (*i, condition)))
                    .filter(|(i, _)| *i < index)
                    .collect();
                after.sort_by_key(|(i, _)| *i);
                after.dedup();
                operation.after = after;
                operation
            })
            .collect();
        Plan { operations }
    }
}

pub(super) fn operation(
    target: impl Into<String>,
    minion: &str,
    action: Action,
    cause: impl Into<String>,
) -> Operation {
    Operation {
        target: target.into(),
        minion: minion.to_owned(),
        action,
        cause: cause.into(),
        data: None,
        interruption: None,
        after: Vec::new(),
    }
}

pub(super) fn done(key: impl Into<String>) -> (String, Condition) {
    (key.into(), Condition::Completed)
}

/// What has to be done to make `observed` what is `desired`.
pub fn plan(desired: &Desired, observed: &Observed, scope: Scope<'_>) -> Result<Plan, Refusals> {
    let mut refusals = Vec::new();
    let in_scope = |name: &str| scope.is_none_or(|names| name == PROXY || names.contains(name));
    let groups: Vec<&Group> = desired
        .groups
        .iter()
        .filter(|g| in_scope(&g.name))
        .collect();

    let mut services = Builder::default();
    let mut images: BTreeSet<String> = BTreeSet::new();
    for group in &groups {
        service::plan_group(group, observed, &mut services, &mut images, &mut refusals);
    }

    let mut builder = Builder::default();
    networks(desired, &groups, observed, &mut builder, &mut refusals);
    for image in images.iter().filter(|i| observed.lacks(i)) {
        let cause = match observed.image(image) {
            Some(_) => "a registry answers, a stand-in is here",
            None => "not there",
        };
        builder.add(
            format!("pull:{image}"),
            operation(
                format!("image/{image}"),
                "",
                Action::Pull {
                    image: image.clone(),
                },
                cause,
            ),
            Vec::new(),
        );
    }
    for group in &groups {
        folders(desired, group, observed, &mut builder, &mut refusals);
        files(group, observed, &mut builder);
    }
    routes(desired, observed, &mut builder);
    builder.items.extend(services.items);
    for (id, name) in &observed.helpers {
        let action = Action::Remove {
            id: id.clone(),
            grace: 0,
        };
        let op = operation(format!("helper/{name}"), "", action, service::CUT_OFF);
        builder.add(format!("remove:{id}"), op, Vec::new());
    }
    if scope.is_some() {
        // Whatever the scope, the routes are those of config.yml: a protected site would lose its own.
        refusals.extend(protected_sites_gone(desired, observed));
    } else {
        orphans(desired, observed, &mut builder, &mut refusals);
        unused_networks(desired, observed, &mut builder);
    }
    if refusals.is_empty() {
        Ok(builder.build())
    } else {
        Err(Refusals(refusals))
    }
}

/// Networks that are there twice: a run was killed while the engine made one, and the next run made
/// another. The one that containers use stays.
fn twins(name: &str, minion: &str, observed: &Observed, builder: &mut Builder) {
    let ours = |n: &&crate::engine::Network| n.name == name && observed.owns(n);
    let used = |n: &crate::engine::Network| {
        observed
            .containers
            .iter()
            .any(|c| c.networks.values().any(|end| end.network == n.id))
    };
    let mut all: Vec<&crate::engine::Network> = observed.networks.iter().filter(ours).collect();
    all.sort_by_key(|n| (!used(n), n.id.clone()));
    for network in all.iter().skip(1).filter(|n| !used(n)) {
        let action = Action::RemoveNetwork {
            id: network.id.clone(),
        };
        let op = operation(format!("network/{name}"), minion, action, service::CUT_OFF);
        builder.add(format!("network:{name}"), op, Vec::new());
    }
}

fn networks(
    desired: &Desired,
    groups: &[&Group],
    observed: &Observed,
    builder: &mut Builder,
    refusals: &mut Vec<Refusal>,
) {
    let mut wanted: Vec<(String, bool, String, String)> = Vec::new();
    let edge = desired.routes.is_some()
        || groups.iter().any(|g| {
            g.services
                .values()
                .any(|s| s.spec.networks.contains_key(&desired.edge))
        });
    if edge {
        wanted.push((desired.edge.clone(), false, String::new(), String::new()));
    }
    for group in groups {
        for (name, internal) in &group.networks {
            wanted.push((
                name.clone(),
                *internal,
                group.name.clone(),
                group.project.clone(),
            ));
        }
    }
    let mut taken: Vec<String> = observed.routes.clone();
    taken.extend(
        observed
            .networks
            .iter()
            .flat_map(|n| n.subnets.iter().cloned()),
    );
    for (name, internal, minion, project) in wanted {
        if let Some(network) = observed.networks.iter().find(|n| n.name == name) {
            if observed.owns(network) {
                twins(&name, &minion, observed, builder);
            } else {
                refusals.push(Refusal::ForeignNetwork(name));
            }
            continue;
        }
        let Some(subnet) = subnets::free(&desired.pools, taken.iter().map(String::as_str)) else {
            refusals.push(Refusal::NoSubnet(name));
            continue;
        };
        taken.push(subnet.clone());
        let mut labels = BTreeMap::from([
            (labels::PROJECT.to_owned(), desired.project.clone()),
            (labels::ROOT.to_owned(), desired.root.display().to_string()),
        ]);
        if !minion.is_empty() {
            labels.insert(labels::MINION.to_owned(), minion.clone());
            labels.insert("com.docker.compose.project".to_owned(), project.clone());
            let key = name.strip_prefix(&format!("{project}_")).unwrap_or(&name);
            labels.insert("com.docker.compose.network".to_owned(), key.to_owned());
        }
        let cause = format!("subnet {subnet}");
        builder.add(
            format!("network:{name}"),
            operation(
                format!("network/{name}"),
                &minion,
                Action::CreateNetwork(NetworkSpec {
                    name: name.clone(),
                    subnet,
                    internal,
                    labels,
                }),
                cause,
            ),
            Vec::new(),
        );
    }
}

fn folders(
    desired: &Desired,
    group: &Group,
    observed: &Observed,
    builder: &mut Builder,
    refusals: &mut Vec<Refusal>,
) {
    let seen = observed.state.minions.get(&group.name).map(|r| &r.filled);
    // Another `vsroot` gives every folder another place, and what does not follow would be shadowed.
    let elsewhere = |path: &Path| {
        seen.into_iter().flatten().find(|before| {
            before.file_name() == path.file_name()
                && group.folders.iter().all(|f| f.path != **before)
                && observed.folders.get(*before) == Some(&FolderState::Filled)
        })
    };
    let remembered = observed.state.minions.get(&group.name);
    if let Some(before) = remembered.filter(|r| {
        !r.minion.is_empty()
            && r.minion != group.template
            && r.filled
                .iter()
                .any(|f| observed.folders.get(f) == Some(&FolderState::Filled))
    }) {
        refusals.push(Refusal::OtherMinion {
            instance: group.name.clone(),
            before: before.minion.clone(),
            now: group.template.clone(),
        });
        return;
    }
    for folder in &group.folders {
        let state = observed.folders.get(&folder.path);
        if seen.is_some_and(|s| s.contains(&folder.path)) && state != Some(&FolderState::Filled) {
            refusals.push(Refusal::Shadowed {
                minion: group.name.clone(),
                path: folder.path.clone(),
                gone: state.is_none(),
            });
        } else if let Some(before) =
            elsewhere(&folder.path).filter(|_| state != Some(&FolderState::Filled))
        {
            refusals.push(Refusal::Elsewhere {
                minion: group.name.clone(),
                path: folder.path.clone(),
                before: before.clone(),
            });
        } else if state.is_none() {
            builder.add(
                format!("folder:{}", folder.path.display()),
                operation(
                    format!("{}/folder", group.name),
                    &group.name,
                    Action::CreateFolder {
                        path: folder.path.clone(),
                        uid: folder.uid,
                        gid: folder.gid,
                        mode: folder.mode,
                    },
                    format!(
                        "{}, owner {}:{}, mode {:04o}",
                        short(&folder.path, &desired.root),
                        folder.uid,
                        folder.gid,
                        folder.mode
                    ),
                ),
                Vec::new(),
            );
        }
    }
}

fn files(group: &Group, observed: &Observed, builder: &mut Builder) {
    let there = observed.files.get(&group.name).filter(|t| !t.is_empty());
    let changed: BTreeSet<String> = group
        .files
        .iter()
        .filter(|(path, content)| there.and_then(|t| t.get(*path)) != Some(content))
        .map(|(path, _)| file_name(path))
        .collect();
    if changed.is_empty() {
        return;
    }
    let cause = match there {
        None => "not there".to_owned(),
        Some(_) => changed.into_iter().collect::<Vec<_>>().join(", "),
    };
    builder.add(
        format!("files:{}", group.name),
        operation(
            format!("{}/files", group.name),
            &group.name,
            Action::WriteFiles,
            cause,
        ),
        Vec::new(),
    );
}

/// A path below the project's folder as the user would type it there.
fn short(path: &Path, root: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(below) => format!("./{}", below.display()),
        Err(_) => path.display().to_string(),
    }
}

/// `files/5a6613c5bd2f/nginx.conf` -> `nginx.conf`: the folder in between is named after the content.
fn file_name(path: &Path) -> String {
    let below = path.strip_prefix("files").ok().and_then(|p| {
        let mut parts = p.components();
        parts.next()?;
        Some(parts.as_path())
    });
    below.unwrap_or(path).display().to_string()
}

fn routes(desired: &Desired, observed: &Observed, builder: &mut Builder) {
    let Some(routes) = &desired.routes else {
        return;
    };
    let all: Vec<String> = routes.certificates.values().flatten().cloned().collect();
    if let Some(cause) = &observed.authority {
        let mut op = operation(
            "certificate/ca",
            PROXY,
            Action::Authority { hosts: all },
            cause,
        );
        if observed.generation.is_some() {
            op.interruption =
                Some("whoever trusted the old CA has to trust the new one".to_owned());
        }
        builder.add("authority", op, Vec::new());
    }
    for (site, hosts) in &routes.certificates {
        let Some(cause) = observed.certificates.get(site) else {
            continue;
        };
        let (site, hosts) = (site.clone(), hosts.clone());
        let cause = format!("{} ({cause})", hosts.join(", "));
        let key = format!("certificate:{site}");
        let target = format!("certificate/{site}");
        let action = match &routes.own {
            Some((certificate, key)) => Action::InstallCertificate {
                site: site.clone(),
                hosts,
                certificate: certificate.clone(),
                key: key.clone(),
            },
            None => Action::Certificate {
                site: site.clone(),
                hosts,
            },
        };
        builder.add(
            key,
            operation(target, &site, action, cause),
            vec![done("authority")],
        );
    }
    let issued: Vec<(String, Condition)> = routes
        .certificates
        .keys()
        .map(|s| done(format!("certificate:{s}")))
        .collect();
    let proxy_image = desired
        .service(PROXY, PROXY)
        .map(|s| done(format!("pull:{}", s.spec.image)));
    let after: Vec<(String, Condition)> = issued
        .iter()
        .cloned()
        .chain(proxy_image)
        .chain([done(format!("files:{PROXY}"))])
        .collect();
    match &observed.generation {
        Some(g) if g.hash == routes.hash => {
            if let Some(live) = g.live.filter(|live| *live != g.number) {
                let cause = format!("nginx runs generation {live}, current is {}", g.number);
                builder.add(
                    "routes",
                    operation("proxy/routes", PROXY, Action::Reload, cause),
                    after,
                );
            }
        }
        other => {
            let cause = match other {
                None => match routes
                    .files
                    .keys()
                    .filter(|f| f.starts_with("sites/"))
                    .count()
                {
                    1 => "1 site".to_owned(),
                    n => format!("{n} sites"),
                },
                Some(_) if !observed.certificates.is_empty() => "new certificates".to_owned(),
                Some(_) => "routes changed".to_owned(),
            };
            let mut op = operation("proxy/routes", PROXY, Action::Routes, cause);
            if other.is_some() {
                op.interruption = Some("none, nginx reloads".to_owned());
            }
            builder.add("routes", op, after);
        }
    }
}
