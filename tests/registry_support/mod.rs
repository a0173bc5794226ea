//! A registry of images on this machine, which is a thread of the test: of an image made up, or of one
//! that the engine has. It can keep its layers back, as a slow line does.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Bytes of the file in the layer.
pub const SIZE: usize = 6 << 20;

/// `anna:pa>s?w~rd>>>???`, a login whose JSON has `+` and `/` in base64, where two kinds of it differ.
pub const LOGIN_BASE64: &str = "YW5uYTpwYT5zP3d+cmQ+Pj4/Pz8=";

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A registry that knows one image, under the tag `1` of any name.
pub struct Registry {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    image: Image,
    /// Wants [`LOGIN_BASE64`].
    private: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Nobody gets a layer.
    held: bool,
    /// Nobody gets anything, as if there were no registry.
    away: bool,
    /// First lines of all requests.
    requests: Vec<String>,
}

impl Registry {
    /// With an image of one layer, unlike that of any other run: the engine skips what it has.
    pub fn start() -> Self {
        Self::serve(false, |port| Image::new(vec![tar(port)], None))
    }

    /// The same behind a login.
    pub fn start_private() -> Self {
        Self::serve(true, |port| Image::new(vec![tar(port)], None))
    }

    /// With a copy of an image that the engine has and a layer of its own; its labels are these.
    pub fn start_with(reference: &str, labels: &[(&str, &str)]) -> Self {
        let parts = Parts::saved(reference);
        Self::serve(false, |port| parts.with(labels, tar(port)))
    }

    fn serve(private: bool, image: impl FnOnce(u16) -> Image) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            image: image(port),
            private,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let registry = Self {
            port,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.answer(stream));
            }
        });
        registry
    }

    /// A reference to an image of this registry; it has those with the tag `1`.
    pub fn reference(&self, tag: &str) -> String {
        format!("127.0.0.1:{}/summoner-test/pulled:{tag}", self.port)
    }

    /// Keeps layers back from now on, until [`Self::release`].
    pub fn hold(&self) {
        self.shared.state.lock().unwrap().held = true;
    }

    /// Gives layers again, also to those that wait.
    pub fn release(&self) {
        self.shared.state.lock().unwrap().held = false;
        self.shared.changed.notify_all();
    }

    /// Hangs up on everybody, or answers again.
    pub fn away(&self, away: bool) {
        self.shared.state.lock().unwrap().away = away;
    }

    /// First lines of all requests so far: `GET /v2/`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// Waits until somebody has asked for a layer, a minute at most.
    pub fn wait_for_layer(&self) {
        let asked = |state: &mut State| {
            let layers = &self.shared.image.layers;
            let of = |line: &String| layers.iter().any(|(digest, _)| line.contains(digest));
            !state.requests.iter().any(of)
        };
        let state = self.shared.state.lock().unwrap();
        let wait = Duration::from_mins(1);
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, wait, asked)
            .unwrap();
        let requests = &state.requests;
        assert!(!waited.timed_out(), "nobody asks for a layer: {requests:?}");
    }
}

/// Contents with their digests: to hash megabytes at every request takes longer than anybody waits.
type Blob = (String, Vec<u8>);

struct Image {
    layers: Vec<Blob>,
    config: Blob,
    manifest: Blob,
}

fn blob(content: Vec<u8>) -> Blob {
    (digest(&content), content)
}

fn digest(bytes: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{}", hex.concat())
}

