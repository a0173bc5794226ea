//! Switching generations against an nginx of paper, and being killed at every step of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use summoner::files;
use summoner::proxy::control::Live;
use summoner::proxy::generation::Generations;
use summoner::proxy::nginx::{Files, content_hash};
use summoner::proxy::switch::{Outcome, ProxyEffects, ProxyError, apply, prepare, receipt};

const PATIENCE: Duration = Duration::from_secs(20);
/// Where no receipt will come.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// An nginx that keeps what it has loaded in a file beside `proxy/`, so that it outlives the one who drives it.
struct Paper {
    dir: PathBuf,
    /// What `nginx -t` prints, when it refuses.
    refuses: Option<String>,
    /// Takes the signal and keeps the old workers, as nginx does with a file it cannot read.
    deaf: bool,
    /// Kills this process at the nth effect, from 1.
    dies_at: u32,
    effects: AtomicU32,
    log: Mutex<Vec<String>>,
}

impl Paper {
    fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            refuses: None,
            deaf: false,
            dies_at: 0,
            effects: AtomicU32::new(0),
            log: Mutex::new(Vec::new()),
        }
    }

    fn step(&self, what: String) {
        if self.effects.fetch_add(1, Ordering::Relaxed) + 1 == self.dies_at {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .unwrap();
            std::thread::sleep(Duration::from_mins(1));
        }
        let mut log = self.log.lock().unwrap();
        // Asking again and again is one thing.
        if log.last() != Some(&what) {
            log.push(what);
        }
    }

    fn log(&self) -> String {
        std::mem::take(&mut *self.log.lock().unwrap()).join(", ")
    }

    /// Reads what `current` says now.
    fn load(&self) {
        let text = fs::read_to_string(self.dir.join("proxy/current/generation.conf")).unwrap();
        let answer = text
            .split('\'')
            .nth(1)
            .unwrap()
            .trim_end_matches("\\n")
            .to_owned();
        files::write_atomic(&self.dir.join("loaded"), answer.as_bytes(), 0o644).unwrap();
    }

    fn loaded(&self) -> Option<Live> {
        let text = fs::read_to_string(self.dir.join("loaded")).ok()?;
        let (number, hash) = text.split_once(' ').unwrap();
        Some(Live {
            number: number.parse().unwrap(),
            hash: hash.to_owned(),
        })
    }
}

#[async_trait]
impl ProxyEffects for Paper {
    async fn test(&self, config: &str) -> Result<(), String> {
        self.step(format!("test {config}"));
        self.refuses.clone().map_or(Ok(()), Err)
    }

    async fn reload(&self) -> Result<(), String> {
        self.step("reload".to_owned());
        if !self.deaf {
            self.load();
        }
        Ok(())
    }

    async fn live(&self) -> Option<Live> {
        self.step("live".to_owned());
        self.loaded()
    }
}

fn files(text: &str) -> Files {
    Files::from([
        ("nginx.conf".to_owned(), "http {}\n".to_owned()),
        ("sites/blog.conf".to_owned(), format!("# {text}\n")),
    ])
}

/// A folder with generation 1, `first`, running.
fn running() -> (tempfile::TempDir, Generations, Paper) {
    let root = tempfile::tempdir().unwrap();
    let generations = Generations::new(root.path().join("proxy"));
    let paper = Paper::new(root.path());
    let live = prepare(&generations, &files("first")).unwrap();
    assert_eq!(live.number, 1);
    paper.load();
    (root, generations, paper)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_runs_already_is_only_asked_for() {
    let (_root, generations, paper) = running();
    let before = names(&generations.dir);
    let outcome = apply(&generations, &files("first"), &paper, PATIENCE)
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Unchanged(1));
    assert_eq!(paper.log(), "live");
    assert_eq!(names(&generations.dir), before);
}

#[tokio::test]
async fn a_change_is_tested_switched_reloaded_and_confirmed_in_this_order() {
    let (_root, generations, paper) = running();
    let outcome = apply(&generations, &files("second"), &paper, PATIENCE)
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Switched(2));
    assert_eq!(
        paper.log(),
        "test /etc/summoner/proxy/gen-2/nginx.conf, reload, live"
    );
    assert_eq!(
        generations.current().unwrap(),
        Some((2, content_hash(&files("second"))))
    );
}

