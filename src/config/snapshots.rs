//! `destinations:` and `backup:`.

use super::cron;
use super::environment::{Backup, ColdMethod, Destination, Encryption, Job, Keep, Place, S3};
use super::file::File;
use super::names::{accept, accept_key, name, url};
use super::notify::text;
use super::paths;
use super::resolve::Context;
use super::source;
use crate::problem::{Position, nearest};
use crate::storage::s3::{Checksums, LockMode, ObjectLock, Sse};
use crate::yaml::{Field, MapReader};

pub(super) fn destinations(file: &File<'_>, context: &Context<'_>) -> Vec<Destination> {
    let read = |(key, place, field): &(&str, Position, Field<'_>)| {
        accept_key(field, *place, name(key));
        let mut found = destination(field, context)?;
        (*key).clone_into(&mut found.name);
        found.position = Some(*place);
        Some(found)
    };
    file.destinations.iter().filter_map(read).collect()
}

fn destination(field: &Field<'_>, context: &Context<'_>) -> Option<Destination> {
    let path = |field: Field<'_>| paths::absolute(&field, context.root, context.lookup);
    let mut map = field.map();
    let place = match map.exactly_one(&["dir", "s3"]) {
        Some("dir") => map.get("dir").and_then(path).map(Place::Dir),
        Some(_) => map
            .map("s3")
            .and_then(|s3| self::s3(s3, context))
            .map(Place::S3),
        None => None,
    };
    let encryption = map.map("encryption").and_then(|mut map| {
        let found =
            match map.exactly_one(&["age_recipients_file", "passphrase"]) {
                Some("passphrase") => map
                    .get("passphrase")
                    .and_then(|f| source::source(&f, context))
                    .map(Encryption::Passphrase),
                Some(_) => map.get("age_recipients_file").and_then(path).map(|file| {
                    Encryption::Recipients {
                        file,
                        identity: None,
                    }
                }),
                None => None,
            };
        let identity = map.get("age_identity_file");
        let found = match (found, identity) {
            (Some(Encryption::Recipients { file, .. }), Some(field)) => {
                Some(Encryption::Recipients {
                    file,
                    identity: path(field),
                })
            }
            (Some(Encryption::Passphrase(_)), Some(field)) => {
                field.fail("a passphrase has no identity: leave `age_identity_file` out");
                None
            }
            (found, _) => found,
        };
        map.finish();
        found
    });
    map.finish();
    Some(Destination {
        name: String::new(),
        place: place?,
        encryption,
        position: None,
    })
}

fn s3(mut map: MapReader<'_>, context: &Context<'_>) -> Option<S3> {
    let bucket = map.require("bucket").and_then(|b| text(&b));
    let prefix = map.string("prefix").unwrap_or_default();
    let region = map.string("region");
    let endpoint = map
        .get("endpoint")
        .and_then(|field| accept(&field, url(&field.string()?)));
    let path_style = map.bool("path_style");
    let (id, key) = (map.get("access_key_id"), map.get("secret_access_key"));
    match (&id, &key) {
        (Some(_), None) => map.fail("`access_key_id` needs `secret_access_key` beside it"),
        (None, Some(_)) => map.fail("`secret_access_key` needs `access_key_id` beside it"),
        _ => {}
    }
    let read = |field: Option<Field<'_>>| field.and_then(|f| source::source(&f, context));
    let has_keys = id.is_some();
    let credentials = read(id).zip(read(key));
    let profile = map.get("profile").and_then(|field| {
        if has_keys {
            field.fail("a profile and keys exclude each other: leave one of them out");
            return None;
        }
        text(&field)
    });
    let storage_class = map
        .get("storage_class")
        .and_then(|field| storage_class(&field));
    let sse = sse(&mut map);
    let checksums_field = map.get("checksums");
    let checksums = match checksums_field
        .as_ref()
        .and_then(|field| field.choice(&["auto", "on", "off"]))
    {
        Some("on") => Checksums::On,
        Some("off") => Checksums::Off,
        _ => Checksums::Auto,
    };
    let object_lock = map.map("object_lock").and_then(object_lock);
    if let (Some(field), Checksums::Off, Some(_)) = (&checksums_field, checksums, object_lock) {
        field.fail("Object Lock needs checksums: leave `checksums` out");
    }
    map.finish();
    Some(S3 {
        bucket: bucket?,
        prefix: prefix.trim_matches('/').to_owned(),
        region,
        endpoint,
        path_style,
        credentials,
        profile,
        storage_class,
        sse,
        object_lock,
        checksums,
    })
}

