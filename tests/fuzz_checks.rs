//! The checks of the fuzz targets on random inputs, and on good ones with some bytes changed: that
//! is where parsers break.

#[path = "../fuzz/checks.rs"]
mod checks;
mod snapshot_support;

use proptest::prelude::*;
use snapshot_support::at;
use summoner::backup::manifest::{Kind, ObjectRecord, Role};

/// Good frames of both streams.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let frame =
        (1_u8..=2, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, payload)| {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            [&[kind, 0, 0, 0][..], &length, &payload].concat()
        });
    prop::collection::vec(frame, 0..6).prop_map(|frames| frames.concat())
}

fn a_manifest() -> Vec<u8> {
    let mut manifest = snapshot_support::manifest("blog", Kind::Dump, at("2026-11-20T02:30:00Z"));
    manifest.objects.push(ObjectRecord {
        name: "app.sql.zst".into(),
        role: Role::Database,
        of: "app".into(),
        plain_bytes: 10,
        stored_bytes: 5,
        sha256: "0".repeat(64),
    });
    manifest.to_bytes()
}

/// `good` with bytes replaced, cut away or put in.
fn changed(good: Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = good;
    for (place, how, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = place.index(bytes.len());
        match how % 4 {
            0 => bytes[at] = *byte,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *byte),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn f05_streams(step in any::<u8>(), good in frames(), changes in changes()) {
        let stream = changed(good, &changes);
        checks::demux(&[&[step][..], &stream].concat());
    }

    #[test]
    fn manifests(changes in changes()) {
        checks::manifest(&changed(a_manifest(), &changes));
    }

    #[test]
    fn f11_histories(data in prop::collection::vec(any::<u8>(), 0..400)) {
        checks::retention(&data);
    }

    #[test]
    fn anything(data in prop::collection::vec(any::<u8>(), 0..200)) {
        checks::demux(&data);
        checks::manifest(&data);
    }
}

#[test]
fn the_manifest_of_these_tests_is_a_good_one() {
    summoner::backup::manifest::Manifest::parse(&a_manifest()).unwrap();
}
