//! What goes away: instances that config.yml does not name any more, and what `down` was told to take.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::compose::Condition;
use crate::engine::Container;
use crate::plan::desired::{Desired, PROXY, labels};
use crate::plan::observed::Observed;
use crate::plan::reconcile::{Builder, Refusal, Refusals, done, operation};
use crate::plan::{Action, Plan, service};

/// The cause of what `down` does.
const DOWN: &str = "`summoner down`";

/// Instances that are there and that config.yml does not name any more.
fn gone(desired: &Desired, observed: &Observed) -> BTreeSet<String> {
    let known: BTreeSet<&str> = desired.groups.iter().map(|g| g.name.as_str()).collect();
    observed
        .containers
        .iter()
        .filter_map(|c| c.labels.get(labels::MINION).cloned())
        .chain(observed.built.iter().cloned())
        .filter(|m| !known.contains(m.as_str()))
        .collect()
}

/// As last applied; where that is lost, as its containers were made.
fn is_protected(minion: &str, observed: &Observed) -> bool {
    let labelled = |c: &Container| {
        c.labels.get(labels::MINION).is_some_and(|m| m == minion)
            && c.labels.get(labels::PROTECT).is_some_and(|p| p == "true")
    };
    match observed.state.minions.get(minion) {
        Some(remembered) => remembered.protect,
        None => observed.containers.iter().any(labelled),
    }
}

/// Protected instances whose block is gone.
pub(super) fn protected_gone(desired: &Desired, observed: &Observed) -> Vec<Refusal> {
    let gone = gone(desired, observed).into_iter();
    gone.filter(|m| is_protected(m, observed))
        .map(Refusal::Protected)
        .collect()
}

/// Those among them that have a site: new routes would be without it.
pub(super) fn protected_sites_gone(desired: &Desired, observed: &Observed) -> Vec<Refusal> {
    let exposed = |minion: &str| {
        observed.containers.iter().any(|c| {
            c.labels.get(labels::MINION).is_some_and(|m| m == minion)
                && c.networks.contains_key(&desired.edge)
        })
    };
    protected_gone(desired, observed)
        .into_iter()
        .filter(|r| matches!(r, Refusal::Protected(minion) if exposed(minion)))
        .collect()
}

/// Containers, networks and files of instances that config.yml does not name any more.
pub(super) fn orphans(
    desired: &Desired,
    observed: &Observed,
    builder: &mut Builder,
    refusals: &mut Vec<Refusal>,
) {
    refusals.extend(protected_gone(desired, observed));
    for minion in gone(desired, observed) {
        if is_protected(&minion, observed) {
            continue;
        }
        remove_instance(
            &minion,
            "its block is gone from config.yml",
            observed,
            builder,
        );
    }
}

/// Networks of ours that nothing shall be in any more: the domain or the project had another name.
pub(super) fn unused_networks(desired: &Desired, observed: &Observed, builder: &mut Builder) {
    let wanted: BTreeSet<&str> = desired
        .groups
        .iter()
        .flat_map(|g| g.networks.iter().map(|(name, _)| name.as_str()))
        .chain(desired.uses_edge().then_some(desired.edge.as_str()))
        .collect();
    for network in observed.networks.iter().filter(|n| observed.owns(n)) {
        let minion = network.labels.get(labels::MINION).map(String::as_str);
        // Those of an instance that is gone went with it.
        let known = minion.is_none_or(|m| desired.groups.iter().any(|g| g.name == m));
        if wanted.contains(network.name.as_str()) || !known {
            continue;
        }
        let after = builder
            .items
            .iter()
            .filter(|(_, o, _)| minion.is_none_or(|m| o.minion == m))
            .map(|(key, ..)| done(key.clone()))
            .collect();
        let op = operation(
            format!("network/{}", network.name),
            minion.unwrap_or_default(),
            Action::RemoveNetwork {
                id: network.id.clone(),
            },
            "nothing is in it any more",
        );
        builder.add(format!("remove-network:{}", network.id), op, after);
    }
}