fn storage_class(field: &Field<'_>) -> Option<String> {
    let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let text = text(field)?;
    if !text.chars().all(known) {
        field.fail(format!(
            "`{text}` is no storage class: they are written as `STANDARD_IA`"
        ));
        return None;
    }
    Some(text)
}

fn sse(map: &mut MapReader<'_>) -> Option<Sse> {
    let choice = map
        .get("sse")
        .and_then(|field| field.choice(&["AES256", "aws:kms"]));
    let key = map.get("sse_kms_key_id");
    match (choice, key) {
        (Some("aws:kms"), key) => Some(Sse::Kms(key.and_then(|k| text(&k)))),
        (other, Some(key)) => {
            key.fail("`sse_kms_key_id` is for `sse: aws:kms`");
            other.map(|_| Sse::Aes256)
        }
        (Some(_), None) => Some(Sse::Aes256),
        (None, None) => None,
    }
}

fn object_lock(mut map: MapReader<'_>) -> Option<ObjectLock> {
    let mode = map
        .require("mode")
        .and_then(|field| field.choice(&["governance", "compliance"]));
    let days = map.require("days").and_then(|field| {
        let days = field.u64()?;
        // A hundred years: what is more is a mistake that nobody can take back.
        let found = u32::try_from(days)
            .ok()
            .filter(|d| (1..=36_500).contains(d));
        if found.is_none() {
            field.fail(format!("{days} days cannot be: 1 to 36500"));
        }
        found
    });
    map.finish();
    Some(ObjectLock {
        mode: if mode? == "compliance" {
            LockMode::Compliance
        } else {
            LockMode::Governance
        },
        days: days?,
    })
}

/// `backup:` of the project, or of an instance over `base`.
pub(super) fn backup(field: &Field<'_>, base: &Backup, destinations: &[&str]) -> Backup {
    let mut found = base.clone();
    found.asked = true;
    let mut map = field.map();
    let said = map.list("to");
    if !said.is_empty() {
        found.to.clear();
    }
    for to in said {
        let Some(text) = to.string() else { continue };
        if destinations.contains(&text.as_str()) {
            found.to.push(text);
            continue;
        }
        let hint = match nearest(&text, destinations.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None if destinations.is_empty() => {
                format!("add `destinations: {{{text}: {{dir: ./backups}}}}`")
            }
            None => format!("known destinations: {}", destinations.join(", ")),
        };
        to.fail_with(format!("there is no destination `{text}`"), hint);
    }
    if let Some(mut dump) = map.map("dump") {
        job(&mut dump, &mut found.dump);
        dump.finish();
    }
    if let Some(mut cold) = map.map("cold") {
        job(&mut cold, &mut found.cold);
        if let Some(most) = cold.duration("max_downtime") {
            found.cold.max_downtime = Some(most);
        }
        if let Some(field) = cold.get("method")
            && let Some(method) =
                field.choice(&["auto", "reflink", "two_pass", "copy", "container"])
        {
            found.cold.method = match method {
                "reflink" => ColdMethod::Reflink,
                "two_pass" => ColdMethod::TwoPass,
                "copy" => ColdMethod::Copy,
                "container" => ColdMethod::Container,
                _ => ColdMethod::Auto,
            };
        }
        cold.finish();
    }
    if let Some(mut drill) = map.map("drill") {
        found.drill = schedule(&mut drill).or(found.drill);
        drill.finish();
    }
    map.finish();
    found
}

fn job(map: &mut MapReader<'_>, job: &mut Job) {
    if let Some(schedule) = schedule(map) {
        job.schedule = Some(schedule);
    }
    if let Some(mut keep) = map.map("keep") {
        let mut number = |rule| keep.u64(rule);
        let found = Keep {
            last: number("last").unwrap_or(0),
            hourly: number("hourly").unwrap_or(0),
            daily: number("daily").unwrap_or(0),
            weekly: number("weekly").unwrap_or(0),
            monthly: number("monthly").unwrap_or(0),
            yearly: number("yearly").unwrap_or(0),
            min_keep: number("min_keep"),
            within: keep.duration("within"),
        };
        keep.finish();
        job.keep = Some(found);
    }
}

fn schedule(map: &mut MapReader<'_>) -> Option<String> {
    let field = map.get("schedule")?;
    let text = field.string()?;
    accept(&field, cron::check(&text)).map(|()| text)
}
