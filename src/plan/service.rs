//! One service: which of its containers is the one, and what to do with it and the others.
//!
//! Names are the journal of a replacement. A new container is made as `<name>.next`; the old one is
//! stopped and becomes `<name>.previous`, the new one gets the name and starts; when it is healthy
//! the old one is removed. Whatever step a run was cut off at, names and states tell the next run.

use std::collections::BTreeSet;

use crate::compose::Condition;
use crate::engine::{Container, Health, RunState};
use crate::plan::desired::{Group, Service, labels};
use crate::plan::hash;
use crate::plan::observed::Observed;
use crate::plan::reconcile::{Builder, Refusal, done, operation};
use crate::plan::{Action, Operation};

/// Ending of the name of a container that is going to take over.
pub const NEXT: &str = ".next";
/// Ending of the name of a container that was taken over from.
pub const PREVIOUS: &str = ".previous";

/// Cause of what tidies up after a run that was killed.
pub(super) const CUT_OFF: &str = "left by a run that was cut off";

/// Containers of one service by the part they play.
struct Cast<'a> {
    current: Option<&'a Container>,
    previous: Option<&'a Container>,
    leftover: Vec<&'a Container>,
}

fn cast<'a>(service: &Service, observed: &'a Observed) -> Cast<'a> {
    let mut cast = Cast {
        current: None,
        previous: None,
        leftover: Vec::new(),
    };
    let next = format!("{}{NEXT}", service.name);
    let previous = format!("{}{PREVIOUS}", service.name);
    let ours = observed.containers.iter().filter(|c| {
        c.labels.get(labels::MINION) == Some(&service.minion)
            && c.labels.get(labels::SERVICE) == Some(&service.service)
    });
    let mut strangers = Vec::new();
    for container in ours {
        if container.name == service.name {
            cast.current = Some(container);
        } else if container.name == previous {
            cast.previous = Some(container);
        } else if container.name == next {
            cast.leftover.push(container);
        } else {
            strangers.push(container);
        }
    }
    // Renamed by hand, or made when the domain was another: the one that runs is the one meant.
    strangers.sort_by_key(|c| (c.state != RunState::Running, c.name.clone()));
    for container in strangers {
        if cast.current.is_none() && cast.previous.is_none() {
            cast.current = Some(container);
        } else {
            cast.leftover.push(container);
        }
    }
    cast
}

/// Plans every service of a group, dependencies first.
pub(super) fn plan_group(
    group: &Group,
    observed: &Observed,
    builder: &mut Builder,
    images: &mut BTreeSet<String>,
    refusals: &mut Vec<Refusal>,
) {
    // Services that the template does not have any more. What runs now may still need them: they go
    // when all of the others are done, unless one of those takes over the name.
    let gone: Vec<(&str, &Container)> = observed
        .containers
        .iter()
        .filter(|c| c.labels.get(labels::MINION) == Some(&group.name))
        .filter_map(|c| Some((c.labels.get(labels::SERVICE)?.as_str(), c)))
        .filter(|(service, _)| !group.services.contains_key(*service))
        .collect();
    let (in_the_way, needless): (Vec<_>, Vec<_>) = gone
        .into_iter()
        .partition(|(_, c)| group.services.values().any(|s| s.name == c.name));
    let retire = |builder: &mut Builder, service: &str, container: &Container, after| {
        let cause = "no such service in the template any more";
        let mut op = remove(group, service, container, cause);
        op.data = Some("kept".to_owned());
        builder.add(format!("remove:{}", container.id), op, after);
    };
    for (service, container) in &in_the_way {
        retire(builder, service, container, Vec::new());
    }
    for service in start_order(group) {
        if let Some(owner) = observed.foreign.get(&service.name) {
            refusals.push(Refusal::Foreign {
                name: service.name.clone(),
                owner: owner.clone(),
            });
            continue;
        }
        let freed = in_the_way
            .iter()
            .filter(|(_, c)| c.name == service.name)
            .map(|(_, c)| done(format!("remove:{}", c.id)))
            .collect();
        plan_service(group, service, freed, observed, builder, images);
    }
    for (service, container) in needless {
        let others = group.services.values();
        let after = others
            .map(|s| done(format!("service:{}", s.target())))
            .collect();
        retire(builder, service, container, after);
    }
}

