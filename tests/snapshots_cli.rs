//! `snapshots`, `verify`, `pin`, `unpin` and `prune` as they are typed: the binary, a config.yml, and
//! folders with snapshots as destinations. No engine is asked.

mod snapshot_support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use snapshot_support::{PROJECT, dump, folder, manifest, write};
use summoner::backup::destination::Target;
use summoner::backup::encryption;
use summoner::backup::manifest::{Kind, Manifest, Status};
use summoner::config::environment::Encryption;
use summoner::state::Paths;
use summoner::state::lock::Lock;
use summoner::storage::local::Dir;
use tempfile::TempDir;

struct Project {
    folder: TempDir,
}

/// What a run gave.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        let all = format!("{}{}", self.out, self.err);
        assert!(all.contains(text), "`{text}` in\n{all}");
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}\n{}", self.out))
    }
}

impl Project {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "summoner: {{domain: {PROJECT}, timezone: Europe/Paris}}\nminions: {{blog: {{use: ghost}}}}\n\
             destinations:\n  disk: {{dir: ./disk}}\n  second: {{dir: ./second}}\n{more}\n"
        );
        fs::write(folder.path().join("config.yml"), text).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn targets(&self) -> [Arc<Target>; 2] {
        ["disk", "second"].map(|name| folder(name, &self.path(name)))
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_summoner"))
            .arg("-C")
            .arg(self.folder.path())
            .args(arguments)
            // No engine is needed, and none is there.
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn days_ago(days: i64) -> String {
    (Timestamp::now() - SignedDuration::from_hours(24 * days)).to_string()
}

fn ids(document: &Value) -> Vec<&str> {
    let all = document["snapshots"].as_array().unwrap();
    all.iter().map(|s| s["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn snapshots_are_listed_newest_first_for_each_minion() {
    let project = Project::new("");
    let both = project.targets();
    let old = dump(&both, "blog", &days_ago(3)).await;
    let mut odd = manifest(
        "blog",
        Kind::Backup,
        Timestamp::now() - SignedDuration::from_hours(5),
    );
    odd.status = Status::Suspect;
    odd.remarks = vec!["`db` was killed after 10 s".into()];
    let odd = write(&both[..1], odd).await;
    // Not in config.yml any more, and listed all the same.
    let gone = dump(&both[..1], "wiki", &days_ago(400)).await;

    let ran = project.run(&["snapshots"]).code(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.out);
    assert!(
        lines[0].starts_with("ID        MINION  KIND    TIME"),
        "{}",
        ran.out
    );
    for (line, words) in [
        (
            lines[1],
            [odd.id.short(), "backup", "5 h", "disk", "suspect"],
        ),
        (
            lines[2],
            [old.id.short(), "dump", "3 d", "disk", "complete"],
        ),
        (
            lines[3],
            [old.id.short(), "dump", "3 d", "second", "complete"],
        ),
        (
            lines[4],
            [gone.id.short(), "wiki", "400 d", "disk", "complete"],
        ),
    ] {
        for word in words {
            assert!(line.contains(word), "`{word}` in `{line}`");
        }
    }
    let ran = ran.says("`db` was killed after 10 s");
    // The time is that of the project's zone.
    let paris = old.started.in_tz("Europe/Paris").unwrap();
    let ran = ran.says(&paris.strftime("%Y-%m-%d %H:%M").to_string());
    assert!(!ran.out.contains("was killed"), "talk is not data");

    let document = project.run(&["snapshots", "--json"]).code(0).json();
    assert_eq!(
        ids(&document),
        [
            odd.id.as_str(),
            old.id.as_str(),
            old.id.as_str(),
            gone.id.as_str()
        ]
    );
    let first = &document["snapshots"][0];
    assert_eq!(first["short"], odd.id.short());
    assert_eq!(first["stored_bytes"], odd.stored_bytes());
    assert_eq!(first["verified"], Value::Null);
    assert_eq!(first["pinned"], false);
    assert_eq!(document["destinations"].as_array().unwrap().len(), 2);

    let only = |arguments: &[&str]| {
        let document = project
            .run(&[&["snapshots", "--json"], arguments].concat())
            .code(0)
            .json();
        ids(&document).len()
    };
    assert_eq!(only(&["wiki"]), 1);
    assert_eq!(only(&["blog"]), 3);
    assert_eq!(only(&["--from", "second"]), 1);
    project
        .run(&["snapshots", "blgo"])
        .code(2)
        .says("did you mean `blog`?");
    project
        .run(&["snapshots", "--from", "dsik"])
        .code(2)
        .says("did you mean `disk`?");
}

#[tokio::test]
async fn f16_a_destination_that_is_down_is_said_and_the_others_are_listed() {
    let project = Project::new("  lost: {dir: ./nowhere/at/all}");
    let both = project.targets();
    let id = dump(&both, "blog", &days_ago(1)).await.id;
    let ran = project
        .run(&["snapshots", "--json"])
        .code(3)
        .says("destination `lost`");
    let document = ran.json();
    assert_eq!(ids(&document), [id.as_str(), id.as_str()]);
    assert!(
        document["destinations"][2]["error"]
            .as_str()
            .unwrap()
            .contains("is not there")
    );
    project.run(&["verify"]).code(3);
    project.run(&["prune"]).code(3);
    // Alone it is the answer.
    project
        .run(&["snapshots", "--from", "lost"])
        .code(10)
        .says("hint:");
    fs::write(
        project.path("config.yml"),
        "summoner: {domain: example.org}\n",
    )
    .unwrap();
    project
        .run(&["snapshots"])
        .code(2)
        .says("config.yml has no `destinations:`");
}

#[tokio::test]
async fn an_empty_destination_says_what_to_type() {
    let project = Project::new("");
    for name in ["disk", "second"] {
        fs::create_dir(project.path(name)).unwrap();
    }
    let ran = project
        .run(&["snapshots", "blog"])
        .code(0)
        .says("`summoner dump blog` makes one");
    assert_eq!(ran.out, "");
    project.run(&["prune"]).code(0).says("nothing to prune");
    project
        .run(&["verify"])
        .code(0)
        .says("no snapshot to look at");
    project
        .run(&["pin", "XXXX"])
        .code(2)
        .says("there is no snapshot `XXXX`");
}

#[tokio::test]
async fn prune_gives_a_reason_on_every_line_and_leaves_pinned_ones() {
    let project = Project::new("backup: {to: [disk], dump: {keep: {last: 2}}}");
    let both = project.targets();
    let mut nights: Vec<Manifest> = Vec::new();
    for days in 1..=4 {
        nights.push(dump(&both, "blog", &days_ago(days)).await);
    }
    // Cold backups have no rule: they stay.
    let mut cold = manifest("blog", Kind::Backup, Timestamp::now());
    cold.started = Timestamp::now();
    write(&both[..1], cold).await;
    let oldest = nights[3].id.short();
    project
        .run(&["pin", oldest, "--from", "disk"])
        .code(0)
        .says("`summoner prune` leaves it alone");
    project
        .run(&["pin", oldest, "--from", "disk"])
        .code(0)
        .says("was pinned already");
    project
        .run(&["snapshots", "--from", "disk"])
        .code(0)
        .says("pinned");

    let ran = project.run(&["prune", "--dry-run"]).code(0);
    assert_eq!(ran.out.lines().count(), 10, "{}", ran.out);
    let line = |ran: &Ran, id: &str, destination: &str| {
        let mut lines = ran
            .out
            .lines()
            .filter(|l| l.contains(id) && l.contains(destination));
        lines
            .next()
            .unwrap_or_else(|| panic!("{id} in\n{}", ran.out))
            .to_owned()
    };
    let is = |ran: &Ran, nth: usize, destination: &str, action: &str, why: &str| {
        let line = line(ran, nights[nth].id.short(), destination);
        assert!(
            line.starts_with(action) && line.ends_with(why),
            "{action} {why}: {line}"
        );
    };
    is(&ran, 0, "disk", "keep", "newest complete, last 1 of 2");
    is(&ran, 1, "disk", "keep", "last 2 of 2");
    is(&ran, 2, "disk", "remove", "no rule wants it: last 2");
    is(&ran, 3, "disk", "keep", "pinned");
    is(&ran, 3, "second", "remove", "no rule wants it: last 2");
    let ran = ran.says("no `keep` is set: everything stays");
    let ran = ran.says("3 would be removed");
    drop(ran);
    let all = project.run(&["snapshots", "--json"]).json();
    assert_eq!(ids(&all).len(), 9, "a dry run deletes nothing");

    let document = project.run(&["prune", "--json"]).code(0).json();
    let removed = |document: &Value| {
        let all = document["snapshots"].as_array().unwrap();
        all.iter().filter(|s| s["action"] == "remove").count()
    };
    assert_eq!(removed(&document), 3);
    assert!(
        document["snapshots"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["reason"] != "")
    );
    let all = project.run(&["snapshots", "--json"]).json();
    assert_eq!(ids(&all).len(), 6);
    assert_eq!(
        removed(&project.run(&["prune", "--json"]).code(0).json()),
        0
    );
    // Unpinned it is as any other.
    project
        .run(&["unpin", oldest])
        .code(0)
        .says("is not pinned any more");
    assert_eq!(
        removed(&project.run(&["prune", "blog", "--json"]).code(0).json()),
        1
    );
}

#[tokio::test]
async fn prune_takes_more_than_half_only_when_forced() {
    let project = Project::new("backup: {to: [disk], dump: {keep: {last: 1}}}");
    let both = project.targets();
    for days in 1..=3 {
        dump(&both[..1], "blog", &days_ago(days)).await;
    }
    fs::create_dir(project.path("second")).unwrap();
    project
        .run(&["prune", "--dry-run"])
        .code(0)
        .says("only with `--force`");
    let ran = project
        .run(&["prune"])
        .code(5)
        .says("summoner prune --force");
    assert_eq!(
        ran.out.lines().filter(|l| l.starts_with("refuse")).count(),
        2
    );
    assert_eq!(ids(&project.run(&["snapshots", "--json"]).json()).len(), 3);
    project.run(&["prune", "--force"]).code(0).says("2 removed");
    assert_eq!(ids(&project.run(&["snapshots", "--json"]).json()).len(), 1);
}

#[tokio::test]
async fn f18_prune_waits_for_nobody_and_disturbs_nobody() {
    let project = Project::new("backup: {to: [disk], dump: {keep: {last: 1}}}");
    let both = project.targets();
    for days in 1..=2 {
        dump(&both, "blog", &days_ago(days)).await;
        dump(&both, "wiki", &days_ago(days)).await;
    }
    let paths = Paths::new(project.folder.path());
    let lock = Lock::take_minion(&paths, "blog", "dump").unwrap();
    project
        .run(&["prune"])
        .code(3)
        .says("`blog` is left alone")
        .says("`summoner dump`");
    assert_eq!(
        ids(&project.run(&["snapshots", "--json"]).json()).len(),
        4 + 2
    );
    project.run(&["prune", "blog"]).code(11);
    // Looking needs no lock.
    project.run(&["prune", "--dry-run"]).code(0);
    drop(lock);
    project.run(&["prune"]).code(0);
    assert_eq!(ids(&project.run(&["snapshots", "--json"]).json()).len(), 4);
}

#[tokio::test]
async fn verify_names_what_is_damaged_and_a_later_good_one_does_not_hide_it() {
    let project = Project::new("backup: {to: [disk], dump: {keep: {last: 1}}}");
    let both = project.targets();
    let old = dump(&both[..1], "blog", &days_ago(2)).await;
    let new = dump(&both[..1], "blog", &days_ago(1)).await;
    fs::create_dir(project.path("second")).unwrap();
    project.run(&["verify"]).code(0).says("good, 2 objects");
    let file = project.path("disk").join(old.prefix()).join("app.sql.zst");
    let mut content = fs::read(&file).unwrap();
    let last = content.len() - 1;
    content[last] ^= 1;
    fs::write(&file, content).unwrap();
    // The size is as it was: only reading finds it.
    project.run(&["verify"]).code(0);
    project
        .run(&["verify", "--read-data"])
        .code(4)
        .says("BAD")
        .says("`app.sql.zst`: ");
    project
        .run(&["verify", "blog", new.id.short(), "--read-data"])
        .code(0);
    project.run(&["verify", "blog", "latest"]).code(0);
    project
        .run(&["verify", "blog", old.id.short(), "--read-data"])
        .code(4);
    let document = project
        .run(&["verify", "--read-data", "--json"])
        .code(4)
        .json();
    let of = |id: &str| {
        let all = document["snapshots"].as_array().unwrap();
        all.iter().find(|s| s["id"] == id).unwrap().clone()
    };
    assert_eq!(of(new.id.as_str())["good"], true);
    assert_eq!(of(old.id.as_str())["problems"][0]["object"], "app.sql.zst");
    project
        .run(&["snapshots"])
        .code(0)
        .says("FAILED read-data")
        .says("read-data now");

    // A manifest that is none.
    let broken = project
        .path("disk")
        .join(new.prefix())
        .join("manifest.json");
    fs::write(broken, "{").unwrap();
    project
        .run(&["snapshots"])
        .code(0)
        .says("the manifest is damaged");
    project.run(&["verify", "blog", old.id.short()]).code(0);
    project
        .run(&["verify"])
        .code(4)
        .says("the manifest is damaged");
    project
        .run(&["verify", "nobody"])
        .code(2)
        .says("no minion `nobody`");
}

#[tokio::test]
async fn verify_tells_a_wrong_key_from_damage() {
    let project = Project::new("");
    let mut keys = Vec::new();
    for name in ["own", "other"] {
        let (identity, recipient) = encryption::generate();
        fs::write(project.path(&format!("{name}.key")), identity.expose()).unwrap();
        fs::write(project.path(&format!("{name}.pub")), &recipient).unwrap();
        keys.push(recipient);
    }
    let target = Arc::new(Target {
        name: "disk".into(),
        storage: Arc::new(Dir::new(&project.path("disk"))),
        encryption: Some(Encryption::Recipients {
            file: project.path("own.pub"),
            identity: None,
        }),
    });
    dump(&[target], "blog", &days_ago(1)).await;
    let configure = |identity: &str| {
        let text = format!(
            "summoner: {{domain: {PROJECT}}}\ndestinations: {{disk: {{dir: ./disk, encryption: \
             {{age_recipients_file: ./own.pub{identity}}}}}}}\n"
        );
        fs::write(project.path("config.yml"), text).unwrap();
    };
    configure("");
    project
        .run(&["verify", "--read-data"])
        .code(0)
        .says("hashed but not decrypted");
    configure(", age_identity_file: ./own.key");
    let ran = project.run(&["verify", "--read-data"]).code(0);
    assert!(!ran.err.contains("not decrypted"), "{}", ran.err);
    configure(", age_identity_file: ./other.key");
    let ran = project
        .run(&["verify", "--read-data"])
        .code(12)
        .says("does not open it");
    assert!(!ran.err.contains(&keys[0]), "{}", ran.err);
    // It says nothing about the snapshot.
    project.run(&["snapshots"]).code(0).says("read-data now");
}