#[tokio::test]
async fn a_refused_candidate_disappears_and_its_site_is_named() {
    let (_root, generations, mut paper) = running();
    let before = names(&generations.dir);
    for (output, site, message) in [
        (
            "2026/11/20 09:35:52 [emerg] 12#12: unknown directive \"x\" in /etc/summoner/proxy/gen-2/sites/wordpress.conf:12\n\
             nginx: configuration file /etc/summoner/proxy/gen-2/nginx.conf test failed\n",
            Some("wordpress"),
            "nginx refuses the new configuration of site `wordpress`: unknown directive \"x\" in \
             /etc/summoner/proxy/gen-2/sites/wordpress.conf:12",
        ),
        (
            "nginx: [emerg] cannot load certificate \"/etc/summoner/certs/wiki/current/fullchain.pem\": BIO_new_file() failed\n\
             nginx: configuration file /etc/summoner/proxy/gen-2/nginx.conf test failed\n",
            Some("wiki"),
            "nginx refuses the new configuration of site `wiki`: cannot load certificate \
             \"/etc/summoner/certs/wiki/current/fullchain.pem\": BIO_new_file() failed",
        ),
        (
            "\nno such container\n",
            None,
            "nginx refuses the new configuration: no such container",
        ),
        (
            "",
            None,
            "nginx refuses the new configuration: it gives no reason",
        ),
    ] {
        paper.refuses = Some(output.to_owned());
        let error = apply(&generations, &files("second"), &paper, PATIENCE)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(
            matches!(error, ProxyError::Refused { site: found, .. } if found.as_deref() == site)
        );
        assert_eq!(paper.log(), "test /etc/summoner/proxy/gen-2/nginx.conf");
        assert_eq!(names(&generations.dir), before);
    }
    assert_eq!(generations.current().unwrap().unwrap().0, 1);
}

#[tokio::test]
async fn without_a_receipt_the_old_generation_is_current_again() {
    let (_root, generations, mut paper) = running();
    paper.deaf = true;
    let error = apply(&generations, &files("second"), &paper, IMPATIENCE)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the proxy did not take over generation 2 within 0.5 s (it serves generation 1)"
    );
    assert_eq!(
        paper.log(),
        "test /etc/summoner/proxy/gen-2/nginx.conf, reload, live, reload"
    );
    assert_eq!(
        generations.current().unwrap(),
        Some((1, content_hash(&files("first"))))
    );
    // A number that nginx may still be about to load is not given again.
    paper.deaf = false;
    let outcome = apply(&generations, &files("third"), &paper, PATIENCE)
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Switched(3));
}

#[tokio::test]
async fn an_edit_by_hand_is_replaced() {
    let (root, generations, paper) = running();
    fs::write(root.path().join("proxy/current/sites/blog.conf"), "by hand").unwrap();
    let outcome = apply(&generations, &files("first"), &paper, PATIENCE)
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Switched(2));
    assert_eq!(
        fs::read_to_string(root.path().join("proxy/current/sites/blog.conf")).unwrap(),
        "# first\n"
    );
}

#[tokio::test]
async fn lost_state_is_made_again_under_a_running_nginx() {
    let (root, generations, paper) = running();
    fs::remove_dir_all(root.path().join("proxy/gen-1")).unwrap();
    fs::remove_file(root.path().join("proxy/current")).unwrap();
    // The number is the one that nginx answers already; the hash tells the difference.
    let outcome = apply(&generations, &files("other"), &paper, PATIENCE)
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Switched(1));
    assert_eq!(paper.loaded().unwrap().hash, content_hash(&files("other")));
}

#[tokio::test]
async fn five_generations_are_kept_and_the_current_one_always() {
    let (_root, generations, paper) = running();
    for n in 2..=9 {
        apply(&generations, &files(&n.to_string()), &paper, PATIENCE)
            .await
            .unwrap();
    }
    let kept = ["current", "gen-5", "gen-6", "gen-7", "gen-8", "gen-9"];
    assert_eq!(names(&generations.dir), kept);
    generations.switch(5).unwrap();
    generations.prune(1).unwrap();
    assert_eq!(names(&generations.dir), ["current", "gen-5", "gen-9"]);
}

