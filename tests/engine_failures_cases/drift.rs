//! What somebody did by hand: shown, and put right.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::common::{inspect, names, networks, pair, project, settled};
use crate::engine_support::{Project, docker};

/// The plan says `words`, `up` mends it, and then there is nothing to do.
fn mended(project: &Project, what: &str, words: &[&str]) {
    let plan = project.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, 2, "{what}: not seen\n{}", plan.all());
    for word in words {
        assert!(
            plan.stdout.contains(word),
            "{what}: the plan does not say `{word}`\n{}",
            plan.all()
        );
    }
    let up = project.run(&["up", "--yes"]);
    assert_eq!(up.code, 0, "{what}\n{}", up.all());
    settled(project);
    let mut wanted = pair(project, "one").to_vec();
    wanted.sort();
    assert_eq!(names(project), wanted, "{what}");
    for container in wanted {
        assert_eq!(
            inspect(&container, "{{.State.Health.Status}}"),
            "healthy",
            "{what}: {container}"
        );
    }
    assert_eq!(networks(project).len(), 1, "{what}");
}

#[test]
fn containers_changed_by_hand_are_mended_without_making_them_anew() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = project.containers();
    let [app, db] = pair(&project, "one");
    let network = networks(&project).remove(0);

    docker(&["stop", "-t", "0", &app]);
    mended(
        &project,
        "stop",
        &["one/app", "start", "stopped, exit code"],
    );
    docker(&["kill", &db]);
    mended(&project, "kill", &["one/db", "start", "exit code 137"]);
    docker(&["pause", &db]);
    mended(&project, "pause", &["one/db", "start", "paused by hand"]);
    docker(&["rename", &app, &format!("{app}-mine")]);
    mended(&project, "rename", &["one/app", "rename", "by hand"]);
    docker(&["update", "--memory", "48m", "--memory-swap", "48m", &db]);
    mended(
        &project,
        "memory",
        &["one/db", "update", "memory changed by hand"],
    );
    assert_eq!(
        inspect(&db, "{{.HostConfig.Memory}}"),
        (32 << 20).to_string()
    );
    docker(&["update", "--restart", "no", &db]);
    mended(
        &project,
        "restart policy",
        &["one/db", "update", "restart policy changed by hand"],
    );
    assert_eq!(
        inspect(&db, "{{.HostConfig.RestartPolicy.Name}}"),
        "unless-stopped"
    );
    docker(&["network", "disconnect", &network, &db]);
    mended(
        &project,
        "network disconnect",
        &["one/db", "connect", "taken out of the network by hand"],
    );
    let aliases = inspect(
        &db,
        "{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}",
    );
    assert!(
        aliases.contains("db"),
        "the name of the service is back: {aliases}"
    );
    assert_eq!(project.containers(), before, "the same containers as ever");
}

#[test]
fn everything_at_once_is_mended_too() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = project.containers();
    let [app, db] = pair(&project, "one");
    let network = networks(&project).remove(0);
    docker(&[
        "update",
        "--restart",
        "always",
        "--memory",
        "48m",
        "--memory-swap",
        "48m",
        &db,
    ]);
    docker(&["stop", "-t", "0", &app, &db]);
    docker(&["rename", &db, &format!("{db}-mine")]);
    docker(&["network", "rm", &network]);
    mended(
        &project,
        "all",
        &[
            "one/db",
            "rename",
            "update",
            "its network was removed by hand",
            "connect",
            "start",
        ],
    );
    assert_eq!(project.containers(), before);
}