fn remove(group: &Group, service: &str, container: &Container, cause: &str) -> Operation {
    operation(
        format!("{}/{service}", group.name),
        &group.name,
        Action::Remove {
            id: container.id.clone(),
            grace: container.stop_timeout.unwrap_or(10),
        },
        cause,
    )
}

fn plan_service(
    group: &Group,
    service: &Service,
    freed: Vec<(String, Condition)>,
    observed: &Observed,
    builder: &mut Builder,
    images: &mut BTreeSet<String>,
) {
    let mut cast = cast(service, observed);
    let key = format!("service:{}", service.target());
    let mut after = prerequisites(group, service);
    after.extend(freed);
    let fits = |c: &Container| mismatch(service, c, observed).is_none();
    // One that got well has taken over, though nobody is left to say so. It is the one to come back
    // to if the next one fails: its predecessor may not understand the data any more.
    if let (Some(current), Some(_)) = (cast.current, cast.previous)
        && is_well(current)
        && !fits(current)
    {
        cast.leftover.extend(cast.previous.take());
    }
    let mut leftover: Vec<&Container> = cast.leftover.clone();

    let decided = match (cast.current, cast.previous) {
        (None, None) => Some((Action::Create, creation(service, observed), None)),
        (Some(current), Some(previous)) if fits(current) => Some((
            Action::Finish {
                id: current.id.clone(),
                previous: previous.id.clone(),
            },
            "a replacement was cut off".to_owned(),
            None,
        )),
        (None, Some(previous)) if fits(previous) => Some((
            Action::Restore {
                id: previous.id.clone(),
            },
            "a replacement was cut off".to_owned(),
            None,
        )),
        (current, previous) => {
            let old = previous.or(current).expect("one of them is there");
            mismatch(service, old, observed)
                .or_else(|| {
                    current
                        .and(previous)
                        .map(|_| "a replacement was cut off".to_owned())
                })
                .map(|cause| {
                    let discard = match (current, previous) {
                        (Some(failed), Some(_)) => vec![failed.id.clone()],
                        _ => Vec::new(),
                    };
                    // What a run that was cut off has stopped shall run again if this replacement fails.
                    let cut_off = previous.is_some() || !cast.leftover.is_empty();
                    (
                        replace(service, old, cut_off, discard),
                        cause,
                        Some(interruption(service)),
                    )
                })
        }
    };

    let Some((action, cause, interruption)) = decided else {
        let current = cast
            .current
            .expect("nothing to decide means that it is there");
        for container in leftover {
            builder.add(
                format!("remove:{}", container.id),
                remove(group, &service.service, container, CUT_OFF),
                Vec::new(),
            );
        }
        drift(group, service, current, observed, &key, builder);
        return;
    };
    // A replacement makes its own `.next`; one that is there belongs to a run that is no more.
    leftover
        .retain(|c| !matches!(&action, Action::Replace { discard, .. } if discard.contains(&c.id)));
    for container in leftover {
        let remove_key = format!("remove:{}", container.id);
        builder.add(
            &remove_key,
            remove(group, &service.service, container, CUT_OFF),
            Vec::new(),
        );
        after.push(done(remove_key));
    }
    if matches!(action, Action::Create | Action::Replace { .. }) {
        images.insert(service.spec.image.clone());
    }
    let mut op = operation(service.target(), &group.name, action, cause);
    if interruption.is_some() {
        op.data = Some("kept".to_owned());
    }
    op.interruption = interruption;
    builder.add(key, op, after);
}