impl Image {
    /// Without a configuration it is one that says nothing.
    fn new(layers: Vec<Vec<u8>>, config: Option<serde_json::Value>) -> Self {
        let layers: Vec<Blob> = layers.into_iter().map(blob).collect();
        let machine = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let mut config = config.unwrap_or_else(|| {
            serde_json::json!({
                "architecture": machine, "os": "linux",
                "config": {"Labels": {"io.summoner.test": "pull"}},
            })
        });
        let digests: Vec<&String> = layers.iter().map(|(digest, _)| digest).collect();
        config["rootfs"] = serde_json::json!({"type": "layers", "diff_ids": digests});
        let config = blob(config.to_string().into_bytes());
        let listed: Vec<_> = layers
            .iter()
            .map(|(digest, l)| serde_json::json!({"mediaType": LAYER, "size": l.len(), "digest": digest}))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": config.1.len(), "digest": config.0},
            "layers": listed,
        });
        Self {
            layers,
            config,
            manifest: blob(manifest.to_string().into_bytes()),
        }
    }
}

/// An image of the engine.
struct Parts {
    layers: Vec<Vec<u8>>,
    config: serde_json::Value,
}

impl Parts {
    /// `docker save` gives every part of an image.
    fn saved(reference: &str) -> Self {
        let saved = Command::new("docker")
            .args(["save", reference])
            .output()
            .unwrap();
        assert!(saved.status.success(), "docker save {reference}");
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(&saved.stdout[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(name, content);
        }
        let parts: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let file = |name: &serde_json::Value| files[name.as_str().unwrap()].clone();
        let layers = parts[0]["Layers"].as_array().unwrap();
        Self {
            layers: layers.iter().map(file).collect(),
            config: serde_json::from_slice(&file(&parts[0]["Config"])).unwrap(),
        }
    }

    fn with(mut self, labels: &[(&str, &str)], layer: Vec<u8>) -> Image {
        self.config["config"]["Labels"] = labels.iter().copied().collect();
        self.layers.push(layer);
        Image::new(self.layers, Some(self.config))
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        for line in BufReader::new(&stream).lines() {
            match line {
                Ok(line) if !line.is_empty() => head.push(line),
                _ => break,
            }
        }
        let Some(request) = head.first() else { return };
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut state = self.state.lock().unwrap();
        state.requests.push(format!("{method} {path}"));
        let away = state.away;
        drop(state);
        self.changed.notify_all();
        if away {
            return;
        }
        let known = head
            .iter()
            .any(|line| line.ends_with(&format!("Basic {LOGIN_BASE64}")));
        let image = &self.image;
        let nothing = digest(b"");
        let layer = image.layers.iter().find(|l| path.ends_with(&l.0));
        let json = "application/json";
        let bytes = "application/octet-stream";
        let (status, kind, (digest, body)): (&str, &str, (&str, &[u8])) = if self.private && !known
        {
            ("401 Unauthorized", json, (&nothing, b"{}"))
        } else if path == "/v2/" {
            ("200 OK", json, (&nothing, b"{}"))
        } else if path.ends_with("/manifests/1") || path.ends_with(&image.manifest.0) {
            ("200 OK", MANIFEST, (&image.manifest.0, &image.manifest.1))
        } else if path.ends_with(&image.config.0) {
            ("200 OK", bytes, (&image.config.0, &image.config.1))
        } else if let Some((digest, layer)) = layer {
            let state = self.state.lock().unwrap();
            drop(self.changed.wait_while(state, |s| s.held).unwrap());
            ("200 OK", bytes, (digest, layer))
        } else {
            let unknown =
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            ("404 Not Found", json, (&nothing, unknown))
        };
        // Whoever hangs up has what he wanted.
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Distribution-Api-Version: registry/2.0\r\nWww-Authenticate: Basic realm=\"test\"\r\n\
             Docker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
            body.len(),
            digest,
        );
        if method == "GET" {
            // Slowly, so that there is progress to tell.
            for piece in body.chunks(1 << 20) {
                if stream.write_all(piece).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(120));
            }
        }
    }
}

/// An archive of one file.
fn tar(seed: u16) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "file");
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{SIZE:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    // A congruential generator: bytes that are unlike in each run.
    let mut state = u32::from(seed) + 1;
    header.extend((0..SIZE).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    }));
    header.extend([0; 1024]);
    header
}
