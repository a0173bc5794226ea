use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::engine::ContainerSpec;
use crate::engine::fake::FakeEngine;
use crate::events::Silent;

/// A minion with a database, an application and a worker that did not run.
struct Setting {
    folder: tempfile::TempDir,
    engine: FakeEngine,
}

impl Setting {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setting = Self {
            folder,
            engine: FakeEngine::new(),
        };
        for (service, runs) in [("db", true), ("app", true), ("worker", false)] {
            setting.engine.image(service).with_healthcheck().slow(1);
            let spec = ContainerSpec {
                image: service.to_owned(),
                restart: "unless-stopped".to_owned(),
                labels: [
                    (labels::MINION.to_owned(), "blog".to_owned()),
                    (labels::SERVICE.to_owned(), service.to_owned()),
                    (
                        labels::ROOT.to_owned(),
                        setting.folder.path().display().to_string(),
                    ),
                ]
                .into(),
                ..ContainerSpec::default()
            };
            let id = setting.engine.create(service, &spec).await.unwrap();
            if runs {
                setting.engine.start(&id).await.unwrap();
                setting.engine.wait_healthy(&id).await;
            }
        }
        for (place, content) in [("db", "old"), (".db.fresh", "new"), (".html.fresh", "new")] {
            fs::create_dir(setting.path(place)).unwrap();
            fs::write(setting.path(place).join("data"), content).unwrap();
        }
        drop(setting.engine.take_journal());
        setting
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn journal(&self) -> Journal {
        let folder = |name: &str, had_live| Move {
            live: self.path(name),
            before: self.path(&format!("{name}.before")),
            fresh: self.path(&format!(".{name}.fresh")),
            had_live,
        };
        let service = |name: &str, ran| Stopped {
            service: name.to_owned(),
            grace: 1,
            ran,
        };
        Journal::new(
            "blog",
            "20261120T023000Z-X",
            vec![
                service("db", true),
                service("app", true),
                service("worker", false),
            ],
            vec![folder("db", true), folder("html", false)],
            Duration::from_secs(5),
        )
    }

    fn hands(&self, step: impl Fn(&str) + Send + Sync + 'static) -> Hands {
        Hands {
            engine: Arc::new(self.engine.clone()),
            events: Arc::new(Silent),
            paths: Paths::new(self.folder.path()),
            step: Arc::new(step),
        }
    }

    /// The content of a folder, empty where there is none.
    fn data(&self, name: &str) -> String {
        fs::read_to_string(self.path(name).join("data")).unwrap_or_default()
    }

    fn everything(&self) -> [String; 6] {
        [
            "db",
            "db.before",
            ".db.fresh",
            "html",
            "html.before",
            ".html.fresh",
        ]
        .map(|name| self.data(name))
    }

    fn journal_is_gone(&self) -> bool {
        !Journal::path(&Paths::new(self.folder.path()), "blog").exists()
    }
}

const SWAPPED: [&str; 6] = ["new", "old", "", "new", "", ""];
const AS_BEFORE: [&str; 6] = ["old", "", "new", "", "", "new"];
const ALL_RUN: [&str; 3] = [
    "app running healthy",
    "db running healthy",
    "worker created none",
];

