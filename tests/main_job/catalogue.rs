//! The other minions of the catalogue, and two instances of one.

use super::secrets;
use crate::engine_support::{Project, docker};

#[test]
fn every_database_runs_and_two_instances_of_one_do_not_meet() {
    let project = Project::new(
        "minions:\n  red: {use: postgres}\n  blue: {use: postgres}\n  maria: {use: mariadb}\n  my: {use: mysql}\n  cache: {use: redis}",
    );
    let (up, seen) = secrets::up_watched(&project);
    // Nothing of it is exposed, so there is no proxy either.
    assert_eq!(project.containers().len(), 5, "{}", up.all());
    for (name, id) in project.containers() {
        assert_eq!(
            docker(&["inspect", "-f", "{{.State.Health.Status}}", &id]).trim(),
            "healthy",
            "{name}"
        );
    }
    let ask =
        |instance: &str, command: &str| project.run(&["exec", "-T", instance, "sh", "-c", command]);
    let psql = |instance: &str, sql: &str| {
        ask(
            instance,
            &format!("PGPASSWORD=$APP_PASSWORD psql -h 127.0.0.1 -U app -d app -qtAXc \"{sql}\""),
        )
        .ok()
        .stdout
    };
    psql("red", "create table t as select 'red' as colour");
    assert_eq!(psql("red", "select colour from t"), "red\n");
    assert_eq!(
        psql(
            "blue",
            "select count(*) from pg_tables where tablename = 't'"
        ),
        "0\n"
    );
    // Networks of their own: neither finds the other.
    let host = format!("postgres-red-{}", project.domain);
    assert_ne!(ask("blue", &format!("getent hosts {host}")).code, 0);
    let answer = ask(
        "maria",
        "MYSQL_PWD=$MARIADB_PASSWORD mariadb -u app app -Nse 'select 6*7'",
    )
    .ok();
    assert_eq!(answer.stdout, "42\n");
    let answer = ask(
        "my",
        "MYSQL_PWD=$MYSQL_PASSWORD mysql -u app app -Nse 'select 6*7'",
    )
    .ok();
    assert_eq!(answer.stdout, "42\n");
    let answer = ask(
        "cache",
        "export REDISCLI_AUTH=$REDIS_PASSWORD; redis-cli set a b >/dev/null; redis-cli get a",
    )
    .ok();
    assert_eq!(answer.stdout, "b\n");
    project.up().says("nothing to do");
    project.run(&["down", "red", "--yes"]).ok();
    project.up();
    assert_eq!(psql("red", "select colour from t"), "red\n");
    secrets::appear_nowhere(&project, &[up.all(), seen], &[]);
}

#[test]
fn nextcloud_and_ghost_come_up_with_their_stand_in_images() {
    let project = Project::new("minions:\n  cloud: {use: nextcloud}\n  blog: {use: ghost}");
    let (up, seen) = secrets::up_watched(&project);
    assert_eq!(project.containers().len(), 7, "{}", up.all());
    assert_eq!(project.status("cloud", "/status.php"), "200");
    assert_eq!(project.status("blog", "/ghost/api/admin/site/"), "200");
    project.run(&["status"]).ok().says("ghost:5.130.5");
    project.up().says("nothing to do");
    secrets::appear_nowhere(&project, &[up.all(), seen], &["data/cloud/html/config"]);
}

#[test]
fn wekan_and_mattermost_come_up_with_their_stand_in_images() {
    let project = Project::new("minions:\n  boards: {use: wekan}\n  chat: {use: mattermost}");
    let (up, seen) = secrets::up_watched(&project);
    assert_eq!(project.containers().len(), 5, "{}", up.all());
    assert_eq!(project.status("boards", "/sign-in"), "200");
    assert_eq!(project.status("chat", "/api/v4/system/ping"), "200");
    project.run(&["status"]).ok().says("wekan:v10.71");
    project.up().says("nothing to do");
    secrets::appear_nowhere(&project, &[up.all(), seen], &[]);
}

#[test]
fn mongo_runs_as_far_as_its_stand_in_goes() {
    let project = Project::new("minions:\n  docs: {use: mongo}");
    let (up, seen) = secrets::up_watched(&project);
    let ask = |script: &str| {
        let login = "db.getSiblingDB('app').auth(process.env.APP_USER, process.env.APP_PASSWORD)";
        let code = format!("{login}; {script}");
        project.run(&[
            "exec", "-T", "docs", "mongosh", "--quiet", "app", "--eval", &code,
        ])
    };
    ask("db.things.insertOne({_id: 1, colour: 'red'})").ok();
    // A user of one database, who may do nothing in another.
    assert_ne!(ask("db.getSiblingDB('other').things.insertOne({})").code, 0);
    let without = ["exec", "-T", "docs", "mongosh", "--quiet", "app", "--eval"];
    let stranger = project.run(&[&without[..], &["db.things.findOne()"]].concat());
    assert_ne!(stranger.code, 0, "{}", stranger.all());
    project.up().says("nothing to do");
    project.run(&["down", "docs", "--yes"]).ok();
    project.up();
    assert_eq!(
        ask("db.things.findOne({_id: 1}).colour").ok().stdout,
        "red\n"
    );
    secrets::appear_nowhere(&project, &[up.all(), seen], &[]);
}
