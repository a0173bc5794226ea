//! A project comes back from nothing but its destination.

use std::path::{Path, PathBuf};

use summoner::backup::encryption;
use summoner::backup::manifest::Kind;
use summoner::config::environment::Encryption;

use crate::engine_support::{Project, docker};
use crate::restore_support::{DESTINATIONS, Snapshot, blog, mysql};

/// A project with a row, a file, a cold backup and a newer dump, whose server is lost afterwards.
fn lost_server(project: &Project, encryption: Option<&Encryption>) -> PathBuf {
    blog(project);
    project.up();
    let db = format!("mariadb-blog-{}", project.domain);
    let app = project.container("blog");
    let store = project.path("elsewhere");
    mysql(
        &db,
        "blog",
        "create table posts(id int primary key); insert into posts values (1)",
    );
    std::fs::write(project.path("data/blog/html/upload"), "mine").unwrap();
    docker(&["stop", &app, &db]);
    let sealed = |snapshot: Snapshot<'_>| match encryption {
        Some(encryption) => snapshot.encrypted(encryption.clone()).write_to(&store),
        None => snapshot.write_to(&store),
    };
    sealed(
        Snapshot::new(project, "blog", Kind::Backup)
            .volume("html", &project.path("data/blog/html"))
            .volume("db", &project.path("data/database/blog/db")),
    );
    docker(&["start", &db, &app]);
    project.up();
    mysql(&db, "blog", "insert into posts values (2)");
    sealed(Snapshot::new(project, "blog", Kind::Dump).mariadb(&db, "blog", Some(1)));
    project.run(&["down", "--yes"]).ok();
    for gone in ["data", ".summoner", "minions"] {
        std::fs::remove_dir_all(project.path(gone)).unwrap();
    }
    std::fs::remove_file(project.path("config.yml")).unwrap();
    store
}

fn is_back(project: &Project, folder: &Path) {
    let db = format!("mariadb-blog-{}", project.domain);
    assert_eq!(mysql(&db, "blog", "select count(*) from posts"), "2");
    let upload = std::fs::read_to_string(folder.join("data/blog/html/upload"));
    assert_eq!(upload.unwrap(), "mine");
    // The application's own way in: its user, with the password in its own environment.
    let app = project.container("blog");
    let password = docker(&["exec", &app, "sh", "-c", "echo $DB_PASSWORD"]);
    let mine = format!(
        "MYSQL_PWD={} mariadb -h 127.0.0.1 -ublog -BNe 'select count(*) from posts' blog",
        password.trim()
    );
    assert_eq!(docker(&["exec", &db, "sh", "-c", &mine]).trim(), "2");
    assert!(folder.join("minions/blog/compose.yml.j2").exists());
}

#[test]
fn an_empty_server_gets_its_project_and_new_passwords() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{blog: {{}}}}"));
    let store = lost_server(&project, None);
    let folder = project.path("new");
    let (store, new) = (store.to_str().unwrap(), folder.to_str().unwrap());
    let full = project.path("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("x"), "").unwrap();
    project
        .run(&["rebuild", "--from", store, "--yes", full.to_str().unwrap()])
        .code(5);
    let ran = project
        .run(&["rebuild", "--from", store, "--yes", new])
        .ok();
    assert!(ran.all().contains("db_password"), "{}", ran.all());
    is_back(&project, &folder);
}

#[test]
fn an_encrypted_project_comes_back_with_its_passwords() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{blog: {{}}}}"));
    let (identity, recipient) = encryption::generate();
    project.write("recipients.txt", &format!("{recipient}\n"));
    project.write("identity.txt", &format!("{}\n", identity.expose()));
    let sealed = Encryption::Recipients {
        file: project.path("recipients.txt"),
        identity: None,
    };
    let store = lost_server(&project, Some(&sealed));
    let folder = project.path("new");
    let (store, new) = (store.to_str().unwrap(), folder.to_str().unwrap());
    project
        .run(&["rebuild", "--from", store, "--yes", new])
        .code(12);
    let identity = project.path("identity.txt");
    let identity = identity.to_str().unwrap();
    let ran = project
        .run(&[
            "rebuild",
            "--from",
            store,
            "--identity",
            identity,
            "--yes",
            new,
        ])
        .ok();
    assert!(!ran.all().contains("made anew"), "{}", ran.all());
    assert!(!ran.all().contains("new ones were made"), "{}", ran.all());
    is_back(&project, &folder);
}