/// What has to be there before a service starts.
fn prerequisites(group: &Group, service: &Service) -> Vec<(String, Condition)> {
    let mut after: Vec<(String, Condition)> = service
        .spec
        .networks
        .keys()
        .map(|n| done(format!("network:{n}")))
        .collect();
    after.push(done(format!("pull:{}", service.spec.image)));
    after.extend(
        group
            .folders
            .iter()
            .map(|f| done(format!("folder:{}", f.path.display()))),
    );
    after.push(done(format!("files:{}", group.name)));
    if group.name == super::desired::PROXY {
        after.push(done("routes"));
    }
    after.extend(
        service
            .depends_on
            .iter()
            .map(|(name, condition)| (format!("service:{}/{name}", group.name), *condition)),
    );
    after
}

/// Why a container is not what is asked for; `None` when it is.
fn mismatch(service: &Service, container: &Container, observed: &Observed) -> Option<String> {
    if container.labels.get(labels::HASH) != Some(&service.hash) {
        let before = observed
            .applied
            .get(&service.minion)
            .and_then(|a| a.get(&service.service));
        return Some(match before {
            Some(before) => hash::differences(before, &service.canonical),
            None if container.image != service.spec.image => {
                format!("image {} -> {}", container.image, service.spec.image)
            }
            None => "definition changed".to_owned(),
        });
    }
    // The engine can change a limit, but not take one away.
    let spec = &service.spec;
    for (limit, wanted, given) in [
        ("memory", spec.memory, container.memory),
        ("cpus", spec.nano_cpus, container.nano_cpus),
    ] {
        if wanted.is_none() && given != 0 {
            return Some(format!("{limit} limited by hand"));
        }
    }
    let image = &service.spec.image;
    let gives_way = || format!("the stand-in of {image} gives way to the real image");
    if observed.offered.contains(image) {
        return Some(gives_way());
    }
    match observed.image(image) {
        Some(image) if image.id != container.image_id => {
            let stand_in = observed
                .images
                .iter()
                .any(|i| i.id == container.image_id && i.labels.contains_key(labels::STAND_IN));
            Some(if stand_in {
                gives_way()
            } else {
                format!("another build of {} is there", service.spec.image)
            })
        }
        _ => None,
    }
}

/// Whether a container came to what an update waits for.
fn is_well(c: &Container) -> bool {
    let quiet = c.health == Health::None && c.restarts == 0;
    c.state == RunState::Running && (c.health == Health::Healthy || quiet)
}

fn creation(service: &Service, observed: &Observed) -> String {
    let image = &service.spec.image;
    let installed = observed.state.minions.get(&service.minion);
    if let (Some(pinned), Some(here)) = (
        installed.and_then(|r| r.images.get(&service.service)),
        observed.image(image),
    ) && pinned.reference == *image
        && pinned.digest != here.digest()
    {
        return format!("{image} (another build than the one that was installed)");
    }
    match observed.image(image) {
        Some(i) if i.labels.contains_key(labels::STAND_IN) && !observed.offered.contains(image) => {
            format!("{image} (stand-in)")
        }
        _ => image.clone(),
    }
}

fn replace(service: &Service, old: &Container, cut_off: bool, discard: Vec<String>) -> Action {
    Action::Replace {
        old: old.id.clone(),
        running: old.state == RunState::Running || cut_off,
        overlap: service.overlaps(),
        discard,
    }
}

fn interruption(service: &Service) -> String {
    if service.overlaps() {
        "next to none, old and new run side by side".to_owned()
    } else {
        "from the stop of the old one until the new one is healthy".to_owned()
    }
}

