//! What was installed goes on as it is when a newer binary brings a newer minion, until the user asks for
//! it. The newer minion is the one in this binary; the older one is made of it. No engine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use summoner::minion::{Catalog, Minion, Origin, kept};
use summoner::project::{Project, Wanted};
use summoner::state::Remembered;

/// The memory limit of the template in this binary, and that of the older one.
const LIMITS: [&str; 2] = ["mem_limit: 64m", "mem_limit: 48m"];
const OLD: &str = "1.29.0";

struct Stage {
    folder: tempfile::TempDir,
    older: Minion,
}

impl Stage {
    /// A project whose `site` was installed by a binary with an older `static`.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("minions/static");
        let old = folder.path().join("old/minions/static");
        copy(&source, &old);
        let change = |file: &str, change: &dyn Fn(String) -> String| {
            let before = fs::read_to_string(old.join(file)).unwrap();
            let after = change(before.clone());
            assert_ne!(before, after, "{file}");
            fs::write(old.join(file), after).unwrap();
        };
        change("compose.yml.j2", &|text| text.replace(LIMITS[0], LIMITS[1]));
        let newest = Catalog::open(None).get("static").unwrap();
        change("minion.yml", &|text| {
            text.replace(&newest.manifest.version, OLD)
        });
        let older = Catalog::open(Some(&folder.path().join("old")))
            .get("static")
            .unwrap();
        let stage = Self { folder, older };
        fs::create_dir(stage.root()).unwrap();
        stage.configure("");
        let mut project = stage.open();
        kept::keep(&stage.older, &project.paths.minion("site")).unwrap();
        let remembered = Remembered {
            minion: "static".into(),
            version: OLD.into(),
            template_hash: stage.older.hash.clone(),
            ..Remembered::default()
        };
        project.state.minions.insert("site".into(), remembered);
        project.paths.create().unwrap();
        project.state.save(&project.paths).unwrap();
        stage
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("project")
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "summoner: {{domain: example.test}}\nminions: {{site: {{use: static{more}}}}}\n"
        );
        fs::write(self.root().join("config.yml"), text).unwrap();
    }

    fn open(&self) -> Project {
        Project::open(&self.root().join("config.yml")).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Version of the image and memory limit that would run.
    fn wanted(project: &mut Project) -> (String, bool) {
        let wanted = render(project);
        let compose = &wanted.rendered[0].compose;
        let old = compose.contains("50331648") || compose.contains("48m");
        let new = compose.contains("67108864") || compose.contains("64m");
        assert!(old != new, "{compose}");
        let instance = project.environment.instances[0].clone();
        (project.version(&instance).to_owned(), new)
    }

    /// What `up` notes before it begins; the project as the next run finds it.
    fn begin(&self, project: &mut Project) {
        let wanted = render(project);
        for (name, remembered) in wanted.state.minions {
            project.state.begin(&name, remembered);
        }
        project.keep_templates(None).unwrap();
        project.state.save(&project.paths).unwrap();
        assert_eq!(self.open().state, project.state);
    }
}

