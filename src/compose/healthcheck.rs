//! `healthcheck:` in all its forms.

use super::Healthcheck;
use super::reader::{At, Read, Reader};

pub(super) const KEYS: &[(&str, Read<Draft>)] = &[
    ("disable", |d, at, r| {
        d.disabled = r.boolean(at) == Some(true);
    }),
    ("interval", |d, at, r| d.check.interval = r.duration(at)),
    ("retries", |d, at, r| {
        d.check.retries = r.value(at, "a number of retries", "3", |t| {
            t.parse().ok().filter(|n| *n >= 0)
        });
    }),
    ("start_interval", |d, at, r| {
        d.check.start_interval = r.duration(at);
    }),
    ("start_period", |d, at, r| {
        d.check.start_period = r.duration(at);
    }),
    ("test", |d, at, r| d.check.test = test(at, r)),
    ("timeout", |d, at, r| d.check.timeout = r.duration(at)),
];

/// A healthcheck while it is being read.
#[derive(Default)]
pub(super) struct Draft {
    check: Healthcheck,
    disabled: bool,
}

pub(super) fn read<'a>(at: &At<'a>, r: &Reader<'a>) -> Option<Healthcheck> {
    if at.node.is_null() {
        return None;
    }
    let mut draft = Draft::default();
    r.table(at, &mut draft, KEYS, &[]);
    if draft.disabled {
        draft.check.test = vec!["NONE".to_owned()];
    }
    Some(draft.check)
}

fn test<'a>(at: &At<'a>, r: &Reader<'a>) -> Vec<String> {
    if at.is_text() {
        return match r.text(at) {
            // Compose would run a program of that name; nobody means that.
            Some(text) if text == "NONE" => vec![text],
            Some(text) => vec!["CMD-SHELL".to_owned(), text],
            None => Vec::new(),
        };
    }
    let items = r.items(at);
    let first = items.first().map(|item| item.node.text.as_str());
    let enough = match first {
        Some("NONE") => true,
        Some("CMD" | "CMD-SHELL") => items.len() > 1,
        _ => false,
    };
    if !enough {
        r.refuse(
            at,
            "a list must begin with `CMD` or `CMD-SHELL` and say what to run",
            "`[CMD, pg_isready]`, or one text for the shell",
        );
        return Vec::new();
    }
    r.texts(at)
}
