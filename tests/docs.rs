//! Every example of the documentation is read by what it is meant for: command lines by the
//! command line's own parser, YAML by the reader of its file, links by the file system.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use summoner::cli::Cli;
use summoner::config::{self, Lookup};
use summoner::minion::catalog::Catalog;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<(String, String)> {
    let mut pages = vec![
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ]
    .into_iter()
    .map(|p| root().join(p))
    .collect::<Vec<_>>();
    pages.extend(
        fs::read_dir(root().join("docs"))
            .expect("docs/ is there")
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "md")),
    );
    pages
        .into_iter()
        .map(|p| {
            (
                p.display().to_string(),
                fs::read_to_string(&p).unwrap_or_else(|e| panic!("{}: {e}", p.display())),
            )
        })
        .collect()
}

/// Fenced blocks: page, line, language, text.
fn blocks() -> Vec<(String, usize, String, String)> {
    let mut found = Vec::new();
    for (page, text) in pages() {
        let mut open: Option<(usize, String, String)> = None;
        for (i, line) in text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(language), None) => {
                    open = Some((i + 1, language.trim().to_owned(), String::new()));
                }
                (Some(_), Some(_)) => {
                    let (line, language, text) = open.take().expect("it is open");
                    found.push((page.clone(), line, language, text));
                }
                (None, Some((_, _, text))) => {
                    text.push_str(line);
                    text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{page}: a block that never ends");
    }
    found
}

#[test]
fn every_block_names_its_language() {
    for (page, line, language, _) in blocks() {
        assert!(
            !language.is_empty(),
            "{page}:{line}: a block without a language"
        );
    }
}

#[test]
fn every_command_line_is_one_that_can_be_typed() {
    let mut seen = 0;
    for (page, line, language, text) in blocks() {
        if !["console", "sh", "bash"].contains(&language.as_str()) {
            continue;
        }
        for command in text
            .lines()
            .filter_map(|l| l.trim_start().strip_prefix("$ "))
        {
            let command = command
                .split('#')
                .next()
                .unwrap_or_default()
                .split(" | ")
                .next()
                .unwrap_or_default();
            let words: Vec<&str> = command.split_whitespace().collect();
            if let Some(script) = words.first().filter(|w| w.starts_with("./")) {
                assert!(
                    root().join(script).exists(),
                    "{page}:{line}: there is no `{script}`"
                );
                continue;
            }
            if words.first() != Some(&"summoner") {
                continue;
            }
            seen += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                let harmless = [
                    clap::error::ErrorKind::DisplayHelp,
                    clap::error::ErrorKind::DisplayVersion,
                ];
                assert!(
                    harmless.contains(&error.kind()),
                    "{page}:{line}: `{command}`: {error}"
                );
            }
        }
    }
    assert!(seen >= 5, "the documentation has examples");
}

#[test]
fn every_configuration_can_be_loaded() {
    let catalog = Catalog::open(None);
    let lookup = Lookup::fixed(
        "/home/someone",
        &[
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("MATTERMOST_HOOK", "c"),
            ("SMTP_PASSWORD", "d"),
            ("DB_PASSWORD", "e"),
        ],
    );
    let mut seen = 0;
    for (page, line, language, text) in blocks() {
        // docs/config.md has its own, stricter test; a manifest is read by the catalogue's reader.
        let whole = text.lines().any(|l| l.starts_with("summoner:"));
        if language != "yaml" || page.ends_with("config.md") || !whole {
            continue;
        }
        seen += 1;
        config::parse(Path::new("config.yml"), &text, &catalog.names(), &lookup)
            .unwrap_or_else(|problems| panic!("{page}:{line}:\n{problems}"));
    }
    assert!(seen > 0, "the documentation has a configuration");
}

#[test]
fn every_other_yaml_can_be_read() {
    for (page, line, language, text) in blocks() {
        if language == "yaml" && !text.contains("{%") && !text.contains("{{") {
            summoner::yaml::Document::parse(&page, &text)
                .unwrap_or_else(|problems| panic!("{page}:{line}:\n{problems}"));
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|l| l.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = Path::new(&page).parent().expect("a folder").join(target);
            assert!(path.exists(), "{page}: there is no `{target}`");
        }
    }
}

#[test]
fn the_example_configuration_renders() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yml");
    fs::copy(root().join("config.example.yml"), &file).expect("the example is there");
    let mut project = summoner::project::Project::open(&file).unwrap_or_else(|e| panic!("{e}"));
    let wanted = project
        .render(&[], &|_| false)
        .unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<&str> = wanted
        .rendered
        .iter()
        .map(|r| r.instance.as_str())
        .collect();
    assert_eq!(names, ["site", "wordpress", "wiki", "proxy"]);
}
