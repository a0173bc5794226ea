//! The rules of the house that a compiler does not check: who may use whom, who prints, who exits,
//! how large a file may grow.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("the folder is there")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// `src/plan/hash.rs` -> `plan`.
fn room(path: &Path) -> String {
    let below = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .expect("in src");
    let first = below
        .components()
        .next()
        .expect("a name")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Code without its tests, comments and strings of documentation.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, l)| (i + 1, l))
        .take_while(|(_, l)| !l.contains("#[cfg(test)]"))
        .filter(|(_, l)| !l.trim_start().starts_with("//"))
}

/// Rooms in the order of `src/lib.rs`: a room uses only what stands before it.
fn order() -> Vec<String> {
    include_str!("../src/lib.rs")
        .lines()
        .filter_map(|l| {
            l.strip_prefix("pub mod ")?
                .strip_suffix(';')
                .map(str::to_owned)
        })
        .collect()
}

#[test]
fn no_arrow_goes_right() {
    let order = order();
    assert!(order.len() > 15, "lib.rs lists the rooms: {order:?}");
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let own = room(&path);
        let Some(at) = order.iter().position(|r| *r == own) else {
            continue;
        };
        for (line, content) in code(&text) {
            for used in content.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if order
                    .iter()
                    .position(|r| *r == used)
                    .is_some_and(|other| other > at)
                {
                    wrong.push(format!("{}:{line} `{own}` uses `{used}`", path.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that go right:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_report_prints_and_only_main_exits() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let own = room(&path);
        for (line, content) in code(&text) {
            let prints = ["println!", "eprintln!", "print!(", "eprint!(", "dbg!("]
                .iter()
                .any(|p| content.contains(p));
            let exits = content.contains("process::exit") || content.contains("process::abort");
            if (prints && own != "report") || (exits && own != "main") {
                wrong.push(format!("{}:{line} {}", path.display(), content.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_outside_library_has_its_one_door() {
    let doors = [
        ("bollard", "engine"),
        ("hyper", "engine or storage"),
        ("aws_config", "storage"),
        ("aws_sdk_s3", "storage"),
        ("aws_smithy_http_client", "storage"),
        ("age", "backup"),
        ("zstd", "backup"),
        ("serde_saphyr", "yaml"),
        ("minijinja", "render or proxy"),
        ("rcgen", "proxy"),
        ("indicatif", "report"),
        ("dialoguer", "report"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let own = room(&path);
        for (line, content) in code(&text) {
            for (library, door) in doors {
                let prefix = format!("{library}::");
                // Not the end of a longer word: `storage::` is no `age::`.
                let named = content.match_indices(&prefix).any(|(at, _)| {
                    !content[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                });
                if named && !door.split(" or ").any(|d| d == own) {
                    wrong.push(format!(
                        "{}:{line} names {library}, whose door is `{door}`",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rooms that decide: data in, data out.
#[test]
fn what_decides_does_no_io() {
    const PURE: [&str; 4] = ["compose", "render", "plan", "minion/manifest"];
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let name = path.display().to_string();
        let own = room(&path);
        if !PURE
            .iter()
            .any(|p| *p == own || name.contains(&format!("src/{p}")))
        {
            continue;
        }
        for (line, content) in code(&text) {
            let io = [
                "std::fs",
                "fs::read",
                "File::",
                "std::env",
                "env::var",
                "Timestamp::now",
                "SystemTime",
                "tokio::",
            ];
            if io.iter().any(|i| content.contains(i)) {
                wrong.push(format!("{name}:{line} {}", content.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_small() {
    // style.md: past about 400 lines, ask what the second responsibility is. The limit leaves room
    // for tests beside the code.
    const LIMIT: usize = 560;
    let large: Vec<String> = sources("src")
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LIMIT)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(large.is_empty(), "{}", large.join("\n"));
}

/// A registry's host name in a file would be a promise about somebody else's machine.
#[test]
fn nothing_names_a_path_of_the_machine_it_was_written_on() {
    let mut wrong = Vec::new();
    let here = ["/wo", "rk/"].concat();
    for folder in ["src", "tests"] {
        for (path, text) in sources(folder) {
            if text.contains(&here) {
                wrong.push(path.display().to_string());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
