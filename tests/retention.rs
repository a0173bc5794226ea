//! Retention: rules on the calendar, floors that no setting removes, and a million random histories.

#[path = "../fuzz/checks.rs"]
#[allow(dead_code, reason = "the other checks run in tests/fuzz_checks.rs")]
mod checks;

use std::collections::BTreeMap;
use std::time::Duration;

use checks::judge;
use jiff::Timestamp;
use proptest::prelude::*;
use summoner::backup::manifest::Status;
use summoner::backup::retention::{Decision, Past, decide, takes_more_than_half};
use summoner::config::environment::Keep;

const NOW: &str = "2026-11-20T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A complete snapshot in UTC that is named by its time.
fn good(slot: &str) -> Past {
    Past {
        id: slot.to_owned(),
        slot: at(slot),
        timezone: "UTC".into(),
        status: Status::Complete,
        verified: None,
        pinned: false,
    }
}

fn suspect(slot: &str) -> Past {
    Past {
        status: Status::Suspect,
        ..good(slot)
    }
}

fn checked(slot: &str, verified: bool) -> Past {
    Past {
        verified: Some(verified),
        ..good(slot)
    }
}

/// Nightly ones at 02:30 UTC, the newest on the 20th of November.
fn nights(number: i64) -> Vec<Past> {
    let newest = at("2026-11-20T02:30:00Z").as_second();
    (0..number)
        .map(|n| {
            good(
                &Timestamp::from_second(newest - n * 86_400)
                    .unwrap()
                    .to_string(),
            )
        })
        .collect()
}

fn kept(past: &[Past], keep: &Keep) -> Vec<String> {
    decide(past, Some(keep), at(NOW), "UTC")
        .into_iter()
        .filter(|d| d.keep)
        .map(|d| d.id)
        .collect()
}

