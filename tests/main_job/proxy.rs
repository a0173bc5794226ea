//! The proxy as the binary runs it.

use std::time::Duration;

use super::updates::polled;
use crate::engine_support::{Project, TINY, docker, wait_for};

#[test]
fn sites_come_and_go_without_a_gap_for_the_others() {
    let project = Project::new("minions: {page: {}}");
    project.web_minion("page", "hello", "");
    project.up();
    let (proxy, page) = (
        project.id(&project.container("proxy")),
        project.id(&project.container("page")),
    );

    project.configure("minions: {page: {}, more: {use: page}}");
    let (_, answers) = polled(&project, "page", || project.up());
    assert!(
        answers.failed.is_empty() && answers.total > 5,
        "{answers:?}"
    );
    assert_eq!(project.get("more", "/"), "hello red\n");
    project.up().says("nothing to do");

    project.configure("minions: {page: {}}");
    let (_, answers) = polled(&project, "page", || project.up());
    assert!(
        answers.failed.is_empty() && answers.total > 5,
        "{answers:?}"
    );
    assert_eq!(
        project.status("more", "/"),
        "000",
        "an unknown host is refused"
    );
    assert_eq!(project.id(&project.container("proxy")), proxy);
    assert_eq!(project.id(&project.container("page")), page);
}

/// The running nginx looks at folders that are gone, and would refuse every new configuration.
#[test]
fn a_lost_state_is_made_anew_under_a_running_proxy() {
    let project = Project::new("minions: {page: {}}");
    project.web_minion("page", "hello", "");
    project.up();
    let proxy = project.id(&project.container("proxy"));
    std::fs::remove_dir_all(project.path(".summoner")).unwrap();
    project.up();
    assert_eq!(project.get("page", "/"), "hello red\n");
    // The page itself is made anew once: the key that its hash was made with is gone.
    assert_eq!(project.id(&project.container("proxy")), proxy, "adopted");
    assert_eq!(project.containers().len(), 2);
    project.up().says("nothing to do");
}

#[test]
fn a_killed_proxy_comes_back_with_its_stale_socket() {
    let project = Project::new("minions: {page: {}}");
    project.web_minion("page", "hello", "");
    project.up();
    let proxy = project.container("proxy");
    let id = project.id(&proxy);
    let answers = || (project.status("page", "/") == "200").then_some(());

    // By somebody: the engine takes it for meant, `up` brings it back.
    docker(&["kill", "-s", "KILL", &proxy]);
    assert!(
        project.path(".summoner/run/ctl.sock").exists(),
        "nothing removed the socket"
    );
    assert_eq!(project.status("page", "/"), "000");
    project.up().says("proxy/proxy");
    answers().expect("it serves after `up`");

    // By the kernel, as when memory ends: it comes back by itself. No `up` here.
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &proxy]);
    docker(&[
        "run",
        "--rm",
        "--pid",
        "host",
        TINY,
        "kill",
        "-9",
        pid.trim(),
    ]);
    wait_for("the proxy answers again", Duration::from_secs(30), || {
        let now = docker(&["inspect", "-f", "{{.State.Pid}} {{.RestartCount}}", &proxy]);
        (now.trim().ends_with(" 1") && answers().is_some()).then_some(())
    });
    assert_eq!(project.id(&proxy), id);
    wait_for("it is healthy", Duration::from_secs(30), || {
        let health = docker(&["inspect", "-f", "{{.State.Health.Status}}", &proxy]);
        (health.trim() == "healthy").then_some(())
    });
    project.up().says("nothing to do");
}

#[test]
fn a_broken_site_leaves_the_others_alone() {
    let project = Project::new("minions: {page: {}, bad: {use: page}}");
    project.web_minion("page", "hello", "");
    project.up();
    let proxy = project.id(&project.container("proxy"));

    // What would not be valid for nginx never gets there.
    project.web_minion("evil", "evil", "websocket_paths: [\"/a;b\"]");
    project.configure("minions: {page: {}, bad: {use: page}, evil: {}}");
    let (ran, answers) = polled(&project, "page", || project.run(&["up", "--yes"]));
    ran.code(2).says("/a;b");
    assert!(answers.failed.is_empty(), "{answers:?}");

    // A key that does not belong to its certificate would stop nginx at its next start: the plan
    // sees it, and a new pair takes its place.
    let key = project.path(".summoner/certs/bad/current/privkey.pem");
    std::fs::copy(
        project.path(".summoner/certs/page/current/privkey.pem"),
        key,
    )
    .unwrap();
    project.configure("minions: {page: {}, bad: {use: page}, third: {use: page}}");
    let (_, answers) = polled(&project, "page", || project.up().says("certificate/bad"));
    assert!(answers.failed.is_empty(), "{answers:?}");
    for site in ["page", "bad", "third"] {
        assert_eq!(project.status(site, "/"), "200", "{site}");
    }
    assert_eq!(project.id(&project.container("proxy")), proxy);
}

#[test]
fn an_application_reaches_its_own_address_from_inside() {
    let project = Project::new("minions: {page: {}}");
    project.web_minion("page", "hello", "");
    project.up();
    // The proxy listens on the usual ports inside; its answer to plain HTTP leads to HTTPS.
    let script = format!(
        "wget -S -O - http://{}/ 2>&1 | head -3",
        project.host("page")
    );
    let ran = project.run(&["exec", "page", "sh", "-c", &script]).ok();
    assert!(ran.stdout.contains("308"), "{}", ran.all());
}
