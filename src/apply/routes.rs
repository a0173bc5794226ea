//! The proxy's part of a plan: certificates, and the switch to new routes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::apply::{Context, Failure};
use crate::engine::{ContainerSpec, Engine, EngineError, ExecSpec, RunState};
use crate::plan::desired::{PROXY, Routes, Service, labels};
use crate::proxy::certificate::check_files;
use crate::proxy::control::{self, Live};
use crate::proxy::generation::Generations;
use crate::proxy::internal_ca::CertStore;
use crate::proxy::switch::{self, ProxyEffects, ProxyError};
use crate::state::Paths;

/// How long nginx may take to serve new files: a reload takes 150 ms, a busy machine longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long `nginx -t` in a container of its own may take: 21 ms when it runs, the rest is the engine.
const TEST: Duration = Duration::from_mins(2);

/// The engine's side of a switch.
struct Effects<'a> {
    context: &'a Context,
    service: &'a Service,
    /// Id of the running proxy.
    running: Option<String>,
    run_dir: PathBuf,
}

impl<'a> Effects<'a> {
    async fn new(context: &'a Context) -> Result<Effects<'a>, Box<Failure>> {
        let failure = |message: String| Box::new(Failure::new("proxy/routes", message));
        let service = context
            .desired
            .service(PROXY, PROXY)
            .ok_or_else(|| failure("the plan has routes but no proxy".to_owned()))?;
        let running = match context.engine.inspect(&service.name).await {
            Ok(container) => (container.state == RunState::Running).then_some(container.id),
            Err(EngineError::NotFound { .. }) => None,
            Err(error) => return Err(Box::new(Failure::engine("proxy/routes", &error))),
        };
        Ok(Effects {
            context,
            service,
            running,
            run_dir: context.paths.run(),
        })
    }

    /// `nginx -t` in a container of its own: same image and mounts, no ports, no networks.
    async fn test_alone(&self, config: &str) -> Result<(), String> {
        let spec = ContainerSpec {
            image: self.service.spec.image.clone(),
            mounts: self.service.spec.mounts.clone(),
            entrypoint: Some(vec!["nginx".to_owned()]),
            command: Some(vec!["-t".to_owned(), "-c".to_owned(), config.to_owned()]),
            restart: "no".to_owned(),
            labels: [
                (
                    labels::PROJECT.to_owned(),
                    self.context.desired.project.clone(),
                ),
                (
                    labels::ROOT.to_owned(),
                    self.context.desired.root.display().to_string(),
                ),
                (labels::ONE_OFF.to_owned(), "nginx-test".to_owned()),
            ]
            .into(),
            ..ContainerSpec::default()
        };
        let engine = &self.context.engine;
        let name = format!("{}.test-{}", self.service.name, std::process::id());
        let run = async {
            let id = engine.create(&name, &spec).await?;
            let ended = async {
                engine.start(&id).await?;
                super::wait::ended(engine.as_ref(), &id, TEST).await
            }
            .await;
            let log = super::wait::log_tail(engine.as_ref(), &id).await;
            engine.remove(&id).await?;
            Ok::<_, EngineError>((ended?, log))
        };
        match run.await {
            Ok((0, _)) => Ok(()),
            Ok((_, log)) => Err(log.join("\n")),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[async_trait]
impl ProxyEffects for Effects<'_> {
    async fn test(&self, config: &str) -> Result<(), String> {
        let Some(id) = &self.running else {
            return self.test_alone(config).await;
        };
        let command = ["nginx", "-t", "-c", config].map(str::to_owned).to_vec();
        let spec = ExecSpec {
            command,
            ..ExecSpec::default()
        };
        match self.context.engine.exec(id, &spec).await {
            Ok(output) if output.code == 0 => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn reload(&self) -> Result<(), String> {
        match &self.running {
            Some(id) => self
                .context
                .engine
                .signal(id, "HUP")
                .await
                .map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }

    async fn live(&self) -> Option<Live> {
        control::live(&self.run_dir).await
    }
}

/// The note in a generation of which certificates it was made for: with new certificates it is
/// another generation, and nginx is made to read them.
pub const CERTIFICATE_VERSIONS: &str = "certificates";

/// The content of that note.
#[must_use]
pub fn versions(paths: &Paths, routes: &Routes) -> String {
    CertStore::new(&paths.dir).versions(routes.certificates.keys().map(String::as_str))
}

/// Makes a new internal CA.
pub(super) fn authority(context: &Context, hosts: &[String]) -> Result<(), String> {
    let domain = context.desired.routes.as_ref().map_or("", |r| &r.domain);
    CertStore::new(&context.paths.dir)
        .make_ca(domain, hosts, context.clock.now())
        .map_err(|e| e.to_string())
}

/// Issues a certificate of the internal CA.
pub(super) fn certificate(context: &Context, site: &str, hosts: &[String]) -> Result<(), String> {
    CertStore::new(&context.paths.dir)
        .issue(site, hosts, context.clock.now())
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// Checks the user's own certificate and puts it in place.
pub(super) fn install(
    context: &Context,
    site: &str,
    hosts: &[String],
    (certificate, key): (&Path, &Path),
) -> Result<(), String> {
    let read = |path: &Path| {
        fs::read(path).map_err(|e| format!("failed to read `{}`: {e}", path.display()))
    };
    let (chain, private) = (read(certificate)?, read(key)?);
    check_files(&chain, &private, hosts, context.clock.now())
        .map_err(|e| format!("`{}` cannot serve `{site}`: {e}", certificate.display()))?;
    CertStore::new(&context.paths.dir)
        .install(site, &chain, &private)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// Switches to the desired routes; a running nginx confirms them, one that does not run yet has
/// them tested in a container of its own.
pub(super) async fn switch(context: &Context) -> Result<(), Box<Failure>> {
    let mut effects = Effects::new(context).await?;
    let Some(routes) = &context.desired.routes else {
        return Ok(());
    };
    let generations = Generations::new(context.paths.proxy());
    // With no generation on disk a running nginx looks at folders that are gone: the state was
    // lost. It sees the new ones when it starts anew.
    let current = generations.current().map_err(|e| failure(&e.into()))?;
    let blind = match current {
        None => effects.running.take(),
        Some(_) => None,
    };
    let mut files = routes.files.clone();
    files.insert(
        CERTIFICATE_VERSIONS.to_owned(),
        versions(&context.paths, routes),
    );
    if effects.running.is_some() {
        switch::apply(&generations, &files, &effects, PATIENCE)
            .await
            .map_err(|e| failure(&e))?;
        return Ok(());
    }
    let number = generations.write(&files).map_err(|e| failure(&e.into()))?;
    if let Err(reason) = effects.test(&Generations::config_path(number)).await {
        let _ = generations.remove(number);
        return Err(failure(&switch::refusal(&reason)).into());
    }
    generations.switch(number).map_err(|e| failure(&e.into()))?;
    if let Some(id) = blind {
        let engine = &context.engine;
        let again = async {
            engine.stop(&id, effects.service.grace()).await?;
            engine.start(&id).await
        };
        again
            .await
            .map_err(|e| Failure::engine("proxy/routes", &e))?;
    }
    Ok(())
}

/// Makes nginx read what is current: new certificates, or a switch that was cut off.
pub(super) async fn reload(context: &Context) -> Result<(), Box<Failure>> {
    let effects = Effects::new(context).await?;
    let generations = Generations::new(context.paths.proxy());
    let current = generations.current().map_err(|e| failure(&e.into()))?;
    let (Some((number, hash)), Some(_)) = (current, &effects.running) else {
        return Ok(());
    };
    effects
        .test(&Generations::config_path(number))
        .await
        .map_err(|reason| failure(&switch::refusal(&reason)))?;
    effects
        .reload()
        .await
        .map_err(|reason| failure(&ProxyError::Reload(reason)))?;
    switch::receipt(&effects, &Live { number, hash }, PATIENCE)
        .await
        .map_err(|e| failure(&e))?;
    Ok(())
}

fn failure(error: &ProxyError) -> Failure {
    let hint = match error {
        ProxyError::Refused {
            site: Some(site), ..
        } => Some(format!(
            "the sites go on as they were; look at `{site}` in config.yml, then `summoner up`"
        )),
        _ => Some(
            "the sites go on as they were; see `summoner logs proxy`, then `summoner up`"
                .to_owned(),
        ),
    };
    Failure {
        hint,
        ..Failure::new("proxy/routes", error.to_string())
    }
}

/// How long nginx may take to find an application that has just got healthy: it asks Docker's DNS
/// every two seconds (`resolver … valid`).
const FOUND: Duration = Duration::from_secs(5);

/// Waits until nobody who opens one of these addresses sees the proxy's own waiting page any more:
/// nginx may have looked for an application before it was there, and looks again after seconds only.
/// Asks by the proxy's own front door. It is no failure when that cannot be had within five seconds:
/// an application may answer 503 itself.
pub async fn found(engine: &dyn Engine, proxy: &str, urls: &[&str]) {
    // `%header` needs curl 7.84; in an image without curl there is nobody to ask.
    let mut command: Vec<String> = [
        "curl",
        "-sk",
        "-m",
        "2",
        "-w",
        "%{http_code} %header{retry-after}\n",
    ]
    .map(str::to_owned)
    .to_vec();
    // A project has TLS on all its sites or on none.
    let https = urls.iter().any(|url| url.starts_with("https:"));
    let port = if https { 443 } else { 80 };
    command.extend(["--connect-to".to_owned(), format!("::127.0.0.1:{port}")]);
    for url in urls {
        command.extend(["-o".to_owned(), "/dev/null".to_owned(), (*url).to_owned()]);
    }
    let spec = ExecSpec {
        command,
        ..ExecSpec::default()
    };
    let asking = async {
        loop {
            let Ok(output) = engine.exec(proxy, &spec).await else {
                return;
            };
            let text = String::from_utf8_lossy(&output.stdout);
            // What the waiting page of the template says.
            if !text.lines().any(|line| line == "503 5") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let _ = tokio::time::timeout(FOUND, asking).await;
}
