//! A gate before the real engine that kills the binary at a chosen request: power cuts on demand.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::engine_support::{Project, wait_for};

/// Requests that change something are counted from 1.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// Before this one reaches the engine.
    Before(usize),
    /// When the engine has carried it out, before the binary hears of it.
    After(usize),
    /// The same for the first one whose path holds this.
    AfterFirst(&'static str),
}

/// What the connections share.
struct Shared {
    when: When,
    count: AtomicUsize,
    pid: AtomicI32,
    killed: AtomicBool,
    /// The request it died at, for messages.
    at: Mutex<String>,
}

/// The gate; listens until the test ends.
pub struct Gate {
    socket: PathBuf,
    shared: Arc<Shared>,
}

impl Gate {
    /// Makes the gate, as a socket in the project's folder.
    pub fn new(project: &Project, when: When) -> Self {
        let socket = project.path("gate.sock");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = Arc::new(Shared {
            when,
            count: AtomicUsize::new(0),
            pid: AtomicI32::new(0),
            killed: AtomicBool::new(false),
            at: Mutex::default(),
        });
        let for_all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&for_all);
                std::thread::spawn(move || connection(&client, &shared));
            }
        });
        Self { socket, shared }
    }

    /// Runs the binary through the gate; the request at which it was killed, `None` if it ended
    /// well before it came to that one.
    pub fn run(&self, project: &Project, arguments: &[&str]) -> Option<String> {
        let mut command = project.command(arguments);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        self.shared
            .pid
            .store(i32::try_from(child.id()).unwrap(), Ordering::SeqCst);
        let mut errors = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let status = wait_for("an end of the binary", Duration::from_mins(2), || {
            child.try_wait().unwrap()
        });
        let text = reader.join().unwrap();
        if self.shared.killed.load(Ordering::SeqCst) {
            return Some(self.shared.at.lock().unwrap().clone());
        }
        assert!(
            status.success(),
            "not killed, and yet failed ({:?}):\n{text}",
            self.shared.when
        );
        None
    }
}

impl Shared {
    fn kill(&self, request: &str) {
        self.killed.store(true, Ordering::SeqCst);
        request.clone_into(&mut self.at.lock().unwrap());
        let pid = wait_for("the pid", Duration::from_secs(5), || {
            Pid::from_raw(self.pid.load(Ordering::SeqCst))
        });
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn engine() -> UnixStream {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    UnixStream::connect(
        host.strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock"),
    )
    .unwrap()
}

/// Passes bytes both ways. A client writes the head of a request at once, so that a piece that
/// begins with a method is a request.
fn connection(client: &UnixStream, shared: &Arc<Shared>) {
    let server = engine();
    // Set while the engine works on the request at which the binary shall die.
    let armed: Arc<Mutex<Option<String>>> = Arc::default();
    let answers = {
        let (shared, armed) = (Arc::clone(shared), Arc::clone(&armed));
        let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut piece = vec![0; 65536];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                if let Some(request) = armed.lock().unwrap().take() {
                    return shared.kill(&request);
                }
                if to.write_all(&piece[..length]).is_err() {
                    return;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        })
    };
    let (mut from, mut to) = (client, &server);
    let mut piece = vec![0; 65536];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let head = String::from_utf8_lossy(&piece[..length.min(300)]).into_owned();
        let request = head.lines().next().unwrap_or_default().to_owned();
        if ["POST ", "DELETE "]
            .iter()
            .any(|method| request.starts_with(method))
        {
            let number = shared.count.fetch_add(1, Ordering::SeqCst) + 1;
            match shared.when {
                When::Before(k) if number == k => {
                    shared.kill(&request);
                    break;
                }
                When::After(k) if number == k => *armed.lock().unwrap() = Some(request),
                When::AfterFirst(part) if request.contains(part) => {
                    *armed.lock().unwrap() = Some(request);
                }
                _ => {}
            }
        }
        if shared.killed.load(Ordering::SeqCst) || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
    let _ = answers.join();
}
