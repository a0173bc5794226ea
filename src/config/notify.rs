//! `notify:`: checked today, so that nobody writes a section for months that turns out to be wrong
//! on the day a version runs it.

use super::file::File;
use super::names::{accept, email, url};
use super::source;
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

/// Checks the section; whether it asks for anything.
pub(super) fn resolve(file: &File<'_>) -> bool {
    let channels = file.notify.as_ref().map(Field::list).unwrap_or_default();
    channels.iter().for_each(channel);
    !channels.is_empty()
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
pub(super) fn text(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if text.trim().is_empty() {
        return field.wrong("text", None);
    }
    Some(text)
}
