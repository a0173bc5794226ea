//! SIGKILL whenever something is told, with the proxy in it: files, certificates, routes, health.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use super::common::{names, networks, settled};
use crate::engine_support::{Project, docker, wait_for};

/// Starts `up` and kills it at line `k` of what it tells; whether it came to that line.
fn killed_at_line(project: &Project, k: usize) -> Option<String> {
    let mut child = project
        .command(&["up", "--yes"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .nth(k);
    let _ = child.kill();
    child.wait().unwrap();
    line
}

fn whole(project: &Project, text: &str, at: &str) {
    project.up();
    settled(project);
    let mut wanted = vec![project.container("site"), project.container("proxy")];
    wanted.sort();
    assert_eq!(names(project), wanted, "killed at `{at}`");
    // The shared one, and one of the site.
    assert_eq!(networks(project).len(), 2, "killed at `{at}`");
    // nginx may go on with the address of the old container for the five seconds of its resolver.
    wait_for(
        &format!("the page, killed at `{at}`"),
        Duration::from_secs(15),
        || {
            (project.status("site", "/") == "200" && project.get("site", "/").contains(text))
                .then_some(())
        },
    );
    let temporary = std::process::Command::new("find")
        .arg(project.path(".summoner"))
        .args(["-name", "*.tmp"])
        .output();
    assert_eq!(
        String::from_utf8_lossy(&temporary.unwrap().stdout),
        "",
        "killed at `{at}`"
    );
}

#[test]
fn an_installation_with_the_proxy_killed_at_any_line_is_finished() {
    let project = Project::new("minions: {site: {use: page}}");
    project.web_minion("page", "hello", "");
    let mut k = 0;
    while let Some(line) = killed_at_line(&project, k) {
        whole(&project, "hello", &line);
        // As on the first day, but for data and state: quicker than `down`.
        let ids: Vec<String> = project.containers().into_iter().map(|(_, id)| id).collect();
        docker(&[&["rm".to_owned(), "-f".to_owned()], ids.as_slice()].concat());
        docker(
            &[
                &["network".to_owned(), "rm".to_owned()],
                networks(&project).as_slice(),
            ]
            .concat(),
        );
        std::fs::remove_dir_all(project.path(".summoner")).unwrap();
        std::fs::remove_dir_all(project.path("data")).unwrap();
        k += 1;
    }
    assert!(k >= 9, "only {k} lines");
}

#[test]
fn an_update_with_new_routes_killed_at_any_line_is_finished() {
    let project = Project::new("minions: {site: {use: page}}");
    project.web_minion("page", "hello", "");
    project.up();
    let mut k = 0;
    loop {
        // Another text, and another limit in the routes.
        let text = format!("hello{k}");
        project.web_minion("page", &text, &format!("max_body: {}M", k + 1));
        let Some(line) = killed_at_line(&project, k) else {
            break;
        };
        whole(&project, &text, &line);
        k += 1;
    }
    assert!(k >= 4, "only {k} lines");
}