#[test]
fn networks_removed_by_hand_come_back() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = project.containers();
    let [app, db] = pair(&project, "one");
    let network = networks(&project).remove(0);
    docker(&["stop", "-t", "0", &app, &db]);
    docker(&["network", "rm", &network]);
    mended(
        &project,
        "stopped, then network removed",
        &[
            &format!("network/{network}"),
            "its network was removed by hand",
        ],
    );
    docker(&["network", "disconnect", "-f", &network, &app]);
    docker(&["network", "disconnect", "-f", &network, &db]);
    docker(&["network", "rm", &network]);
    mended(
        &project,
        "running, then network removed",
        &[&format!("network/{network}"), "connect"],
    );
    assert_eq!(project.containers(), before);
    docker(&[
        "exec",
        &app,
        "sh",
        "-c",
        "nslookup db >/dev/null 2>&1 || ping -c 1 -W 2 db >/dev/null",
    ]);
}

#[test]
fn containers_that_must_be_made_anew_are() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let [app, db] = pair(&project, "one");
    docker(&["rm", "-f", &app]);
    mended(&project, "rm -f", &["+ one/app", "create"]);
    docker(&["rm", "-f", &app, &db]);
    mended(&project, "both", &["+ one/app", "+ one/db"]);
    assert_eq!(
        project.read("data/one/data/starts").lines().count(),
        2,
        "on the same data"
    );
    // The engine can change a limit, not lift it.
    docker(&["update", "--cpus", "0.5", &app]);
    mended(
        &project,
        "cpus",
        &["one/app", "recreate", "cpus limited by hand"],
    );
    assert_eq!(inspect(&app, "{{.HostConfig.NanoCpus}}"), "0");
}

#[test]
fn files_edited_by_hand_are_written_again() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = super::common::containers(&project);
    let (compose, env) = (
        ".summoner/build/one/compose.yml",
        ".summoner/build/one/.env",
    );
    let (text, secret) = (project.read(compose), project.read(env));
    project.write(compose, &format!("{text}# mine\n"));
    mended(
        &project,
        "compose.yml",
        &["one/files", "write", "compose.yml"],
    );
    project.write(env, "PASSWORD=mine\n");
    mended(&project, ".env", &["one/files", "write", ".env"]);
    fs::set_permissions(project.path(env), fs::Permissions::from_mode(0o644)).unwrap();
    project
        .run(&["doctor"])
        .code(1)
        .says("others can read your passwords")
        .says("chmod 600");
    mended(&project, "mode of .env", &["one/files", "write", ".env"]);
    assert_eq!(
        fs::metadata(project.path(env))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    fs::remove_file(project.path(compose)).unwrap();
    mended(&project, "removed", &["one/files", "write", "compose.yml"]);
    assert_eq!((project.read(compose), project.read(env)), (text, secret));
    assert_eq!(
        super::common::containers(&project),
        before,
        "no container was touched"
    );
}

/// Makes a second network of a name, as the engine does for a run that is killed and one that
/// follows at once; `docker network create` itself refuses.
fn twin(project: &Project, name: &str) {
    let (pool, _) = project.subnets().rsplit_once('.').unwrap();
    let body = serde_json::json!({
        "Name": name,
        "CheckDuplicate": false,
        "IPAM": {"Config": [{"Subnet": format!("{pool}.192/26")}]},
        "Labels": {"io.summoner.project": project.name, "io.summoner.root": project.root()},
    });
    let made = std::process::Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "--unix-socket",
            "/var/run/docker.sock",
            "-H",
            "Content-Type: application/json",
        ])
        .args(["-d", &body.to_string(), "http://engine/networks/create"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    assert_eq!(networks(project).len(), 2);
}

#[test]
fn a_network_that_is_there_twice_is_there_once_again() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = super::common::containers(&project);
    let network = networks(&project).remove(0);
    twin(&project, &network);
    let target = format!("network/{network}");
    let words = [target.as_str(), "remove", "left by a run that was cut off"];
    mended(&project, "twin, containers running", &words);
    assert_eq!(
        super::common::containers(&project),
        before,
        "the one that is used stayed"
    );
    let [app, db] = pair(&project, "one");
    docker(&["rm", "-f", &app, &db]);
    twin(&project, &network);
    mended(&project, "twin, no containers", &words);
}
