//! A network, a proxy and an application on the real engine, gone when the test ends.

pub mod upstream;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use summoner::compose::{Service, Source};
use summoner::config::environment::{Proxy, Tls};
use summoner::files;
use summoner::proxy::control::{self, Live};
use summoner::proxy::generation::Generations;
use summoner::proxy::internal_ca::CertStore;
use summoner::proxy::nginx::{self, Files};
use summoner::proxy::switch::{self, Outcome, ProxyEffects, ProxyError};
use summoner::proxy::{Settings, Site, SiteTls, container};

/// What the minions' templates name; the test image of that name is the real nginx.
const IMAGE: &str = "nginx:1.30.6";
const LABEL: &str = "io.summoner.test=proxy-nginx";
const PID_LABEL: &str = "io.summoner.test.pid";
/// Docker's DNS is asked again after 5 s; the rest is for a busy machine.
pub const FOUND_AGAIN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(10);

/// One test's own corner of the engine.
pub struct World {
    id: String,
    root: tempfile::TempDir,
    pub settings: Settings,
    pub sites: Vec<Site>,
    pub store: CertStore,
    pub subnet: String,
    started: bool,
}

/// A site `name` at `<name>.test`, whose application is the container alias `<name>` on port 8000.
pub fn site(name: &str) -> Site {
    Site {
        name: name.to_owned(),
        hosts: vec![format!("{name}.test")],
        upstream: format!("{name}:8000"),
        max_body: 1024 * 1024,
        stream_uploads: false,
        websocket_paths: Vec::new(),
        auth_paths: Vec::new(),
        tls: SiteTls::Untrusted,
    }
}

impl World {
    /// Folders, a network, certificates for `sites` and their first generation; nothing runs yet.
    pub fn new(sites: Vec<Site>) -> Self {
        sweep();
        let id = format!("sp{}-{:08x}", std::process::id(), rand::random::<u32>());
        let root = tempfile::tempdir().unwrap();
        for (folder, mode) in container::FOLDERS {
            files::create_folder(&root.path().join(folder), *mode).unwrap();
        }
        let settings = Settings {
            http_port: free_port(),
            https_port: free_port(),
            trusted_proxies: Vec::new(),
            ipv6: false,
        };
        let store = CertStore::new(root.path());
        let subnet = network(&id);
        let world = Self {
            id,
            root,
            settings,
            sites,
            store,
            subnet,
            started: false,
        };
        let hosts: Vec<_> = world
            .sites
            .iter()
            .flat_map(|site| site.hosts.clone())
            .collect();
        world
            .store
            .make_ca("test", &hosts, Timestamp::now())
            .unwrap();
        for site in &world.sites {
            world
                .store
                .issue(&site.name, &site.hosts, Timestamp::now())
                .unwrap();
        }
        world
    }

    /// The same, and the proxy started and answering.
    pub fn running(sites: Vec<Site>) -> Self {
        let mut world = Self::new(sites);
        world.start();
        world
    }

    /// Starts the proxy from the Compose model that `up` uses.
    pub fn start(&mut self) {
        let live = switch::prepare(&self.generations(), &self.files()).unwrap();
        let proxy = Proxy {
            http_port: self.settings.http_port,
            https_port: self.settings.https_port,
            tls: Tls::Internal,
            trusted_proxies: self.settings.trusted_proxies.clone(),
            image: IMAGE.to_owned(),
        };
        let project = container::compose(&proxy, &self.id, "test", self.root.path(), &self.id);
        let mut arguments = vec!["run".to_owned(), "-d".into(), "--name".into(), self.proxy()];
        arguments.extend(Self::common());
        arguments.extend(service_arguments(
            &project.services[container::SERVICE],
            &self.id,
        ));
        docker(&arguments);
        self.started = true;
        self.await_receipt(&live);
    }

    pub fn await_receipt(&self, live: &Live) {
        let receipt = switch::receipt(self, live, PATIENCE);
        if let Err(error) = block_on(receipt) {
            panic!("{error}\n{}", self.proxy_log());
        }
    }

    pub fn proxy(&self) -> String {
        format!("{}-proxy", self.id)
    }

    pub fn state(&self) -> &Path {
        self.root.path()
    }

    pub fn generations(&self) -> Generations {
        Generations::new(self.root.path().join("proxy"))
    }

    pub fn live(&self) -> Option<Live> {
        block_on(control::live(&self.root.path().join("run")))
    }

