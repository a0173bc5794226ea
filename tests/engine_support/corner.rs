//! What a project must share with nobody: its name, its ports, its subnets. Held by OS locks on
//! files that all tests of the machine know, so that a killed test leaves nothing taken.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::{TINY, TINY_VERSIONS, command, docker, text};

/// Projects of tests are called `t-<random>-<pid>`; `scripts/test` knows this form too.
const PREFIX: &str = "t-";
/// Below the ports that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A name, two ports, a pool and a folder.
pub(super) struct Corner {
    pub(super) name: String,
    pub(super) ports: [u16; 2],
    pub(super) subnets: String,
    pub(super) root: PathBuf,
    _locks: Vec<File>,
}

impl Corner {
    pub(super) fn take() -> Self {
        static FIRST: Once = Once::new();
        FIRST.call_once(|| {
            let engine = command(&["version", "--format", "{{.Server.Version}}"]);
            assert!(
                engine.status.success(),
                "these tests need a Docker Engine (`scripts/test --quick` leaves them out): {}",
                text(&engine.stderr)
            );
            // A minion's version must not be one that moves.
            for version in TINY_VERSIONS {
                docker(&["tag", TINY, &format!("summoner-test/tiny:{version}")]);
            }
            sweep();
        });
        let name = format!(
            "{PREFIX}x{:08x}-{}",
            rand::random::<u32>(),
            std::process::id()
        );
        let mut locks = Vec::new();
        let ports = [(); 2].map(|()| port(&mut locks));
        let subnets = subnets(&mut locks);
        let root = folder(&name);
        fs::create_dir(&root).unwrap();
        Self {
            name,
            ports,
            subnets,
            root,
            _locks: locks,
        }
    }
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("summoner-{name}"))
}

/// Takes a lock that ends with this process, if nobody has it.
fn lock(key: &str, locks: &mut Vec<File>) -> bool {
    let folder = std::env::temp_dir().join("summoner-test-locks");
    fs::create_dir_all(&folder).unwrap();
    let Ok(file) = File::create(folder.join(key)) else {
        return false;
    };
    let taken = file.try_lock().is_ok();
    if taken {
        locks.push(file);
    }
    taken
}

fn port(locks: &mut Vec<File>) -> u16 {
    for _ in 0..500 {
        let port = PORTS.start + rand::random::<u16>() % (PORTS.end - PORTS.start);
        if lock(&format!("port-{port}"), locks) && TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port among 500");
}

/// A /22: room for sixteen networks.
fn subnets(locks: &mut Vec<File>) -> String {
    let networks = command(&["network", "ls", "-q"]);
    let ids = text(&networks.stdout);
    let mut inspect = vec![
        "network",
        "inspect",
        "-f",
        "{{range .IPAM.Config}}{{.Subnet}} {{end}}",
    ];
    inspect.extend(ids.split_whitespace());
    let used = text(&command(&inspect).stdout);
    for _ in 0..500 {
        // Beside the pools of the other tests (10.200 and up) and the product's own (10.210).
        let (second, third) = (128 + rand::random::<u8>() % 64, rand::random::<u8>() & !3);
        let taken = (third..=third + 3).any(|t| used.contains(&format!("10.{second}.{t}.")));
        if !taken && lock(&format!("net-10.{second}.{third}"), locks) {
            return format!("10.{second}.{third}.0/22");
        }
    }
    panic!("no free subnet among 500");
}

/// Removes everything of the project `name`: containers, networks, its folder with root's data.
pub(super) fn remove(name: &str) {
    let filter = format!("label=io.summoner.project={name}");
    for (list, remove) in [
        (["ps", "-aq"].as_slice(), ["rm", "-f", "-v"].as_slice()),
        (&["network", "ls", "-q"], &["network", "rm"]),
    ] {
        let found = text(&command(&[list, &["--filter", &filter]].concat()).stdout);
        let ids: Vec<&str> = found.split_whitespace().collect();
        if !ids.is_empty() {
            command(&[remove, &ids].concat());
        }
    }
    remove_folder(&folder(name));
}

/// Containers write as users we are not: what we may not delete, a container deletes.
fn remove_folder(root: &Path) {
    if fs::remove_dir_all(root).is_ok() || !root.exists() {
        return;
    }
    let mount = format!("{}:/root-of-test", root.display());
    command(&[
        "run",
        "--rm",
        "-v",
        &mount,
        TINY,
        "sh",
        "-c",
        "rm -rf /root-of-test/* /root-of-test/.[!.]*",
    ]);
    let _ = fs::remove_dir_all(root);
}

/// Removes what killed runs of these tests have left; never what a living one uses.
fn sweep() {
    let mut names: Vec<String> = Vec::new();
    for list in [["ps", "-a"].as_slice(), &["network", "ls"]] {
        let format = ["--format", "{{.Label \"io.summoner.project\"}}"];
        let found = text(
            &command(&[list, &["--filter", "label=io.summoner.project"], &format].concat()).stdout,
        );
        names.extend(found.lines().map(str::to_owned));
    }
    if let Ok(entries) = fs::read_dir(std::env::temp_dir()) {
        let folders = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok());
        names.extend(folders.filter_map(|f| f.strip_prefix("summoner-").map(str::to_owned)));
    }
    names.sort();
    names.dedup();
    for name in names {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.rsplit('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            remove(&name);
        }
    }
}