fn show(decisions: &[Decision]) -> String {
    let lines = decisions.iter().map(|d| {
        let sign = if d.keep { '+' } else { '-' };
        format!("{sign} {}  {}", d.id, d.reasons.join("; "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_rule_tells_what_it_wants() {
    let keep = Keep {
        last: 2,
        daily: 3,
        weekly: 2,
        monthly: 2,
        yearly: 1,
        ..Keep::default()
    };
    let mut past = nights(6);
    past.push(good("2026-11-19T14:00:00Z"));
    past.push(good("2026-10-31T02:30:00Z"));
    past.push(good("2026-10-30T02:30:00Z"));
    past.push(good("2025-01-01T02:30:00Z"));
    insta::assert_snapshot!(show(&decide(&past, Some(&keep), at(NOW), "UTC")), @"
    + 2026-11-20T02:30:00Z  newest complete; last 1 of 2; daily: 2026-11-20; weekly: 2026-W47; monthly: 2026-11; yearly: 2026
    + 2026-11-19T14:00:00Z  last 2 of 2; daily: 2026-11-19
    - 2026-11-19T02:30:00Z  no rule wants it: last 2, daily 3, weekly 2, monthly 2, yearly 1
    + 2026-11-18T02:30:00Z  daily: 2026-11-18
    - 2026-11-17T02:30:00Z  no rule wants it: last 2, daily 3, weekly 2, monthly 2, yearly 1
    - 2026-11-16T02:30:00Z  no rule wants it: last 2, daily 3, weekly 2, monthly 2, yearly 1
    + 2026-11-15T02:30:00Z  weekly: 2026-W46
    + 2026-10-31T02:30:00Z  monthly: 2026-10
    - 2026-10-30T02:30:00Z  no rule wants it: last 2, daily 3, weekly 2, monthly 2, yearly 1
    - 2025-01-01T02:30:00Z  no rule wants it: last 2, daily 3, weekly 2, monthly 2, yearly 1
    ");
}

#[test]
fn without_a_rule_everything_stays() {
    let past = nights(40);
    for keep in [
        None,
        Some(Keep::default()),
        Some(Keep {
            min_keep: Some(3),
            ..Keep::default()
        }),
    ] {
        let decisions = decide(&past, keep.as_ref(), at(NOW), "UTC");
        assert_eq!(decisions.len(), 40);
        assert!(decisions.iter().all(|d| d.keep), "{keep:?}");
        assert!(decisions[0].reasons[0].contains("everything stays"));
    }
}

#[test]
fn f11_bad_nights_never_push_out_good_ones() {
    let keep = Keep {
        last: 3,
        daily: 3,
        ..Keep::default()
    };
    // Ten odd nights after three good ones: all three are still the newest that count.
    let mut past: Vec<Past> = nights(13);
    for p in past.iter_mut().take(10) {
        p.status = Status::Suspect;
    }
    assert_eq!(kept(&past, &keep).len(), 13);
    // A check that failed is as bad as an odd night.
    for p in past.iter_mut().take(10) {
        p.status = Status::Complete;
        p.verified = Some(false);
    }
    assert_eq!(kept(&past, &keep).len(), 13);
    // Once good ones are there again, the odd ones go, and none of them took a place.
    let mut later = nights(20);
    for p in later.iter_mut().skip(4).take(10) {
        p.status = Status::Suspect;
    }
    let stay = kept(&later, &keep);
    assert_eq!(stay.len(), 3, "{stay:?}");
}

#[test]
fn f11_the_newest_verified_stays_however_old_it_is() {
    let keep = Keep {
        last: 1,
        ..Keep::default()
    };
    let mut past = nights(30);
    past.push(checked("2024-02-29T02:30:00Z", true));
    past.push(checked("2024-02-28T02:30:00Z", true));
    let stay = kept(&past, &keep);
    assert_eq!(stay, ["2026-11-20T02:30:00Z", "2024-02-29T02:30:00Z"]);
    // A suspect one that was verified does not replace a complete one that was.
    past.push(Past {
        status: Status::Suspect,
        ..checked("2026-11-01T02:30:00Z", true)
    });
    assert_eq!(kept(&past, &keep).len(), 3);
}

#[test]
fn f11_nothing_good_means_that_nothing_goes() {
    let keep = Keep {
        last: 1,
        within: Some(Duration::from_mins(1)),
        ..Keep::default()
    };
    let past: Vec<Past> = ["2026-11-20", "2026-11-19", "2020-01-01"]
        .iter()
        .map(|day| suspect(&format!("{day}T00:00:00Z")))
        .collect();
    assert_eq!(kept(&past, &keep).len(), 3);
}

#[test]
fn an_odd_one_stays_where_its_month_has_nothing_better() {
    let keep = Keep {
        last: 1,
        monthly: 3,
        ..Keep::default()
    };
    let past = [
        good("2026-11-20T02:30:00Z"),
        suspect("2026-10-31T02:30:00Z"),
        suspect("2026-10-30T02:30:00Z"),
        suspect("2026-09-30T02:30:00Z"),
        good("2026-09-29T02:30:00Z"),
        good("2026-08-31T02:30:00Z"),
        good("2026-07-31T02:30:00Z"),
    ];
    assert_eq!(
        kept(&past, &keep),
        [
            "2026-11-20T02:30:00Z",
            "2026-10-31T02:30:00Z",
            "2026-09-29T02:30:00Z",
            "2026-08-31T02:30:00Z",
        ]
    );
}

#[test]
fn f12_days_are_those_of_the_snapshots_own_zone() {
    let keep = Keep {
        daily: 2,
        ..Keep::default()
    };
    let paris = |slot: &str| Past {
        timezone: "Europe/Paris".into(),
        ..good(slot)
    };
    // 23:30 UTC is half past midnight of the next day in Paris: two nights, not one.
    let past = [
        paris("2026-07-02T22:30:00Z"),
        paris("2026-07-02T21:30:00Z"),
        paris("2026-07-01T22:30:00Z"),
        paris("2026-07-01T21:30:00Z"),
    ];
    assert_eq!(
        kept(&past, &keep),
        ["2026-07-02T22:30:00Z", "2026-07-02T21:30:00Z"]
    );
    let utc: Vec<Past> = past
        .iter()
        .map(|p| Past {
            timezone: "UTC".into(),
            ..p.clone()
        })
        .collect();
    assert_eq!(
        kept(&utc, &keep),
        ["2026-07-02T22:30:00Z", "2026-07-01T22:30:00Z"]
    );
    // A zone that nobody knows is taken for the project's.
    let strange: Vec<Past> = past
        .iter()
        .map(|p| Past {
            timezone: "Mars/Olympus".into(),
            ..p.clone()
        })
        .collect();
    let stay = |zone| {
        decide(&strange, Some(&keep), at(NOW), zone)
            .into_iter()
            .filter(|d| d.keep)
            .map(|d| d.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(stay("Europe/Paris"), kept(&past, &keep));
    assert_eq!(stay("Venus/Aphrodite"), kept(&utc, &keep));
}

#[test]
fn f12_the_two_hours_of_one_name_in_autumn_are_two() {
    let keep = Keep {
        hourly: 2,
        ..Keep::default()
    };
    // 02:30 in Paris happens twice on the 25th of October 2026: 00:30 and 01:30 UTC.
    let past: Vec<Past> = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]
        .iter()
        .map(|slot| Past {
            timezone: "Europe/Paris".into(),
            ..good(slot)
        })
        .collect();
    assert_eq!(kept(&past, &keep).len(), 2);
}

#[test]
fn f12_a_week_belongs_to_its_iso_year() {
    let keep = Keep {
        weekly: 1,
        ..Keep::default()
    };
    // The 1st of January 2027 is a Friday of week 53 of 2026.
    let past = [good("2027-01-01T02:30:00Z"), good("2026-12-31T02:30:00Z")];
    let decisions = decide(&past, Some(&keep), at("2027-01-02T00:00:00Z"), "UTC");
    assert_eq!(
        decisions[0].reasons,
        ["newest complete", "weekly: 2026-W53"]
    );
    assert!(!decisions[1].keep);
}

#[test]
fn a_clock_that_was_wrong_does_not_make_the_newest() {
    let keep = Keep {
        last: 1,
        ..Keep::default()
    };
    let mut past = nights(3);
    past.push(good("2099-01-01T00:00:00Z"));
    let decisions = decide(&past, Some(&keep), at(NOW), "UTC");
    assert_eq!(
        decisions[0].reasons,
        ["its time lies ahead of this machine's clock"]
    );
    assert!(decisions[0].keep && decisions[1].keep);
    assert_eq!(decisions.iter().filter(|d| d.keep).count(), 2);
}

#[test]
fn more_than_half_at_once_is_seen() {
    let keep = Keep {
        last: 2,
        ..Keep::default()
    };
    let half = decide(&nights(4), Some(&keep), at(NOW), "UTC");
    assert!(!takes_more_than_half(&half));
    let more = decide(&nights(5), Some(&keep), at(NOW), "UTC");
    assert!(takes_more_than_half(&more));
    assert!(!takes_more_than_half(&[]));
}

#[test]
fn ends_of_time_and_large_numbers_are_no_problem() {
    let keep = Keep {
        last: u64::MAX,
        yearly: u64::MAX,
        within: Some(Duration::MAX),
        min_keep: Some(u64::MAX),
        ..Keep::default()
    };
    let past = [
        Past {
            slot: Timestamp::MIN,
            ..good("2026-11-20T02:30:00Z")
        },
        Past {
            slot: Timestamp::MAX,
            ..good("2026-11-20T02:30:01Z")
        },
    ];
    for now in [Timestamp::MIN, Timestamp::MAX] {
        assert!(
            decide(&past, Some(&keep), now, "UTC")
                .iter()
                .all(|d| d.keep)
        );
    }
}

// What must hold for any history and any setting.

/// Splitmix64: a small generator of our own, so that a history is named by its seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, number: u64) -> u64 {
        self.next() % number
    }

    fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
}

const ZONES: [&str; 4] = ["UTC", "Europe/Paris", "Asia/Kolkata", "Nowhere/Atall"];

fn history(seed: u64) -> (Vec<Past>, Keep, Timestamp) {
    let mut dice = Dice(seed);
    // `NOW`; read once a history it would take more time than the decisions.
    let now: i64 = 1_795_176_000;
    // Hours, days, or months apart, so that every rule gets work.
    let step = [900, 7_200, 86_400, 700_000, 4_000_000][usize::try_from(dice.below(5)).unwrap()];
    let zone = dice.below(4);
    let bad = 1 + dice.below(6);
    let mut slot = now + if dice.one_in(8) { 100_000 } else { 0 };
    let mut past = Vec::new();
    for n in 0..dice.below(14) {
        slot -= i64::try_from(dice.below(step)).unwrap();
        let zone = if dice.one_in(10) { dice.below(4) } else { zone };
        past.push(Past {
            id: char::from(b'a' + u8::try_from((n * 7) % 16).unwrap()).to_string(),
            slot: Timestamp::from_second(slot).unwrap(),
            timezone: ZONES[usize::try_from(zone).unwrap()].to_owned(),
            status: if dice.one_in(bad) {
                Status::Suspect
            } else {
                Status::Complete
            },
            verified: match dice.below(6) {
                0 => Some(true),
                1 => Some(false),
                _ => None,
            },
            pinned: dice.one_in(12),
        });
    }
    let mut number = || if dice.one_in(2) { 0 } else { dice.below(4) };
    let mut keep = Keep {
        last: number(),
        hourly: number(),
        daily: number(),
        weekly: number(),
        monthly: number(),
        yearly: number(),
        ..Keep::default()
    };
    if dice.one_in(3) {
        keep.min_keep = Some(dice.below(6));
    }
    if dice.one_in(4) {
        keep.within = Some(Duration::from_secs(dice.below(step * 4)));
    }
    (past, keep, Timestamp::from_second(now).unwrap())
}

/// A quarter of a million, so that the parts run beside each other: a million take half a minute of
/// one core without optimisation.
fn quarter(number: u64) {
    for seed in number * 250_000..(number + 1) * 250_000 {
        let (past, keep, now) = history(seed);
        if let Err(wrong) = judge(&past, &keep, now) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

#[test]
fn f11_a_million_histories_first_quarter() {
    quarter(0);
}

#[test]
fn f11_a_million_histories_second_quarter() {
    quarter(1);
}

#[test]
fn f11_a_million_histories_third_quarter() {
    quarter(2);
}

#[test]
fn f11_a_million_histories_fourth_quarter() {
    quarter(3);
}

/// A setting that asks for more never keeps less.
#[test]
fn asking_for_more_keeps_what_less_would_keep() {
    for seed in 0..20_000 {
        let (past, keep, now) = history(seed);
        let more = Keep {
            last: keep.last + 1,
            daily: keep.daily + 2,
            monthly: keep.monthly + 1,
            ..keep.clone()
        };
        let stays = |keep: &Keep| -> BTreeMap<String, bool> {
            decide(&past, Some(keep), now, "UTC")
                .into_iter()
                .map(|d| (d.id, d.keep))
                .collect()
        };
        let (few, many) = (stays(&keep), stays(&more));
        // Without any rule everything stays.
        if keep.within.is_none()
            && keep.last + keep.hourly + keep.daily + keep.weekly + keep.monthly + keep.yearly == 0
        {
            continue;
        }
        for (id, stays) in few {
            assert!(!stays || many[&id], "seed {seed}: `{id}`");
        }
    }
}

fn any_past() -> impl Strategy<Value = Past> {
    (
        "[a-z]{1,3}",
        -377_705_023_201_i64..253_402_207_200,
        prop_oneof![
            Just("UTC".to_owned()),
            Just("Pacific/Apia".to_owned()),
            ".*"
        ],
        any::<bool>(),
        any::<Option<bool>>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(id, slot, timezone, complete, verified, pinned)| Past {
            id,
            slot: Timestamp::from_second(slot).unwrap(),
            timezone,
            status: if complete {
                Status::Complete
            } else {
                Status::Suspect
            },
            verified,
            pinned,
        })
}

proptest! {
    #[test]
    fn any_history_at_all_keeps_its_floors(
        past in prop::collection::vec(any_past(), 0..30),
        numbers in prop::array::uniform6(0_u64..5),
        min_keep in prop::option::of(0_u64..10),
        within in prop::option::of(any::<u64>()),
    ) {
        let [last, hourly, daily, weekly, monthly, yearly] = numbers;
        let within = within.map(Duration::from_secs);
        let keep = Keep { last, hourly, daily, weekly, monthly, yearly, within, min_keep };
        // Ids are unique in a destination.
        let past: BTreeMap<String, Past> = past.into_iter().map(|p| (p.id.clone(), p)).collect();
        let past: Vec<Past> = past.into_values().collect();
        // The newest of those ahead of the clock stay as well: judge by the latest clock.
        prop_assert_eq!(judge(&past, &keep, Timestamp::MAX), Ok(()));
    }
}
