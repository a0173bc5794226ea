//! The engine stops, as for an update of it, or all ends at once, as in a power cut: everything
//! comes back by itself. On an engine of the test's own (`tests/engines/own`), so root only.

mod engine_support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use engine_support::{Project, TINY, docker, wait_for};

/// Set for the part of the test that runs beside the other engine: its name.
const INSIDE: &str = "SUMMONER_TEST_OWN_ENGINE";
const PROXY_IMAGE: &str = "nginx:1.30.6";

fn own(arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/own");
    let mut command = Command::new("timeout");
    command
        .args(["-k", "10", "300"])
        .arg(script)
        .args(arguments);
    command
}

/// Takes the engine away, however the test ends.
struct Own(String);

impl Drop for Own {
    fn drop(&mut self) {
        let _ = own(&["down", &self.0]).status();
    }
}

#[test]
fn everything_comes_back_by_itself_after_a_restart_and_after_a_power_cut() {
    if let Ok(name) = std::env::var(INSIDE) {
        return inside(&name);
    }
    let engine = Own(format!("restart-{}", std::process::id()));
    let name = engine.0.as_str();
    assert!(
        own(&["up", name, TINY, PROXY_IMAGE])
            .status()
            .unwrap()
            .success()
    );
    let exe = std::env::current_exe().unwrap();
    let mut again = own(&["run", name, exe.to_str().unwrap(), "--nocapture"]);
    assert!(again.env(INSIDE, name).status().unwrap().success());
}

fn inside(name: &str) {
    let project = Project::new("minions: {page: {}, other: {use: page}}");
    project.web_minion("page", "hello", "");
    project.up();
    project
        .run(&["exec", "page", "sh", "-c", "echo precious > /data/kept"])
        .ok();
    let before = project.containers();
    let started = |id: &str| docker(&["inspect", "-f", "{{.State.StartedAt}}", id]);
    for how in ["restart", "cut"] {
        let first: Vec<_> = before.iter().map(|(_, id)| started(id)).collect();
        assert!(own(&[how, name]).status().unwrap().success(), "{how}");
        for ((container, id), first) in before.iter().zip(&first) {
            wait_for(
                &format!("{container} is healthy after {how}"),
                Duration::from_mins(1),
                || {
                    let health = docker(&[
                        "inspect",
                        "-f",
                        "{{.State.Running}} {{.State.Health.Status}}",
                        id,
                    ]);
                    (health.trim() == "true healthy").then_some(())
                },
            );
            assert_ne!(&started(id), first, "{container} was started anew");
        }
        for site in ["page", "other"] {
            wait_for(
                &format!("{site} answers after {how}"),
                Duration::from_secs(15),
                || (project.status(site, "/") == "200").then_some(()),
            );
        }
        project
            .run(&["exec", "page", "cat", "/data/kept"])
            .ok()
            .says("precious");
        project.up().says("nothing to do");
        assert_eq!(project.containers(), before);
    }
}
