use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::Report;
use crate::engine::EngineError;
use crate::events::{Event, Events as _};
use crate::problem::Problem;

/// What was written.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn report() -> (Report, Paper, Paper) {
    let (out, err) = (Paper::default(), Paper::default());
    let report = Report::into_writers(Box::new(out.clone()), Box::new(err.clone()));
    (report, out, err)
}

#[test]
fn data_and_talk_are_apart() {
    let (report, out, err) = report();
    report.line("https://wiki.example.org");
    report.labelled("wiki", 6, "ready");
    report.note("a remark");
    report.warn("careful");
    report.hint("`summoner up`");
    assert_eq!(out.text(), "https://wiki.example.org\nwiki   | ready\n");
    assert_eq!(
        err.text(),
        "a remark\nwarning: careful\n  hint: `summoner up`\n"
    );
}

#[test]
fn an_error_tells_its_causes_once_and_the_hint_of_the_engine() {
    let (report, _, err) = report();
    let error = anyhow!(EngineError::PortTaken {
        port: 443,
        reason: "bind: address already in use".into()
    })
    .context("failed to start the proxy");
    report.error(&error);
    assert_eq!(
        err.text(),
        "error: failed to start the proxy: port 443 is taken\n  \
         hint: `sudo ss -ltnp 'sport = :443'` shows who has it\n"
    );
}

#[test]
fn a_cause_that_is_told_already_is_not_repeated() {
    let (report, _, err) = report();
    let error = crate::files::FileError {
        action: "read",
        path: "config.yml".into(),
        source: io::Error::new(io::ErrorKind::NotFound, "no such file"),
    };
    report.error(&error.into());
    assert_eq!(
        err.text(),
        "error: failed to read `config.yml`: no such file\n"
    );
}

#[test]
fn an_error_of_several_lines_keeps_them_and_its_own_hints() {
    let (report, _, err) = report();
    let problem =
        Problem::new("config.yml", "unknown key `protec`").hint("did you mean `protect`?");
    let error = Err::<(), _>(problem_error(problem))
        .context("the configuration is not good")
        .unwrap_err();
    report.error_with(&error, Some("not shown"));
    assert_eq!(
        err.text(),
        "error: the configuration is not good:\nconfig.yml: unknown key `protec`\n  \
         hint: did you mean `protect`?\n"
    );
}

fn problem_error(problem: Problem) -> crate::problem::Problems {
    problem.into()
}

#[test]
fn secrets_are_shown_nowhere() {
    let (report, out, err) = report();
    report.redact(["hunter2-long", "hunter2", "pa\"ss\\word", "short"].map(String::from));
    report.line("password hunter2-long, short");
    report.note("hunter2");
    report.table(&["A"], vec![vec!["x hunter2".into()]]);
    report
        .json(&json!({"env": ["DB=hunter2"], "deep": {"p": "pa\"ss\\word"}}))
        .unwrap();
    report.event(Event::Failed {
        target: "wiki/db".into(),
        message: "denied for hunter2".into(),
    });
    report.event(Event::Warning("hunter2".into()));
    report.error(&anyhow!("hunter2"));
    let all = out.text() + &err.text();
    assert!(!all.contains("hunter2") && !all.contains("word\""), "{all}");
    assert!(!all.contains("pa\\\""), "{all}");
    assert!(out.text().starts_with("password ***, short\n"));
}

#[test]
fn json_is_one_document_in_the_order_given() {
    let (report, out, _) = report();
    report
        .json(&json!({"schema_version": 1, "minions": []}))
        .unwrap();
    assert_eq!(
        out.text(),
        "{\n  \"schema_version\": 1,\n  \"minions\": []\n}\n"
    );
}

#[test]
fn progress_without_a_terminal_is_plain_lines_without_repeats() {
    let (report, out, err) = report();
    let target = || "wordpress/app".to_owned();
    let wait = |state: &str| Event::Waiting {
        target: target(),
        state: state.into(),
    };
    let pull = |done, total| Event::Pull {
        image: "wordpress:6".into(),
        done,
        total,
    };
    for event in [
        pull(0, 0),
        pull(1_500_000, 20_000_000),
        pull(2_000_000, 20_000_000),
        Event::Started {
            target: target(),
            action: "create".into(),
        },
        wait("starting"),
        wait("starting"),
        wait("healthy"),
        Event::Finished {
            target: target(),
            action: "create".into(),
        },
        Event::Failed {
            target: "wiki/db".into(),
            message: "it ended with 1\nlast words".into(),
        },
        Event::Note("done".into()),
    ] {
        report.event(event);
    }
    assert_eq!(
        err.text(),
        "pull wordpress:6: 1.5 of 20.0 MB\n\
         wordpress/app: create\n\
         wordpress/app: starting\n\
         wordpress/app: healthy\n\
         wiki/db: failed: it ended with 1\n  last words\n\
         done\n"
    );
    assert_eq!(out.text(), "");
}

#[test]
fn without_a_terminal_a_question_is_an_error_that_names_the_flag() {
    let (report, _, _) = report();
    let error = report.confirm("carry out this plan?").unwrap_err();
    assert!(error.to_string().contains("hint: add `--yes`"), "{error}");
    let error = report
        .ask_name("delete its data?", "wiki", "--yes-purge")
        .unwrap_err();
    assert!(error.to_string().contains("`--yes-purge wiki`"), "{error}");
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let err = Paper::default();
    let report = Report::into_writers(Box::new(Gone), Box::new(err.clone()));
    assert!(!report.is_closed());
    report.line("one");
    report.line("two");
    assert!(report.is_closed());
    report.note("still heard");
    assert_eq!(err.text(), "still heard\n");
}
