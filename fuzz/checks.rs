//! What must hold for any input at all. The fuzz targets feed it with what libFuzzer finds, and
//! `tests/fuzz_checks.rs` with random inputs, so that it is run without cargo-fuzz too. A violation
//! is a panic.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use summoner::backup::manifest::{Manifest, SnapshotId, Status};
use summoner::backup::retention::{Past, decide};
use summoner::config::environment::Keep;
use summoner::engine::demux::Demux;

// The demultiplexer: the same as reading the whole input at once, wherever it is cut.

/// Both streams of a whole input, or that it is broken: a second way to read the format.
fn whole(mut input: &[u8]) -> Result<[Vec<u8>; 2], ()> {
    let mut streams = [Vec::new(), Vec::new()];
    while !input.is_empty() {
        let (header, rest) = input.split_at_checked(8).ok_or(())?;
        let stream = match header[..4] {
            [1, 0, 0, 0] => 0,
            [2, 0, 0, 0] => 1,
            _ => return Err(()),
        };
        let length = u32::from_be_bytes(header[4..].try_into().map_err(|_| ())?);
        let (payload, rest) = rest.split_at_checked(length as usize).ok_or(())?;
        streams[stream].extend_from_slice(payload);
        input = rest;
    }
    Ok(streams)
}

/// The first byte says how long the pieces are, the rest is the stream.
pub fn demux(data: &[u8]) {
    let Some((step, stream)) = data.split_first() else {
        return;
    };
    let mut demux = Demux::new();
    let mut streams = [Vec::new(), Vec::new()];
    let mut broken = false;
    for piece in stream.chunks(usize::from(*step).max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match demux.next(&mut input) {
                Ok(Some(piece)) => {
                    assert!(!broken, "nothing comes after an error");
                    assert!(!piece.bytes.is_empty(), "an empty piece");
                    streams[piece.source as usize].extend_from_slice(&piece.bytes);
                }
                Ok(None) => break assert!(input.is_empty(), "something is left"),
                Err(_) => break broken = true,
            }
        }
    }
    let end = demux.finish();
    assert!(!broken || end.is_err(), "an error is forgotten");
    match (whole(stream), end) {
        (Ok(expected), Ok(())) => assert_eq!(streams, expected),
        (Err(()), Err(_)) => {}
        (expected, end) => panic!("{expected:?} {end:?}"),
    }
}

// Manifests: anything is read or refused, and what is read is written as it was.

/// A manifest, or not.
pub fn manifest(data: &[u8]) {
    let Ok(read) = Manifest::parse(data) else {
        return;
    };
    assert!(SnapshotId::parse(read.id.as_str()).is_some());
    assert_eq!(read.id.short().len(), 8);
    for object in &read.objects {
        let name = object.name.as_str();
        assert!(!name.contains('/') && !name.starts_with('.') && !name.is_empty());
    }
    let again = Manifest::parse(&read.to_bytes()).expect("what was written can be read");
    assert_eq!(again, read);
    let _ = (read.stored_bytes(), read.prefix(), read.id.time());
}

// Retention.

/// What is wrong with the decisions on a history, if anything.
pub fn judge(past: &[Past], keep: &Keep, now: Timestamp) -> Result<(), String> {
    let decisions = decide(past, Some(keep), now, "Europe/Paris");
    let stays: BTreeSet<&str> = decisions
        .iter()
        .filter(|d| d.keep)
        .map(|d| d.id.as_str())
        .collect();
    let say = |what: &str| Err(format!("{what}\n{keep:?}\n{past:#?}\n{decisions:#?}"));
    if decisions.len() != past.len() || decisions.iter().any(|d| d.reasons.is_empty()) {
        return say("each snapshot has a decision with a reason");
    }
    let newest = |wanted: &dyn Fn(&Past) -> bool| {
        past.iter()
            .filter(|p| wanted(p))
            .max_by_key(|p| (p.slot, &p.id))
            .map(|p| p.id.as_str())
    };
    let floor = |found: Option<&str>| found.is_none_or(|id| stays.contains(id));
    if !floor(newest(&|p| p.verified == Some(true))) {
        return say("the newest verified one survives");
    }
    if !floor(newest(&|p| p.verified == Some(true) && p.counts())) {
        return say("the newest that is complete and verified survives");
    }
    if !floor(newest(&Past::counts)) {
        return say("the newest complete one survives");
    }
    if past
        .iter()
        .any(|p| p.pinned && !stays.contains(p.id.as_str()))
    {
        return say("pinned ones survive");
    }
    let least = usize::try_from(keep.min_keep.unwrap_or(1).max(1)).unwrap_or(usize::MAX);
    if stays.len() < least.min(past.len()) {
        return say("never fewer than min_keep");
    }
    let counting = past.iter().filter(|p| p.counts()).count();
    let good = past
        .iter()
        .filter(|p| p.counts() && stays.contains(p.id.as_str()));
    if good.count() < least.min(counting) {
        return say("never fewer than min_keep that count");
    }
    let rest: Vec<Past> = past
        .iter()
        .filter(|p| stays.contains(p.id.as_str()))
        .cloned()
        .collect();
    let again = decide(&rest, Some(keep), now, "Europe/Paris");
    if again.iter().any(|d| !d.keep) {
        return say("pruning twice removes nothing more");
    }
    Ok(())
}

/// Bytes one after the other, zeros without end after the last.
struct Feed<'a>(&'a [u8]);

impl Feed<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> i64 {
        i64::from(self.byte()) << 8 | i64::from(self.byte())
    }
}

/// A setting and a history, made of the bytes.
pub fn retention(data: &[u8]) {
    const ZONES: [&str; 5] = [
        "UTC",
        "Europe/Paris",
        "Pacific/Apia",
        "Asia/Kolkata",
        "No/Where",
    ];
    let mut feed = Feed(data);
    let mut few = || u64::from(feed.byte() % 6);
    let mut keep = Keep {
        last: few(),
        hourly: few(),
        daily: few(),
        weekly: few(),
        monthly: few(),
        yearly: few(),
        ..Keep::default()
    };
    keep.min_keep = Some(few()).filter(|n| *n > 0);
    let hours = feed.number().unsigned_abs();
    keep.within = (hours > 0).then(|| Duration::from_secs(hours * 3600));
    let now = 1_795_176_000;
    let mut slot = now + feed.number() * 60 - 200_000;
    let mut past = Vec::new();
    while !feed.0.is_empty() && past.len() < 200 {
        let flags = feed.byte();
        // Minutes, hours, days or weeks apart.
        let unit = [60, 600, 7_200, 86_400][usize::from(flags & 3)];
        slot -= feed.number() % 50 * unit;
        past.push(Past {
            id: format!("{:03}", (past.len() * 7) % 256),
            slot: Timestamp::from_second(slot).unwrap_or(Timestamp::MIN),
            timezone: ZONES[usize::from(feed.byte() % 5)].to_owned(),
            status: if flags & 4 == 0 {
                Status::Complete
            } else {
                Status::Suspect
            },
            verified: match flags >> 3 & 3 {
                0 => Some(true),
                1 => Some(false),
                _ => None,
            },
            pinned: flags & 0xe0 == 0xe0,
        });
    }
    let now = Timestamp::from_second(now).unwrap_or(Timestamp::MAX);
    if let Err(wrong) = judge(&past, &keep, now) {
        panic!("{wrong}");
    }
}
