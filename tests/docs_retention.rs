//! The example of docs/backup.md: the rules as they stand there keep what it says they keep.

use std::path::Path;

use jiff::civil::date;
use jiff::{ToSpan as _, Zoned};
use summoner::backup::manifest::Status;
use summoner::backup::retention::{Past, decide};
use summoner::config::{self, Lookup};

/// The first block of this language after the heading.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let fence = format!("```{language}\n");
    let (_, rest) = text.split_once(fence.as_str()).expect("there is a block");
    rest.split_once("```").expect("it ends").0
}

#[test]
fn the_example_of_the_documentation_keeps_what_it_says() {
    let text = include_str!("../docs/backup.md");
    let (_, section) = text
        .split_once("## How long they are kept\n")
        .expect("the section");
    let lookup = Lookup::fixed("/home/ada", &[]);
    let environment = config::parse(
        Path::new("/srv/acme/config.yml"),
        block(section, "yaml"),
        &[],
        &lookup,
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    let keep = environment.backup.dump.keep.expect("it has rules");
    let newest: Zoned = date(2026, 11, 20)
        .at(2, 30, 0, 0)
        .in_tz("Europe/Paris")
        .unwrap();
    let nights: Vec<Past> = (0..730)
        .map(|n| {
            let night = newest.checked_sub(n.days()).unwrap();
            Past {
                id: night.date().to_string(),
                slot: night.timestamp(),
                timezone: environment.timezone.clone(),
                status: Status::Complete,
                verified: None,
                pinned: false,
            }
        })
        .collect();
    let now = newest.checked_add(1.hour()).unwrap().timestamp();
    let stay: String = decide(&nights, Some(&keep), now, "UTC")
        .into_iter()
        .filter(|d| d.keep)
        .map(|d| d.id + "  " + &d.reasons.join(", ") + "\n")
        .collect();
    assert_eq!(stay, block(section, "text"));
}
