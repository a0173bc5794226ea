//! Images built here because no registry answered, until one does.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::common::{Guest, fails, inspect, names, pair, project, settled, write_variant};
use crate::engine_support::TINY;
use crate::registry_support::Registry;

/// Makes an image of that name here, labelled as what it is.
fn build_stand_in(image: &str) -> Guest {
    let mut build = Command::new("docker")
        .args(["build", "-q", "-t", image, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let recipe = format!("FROM {TINY}\nLABEL io.summoner.stand-in=true io.summoner.test={image}\n");
    build
        .stdin
        .take()
        .unwrap()
        .write_all(recipe.as_bytes())
        .unwrap();
    assert!(build.wait().unwrap().success());
    Guest(&["image", "rm", "-f"], image.to_owned())
}

#[test]
fn a_stand_in_is_replaced_by_a_planned_change_when_a_registry_answers() {
    let registry = Registry::start_with(TINY, &[("io.summoner.test", "real")]);
    registry.away(true);
    let image = registry.reference("1");
    let _image = build_stand_in(&image);
    let project = project("minions: {one: {use: stood}}");
    write_variant(&project, "stood", "summoner-test/tiny:latest", &image);
    project.up();
    let [app, db] = pair(&project, "one");
    let stands = "{{index .Config.Labels \"io.summoner.stand-in\"}}";
    assert_eq!(inspect(&db, stands), "true");
    // Without a registry nothing changes, and it is told where one looks for what is not well.
    settled(&project);
    project
        .run(&["status"])
        .ok()
        .says("no image registry answered")
        .says(&image);
    project
        .run(&["doctor"])
        .says("no image registry answered")
        .says(&image);
    let before = project.containers();
    project.up();
    assert_eq!(project.containers(), before);

    // What is only read asks nobody.
    registry.away(false);
    let asked = registry.requests().len();
    for verb in ["status", "doctor", "render"] {
        project.run(&[verb]);
    }
    assert_eq!(registry.requests().len(), asked);
    let cause = format!("the stand-in of {image} gives way to the real image");
    project
        .run(&["plan", "--detailed-exitcode"])
        .code(2)
        .says(&format!("image/{image}"))
        .says("a registry answers, a stand-in is here")
        .says(&cause);
    // A pull that is cut off leaves the stand-ins at work.
    registry.hold();
    let run = project.spawn(&["up", "--yes"]);
    registry.wait_for_layer();
    run.signal("INT");
    fails(
        run.end(std::time::Duration::from_mins(1)),
        130,
        &["interrupted"],
    );
    assert_eq!(project.containers(), before);
    registry.release();
    project.up();
    for container in [&app, &db] {
        assert_eq!(inspect(container, stands), "", "{container}");
        assert_eq!(
            inspect(container, "{{index .Config.Labels \"io.summoner.test\"}}"),
            "real"
        );
    }
    assert_eq!(names(&project), {
        let mut both = vec![app, db];
        both.sort();
        both
    });
    assert_eq!(
        project.read("data/one/data/starts").lines().count(),
        2,
        "the data stays"
    );
    // The real ones are no stand-ins: nobody is asked any more.
    let asked = registry.requests().len();
    settled(&project);
    assert_eq!(registry.requests().len(), asked);
    assert!(
        !project
            .run(&["status"])
            .ok()
            .all()
            .contains("no image registry answered")
    );
}
