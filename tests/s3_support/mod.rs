//! Real S3 servers, one for each test, and a proxy before them that breaks what it is told to.
//!
//! ```ignore
//! mod s3_support;
//! use s3_support::{Fault, FaultProxy, S3, When};
//!
//! let Some(server) = S3::s3s() else { return };
//! let proxy = server.behind();
//! proxy.on(When::part(2).nth(1), Fault::slow_down());
//! let bucket = connect(&proxy.endpoint(), server.access_key(), server.secret_key(), server.bucket());
//! assert_eq!(proxy.count(&When::part(2)), 2);
//! ```
//!
//! `scripts/test` builds the servers and names them in `SUMMONER_TEST_S3S` and
//! `SUMMONER_TEST_GARAGE`; without these they are looked for where it would have put them. Only
//! where nobody asked for the tests with real parts (`scripts/test --quick`) may they be missing.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its part of this"
)]

mod client;
pub mod http;
mod proxy;
mod rules;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use client::Checksums;
pub use proxy::{FaultProxy, Seen};
pub use rules::{Answer, Fault, Habit, Request, When};

const BUCKET: &str = "snapshots";
/// Garage wants its key ids to look like this one.
const ACCESS_KEY: &str = "GK5f1d3b2a9c8e7d6f5a4b3c2d";
const SECRET_KEY: &str = "1f2e3d4c5b6a79880716253443526170a1b2c3d4e5f60718293a4b5c6d7e8f90";
const RPC_SECRET: &str = "9d3c6f1b2a485e7f0c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516273";
const REGION: &str = "us-east-1";
const PATIENCE: Duration = Duration::from_secs(20);

/// Ends the server when the test ends, even by SIGKILL: then the pipe to the shell closes.
const KEEPER: &str = r#""$@" >&2 & pid=$!; echo "$pid"; read -r _; kill -KILL "$pid"; wait "$pid""#;

/// A server with an empty bucket, of this test alone.
pub struct S3 {
    keeper: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    name: &'static str,
}

#[expect(
    clippy::unused_self,
    reason = "that all servers have the same keys is nobody else's business"
)]
impl S3 {
    /// s3s-fs: starts at once, checks signatures, honours `If-None-Match`, is lenient otherwise.
    pub fn s3s() -> Option<Self> {
        let program = program("s3s-fs", "SUMMONER_TEST_S3S")?;
        Some(Self::start("s3s-fs", |folder, ports| {
            fs::create_dir(folder.join(BUCKET)).unwrap();
            let mut command = keeper(&program);
            command
                .args(["--host", "127.0.0.1", "--access-key", ACCESS_KEY])
                .args(["--secret-key", SECRET_KEY, "--port"])
                .arg(ports[0].to_string())
                .arg(folder);
            command
        }))
    }

    /// Garage, a single node: production software, strict with checksums and parts; overwrites in
    /// spite of `If-None-Match`.
    pub fn garage() -> Option<Self> {
        let program = program("garage", "SUMMONER_TEST_GARAGE")?;
        let server = Self::start("garage", |folder, ports| {
            let [s3, rpc, admin] = ports;
            let settings = folder.join("garage.toml");
            let text = format!(
                "metadata_dir = \"{meta}\"\ndata_dir = \"{data}\"\ndb_engine = \"sqlite\"\n\
                 replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\n\
                 rpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{RPC_SECRET}\"\n\
                 [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n\
                 [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\n",
                meta = folder.join("meta").display(),
                data = folder.join("data").display(),
            );
            fs::write(&settings, text).unwrap();
            let mut command = keeper(&program);
            command
                .arg("-c")
                .arg(settings)
                .args(["server", "--single-node", "--default-bucket"])
                .env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY)
                .env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY)
                .env("GARAGE_DEFAULT_BUCKET", BUCKET)
                .env("RUST_LOG", "garage=warn");
            command
        });
        Some(server)
    }

    /// `http://127.0.0.1:port`, to be used with path style.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    pub fn region(&self) -> &'static str {
        REGION
    }

    /// `s3s-fs` or `garage`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The folder of s3s-fs: `<bucket>/<key>` are the objects.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A proxy in front of it.
    pub fn behind(&self) -> FaultProxy {
        FaultProxy::before(self.address)
    }

    fn start(name: &'static str, command: impl Fn(&Path, [u16; 3]) -> Command) -> Self {
        // A port that is free now may be taken a moment later.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let ports = free_ports();
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let mut keeper = command(folder.path(), ports)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(log)
                .spawn()
                .unwrap();
            let mut pid = String::new();
            let stdout = keeper.stdout.take().unwrap();
            BufReader::new(stdout).read_line(&mut pid).unwrap();
            let server = Self {
                keeper,
                folder,
                address: SocketAddr::from(([127, 0, 0, 1], ports[0])),
                name,
            };
            if server.becomes_ready(pid.trim(), ports[2]) {
                return server;
            }
        }
        panic!("{name} did not get ready");
    }

    fn becomes_ready(&self, pid: &str, admin: u16) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let gone = fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |c| c.is_empty());
            if gone {
                let log = fs::read_to_string(self.folder.path().join("log"));
                eprintln!("{} has ended: {}", self.name, log.unwrap_or_default());
                return false;
            }
            let ready = match self.name {
                "garage" => is_healthy(admin),
                _ => true,
            };
            if ready && TcpStream::connect(self.address).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn keeper(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "keeper"]).arg(program);
    command
}

fn is_healthy(admin: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", admin)) else {
        return false;
    };
    let mut answer = String::new();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn program(name: &str, variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| {
        let cache = std::env::var_os("SUMMONER_TOOLS").map_or_else(
            || {
                let home = std::env::var_os("HOME").unwrap_or_default();
                Path::new(&home).join(".cache/summoner-tools")
            },
            PathBuf::from,
        );
        cache.join("bin").join(name)
    });
    if path.is_file() {
        return Some(path);
    }
    let asked = named.is_some() || std::env::var_os("SUMMONER_TEST_ENGINE").is_some();
    assert!(
        !asked,
        "the S3 server {name} is not at {}\nhint: scripts/test builds it, or set {variable} to where it is",
        path.display()
    );
    eprintln!("left out: needs the S3 server {name}, which scripts/test builds");
    None
}