/// What somebody changed by hand, put back without making the container anew.
fn drift(
    group: &Group,
    service: &Service,
    current: &Container,
    observed: &Observed,
    key: &str,
    builder: &mut Builder,
) {
    let add = |builder: &mut Builder, key: &str, action: Action, cause: String, after| {
        builder.add(
            key,
            operation(service.target(), &group.name, action, cause),
            after,
        );
    };
    let mut chain: Vec<(String, Condition)> = Vec::new();
    let id = &current.id;
    if current.name != service.name {
        let own = format!("rename:{id}");
        let cause = format!("named {} by hand", current.name);
        add(
            builder,
            &own,
            Action::Rename { id: id.clone() },
            cause,
            chain.clone(),
        );
        chain.push(done(own));
    }
    let mut limits = Vec::new();
    if current.memory != service.spec.memory.unwrap_or(0) {
        limits.push("memory");
    }
    if current.nano_cpus != service.spec.nano_cpus.unwrap_or(0) {
        limits.push("cpus");
    }
    if current.restart != service.spec.restart {
        limits.push("restart policy");
    }
    if !limits.is_empty() {
        let own = format!("update:{id}");
        let cause = format!("{} changed by hand", limits.join(", "));
        add(
            builder,
            &own,
            Action::Update { id: id.clone() },
            cause,
            chain.clone(),
        );
        chain.push(done(own));
    }
    for (network, endpoint) in &service.spec.networks {
        let joined = current.networks.get(network);
        // A stopped container keeps the id of a network that was removed, and cannot start with it.
        let stale = joined.is_some_and(|end| {
            let there = |n: &crate::engine::Network| n.name == *network && n.id == end.network;
            !end.network.is_empty() && !observed.networks.iter().any(there)
        });
        if joined.is_none() || stale {
            let own = format!("connect:{id}:{network}");
            let action = Action::Connect {
                id: id.clone(),
                network: network.clone(),
                endpoint: endpoint.clone(),
                stale,
            };
            let cause = if stale {
                "its network was removed by hand"
            } else {
                "taken out of the network by hand"
            };
            let mut after = chain.clone();
            after.push(done(format!("network:{network}")));
            add(builder, &own, action, cause.to_owned(), after);
            chain.push(done(own));
        }
    }
    // A one-off service (`restart: no`) that did its work stays as it is.
    let finished = service.spec.restart == "no" && current.exit_code == Some(0);
    let cause = match current.state {
        RunState::Running | RunState::Restarting => return,
        RunState::Exited if finished => return,
        RunState::Exited => match current.exit_code {
            Some(code) => format!("stopped, exit code {code}"),
            None => "stopped".to_owned(),
        },
        RunState::Created => "made but never started".to_owned(),
        RunState::Paused => "paused by hand".to_owned(),
        RunState::Removing | RunState::Dead => "broken".to_owned(),
    };
    chain.extend(prerequisites(group, service));
    let action = Action::Start {
        id: id.clone(),
        paused: current.state == RunState::Paused,
    };
    add(builder, key, action, cause, chain);
}

/// Services of a group, dependencies first, by name where there is a choice. A cycle cannot be
/// here: the Compose reader refuses it.
#[must_use]
pub fn start_order(group: &Group) -> Vec<&Service> {
    let mut order: Vec<&Service> = Vec::new();
    let mut left: Vec<&Service> = group.services.values().collect();
    while !left.is_empty() {
        let ready = left
            .iter()
            .position(|s| {
                s.depends_on
                    .keys()
                    .all(|d| !left.iter().any(|l| l.service == *d))
            })
            .unwrap_or(0);
        order.push(left.remove(ready));
    }
    order
}

/// Services a container depends on, from Compose's label.
pub(super) fn depends_on(container: &Container) -> Vec<String> {
    container
        .labels
        .get(labels::DEPENDS_ON)
        .map(|text| {
            text.split(',')
                .filter_map(|d| d.split(':').next())
                .filter(|d| !d.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

/// Containers of one instance, dependents first.
pub(super) fn stop_order<'a>(containers: &[&'a Container]) -> Vec<&'a Container> {
    let service = |c: &Container| c.labels.get(labels::SERVICE).cloned().unwrap_or_default();
    let mut order = Vec::new();
    let mut left: Vec<&Container> = containers.to_vec();
    left.sort_by(|a, b| a.name.cmp(&b.name));
    while !left.is_empty() {
        let ready = left
            .iter()
            .position(|c| {
                let own = service(c);
                !left
                    .iter()
                    .any(|o| o.id != c.id && service(o) != own && depends_on(o).contains(&own))
            })
            .unwrap_or(0);
        order.push(left.remove(ready));
    }
    order
}