    /// What `up` would hand over: rendered files and the versions of the certificates.
    pub fn files(&self) -> Files {
        let mut files = nginx::render(&self.settings, &self.sites).unwrap();
        let names = self.sites.iter().map(|site| site.name.as_str());
        files.insert("certificates".to_owned(), self.store.versions(names));
        files
    }

    pub fn apply(&self, files: &Files) -> Result<Outcome, ProxyError> {
        block_on(switch::apply(&self.generations(), files, self, PATIENCE))
    }

    /// Starts the application of a site; its address in the network.
    pub fn application(&self, name: &str) -> String {
        let container = format!("{}-{name}", self.id);
        let mut arguments: Vec<String> = ["run", "-d", "--name"].map(str::to_owned).to_vec();
        arguments.push(container.clone());
        arguments.extend(Self::common());
        arguments.extend([
            "--network".into(),
            self.id.clone(),
            "--network-alias".into(),
            name.into(),
        ]);
        arguments.extend(["--link".into(), format!("{}:{name}.test", self.proxy())]);
        arguments.extend(["-e".into(), format!("{}=8000", upstream::PORT_VARIABLE)]);
        let program = std::env::current_exe().unwrap();
        arguments.extend(["-v".into(), format!("{}:/upstream:ro", program.display())]);
        arguments.extend(["--entrypoint".into(), "/upstream".into(), IMAGE.into()]);
        arguments.extend([
            "--exact".into(),
            "upstream_server".into(),
            "--ignored".into(),
        ]);
        docker(&arguments);
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "-f", address, &container])
            .trim()
            .to_owned()
    }

    pub fn remove_application(&self, name: &str) {
        docker(&["rm", "-f", &format!("{}-{name}", self.id)]);
    }

    pub fn application_container(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    /// Takes the next address of the network, so that a new container cannot have an old one's.
    pub fn occupy_an_address(&self) {
        let mut arguments: Vec<String> = ["run", "-d"].map(str::to_owned).to_vec();
        arguments.extend(Self::common());
        arguments.extend([
            "--network".into(),
            self.id.clone(),
            "--entrypoint".into(),
            "sleep".into(),
        ]);
        arguments.extend([IMAGE.into(), "300".into()]);
        docker(&arguments);
    }

    pub fn proxy_log(&self) -> String {
        let output = command(&["logs", &self.proxy()]);
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    pub fn http(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.settings.http_port)
    }

    pub fn https(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.settings.https_port)
    }

    /// Runs curl with our root trusted and every name leading to the proxy.
    pub fn curl(&self, arguments: &[&str]) -> Output {
        self.curl_command()
            .args(arguments)
            .output()
            .expect("curl is installed")
    }

    /// The same, to be run elsewhere.
    pub fn curl_command(&self) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--max-time", "60", "--cacert"])
            .arg(self.store.ca_file());
        command.args([
            "--connect-to",
            &format!("::127.0.0.1:{}", self.settings.https_port),
        ]);
        command
    }

    /// The same over plain HTTP.
    pub fn curl_http(&self, arguments: &[&str]) -> Output {
        let to = format!("::127.0.0.1:{}", self.settings.http_port);
        let mut all = vec!["-sS", "--max-time", "60", "--connect-to", &to];
        all.extend(arguments);
        Command::new("curl")
            .args(all)
            .output()
            .expect("curl is installed")
    }

    /// The status of an answer, `000` when there is none.
    pub fn status(&self, host: &str, path: &str) -> String {
        text(
            &self
                .curl(&[
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    &self.https(host, path),
                ])
                .stdout,
        )
    }

    /// Waits until the site answers with this status; how long it took.
    pub fn wait_for(&self, host: &str, status: &str, most: Duration) -> Duration {
        let begin = Instant::now();
        loop {
            let now = self.status(host, "/");
            if now == status {
                return begin.elapsed();
            }
            assert!(
                begin.elapsed() < most,
                "{host} answers {now}\n{}",
                self.proxy_log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn common() -> Vec<String> {
        let owner = format!("{PID_LABEL}={}", std::process::id());
        ["--label", LABEL, "--label", &owner]
            .map(str::to_owned)
            .to_vec()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && self.started {
            eprintln!("the proxy's log:\n{}", self.proxy_log());
        }
        let all = command(&["ps", "-aq", "--filter", &format!("network={}", self.id)]);
        for container in text(&all.stdout).split_whitespace() {
            command(&["rm", "-f", container]);
        }
        // Those that never started are in no network.
        command(&["rm", "-f", &self.proxy()]);
        command(&["network", "rm", &self.id]);
    }
}

/// As the engine's side of Summoner does it.
#[async_trait]
impl ProxyEffects for World {
    async fn test(&self, config: &str) -> Result<(), String> {
        let output = command(&["exec", &self.proxy(), "nginx", "-t", "-c", config]);
        if output.status.success() {
            Ok(())
        } else {
            Err(text(&output.stderr))
        }
    }

    async fn reload(&self) -> Result<(), String> {
        let output = command(&["kill", "-s", "HUP", &self.proxy()]);
        if output.status.success() {
            Ok(())
        } else {
            Err(text(&output.stderr))
        }
    }

    async fn live(&self) -> Option<Live> {
        control::live(&self.root.path().join("run")).await
    }
}

fn service_arguments(service: &Service, edge: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    for mount in &service.volumes {
        let Source::Bind(path) = &mount.source else {
            panic!("{mount:?}")
        };
        let mode = if mount.read_only { "ro" } else { "rw" };
        add("-v", format!("{path}:{}:{mode}", mount.target));
    }
    for port in &service.ports {
        // The tests stay on this machine.
        add("-p", format!("127.0.0.1:{}:{}", port.host, port.container));
    }
    assert!(service.networks.contains_key("edge"));
    add("--network", edge.to_owned());
    for capability in &service.cap_drop {
        add("--cap-drop", capability.clone());
    }
    for capability in &service.cap_add {
        add("--cap-add", capability.clone());
    }
    for option in &service.security_opt {
        add("--security-opt", option.clone());
    }
    for (name, (soft, hard)) in &service.ulimits {
        add("--ulimit", format!("{name}={soft}:{hard}"));
    }
    add("--memory", service.mem_limit.unwrap().to_string());
    add("--restart", service.restart.clone().unwrap());
    add("--stop-signal", service.stop_signal.clone().unwrap());
    let check = service.healthcheck.as_ref().unwrap();
    add("--health-cmd", check.test[1].clone());
    add("--health-interval", "1s".to_owned());
    arguments.push(service.image.clone());
    arguments.extend(service.command.clone().unwrap());
    arguments
}

/// Makes a network of its own subnet; the subnet.
fn network(name: &str) -> String {
    let owner = format!("{PID_LABEL}={}", std::process::id());
    for _ in 0..50 {
        let subnet = format!(
            "10.{}.{}.0/26",
            200 + rand::random::<u8>() % 50,
            rand::random::<u8>()
        );
        let made = command(&[
            "network", "create", "--label", LABEL, "--label", &owner, "--subnet", &subnet, name,
        ]);
        if made.status.success() {
            return subnet;
        }
    }
    panic!("no free subnet among 50");
}

/// Removes what a killed run of these tests has left; never what a living one uses.
fn sweep() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let form = format!("{{{{.ID}}}} {{{{.Label \"{PID_LABEL}\"}}}}");
        for (list, remove) in [
            (["ps", "-a"].as_slice(), ["rm", "-f"].as_slice()),
            (&["network", "ls"], &["network", "rm"]),
        ] {
            let mut arguments = list.to_vec();
            let filter = format!("label={LABEL}");
            arguments.extend(["--filter", &filter, "--format", &form]);
            for line in text(&command(&arguments).stdout).lines() {
                let (id, pid) = line.split_once(' ').unwrap_or((line, ""));
                if !Path::new("/proc").join(pid).join("stat").exists() {
                    let mut arguments = remove.to_vec();
                    arguments.push(id);
                    command(&arguments);
                }
            }
        }
    });
}

/// Runs docker, which must succeed; its output.
pub fn docker<A: AsRef<str>>(arguments: &[A]) -> String {
    let output = command(arguments);
    let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    assert!(
        output.status.success(),
        "docker {}: {}",
        words.join(" "),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs docker, never for longer than a minute.
pub fn command<A: AsRef<str>>(arguments: &[A]) -> Output {
    Command::new("timeout")
        .args(["60", "docker"])
        .args(arguments.iter().map(AsRef::as_ref))
        .output()
        .expect("timeout is installed")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A file of this many zero bytes, without taking the space.
pub fn sparse_file(folder: &Path, bytes: u64) -> PathBuf {
    let path = folder.join("upload");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(bytes)
        .unwrap();
    path
}
