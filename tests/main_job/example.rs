//! config.example.yml as it is, but for names and ports: its site, blog and wiki, installed and used
//! over HTTPS.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::secrets;
use crate::engine_support::{Project, text};

/// The example with this project's name, domain, subnets and ports in place of its own.
fn example() -> Project {
    let project = Project::new("minions: {}");
    let mut config = include_str!("../../config.example.yml").to_owned();
    let own = format!(
        "  domain: {}\n  name: {}\n  subnets: [{}]\n",
        project.domain,
        project.name,
        project.subnets()
    );
    for (theirs, ours) in [
        ("  domain: localhost\n", own),
        (
            "  http_port: 80\n",
            format!("  http_port: {}\n", project.http),
        ),
        (
            "  https_port: 443\n",
            format!("  https_port: {}\n", project.https),
        ),
    ] {
        assert!(config.contains(theirs), "{theirs}");
        config = config.replace(theirs, &ours);
    }
    project.write("config.yml", &config);
    project
}

#[test]
fn the_example_comes_up_on_a_fresh_folder_and_is_used_over_https() {
    let project = example();
    // Before: a plan that changes nothing, not even its own folder.
    let plan = project.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("+ wordpress/db"), "{}", plan.stdout);
    let json = project.run(&["plan", "--json"]).ok().json();
    assert_eq!(json["schema_version"], 1);
    let operations = json["operations"].as_array().unwrap();
    assert_eq!(json["changes"], operations.len());
    for operation in operations {
        // Files and routes are written in any case: `~`.
        assert!(
            operation["symbol"] == "+" || operation["symbol"] == "~",
            "{operation}"
        );
        for key in ["target", "minion", "action", "cause"] {
            assert!(operation[key].is_string(), "{operation}");
        }
    }
    project.run(&["up", "--dry-run"]).ok().says("wordpress/db");
    assert!(!project.path(".summoner").exists() && !project.path("data").exists());
    assert_eq!(states(&project)["wiki"], "absent");

    let (up, seen) = secrets::up_watched(&project);
    for instance in ["site", "wordpress", "wiki"] {
        assert!(
            up.stdout
                .contains(&format!("https://{}", project.host(instance))),
            "{}",
            up.all()
        );
    }
    for (instance, state) in states(&project) {
        assert_eq!(state, "running", "{instance}");
    }

    assert!(project.get("site", "/").to_lowercase().contains("<html"));
    // From inside too, by the very address that its visitors use.
    for instance in ["site", "wordpress"] {
        let url = project.url(instance, "/");
        let code = [
            "exec",
            instance,
            "curl",
            "-sk",
            "-m",
            "10",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &url,
        ];
        let code = project.run(&code).ok().stdout;
        assert!(code == "200" || code == "302", "{url} from inside: {code}");
    }
    use_wordpress(&project);
    use_the_wiki(&project);

    let before = (project.containers(), files(&project));
    project.up().says("nothing to do");
    assert_eq!(project.containers(), before.0);
    assert_eq!(files(&project), before.1);
    project.run(&["plan", "--detailed-exitcode"]).code(0);
    assert_eq!(project.run(&["plan", "--json"]).ok().json()["changes"], 0);
    project
        .run(&["plan", "--detailed-exitcode", "nobody"])
        .code(1)
        .says("nobody");

    the_compose_client_sees_it(&project);
    secrets::appear_nowhere(&project, &[up.all(), seen], &[]);
}

/// Name and state of every instance, from `status --json`, whose form is checked by the way.
fn states(project: &Project) -> BTreeMap<String, String> {
    let json = project.run(&["status", "--json"]).ok().json();
    assert_eq!(json["schema_version"], 1);
    let minions = json["minions"].as_array().unwrap();
    let state = |m: &serde_json::Value| {
        let state = m["state"].as_str().unwrap().to_owned();
        for service in m["services"].as_array().unwrap() {
            assert_eq!(service["state"], "running", "{service}");
            assert_eq!(service["health"], "healthy", "{service}");
            assert!(
                service["image"].is_string() && service["since"].is_string(),
                "{service}"
            );
        }
        (m["name"].as_str().unwrap().to_owned(), state)
    };
    minions.iter().map(state).collect()
}