#[test]
fn a_file_cannot_be_written_outside_of_its_generation() {
    let root = tempfile::tempdir().unwrap();
    let generations = Generations::new(root.path().join("proxy"));
    for name in ["../escaped", "/escaped", "sites/../../escaped"] {
        let files = Files::from([(name.to_owned(), String::new())]);
        assert!(generations.write(&files).is_err(), "{name}");
    }
    assert_eq!(names(root.path()), ["proxy"]);
}

const DIR: &str = "SUMMONER_TEST_SWITCH_DIR";
const DIES_AT: &str = "SUMMONER_TEST_SWITCH_DIES_AT";

/// Not a test: the process that the next two kill. It changes generations until it dies.
#[test]
#[ignore = "is started, and killed, by other tests"]
fn victim() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let mut paper = Paper::new(Path::new(&dir));
    paper.dies_at = std::env::var(DIES_AT).unwrap().parse().unwrap();
    let generations = Generations::new(Path::new(&dir).join("proxy"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for n in 0.. {
        runtime
            .block_on(apply(
                &generations,
                &files(&format!("victim {n}")),
                &paper,
                PATIENCE,
            ))
            .unwrap();
    }
}

fn victim_command(dir: &Path, dies_at: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "victim", "--ignored"])
        .env(DIR, dir)
        .env(DIES_AT, dies_at.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whatever happened before: both the same files again and new ones end well, and what nginx
/// serves is what is current.
async fn the_next_run_succeeds(generations: &Generations, paper: &Paper, n: u32) {
    let current = generations
        .current()
        .unwrap()
        .expect("there is always a current generation");
    assert!(fs::read_to_string(generations.dir.join("current/nginx.conf")).is_ok());
    let next = files(&format!("next {n}"));
    let outcome = apply(generations, &next, paper, PATIENCE).await.unwrap();
    assert!(
        matches!(outcome, Outcome::Switched(number) if number > current.0),
        "{outcome:?}"
    );
    let live = paper.loaded().unwrap();
    assert_eq!(
        generations.current().unwrap(),
        Some((live.number, live.hash))
    );
    assert!(
        names(&generations.dir)
            .iter()
            .all(|name| !name.starts_with('.'))
    );
}

#[tokio::test]
async fn killed_at_any_effect_the_next_run_succeeds() {
    // Each change is: test, reload, ten times live.
    for dies_at in 1..=14 {
        let (root, generations, paper) = running();
        let status = victim_command(root.path(), dies_at).status().unwrap();
        assert!(!status.success(), "it was to be killed at effect {dies_at}");
        // The same files once more: finishes what was begun.
        let seen = generations.current().unwrap().unwrap();
        if seen.1 == content_hash(&files("victim 0")) {
            let again = apply(&generations, &files("victim 0"), &paper, PATIENCE)
                .await
                .unwrap();
            assert!(
                matches!(again, Outcome::Unchanged(2) | Outcome::Reloaded(2)),
                "{dies_at}: {again:?}"
            );
            assert_eq!(paper.loaded().unwrap().number, 2);
        }
        the_next_run_succeeds(&generations, &paper, dies_at).await;
    }
}

#[tokio::test]
async fn killed_at_any_moment_the_next_run_succeeds() {
    let (root, generations, paper) = running();
    for n in 0..25 {
        let mut victim = victim_command(root.path(), 0).spawn().unwrap();
        // Odd steps, so that they fall on every part of a change, which takes about 250 ms.
        std::thread::sleep(Duration::from_millis(20 + u64::from(n) * 13));
        victim.kill().unwrap();
        victim.wait().unwrap();
        the_next_run_succeeds(&generations, &paper, n).await;
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_run_yet_is_prepared_and_then_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let generations = Generations::new(root.path().join("proxy"));
    let live = prepare(&generations, &files("first")).unwrap();
    assert_eq!(
        live,
        prepare(&generations, &files("first")).unwrap(),
        "once more changes nothing"
    );
    let paper = Paper::new(root.path());
    assert!(matches!(
        receipt(&paper, &live, Duration::from_millis(50)).await,
        Err(ProxyError::NoReceipt { live: None, .. })
    ));
    paper.load();
    receipt(&paper, &live, PATIENCE).await.unwrap();
    assert_eq!(prepare(&generations, &files("second")).unwrap().number, 2);
}
