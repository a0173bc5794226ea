//! What most verbs begin with: the project, the engine, what shall be and what is.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::apply::routes;
use crate::clock::{Clock, SystemClock};
use crate::commands::{Session, recover};
use crate::engine::docker::Docker;
use crate::engine::{Engine, EngineInfo};
use crate::plan::desired::{PROXY, Routes};
use crate::plan::observed::{FolderState, Generation, Observed};
use crate::project::{Project, Wanted, observe};
use crate::proxy::generation::Generations;
use crate::proxy::internal_ca::CertStore;
use crate::proxy::{control, nginx};
use crate::state::lock::Lock;
use crate::state::{Paths, StateError};

/// A project, its engine, and both sides of a plan.
pub(super) struct World {
    pub(super) project: Project,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) info: EngineInfo,
    pub(super) wanted: Wanted,
    pub(super) observed: Observed,
}

/// Reads config.yml and what belongs to it; says the warnings.
pub(super) fn open(session: &Session) -> Result<Project> {
    let project = Project::open(&session.file)?;
    for warning in &project.environment.warnings {
        session.report.warn(&warning.to_string());
    }
    Ok(project)
}

/// Connects to the engine and checks that it is new enough.
pub(super) async fn engine() -> Result<(Arc<dyn Engine>, EngineInfo)> {
    let engine = Docker::connect()?;
    let info = engine.info().await?;
    Ok((Arc::new(engine), info))
}

/// Looks at everything.
pub(super) async fn look(session: &Session, mut project: Project) -> Result<World> {
    let engine: Arc<dyn Engine> = Arc::new(Docker::connect()?);
    recover::leftovers(session, &project, &engine).await?;
    let environment = &project.environment;
    let (info, observed) = tokio::join!(
        engine.info(),
        observe::engine_side(engine.as_ref(), &environment.project, &environment.root),
    );
    // That an engine is absent or too old says more than what could not be seen because of it.
    let info = info?;
    let mut observed = observed?;
    project.adopt(&observed.containers);
    let filled = |path: &std::path::Path| observe::folder(path) == Some(FolderState::Filled);
    let mut wanted = project.render(&observed.containers, &filled)?;
    session.report.redact(
        project
            .secrets
            .book
            .values()
            .flat_map(|b| b.values())
            .chain(wanted.rendered.iter().flat_map(|r| r.secrets.values()))
            .map(|s| s.expose().to_owned()),
    );
    observe::disk_side(
        &mut observed,
        &wanted.desired,
        &project.state,
        &project.paths,
    );
    if let Some(routes) = &mut wanted.desired.routes {
        proxy_side(&mut observed, routes, &project).await?;
    }
    Ok(World {
        project,
        engine,
        info,
        wanted,
        observed,
    })
}

/// Adds what registries have in place of stand-ins: for whoever makes a plan, since it may take seconds.
pub(super) async fn ask_registries(world: &mut World) {
    let (engine, desired) = (world.engine.as_ref(), &world.wanted.desired);
    world.observed.offered = observe::offered(engine, desired, &world.observed).await;
}

/// Adds the proxy's generation and the certificates that are due.
async fn proxy_side(observed: &mut Observed, routes: &mut Routes, project: &Project) -> Result<()> {
    if let Some((number, hash)) = Generations::new(project.paths.proxy()).current()? {
        let live = control::live(&project.paths.run()).await.map(|l| l.number);
        observed.generation = Some(Generation { number, hash, live });
    }
    let store = CertStore::new(&project.paths.dir);
    let now = SystemClock.now();
    let all: Vec<String> = routes.certificates.values().flatten().cloned().collect();
    if routes.own.is_none() && !all.is_empty() {
        observed.authority = store.ca_needs(&all, now).map(|c| c.to_string());
    }
    for (site, hosts) in &routes.certificates {
        let cause = match (&routes.own, &observed.authority) {
            (Some((certificate, _)), _) => {
                let installed = project
                    .paths
                    .certs()
                    .join(site)
                    .join("current/fullchain.pem");
                let same =
                    fs::read(certificate).is_ok_and(|c| fs::read(installed).is_ok_and(|i| i == c));
                (!same).then(|| format!("from `{}`", certificate.display()))
            }
            (None, Some(_)) => Some("new CA".to_owned()),
            (None, None) => store.needs(site, hosts, now).map(|c| c.to_string()),
        };
        observed
            .certificates
            .extend(cause.map(|c| (site.clone(), c)));
    }
    // With new certificates to come the generation is another in any case.
    if observed.certificates.is_empty() {
        let note = routes::versions(&project.paths, routes);
        routes
            .files
            .insert(routes::CERTIFICATE_VERSIONS.to_owned(), note);
        routes.hash = nginx::content_hash(&routes.files);
    }
    Ok(())
}

/// The instances named on the command line as a scope; a name that is not there is an error.
pub(super) fn scope(
    project: &Project,
    observed: Option<&Observed>,
    names: &[String],
) -> Result<Option<BTreeSet<String>>> {
    if names.is_empty() {
        return Ok(None);
    }
    let known: BTreeSet<&str> = project
        .environment
        .instances
        .iter()
        .map(|i| i.name.as_str())
        .chain(
            observed
                .into_iter()
                .flat_map(|o| o.built.iter().map(String::as_str)),
        )
        .chain(
            observed
                .into_iter()
                .flat_map(|o| o.state.minions.keys().map(String::as_str)),
        )
        .collect();
    for name in names {
        if !known.contains(name.as_str()) {
            bail!(unknown(name, known.iter().copied()));
        }
    }
    Ok(Some(names.iter().cloned().collect()))
}

/// Takes the locks of all minions that will be changed, or says who works on one of them: a database
/// must not be replaced in the middle of its dump.
pub(super) fn lock_minions<'a>(
    paths: &Paths,
    minions: impl Iterator<Item = &'a str>,
    command: &str,
) -> Result<Vec<Lock>, StateError> {
    // Always in the same order.
    let minions: BTreeSet<&str> = minions.filter(|m| !m.is_empty() && *m != PROXY).collect();
    minions
        .into_iter()
        .map(|minion| Lock::take_minion(paths, minion, command))
        .collect()
}

/// A name on the command line that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("no minion `{name}` in config.yml\n  hint: {hint}")]
pub(crate) struct UnknownMinion {
    name: String,
    hint: String,
}

/// The error for an unknown name, with what was probably meant.
pub(super) fn unknown<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> UnknownMinion {
    let hint = match crate::problem::nearest(name, known.clone()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    UnknownMinion {
        name: name.to_owned(),
        hint,
    }
}
