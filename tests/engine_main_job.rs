//! The main job on the real engine: config.yml becomes a running, reachable toolbox.

mod engine_support;

use engine_support::Project;

#[test]
fn a_project_of_its_own_comes_up_and_goes() {
    let project = Project::new("minions: {page: {}}");
    project.web_minion("page", "hello", "");
    project.up();
    assert_eq!(project.get("page", "/"), "hello red\n");
    project.up().says("nothing to do");
    project.run(&["down", "--yes"]).ok();
    assert!(project.containers().is_empty());
}
