//! `down` keeps data; a purge deletes what its name says.

use crate::engine_support::{Project, docker};

#[test]
fn down_keeps_all_data_and_a_purge_deletes_that_of_one_minion() {
    let project = Project::new("minions: {page: {}, other: {use: page}}");
    project.web_minion("page", "hello", "");
    project.up();
    for instance in ["page", "other"] {
        project
            .run(&[
                "exec",
                instance,
                "sh",
                "-c",
                "echo precious > /data/kept; echo $TOKEN > /data/token",
            ])
            .ok();
    }
    every_network_is_in_the_pool(&project);
    let token = project.read("data/page/data/token");

    project.run(&["down", "--dry-run"]).ok().says("page/app");
    assert_eq!(project.containers().len(), 3);
    // Without a terminal nobody can say yes.
    project.run(&["down"]);
    assert_eq!(project.containers().len(), 3);

    project.run(&["down", "--yes"]).ok();
    assert!(project.containers().is_empty());
    assert_eq!(networks(&project), Vec::<String>::new());
    project.run(&["down", "--yes"]).ok().says("nothing to do");
    project.up();
    for instance in ["page", "other"] {
        project
            .run(&["exec", instance, "cat", "/data/kept"])
            .ok()
            .says("precious");
        assert_eq!(project.get(instance, "/"), "hello red\n");
    }
    // The same password as before: the data was made with it.
    assert_eq!(
        project
            .run(&["exec", "page", "sh", "-c", "echo $TOKEN"])
            .ok()
            .stdout,
        token
    );

    let other = project.id(&project.container("other"));
    project.run(&["down", "--yes", "page"]).ok();
    assert_eq!(project.read("data/page/data/kept"), "precious\n");
    project.up();

    project.run(&["down", "--purge", "page"]);
    assert_eq!(
        project.read("data/page/data/kept"),
        "precious\n",
        "its name was not given"
    );
    project
        .run(&["down", "--yes-purge", "page"])
        .ok()
        .says("DELETED");
    assert!(!project.path("data/page").exists());
    assert_eq!(project.read("data/other/data/kept"), "precious\n");
    assert_eq!(project.id(&project.container("other")), other);
    assert_eq!(project.get("other", "/"), "hello red\n");
    project.up();
    project
        .run(&["exec", "page", "test", "-e", "/data/kept"])
        .code(1);
    assert_ne!(
        project
            .run(&["exec", "page", "sh", "-c", "echo $TOKEN"])
            .ok()
            .stdout,
        token
    );
}

/// Ids of the project's networks.
fn networks(project: &Project) -> Vec<String> {
    let filter = format!("label=io.summoner.project={}", project.name);
    docker(&["network", "ls", "-q", "--filter", &filter])
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn every_network_is_in_the_pool(project: &Project) {
    let all = networks(project);
    assert_eq!(all.len(), 3, "one for each minion, and the edge");
    let third = |subnet: &str| subnet.split('.').nth(2).unwrap().parse::<u8>().unwrap();
    let pool = project.subnets();
    for id in all {
        let subnet = docker(&[
            "network",
            "inspect",
            "-f",
            "{{range .IPAM.Config}}{{.Subnet}}{{end}}",
            &id,
        ]);
        let (subnet, lead) = (subnet.trim(), pool.rsplitn(3, '.').last().unwrap());
        assert!(
            subnet.starts_with(lead) && subnet.ends_with("/26"),
            "{subnet} in {pool}"
        );
        assert!(
            (third(pool)..third(pool) + 4).contains(&third(subnet)),
            "{subnet} in {pool}"
        );
    }
}
