//! SIGKILL at every step: what ran runs again, what did not does not.

use std::process::Command;
use std::time::{Duration, Instant};

use super::common::{
    IDLE, both_run, container, guards, journal, manifests, no_copies, phase, project, runs, started,
};
use crate::engine_support::{Project, docker, wait_for};

/// How long containers stay down after the kill: what half of the kills of a test must keep to.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// What every one must keep to, however busy engine and machine are.
const BACK_AT_LAST: Duration = Duration::from_secs(20);

fn kill(pid: u32) {
    let line = format!("kill -s KILL {pid}");
    assert!(
        Command::new("sh")
            .args(["-c", &line])
            .status()
            .unwrap()
            .success()
    );
}

/// Starts a backup and kills it as soon as `now` says so; whether it came that far.
fn kill_when(project: &Project, arguments: &[&str], now: impl Fn() -> bool) -> bool {
    let mut running = project.spawn(arguments);
    let begin = Instant::now();
    while !now() {
        if running.child().try_wait().unwrap().is_some() {
            return false;
        }
        assert!(begin.elapsed() < Duration::from_secs(100), "it hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    running.signal("KILL");
    running.child().wait().unwrap();
    true
}

/// Both are back, and nothing else is left; how long it took until they ran.
fn back(project: &Project, at: &str) -> Duration {
    let begin = Instant::now();
    wait_for(&format!("killed {at}: running again"), BACK_AT_LAST, || {
        both_run(project).then_some(())
    });
    let took = begin.elapsed();
    println!("killed {at}: back after {took:?}");
    let most = Duration::from_mins(1);
    wait_for(&format!("killed {at}: the guard is done"), most, || {
        (journal(project).is_none() && guards(project).is_empty() && no_copies(project))
            .then_some(())
    });
    assert!(both_run(project), "killed {at}: they stay");
    assert_eq!(
        manifests(project).len(),
        0,
        "killed {at}: no partial snapshot is visible"
    );
    took
}

/// A timed test on a machine that does other things, too: the median is what we promise, and these
/// tests run alone (.config/nextest.toml).
fn in_time(mut took: Vec<Duration>) {
    took.sort();
    assert!(took[took.len() / 2] <= BACK_WITHIN, "{took:?}");
}

#[test]
fn f09_a_kill_in_any_phase_leaves_the_containers_running_within_two_seconds() {
    let project = project(IDLE, "", "", 12);
    let mut took = Vec::new();
    for wanted in ["live", "stopping", "stopped", "starting"] {
        for method in ["two_pass", "copy"] {
            let at = format!("in phase `{wanted}` of {method}");
            let reached = kill_when(&project, &["backup", "--method", method], || {
                phase(&project).as_deref() == Some(wanted)
            });
            // With nothing to copy the phase is over before anybody sees it.
            assert!(
                reached || (wanted, method) == ("stopped", "two_pass"),
                "{at}"
            );
            if reached {
                took.push(back(&project, &at));
            } else {
                std::fs::remove_dir_all(project.path("backups")).unwrap();
            }
        }
    }
    in_time(took);
}

#[test]
fn f09_a_kill_at_any_time_leaves_the_containers_running_within_two_seconds() {
    let project = project(IDLE, "", "", 4);
    let mut took = Vec::new();
    for milliseconds in (20..2600).step_by(150) {
        let at = format!("after {milliseconds} ms");
        let begin = Instant::now();
        let time = Duration::from_millis(milliseconds);
        if !kill_when(&project, &["backup"], || begin.elapsed() >= time) {
            break;
        }
        let _ = std::fs::remove_dir_all(project.path("backups"));
        took.push(back(&project, &at));
    }
    in_time(took);
}

#[test]
fn f09_after_a_power_cut_the_next_command_starts_what_was_running() {
    for verb in ["recover", "status"] {
        let project = project(IDLE, "", "", 12);
        // The guard dies too, as in a power cut.
        let mut running = project.spawn(&["backup", "--method", "copy"]);
        wait_for("everything is stopped", Duration::from_mins(1), || {
            (phase(&project).as_deref() == Some("stopped")).then_some(())
        });
        let guard = guards(&project);
        assert_eq!(guard.len(), 1, "{guard:?}");
        kill(guard[0]);
        running.signal("KILL");
        running.child().wait().unwrap();
        assert!(!runs(&container(&project, "app")) && !runs(&container(&project, "back")));

        // Meanwhile somebody makes one of them anew: it has another id, and another name even.
        let app = container(&project, "app");
        let format = "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}\n{{end}}";
        let labels = docker(&["inspect", "-f", format, &app]);
        docker(&["rm", &app]);
        let anew = format!("{app}.anew");
        let mut create = vec!["create", "--name", &anew];
        for label in labels.lines().filter(|l| !l.is_empty()) {
            create.extend(["--label", label]);
        }
        create.extend([crate::engine_support::TINY, "sleep", "100000"]);
        docker(&create);

        let ran = project.run(&[verb]).ok().says("started again: back, app");
        assert!(
            runs(&anew) && runs(&container(&project, "back")),
            "{}",
            ran.all()
        );
        assert!(journal(&project).is_none());
        project.run(&["recover"]).ok().says("nothing to recover");
        assert!(no_copies(&project));
    }
}

#[test]
fn f09_what_was_stopped_before_stays_stopped() {
    let project = project(IDLE, "", "", 2);
    let (app, back) = (container(&project, "app"), container(&project, "back"));
    docker(&["stop", &app]);
    let before = started(&app);
    project.run(&["backup"]).ok();
    let manifest = manifests(&project).pop().unwrap();
    assert_eq!(manifest["outage"]["stopped"], serde_json::json!(["back"]));
    assert_eq!(
        manifest["outage"]["were_stopped"],
        serde_json::json!(["app"])
    );
    assert!(!runs(&app) && runs(&back));

    std::fs::remove_dir_all(project.path("backups")).unwrap();
    let reached = kill_when(&project, &["backup", "--method", "copy"], || {
        phase(&project).as_deref() == Some("stopped")
    });
    assert!(reached);
    wait_for("back runs again", BACK_WITHIN, || runs(&back).then_some(()));
    wait_for("the guard is done", Duration::from_mins(1), || {
        journal(&project).is_none().then_some(())
    });
    assert!(!runs(&app));
    assert_eq!(started(&app), before, "it was never started in between");

    // Nothing runs at all: no outage, and a backup all the same.
    docker(&["stop", &back]);
    project.run(&["backup"]).ok();
    assert_eq!(
        manifests(&project).pop().unwrap()["outage"]["downtime_ms"],
        0
    );
    assert!(!runs(&app) && !runs(&back));
}

#[test]
fn a_kill_during_the_upload_leaves_no_copy_and_no_snapshot() {
    let project = project(IDLE, "", "", 60);
    let app = container(&project, "app");
    let before = started(&app);
    let reached = kill_when(&project, &["backup"], || {
        started(&app) != before && journal(&project).is_none()
    });
    assert!(reached, "60 MiB are not packed at once");
    back(&project, "during the upload");
}

#[test]
fn f18_a_second_run_is_told_who_is_at_work_and_an_interrupted_one_starts_everything() {
    let project = project(IDLE, "", "", 30);
    let running = project.spawn(&["backup", "--method", "copy"]);
    wait_for("everything is stopped", Duration::from_mins(1), || {
        (phase(&project).as_deref() == Some("stopped")).then_some(())
    });
    project.run(&["backup"]).code(11).says("`summoner backup`");
    running.signal("INT");
    running
        .end(Duration::from_mins(1))
        .code(130)
        .says("interrupted");
    assert!(both_run(&project));
    assert!(journal(&project).is_none() && manifests(&project).is_empty());
}
