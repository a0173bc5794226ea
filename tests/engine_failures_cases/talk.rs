//! What is typed wrongly, and how it is told; what may be written and what not.

use super::common::{containers, fails, project, run, settled, tree};

#[test]
fn a_name_that_is_not_there_is_told_with_the_nearest() {
    let project = project("minions: {wiki: {use: duo}, shop: {use: duo}}");
    let verbs: [&[&str]; 8] = [
        &["plan", "wikki"],
        &["up", "wikki", "--yes"],
        &["down", "wikki", "--yes"],
        &["logs", "wikki"],
        &["status", "wikki"],
        &["restart", "wikki"],
        &["render", "wikki"],
        &["exec", "wikki", "true"],
    ];
    for arguments in verbs {
        fails(
            project.run(arguments),
            2,
            &["no minion `wikki`", "did you mean `wiki`?"],
        );
    }
    fails(
        project.run(&["up", "xyzzy", "--yes"]),
        2,
        &["no minion `xyzzy`", "shop, wiki"],
    );
    assert!(!project.path("data").exists());
    let ran = project.run(&["upp"]).code(2);
    assert!(ran.stderr.contains("up"), "{}", ran.all());
}

#[test]
fn every_mistake_of_a_file_is_told_at_once() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = containers(&project);
    let text = project
        .read("config.yml")
        .replace("proxy: {http_port", "proxi: {}\nproxy: {htpp_port");
    let text = text.replace("{use: duo}", "{usee: duo, protect: maybe}");
    project.write("config.yml", &text);
    for arguments in [
        ["up", "--yes"].as_slice(),
        &["plan"],
        &["check"],
        &["down", "--yes"],
        &["status"],
    ] {
        let words = [
            "config.yml:5:",
            "proxi",
            "htpp_port",
            "usee",
            "protect",
            "did you mean",
        ];
        let ran = fails(project.run(arguments), 2, &words);
        assert!(
            ran.stderr.matches("config.yml:").count() >= 4,
            "{}",
            ran.stderr
        );
    }
    assert_eq!(containers(&project), before);
    std::fs::remove_file(project.path("config.yml")).unwrap();
    let ran = project.run(&["up", "--yes"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("config.yml") && ran.stderr.contains("hint:"),
        "{}",
        ran.all()
    );
}

#[test]
fn without_a_terminal_nothing_is_done_without_a_yes() {
    let project = project("minions: {one: {use: duo}}");
    fails(
        project.run(&["up"]),
        1,
        &["cannot ask without a terminal", "add `--yes`"],
    );
    assert!(containers(&project).is_empty());
    assert!(!project.path("data").exists());
    assert!(!project.path(".summoner/secrets.yml").exists());
    project.up();
    let before = containers(&project);
    fails(
        project.run(&["down"]),
        1,
        &["cannot ask without a terminal", "add `--yes`"],
    );
    assert_eq!(containers(&project), before);
    // With nothing to do there is nothing to ask.
    project.run(&["up"]).ok();
}

#[test]
fn a_dry_run_and_everything_that_reads_write_nothing() {
    let project = project("minions: {one: {use: duo}, two: {use: duo}}");
    let reading: [&[&str]; 8] = [
        &["up", "--dry-run"],
        &["up", "one", "--dry-run"],
        &["down", "--dry-run"],
        &["plan", "--json"],
        &["status"],
        &["check"],
        &["render"],
        &["doctor", "--json"],
    ];
    let fresh = tree(project.root());
    for arguments in reading {
        project.run(arguments);
        assert_eq!(
            tree(project.root()),
            fresh,
            "summoner {arguments:?} wrote on a fresh project"
        );
    }
    project.up();
    project.configure("minions: {one: {use: duo, set: {app: exec sleep 7}}}");
    let (before, files) = (containers(&project), tree(project.root()));
    for arguments in reading {
        project.run(arguments).ok();
        assert_eq!(tree(project.root()), files, "summoner {arguments:?} wrote");
        assert_eq!(
            containers(&project),
            before,
            "summoner {arguments:?} touched containers"
        );
    }
    let plan = project.run(&["plan"]).ok().stdout;
    assert_eq!(
        project.run(&["up", "--dry-run"]).ok().stdout,
        plan,
        "the same plan"
    );
    project.up();
    settled(&project);
}

#[test]
fn where_there_is_no_terminal_there_are_no_control_characters() {
    let project = project("minions: {good: {use: duo}, bad: {use: duo, set: {db: exit 1}}}");
    let runs: [&[&str]; 5] = [
        &["plan"],
        &["up", "--yes"],
        &["status"],
        &["doctor"],
        &["down", "--yes"],
    ];
    for arguments in runs {
        let ran = run(project.command(arguments).env_remove("NO_COLOR"));
        let bad: Vec<char> = ran
            .all()
            .chars()
            .filter(|c| c.is_control() && *c != '\n')
            .collect();
        assert!(
            bad.is_empty(),
            "summoner {}: {bad:?}\n{}",
            ran.arguments,
            ran.all()
        );
        assert!(!ran.stdout.is_empty() || !ran.stderr.is_empty());
    }
    // Asked for, they are there; NO_COLOR only says what is meant where nothing else is said.
    let ran = run(project
        .command(&["--color", "always", "plan"])
        .env_remove("NO_COLOR"));
    assert!(ran.stdout.contains('\u{1b}'));
    let ran = run(project
        .command(&["plan"])
        .env("NO_COLOR", "1")
        .env("CLICOLOR_FORCE", "1"));
    assert!(!ran.stdout.contains('\u{1b}'));
}