/// Operations that take an instance away and keep its data.
fn remove_instance(minion: &str, cause: &str, observed: &Observed, builder: &mut Builder) {
    let containers: Vec<&Container> = observed
        .containers
        .iter()
        .filter(|c| c.labels.get(labels::MINION).is_some_and(|m| m == minion))
        .collect();
    let mut removed = Vec::new();
    for container in service::stop_order(&containers) {
        let service = container
            .labels
            .get(labels::SERVICE)
            .map_or("?", String::as_str);
        let key = format!("remove:{}", container.id);
        let mut op = operation(
            format!("{minion}/{service}"),
            minion,
            Action::Remove {
                id: container.id.clone(),
                grace: container.stop_timeout.unwrap_or(10),
            },
            cause,
        );
        op.data = Some("kept".to_owned());
        op.interruption = Some(if cause == DOWN {
            format!("{minion} is gone until the next `summoner up`")
        } else {
            format!("{minion} is gone for good")
        });
        let dependents = containers
            .iter()
            .filter(|c| service::depends_on(c).iter().any(|d| d == service))
            .map(|c| done(format!("remove:{}", c.id)));
        let after = dependents.chain([done("routes")]).collect();
        builder.add(&key, op, after);
        removed.push(done(key));
    }
    for network in observed
        .networks
        .iter()
        .filter(|n| observed.owns(n) && n.labels.get(labels::MINION).is_some_and(|m| m == minion))
    {
        let key = format!("remove-network:{}", network.id);
        builder.add(
            &key,
            operation(
                format!("network/{}", network.name),
                minion,
                Action::RemoveNetwork {
                    id: network.id.clone(),
                },
                cause,
            ),
            removed.clone(),
        );
        removed.push(done(key));
    }
    if observed.built.contains(minion) {
        builder.add(
            format!("forget:{minion}"),
            operation(format!("{minion}/files"), minion, Action::Forget, cause),
            removed,
        );
    }
}

/// What `down` does: takes instances away, with `purge` their data too. `all` takes the proxy and
/// the shared network as well.
pub fn down(
    desired: &Desired,
    observed: &Observed,
    minions: &BTreeSet<String>,
    all: bool,
    purge: &BTreeSet<String>,
) -> Result<Plan, Refusals> {
    let protected: Vec<Refusal> = minions
        .iter()
        .filter(|m| {
            // As last applied, or as it was just written into config.yml.
            is_protected(m, observed) || desired.groups.iter().any(|g| g.name == **m && g.protect)
        })
        .map(|m| Refusal::Protected(m.clone()))
        .collect();
    if !protected.is_empty() {
        return Err(Refusals(protected));
    }
    let mut builder = Builder::default();
    for minion in minions {
        remove_instance(minion, DOWN, observed, &mut builder);
        if purge.contains(minion) {
            purge_instance(minion, &desired.data_roots, observed, &mut builder);
        }
    }
    if all {
        remove_instance(PROXY, DOWN, observed, &mut builder);
        let after: Vec<(String, Condition)> = builder
            .items
            .iter()
            .map(|(key, ..)| done(key.clone()))
            .collect();
        for network in observed
            .networks
            .iter()
            .filter(|n| observed.owns(n) && !n.labels.contains_key(labels::MINION))
        {
            builder.add(
                format!("remove-network:{}", network.id),
                operation(
                    format!("network/{}", network.name),
                    "",
                    Action::RemoveNetwork {
                        id: network.id.clone(),
                    },
                    DOWN,
                ),
                after.clone(),
            );
        }
    }
    Ok(builder.build())
}

fn purge_instance(minion: &str, roots: &[PathBuf], observed: &Observed, builder: &mut Builder) {
    let folders: Vec<PathBuf> = observed
        .state
        .minions
        .get(minion)
        .map(|r| outermost(&r.folders))
        .unwrap_or_default()
        .into_iter()
        .filter(|f| observed.folders.contains_key(f) && is_data_of(minion, f, roots))
        .collect();
    if folders.is_empty() {
        return;
    }
    let after: Vec<(String, Condition)> = builder
        .items
        .iter()
        .filter(|(_, o, _)| o.minion == minion)
        .map(|(key, ..)| done(key.clone()))
        .collect();
    let mut op = operation(
        format!("{minion}/data"),
        minion,
        Action::Purge {
            folders: folders.clone(),
        },
        "`--purge`",
    );
    let names: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    op.data = Some(format!("DELETED for good: {}", names.join(", ")));
    builder.add(format!("purge:{minion}"), op, after);
}

/// Whether a folder is the instance's by the config.yml of today. What is remembered is not enough:
/// in a copy of a project folder, `state.json` names the data of the original.
fn is_data_of(minion: &str, folder: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| {
        folder.strip_prefix(root.join(minion)).is_ok_and(|below| {
            let mut parts = below.components().peekable();
            parts.peek().is_some() && parts.all(|c| matches!(c, Component::Normal(_)))
        })
    })
}

/// Folders without those that lie in another one of them.
fn outermost(folders: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    folders
        .iter()
        .filter(|f| !folders.iter().any(|o| o != *f && Path::starts_with(f, o)))
        .cloned()
        .collect()
}