fn render(project: &mut Project) -> Wanted {
    project
        .render(&[], &|_| false)
        .unwrap_or_else(|e| panic!("{e}"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn newest() -> (String, bool) {
    (
        Catalog::open(None).get("static").unwrap().manifest.version,
        true,
    )
}

fn old() -> (String, bool) {
    (OLD.to_owned(), false)
}

#[test]
fn a_newer_template_is_offered_and_taken_when_the_user_says_so() {
    let stage = Stage::new();
    let mut project = stage.open();
    assert_eq!(Stage::wanted(&mut project), old());
    assert!(matches!(project.minions["site"].origin, Origin::Kept(_)));
    assert_ne!(project.newest["site"].hash, project.minions["site"].hash);
    // A run without the word leaves both as they are.
    stage.begin(&mut project);
    assert_eq!(Stage::wanted(&mut stage.open()), old());

    project.upgrade(Some(&BTreeSet::from(["other".to_owned()])));
    assert_eq!(Stage::wanted(&mut project), old());
    project.upgrade(None);
    assert_eq!(Stage::wanted(&mut project), newest());
    stage.begin(&mut project);
    let remembered = &project.state.minions["site"];
    assert_eq!(
        (remembered.version.as_str(), &remembered.template_hash),
        (OLD, &stage.older.hash),
        "nothing is installed yet"
    );
    let version = newest().0;
    project.state.installed("site", version.clone());
    project.keep_templates(None).unwrap();
    project.state.save(&project.paths).unwrap();

    let mut project = stage.open();
    assert_eq!(Stage::wanted(&mut project), newest());
    let remembered = &project.state.minions["site"];
    assert_eq!(
        (&remembered.version, &remembered.upgrade),
        (&version, &None)
    );
    let copy = kept::read("static", &project.paths.minion("site")).unwrap();
    assert_eq!(copy.hash, project.newest["site"].hash);
    assert_eq!(remembered.template_hash, copy.hash);
}

#[test]
fn an_upgrade_that_was_cut_off_goes_on_and_one_that_failed_is_forgotten() {
    let stage = Stage::new();
    let mut project = stage.open();
    project.upgrade(None);
    stage.begin(&mut project);
    // Killed here: some of the containers may be new.
    let mut next = stage.open();
    assert_eq!(Stage::wanted(&mut next), newest());
    stage.begin(&mut next);
    assert_eq!(Stage::wanted(&mut stage.open()), newest());
    // Failed, and nothing of it runs.
    next.state.given_up("site");
    next.keep_templates(None).unwrap();
    next.state.save(&next.paths).unwrap();
    assert_eq!(Stage::wanted(&mut stage.open()), old());
}

#[test]
fn a_version_in_config_stays_and_an_upgrade_takes_the_template() {
    let stage = Stage::new();
    stage.configure(", version: \"1.28.1\"");
    let mut project = stage.open();
    assert_eq!(Stage::wanted(&mut project), ("1.28.1".to_owned(), false));
    project.upgrade(None);
    assert_eq!(Stage::wanted(&mut project), ("1.28.1".to_owned(), true));
}

#[test]
fn without_a_good_copy_the_catalogue_takes_effect() {
    for damage in ["lost", "changed", "broken"] {
        let stage = Stage::new();
        let copy = stage.open().paths.minion("site");
        match damage {
            "lost" => fs::remove_dir_all(&copy).unwrap(),
            "changed" => fs::write(copy.join("files-of-mine"), "x").unwrap(),
            _ => fs::write(copy.join("minion.yml"), "name: [").unwrap(),
        }
        let mut project = stage.open();
        // The version is remembered by itself.
        assert_eq!(
            Stage::wanted(&mut project),
            (OLD.to_owned(), true),
            "{damage}"
        );
    }
}

#[test]
fn the_users_own_folder_takes_effect_at_once() {
    let stage = Stage::new();
    copy(
        &stage.folder.path().join("old/minions"),
        &stage.root().join("minions"),
    );
    let template = stage.root().join("minions/static/compose.yml.j2");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(&template, text.replace(LIMITS[1], LIMITS[0])).unwrap();
    let mut project = stage.open();
    assert_eq!(Stage::wanted(&mut project), (OLD.to_owned(), true));
    stage.begin(&mut project);
    assert!(
        !project.paths.minion("site").exists(),
        "no copy of what the user has"
    );
    assert_eq!(
        project.state.minions["site"].template_hash,
        project.minions["site"].hash
    );
}

#[test]
fn a_first_run_keeps_a_copy_and_a_second_writes_nothing() {
    let stage = Stage::new();
    fs::remove_dir_all(stage.root().join(".summoner")).unwrap();
    let mut project = stage.open();
    project.paths.create().unwrap();
    stage.begin(&mut project);
    let folder = project.paths.minion("site");
    assert_eq!(
        kept::read("static", &folder).unwrap().hash,
        project.newest["site"].hash
    );
    let times = || {
        let meta = fs::metadata(folder.join("minion.yml")).unwrap();
        (
            meta.modified().unwrap(),
            fs::metadata(&folder).unwrap().modified().unwrap(),
        )
    };
    let before = times();
    stage.begin(&mut stage.open());
    assert_eq!(times(), before);
}

#[test]
fn a_major_version_that_must_not_be_skipped_is_told() {
    let stage = Stage::new();
    let own = stage.root().join("minions/static");
    copy(&stage.folder.path().join("old/minions/static"), &own);
    let manifest = fs::read_to_string(own.join("minion.yml")).unwrap();
    fs::write(
        own.join("minion.yml"),
        format!("{manifest}upgrade: {{stops: [\"1\", \"2\", \"3\"]}}\n"),
    )
    .unwrap();
    for (version, good) in [
        ("1.30.0", true),
        ("2.0.1", true),
        ("3.1.0", false),
        ("4.0.0", false),
    ] {
        stage.configure(&format!(", version: \"{version}\""));
        let told = stage
            .open()
            .render(&[], &|_| false)
            .err()
            .map(|e| e.to_string());
        assert_eq!(told.is_none(), good, "{version}: {told:?}");
        if let Some(told) = told {
            let wanted = format!("`site` runs {OLD} and must not skip 2 on its way to {version}");
            assert!(told.contains(&wanted), "{told}");
        }
    }
}