fn use_wordpress(project: &Project) {
    assert_eq!(
        project.status("wordpress", "/wp-login.php"),
        "302",
        "not installed yet"
    );
    let form = [
        ("weblog_title", "The summoned blog"),
        ("user_name", "editor"),
        ("admin_password", "Correct-Horse-7"),
        ("admin_password2", "Correct-Horse-7"),
        ("pw_weak", "1"),
        ("admin_email", "editor@example.org"),
        ("blog_public", "0"),
        ("Submit", "Install WordPress"),
    ];
    let fields: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let url = project.url("wordpress", "/wp-admin/install.php?step=2");
    let mut arguments = vec!["--fail", url.as_str()];
    arguments.extend(fields.iter().flat_map(|f| ["--data-urlencode", f.as_str()]));
    let answer = project.curl("wordpress", &arguments);
    assert!(
        answer.status.success() && text(&answer.stdout).contains("Success!"),
        "{}",
        text(&answer.stdout)
    );
    assert!(project.get("wordpress", "/").contains("The summoned blog"));
    assert_eq!(project.status("wordpress", "/wp-login.php"), "200");
}

fn use_the_wiki(project: &Project) {
    assert!(project.get("wiki", "/").contains("Our wiki"));
    let answer = project.get("wiki", "/api.php?action=query&meta=siteinfo&format=json");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["query"]["general"]["sitename"], "Our wiki");
    assert_eq!(answer["query"]["general"]["dbtype"], "postgres");
}

/// Docker Compose 2; `scripts/test` sees to it and says where it is.
fn compose(project: &Project) -> Command {
    let program = std::env::var_os("SUMMONER_TEST_COMPOSE")
        .expect("SUMMONER_TEST_COMPOSE names Docker Compose 2, as scripts/test sets it");
    let mut command = Command::new(program);
    command.current_dir(project.root());
    command
}

fn the_compose_client_sees_it(project: &Project) {
    let list = compose(project)
        .args(["ls", "--format", "json"])
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    for instance in ["site", "wordpress", "wiki", "proxy"] {
        let name = format!("{instance}-{}", project.domain.replace('.', "-"));
        let seen = list
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["Name"] == name.as_str());
        assert!(seen, "{name} is not in {list}");

        let ps = compose(project)
            .args(["-p", &name, "ps", "--format", "{{.Name}}"])
            .output()
            .unwrap();
        assert!(
            text(&ps.stdout)
                .lines()
                .any(|l| l == project.container(instance)),
            "{}",
            text(&ps.stderr)
        );

        // What is printed, and what lies there with its passwords.
        let rendered = project.run(&["render", instance]).ok();
        project.write("rendered/compose.yml", &rendered.stdout);
        fs::copy(
            project.path(&format!(".summoner/build/{instance}/.env")),
            project.path("rendered/.env"),
        )
        .unwrap();
        let own = project.path(&format!(".summoner/build/{instance}"));
        for folder in [project.path("rendered"), own] {
            let check = compose(project)
                .arg("--project-directory")
                .arg(&folder)
                .args(["config", "-q"])
                .output()
                .unwrap();
            assert!(
                check.status.success() && check.stderr.is_empty(),
                "{instance}: {}",
                text(&check.stderr)
            );
        }
        fs::remove_dir_all(project.path("rendered")).unwrap();
    }
}

/// Every file of the state with its time and content.
fn files(project: &Project) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, (SystemTime, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            let path = entry.path();
            if kind.is_dir() {
                walk(&path, found);
            } else if kind.is_file() {
                let modified = entry.metadata().unwrap().modified().unwrap();
                found.insert(path.clone(), (modified, fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&project.path(".summoner"), &mut found);
    // The lock is taken by every run and says by whom.
    found.remove(&project.path(".summoner/lock"));
    assert!(found.len() > 10, "{found:?}");
    found
}
