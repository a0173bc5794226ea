//! The look at what is: the engine's side and the disk's, each read once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::ready;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::engine::{Container, Engine, EngineError};
use crate::plan::desired::{Desired, labels};
use crate::plan::observed::{FolderState, Observed};
use crate::state::{Paths, State};

/// Containers inspected at the same time.
const PARALLEL_LOOKS: usize = 8;

/// How long a plan waits for registries, all of them together: one that is there answers in less than
/// a second, and a machine without a way to any says so at once, or never.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(3);

/// Reads the engine's side: containers of this project with all details, names of all others,
/// networks, images.
pub async fn engine_side(
    engine: &dyn Engine,
    project: &str,
    root: &Path,
) -> Result<Observed, EngineError> {
    let (containers, networks, images) =
        futures_util::try_join!(engine.containers(), engine.networks(), engine.images())?;
    let mut foreign = BTreeMap::new();
    let (mut ours, mut helpers) = (Vec::new(), Vec::new());
    for summary in containers {
        if let Some(what) = summary.labels.get(labels::ONE_OFF) {
            // A container of `summoner run` may be somebody at work, and a drill takes its time:
            // what was left of one is thrown away by who takes its lock next.
            let busy = [labels::RUN, labels::RESTORE, labels::DRILL];
            if !busy.contains(&what.as_str()) && owner(&summary.labels, project, root).is_none() {
                helpers.push((summary.id, summary.name));
            }
            continue;
        }
        match owner(&summary.labels, project, root) {
            None => ours.push(summary.id),
            Some(owner) => {
                foreign.insert(summary.name, owner);
            }
        }
    }
    let mut inspected: Vec<Container> = stream::iter(ours)
        .map(|id| async move {
            match engine.inspect(&id).await {
                Ok(container) => Ok(Some(container)),
                // It went between the list and the look.
                Err(EngineError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .buffer_unordered(PARALLEL_LOOKS)
        .try_filter_map(|c| ready(Ok(c)))
        .try_collect()
        .await?;
    inspected.sort_by(|a, b| a.name.cmp(&b.name));
    let own_networks = networks
        .iter()
        .filter(|n| owner(&n.labels, project, root).is_none())
        .map(|n| n.id.clone())
        .collect();
    Ok(Observed {
        own_networks,
        containers: inspected,
        foreign,
        helpers,
        networks,
        images,
        ..Observed::default()
    })
}

/// The stand-in images among those that are wanted whose registry answers now, and has the real one.
/// Where there are no stand-ins nobody is asked.
pub async fn offered(
    engine: &dyn Engine,
    desired: &Desired,
    observed: &Observed,
) -> BTreeSet<String> {
    let services = desired.groups.iter().flat_map(|g| g.services.values());
    let stand_ins: BTreeSet<&String> = services
        .map(|s| &s.spec.image)
        .filter(|image| {
            let there = observed.image(image);
            there.is_some_and(|i| i.labels.contains_key(labels::STAND_IN))
        })
        .collect();
    let asked = stand_ins.into_iter().map(|image| async move {
        let answer = tokio::time::timeout(REGISTRY_PATIENCE, engine.registry_digest(image)).await;
        matches!(answer, Ok(Ok(_))).then(|| image.clone())
    });
    let answers = futures_util::future::join_all(asked).await;
    answers.into_iter().flatten().collect()
}

/// Who owns a container or a network with these labels, when it is not us. The folder decides, not
/// the name of the project, which is the domain where nobody gave it one: after a change of that, a
/// database of the old name would go on beside one of the new name, both in the same data folder.
fn owner(found: &BTreeMap<String, String>, project: &str, root: &Path) -> Option<String> {
    let label = |key: &str| found.get(key).map(String::as_str);
    match (label(labels::PROJECT), label(labels::ROOT)) {
        (Some(theirs), Some(their_root)) => {
            // A project folder that was moved keeps its containers: nobody else can own them.
            let moved = || theirs == project && !Path::new(their_root).exists();
            if same_folder(Path::new(their_root), root) || moved() {
                None
            } else {
                Some(format!("the summoner project `{theirs}` in `{their_root}`"))
            }
        }
        _ => Some(match label("com.docker.compose.project") {
            Some(theirs) => format!("the Compose project `{theirs}`"),
            None => "a container that summoner did not make".to_owned(),
        }),
    }
}

/// Whether two paths name one folder, by way of a link perhaps (`-C` may be given one).
fn same_folder(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    a == b || real(a).is_some_and(|a| real(b) == Some(a))
}

/// State of a folder; `None` when it is not there. One we may not look into counts as filled:
/// nobody but a database closes its folder to us.
#[must_use]
pub fn folder(path: &Path) -> Option<FolderState> {
    match fs::read_dir(path) {
        Ok(mut entries) => Some(match entries.next() {
            Some(_) => FolderState::Filled,
            None => FolderState::Empty,
        }),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(FolderState::Filled),
        Err(_) => None,
    }
}

/// Adds the disk's side to what the engine said.
pub fn disk_side(observed: &mut Observed, desired: &Desired, state: &State, paths: &Paths) {
    observed.state = state.clone();
    observed.routes = routes(&fs::read_to_string("/proc/net/route").unwrap_or_default());
    let remembered = state
        .minions
        .values()
        .flat_map(|r| r.folders.iter().cloned());
    let folders: BTreeSet<PathBuf> = desired
        .groups
        .iter()
        .flat_map(|g| g.folders.iter().map(|f| f.path.clone()))
        .chain(remembered)
        .collect();
    observed.folders = folders
        .into_iter()
        .filter_map(|p| folder(&p).map(|s| (p, s)))
        .collect();
    if let Ok(entries) = fs::read_dir(paths.dir.join("build")) {
        observed.built = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
    }
    for instance in &observed.built {
        let applied = fs::read_to_string(paths.build(instance).join("applied.json"))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        if let Some(applied) = applied {
            observed.applied.insert(instance.clone(), applied);
        }
    }
    for group in &desired.groups {
        let build = paths.build(&group.name);
        let there = group
            .files
            .keys()
            .filter_map(|below| {
                let path = build.join(below);
                let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o7777;
                Some((below.clone(), (fs::read(&path).ok()?, mode)))
            })
            .collect();
        observed.files.insert(group.name.clone(), there);
    }
}

/// Subnets of `/proc/net/route`, the default route left out.
fn routes(text: &str) -> Vec<String> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let destination = u32::from_str_radix(fields.nth(1)?, 16).ok()?.swap_bytes();
            let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?.swap_bytes();
            (mask != 0).then(|| format!("{}/{}", Ipv4Addr::from(destination), mask.count_ones()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_routes() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(routes(text), ["172.17.0.0/16"]);
    }
}
