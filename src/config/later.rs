//! `destinations:`, `backup:` and `notify:`: checked today, so that nobody writes a section for
//! months that turns out to be wrong on the day a version runs it.

use super::cron;
use super::environment::Later;
use super::file::File;
use super::names::{accept, accept_key, email, name, url};
use super::source;
use crate::problem::nearest;
use crate::yaml::{Field, MapReader, Value};

pub(super) const EVENTS: [&str; 7] = [
    "failure",
    "recovered",
    "stale",
    "success",
    "certificate",
    "drift",
    "crash",
];
pub(super) const CHANNELS: [&str; 8] = [
    "mattermost",
    "slack",
    "discord",
    "telegram",
    "ntfy",
    "email",
    "webhook",
    "command",
];

pub(super) fn resolve(file: &File<'_>) -> Later {
    let mut later = Later::default();
    for (key, place, field) in &file.destinations {
        accept_key(field, *place, name(key));
        destination(field);
        later.destinations.push((*key).to_owned());
    }
    if let Some(field) = &file.backup {
        backup(field, &later.destinations);
        later.backup = true;
    }
    for field in file
        .minions
        .iter()
        .filter_map(|block| block.backup.as_ref())
    {
        backup(field, &later.destinations);
        later.backup = true;
    }
    if let Some(field) = &file.notify {
        let channels = field.list();
        later.notify = !channels.is_empty();
        channels.iter().for_each(channel);
    }
    later
}

fn destination(field: &Field<'_>) {
    let mut map = field.map();
    match map.exactly_one(&["dir", "s3"]) {
        Some("dir") => drop(map.get("dir").and_then(|dir| text(&dir))),
        Some(_) => drop(map.map("s3").map(s3)),
        None => {}
    }
    if let Some(mut encryption) = map.map("encryption") {
        if let Some(file) = encryption.require("age_recipients_file") {
            text(&file);
        }
        encryption.finish();
    }
    map.finish();
}

fn s3(mut map: MapReader<'_>) {
    if let Some(bucket) = map.require("bucket") {
        text(&bucket);
    }
    map.string("prefix");
    map.string("region");
    if let Some(endpoint) = map.get("endpoint")
        && let Some(text) = endpoint.string()
    {
        accept(&endpoint, url(&text));
    }
    map.bool("path_style");
    let (id, key) = (map.get("access_key_id"), map.get("secret_access_key"));
    match (&id, &key) {
        (Some(_), None) => map.fail("`access_key_id` needs `secret_access_key` beside it"),
        (None, Some(_)) => map.fail("`secret_access_key` needs `access_key_id` beside it"),
        _ => {}
    }
    id.iter().chain(&key).for_each(source::check);
    map.finish();
}

fn backup(field: &Field<'_>, destinations: &[String]) {
    let mut map = field.map();
    for to in map.list("to") {
        let Some(text) = to.string() else { continue };
        if destinations.contains(&text) {
            continue;
        }
        let hint = match nearest(&text, destinations.iter().map(String::as_str)) {
            Some(known) => format!("did you mean `{known}`?"),
            None if destinations.is_empty() => {
                format!("add `destinations: {{{text}: {{dir: ./backups}}}}`")
            }
            None => format!("known destinations: {}", destinations.join(", ")),
        };
        to.fail_with(format!("there is no destination `{text}`"), hint);
    }
    if let Some(mut dump) = map.map("dump") {
        job(&mut dump);
        dump.finish();
    }
    if let Some(mut cold) = map.map("cold") {
        job(&mut cold);
        cold.duration("max_downtime");
        cold.finish();
    }
    if let Some(mut drill) = map.map("drill") {
        schedule(&mut drill);
        drill.finish();
    }
    map.finish();
}

fn job(map: &mut MapReader<'_>) {
    schedule(map);
    if let Some(mut keep) = map.map("keep") {
        for rule in [
            "last", "hourly", "daily", "weekly", "monthly", "yearly", "min_keep",
        ] {
            keep.u64(rule);
        }
        keep.duration("within");
        keep.finish();
    }
}

fn schedule(map: &mut MapReader<'_>) {
    if let Some(field) = map.get("schedule")
        && let Some(text) = field.string()
    {
        accept(&field, cron::check(&text));
    }
}

fn channel(field: &Field<'_>) {
    let mut map = field.map();
    let on = map
        .require("on")
        .map(|field| field.list())
        .unwrap_or_default();
    for event in on {
        event_name(&event);
    }
    if let Some(kind) = map.exactly_one(&CHANNELS)
        && let Some(settings) = map.get(kind)
    {
        if kind == "command" {
            argv(&settings);
        } else {
            let mut settings = settings.map();
            channel_settings(kind, &mut settings);
            settings.finish();
        }
    }
    map.finish();
}

fn event_name(field: &Field<'_>) {
    let _ = field.choice(&EVENTS);
}

fn argv(field: &Field<'_>) {
    let words = field.list();
    if words.is_empty() && matches!(field.value(), Value::Sequence(_)) {
        field.fail("a command needs at least its program");
    }
    for word in words {
        text(&word);
    }
}

fn channel_settings(kind: &str, map: &mut MapReader<'_>) {
    let secret = |field: Option<Field<'_>>| field.iter().for_each(source::check);
    let address = |field: Field<'_>| {
        // A hook's URL is a secret itself: whoever knows it may post.
        if let Value::String(text) = field.value() {
            accept(&field, url(text));
        } else {
            source::check(&field);
        }
    };
    match kind {
        "telegram" => {
            secret(map.require("token"));
            if let Some(chat) = map.require("chat") {
                text(&chat);
            }
        }
        "ntfy" => {
            map.get("url").map(address);
            if let Some(topic) = map.require("topic") {
                text(&topic);
            }
            secret(map.get("token"));
        }
        "email" => {
            let to = map.require("to");
            let to = to.iter().flat_map(|to| match to.value() {
                Value::Sequence(_) => to.list(),
                _ => vec![to.clone()],
            });
            for field in to.chain(map.get("from")) {
                if let Some(text) = field.string() {
                    accept(&field, email(&text));
                }
            }
            if let Some(host) = map.require("host")
                && let Some(text) = host.string()
            {
                accept(&host, super::names::host(&text));
            }
            map.port("port");
            if let Some(tls) = map.get("tls") {
                let _ = tls.choice(&["starttls", "tls", "none"]);
            }
            map.text("user");
            secret(map.get("password"));
        }
        "webhook" => {
            map.require("url").map(address);
            secret(map.get("secret"));
            map.string("body");
        }
        // Mattermost, Slack, Discord.
        _ => {
            map.require("url").map(address);
        }
    }
}

/// Text that is not empty.
fn text(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if text.trim().is_empty() {
        return field.wrong("text", None);
    }
    Some(text)
}