impl FakeEngine {
    async fn wait_healthy(&self, id: &str) {
        let engine: Arc<dyn Engine> = Arc::new(self.clone());
        let watcher = Watcher::start(&engine);
        let (_keep, never) = watch::channel(false);
        let limit = Duration::from_secs(5);
        let need = Need::Healthy;
        wait::container(self, &watcher, &Silent, &never, ("x", id), need, limit)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn folders_change_place_while_everything_is_stopped() {
    let setting = Setting::new().await;
    run(&setting.hands(|_| {}), setting.journal())
        .await
        .unwrap();
    assert_eq!(
        setting.engine.journal(),
        ["stop app", "stop db", "start db", "start app"]
    );
    assert_eq!(setting.everything(), SWAPPED);
    assert_eq!(setting.engine.states(), ALL_RUN);
    assert!(setting.journal_is_gone());
    let kept = kept(&setting.journal());
    assert!(kept.len() == 1 && kept[0].contains("rm -rf"), "{kept:?}");
}

/// Failure mode 19: half a restore over live data.
#[tokio::test]
async fn f19_a_container_that_does_not_start_with_the_data_gets_its_own_back() {
    let setting = Setting::new().await;
    // stop app, stop db, start db, and then:
    setting.engine.fail_at(4);
    let error = run(&setting.hands(|_| {}), setting.journal())
        .await
        .unwrap_err();
    assert!(matches!(error, SwapError::TakenBack { .. }), "{error}");
    assert_eq!(setting.everything(), AS_BEFORE);
    assert_eq!(setting.engine.states(), ALL_RUN);
    assert!(setting.journal_is_gone());
}

#[tokio::test]
async fn f19_containers_that_stay_unwell_are_told_and_the_data_is_back() {
    let setting = Setting::new().await;
    let spec = setting.engine.spec("app").unwrap();
    setting.engine.remove("app").await.unwrap();
    drop(setting.engine.image("app").unhealthy());
    setting.engine.create("app", &spec).await.unwrap();
    let error = run(&setting.hands(|_| {}), setting.journal())
        .await
        .unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, SwapError::NotBack { .. }), "{told}");
    assert!(told.contains("`app` is unhealthy"), "{told}");
    assert_eq!(setting.everything(), AS_BEFORE);
    assert!(setting.journal_is_gone());
}

#[tokio::test]
async fn f19_killed_in_every_call_of_the_engine_it_is_finished_or_taken_back() {
    for n in 1.. {
        let setting = Setting::new().await;
        setting.engine.die_at(n);
        let result = run(&setting.hands(|_| {}), setting.journal()).await;
        if !setting.engine.is_dead() {
            assert!(n > 4, "four calls at least");
            result.unwrap();
            break;
        }
        settled_by_recover(setting, n).await;
    }
}

#[tokio::test]
async fn f19_killed_before_every_step_on_the_disk_it_is_finished_or_taken_back() {
    for n in 0.. {
        let setting = Setting::new().await;
        let steps = Arc::new(AtomicUsize::new(0));
        let hands = setting.hands(move |step| {
            assert!(
                steps.fetch_add(1, Ordering::Relaxed) != n,
                "killed at {step}"
            );
        });
        let journal = setting.journal();
        // A panic is no cleanup: nothing of the swap undoes itself.
        let ended = tokio::spawn(async move { run(&hands, journal).await }).await;
        if let Ok(result) = ended {
            assert!(n > 6, "seven steps at least");
            result.unwrap();
            break;
        }
        settled_by_recover(setting, n).await;
    }
}

/// The next command brings it to one of the two good ends, and so does the one after that.
async fn settled_by_recover(setting: Setting, n: usize) {
    let setting = Setting {
        engine: setting.engine.restarted(),
        ..setting
    };
    let hands = setting.hands(|_| {});
    let begun = !setting.journal_is_gone();
    let told = recover(&hands, None).await.unwrap();
    assert_eq!(told.is_empty(), !begun, "{n}: {told:?}");
    let now = setting.everything();
    assert!(now == SWAPPED || now == AS_BEFORE, "{n}: {now:?} {told:?}");
    assert_eq!(setting.engine.states(), ALL_RUN, "{n}: {told:?}");
    assert!(setting.journal_is_gone(), "{n}");
    assert!(recover(&hands, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_ever_renamed_over_something() {
    let setting = Setting::new().await;
    fs::create_dir(setting.path("db.before")).unwrap();
    let error = run(&setting.hands(|_| {}), setting.journal())
        .await
        .unwrap_err();
    assert!(matches!(error, SwapError::TakenBack { .. }), "{error}");
    assert_eq!(setting.data("db"), "old");
    assert_eq!(setting.engine.states(), ALL_RUN);
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_no_empty_one() {
    let setting = Setting::new().await;
    let hands = setting.hands(|_| {});
    let path = Journal::path(&hands.paths, "blog");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "{").unwrap();
    assert!(recover(&hands, None).await.is_err());
}
