//! Which snapshots stay. Pure: times and zones come in, decisions with their reasons go out.
//!
//! A snapshot stays when any rule wants it. What counts is the manifest's slot in the manifest's own
//! zone; when a store last touched an object says nothing (failure mode 12) and is not even known
//! here. Only snapshots that are complete and have not failed a check satisfy a rule; one that is
//! odd stays where its hour, day, … has no better one, but never takes a better one's place. So a
//! run of bad nights cannot push out the good ones (failure mode 11).

use std::sync::LazyLock;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use crate::backup::manifest::Status;
use crate::compose::duration;
use crate::config::environment::Keep;

/// The zones in the binary: what is decided must not hang on what the machine has installed.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A slot may lie so far ahead of our clock: clocks of two machines differ a little. Further ahead
/// a clock was wrong, and such a snapshot must not count as the newest for years.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// A snapshot as retention sees it. All that are decided on together are of one project, minion,
/// kind and destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its id.
    pub id: String,
    /// The time it stands for.
    pub slot: Timestamp,
    /// Zone of the slot, IANA.
    pub timezone: String,
    /// What it is worth by its manifest.
    pub status: Status,
    /// Whether its latest checks were passed; `None` = there was none.
    pub verified: Option<bool>,
    /// Never removed.
    pub pinned: bool,
}

impl Past {
    /// Whether it satisfies rules.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.status == Status::Complete && self.verified != Some(false)
    }
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its id.
    pub id: String,
    /// Whether it stays.
    pub keep: bool,
    /// Why: each rule that wants it, or why none does. Never empty.
    pub reasons: Vec<String>,
}

/// Decides, newest first. `now` matters to `within` and to slots that lie ahead of it; `timezone`
/// to snapshots whose own zone is not known. No `keep`, or one without any rule, keeps everything.
#[must_use]
pub fn decide(past: &[Past], keep: Option<&Keep>, now: Timestamp, timezone: &str) -> Vec<Decision> {
    let mut sorted: Vec<&Past> = past.iter().collect();
    sorted.sort_by(|a, b| (b.slot, &b.id).cmp(&(a.slot, &a.id)));
    let Some(keep) = keep.filter(|k| has_rule(k)) else {
        let reason = match keep {
            None => "no `keep` is set: everything stays",
            Some(_) => "`keep` has no rule: everything stays",
        };
        let stays = |p: &&Past| Decision {
            id: p.id.clone(),
            keep: true,
            reasons: vec![reason.to_owned()],
        };
        return sorted.iter().map(stays).collect();
    };
    let ahead = now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
    let reasons = vec![Vec::new(); sorted.len()];
    let mut walk = Walk { sorted, reasons };
    // From here on an index is one of `sorted`; those ahead of the clock take part in nothing.
    let present: Vec<usize> = (0..walk.sorted.len())
        .filter(|i| walk.sorted[*i].slot <= ahead)
        .collect();
    walk.floors(&present);
    let within = keep.within.map(|w| (w, before(now, w)));
    for (i, p) in walk.sorted.iter().enumerate() {
        if let Some((duration, since)) = within
            && p.slot >= since
        {
            walk.reasons[i].push(format!("within {}", in_words(duration)));
        }
        if p.slot > ahead {
            walk.reasons[i].push("its time lies ahead of this machine's clock".into());
        }
    }
    let floor = keep.min_keep.unwrap_or(1).max(1);
    let floor_reason = |nth: u64| match nth {
        1 => "newest complete".to_owned(),
        _ => format!("min_keep {floor}"),
    };
    walk.rule(&present, floor, |i, _| i, |nth, _| floor_reason(nth));
    let last = |nth: u64, _: usize| format!("last {nth} of {}", keep.last);
    walk.rule(&present, keep.last, |i, _| i, last);
    let local = walk.local(&present, timezone);
    walk.calendar(&present, &local, keep);
    walk.decisions(keep)
}

/// Whether pruning by `decisions` takes more than half of what is there: somebody should look first.
#[must_use]
pub fn takes_more_than_half(decisions: &[Decision]) -> bool {
    decisions.iter().filter(|d| !d.keep).count() * 2 > decisions.len()
}

/// Whether anything but floors is set.
fn has_rule(keep: &Keep) -> bool {
    rules(keep).next().is_some() || keep.within.is_some()
}

/// The rules that count, as the user wrote them.
fn rules(keep: &Keep) -> impl Iterator<Item = (&'static str, u64)> {
    [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ]
    .into_iter()
    .filter(|(_, number)| *number > 0)
}

fn before(now: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|d| now.checked_sub(d).ok())
        .unwrap_or(Timestamp::MIN)
}

/// `30d`, `36h`.
fn in_words(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match (duration.as_secs(), duration.subsec_nanos()) {
        (seconds, 0) if seconds > 0 && seconds % DAY == 0 => format!("{}d", seconds / DAY),
        _ => duration::format(duration),
    }
}

/// A slot on the calendar of its zone.
#[derive(Debug, Clone, Copy)]
struct Local {
    date: Date,
    hour: i8,
    /// Seconds east of UTC: tells apart the two hours of one name in autumn.
    offset: i32,
}

struct Walk<'a> {
    /// Newest first.
    sorted: Vec<&'a Past>,
    /// Why each of them stays.
    reasons: Vec<Vec<String>>,
}

impl Walk<'_> {
    /// What no setting removes, the newest complete one aside, which is `min_keep >= 1`.
    fn floors(&mut self, present: &[usize]) {
        for (i, p) in self.sorted.iter().enumerate() {
            if p.pinned {
                self.reasons[i].push("pinned".into());
            }
        }
        let verified = |i: &&usize| self.sorted[**i].verified == Some(true);
        let newest = present.iter().find(verified).copied();
        // A check that was passed says that the bytes are there, not that a suspect one is whole.
        let whole = |i: &&usize| verified(i) && self.sorted[**i].counts();
        let complete = present.iter().find(whole).copied();
        let complete = complete.filter(|c| newest != Some(*c));
        for i in [newest, complete].into_iter().flatten() {
            self.reasons[i].push("newest verified".into());
        }
    }

    /// One rule: of each bucket the newest that counts, until `number` buckets had one. A bucket
    /// where none counts keeps its newest and is not counted.
    fn rule<B: Eq>(
        &mut self,
        present: &[usize],
        number: u64,
        bucket: impl Fn(usize, usize) -> B,
        reason: impl Fn(u64, usize) -> String,
    ) {
        if number == 0 {
            return;
        }
        let mut best: Vec<(B, usize)> = Vec::new();
        for (at, i) in present.iter().enumerate() {
            let bucket = bucket(*i, at);
            // Nearly always the last one; with snapshots of several zones one of the few before it.
            match best.iter_mut().rev().find(|(b, _)| *b == bucket) {
                Some((_, best)) => {
                    if !self.sorted[*best].counts() && self.sorted[*i].counts() {
                        *best = *i;
                    }
                }
                None => best.push((bucket, *i)),
            }
        }
        let mut best: Vec<usize> = best.into_iter().map(|(_, i)| i).collect();
        best.sort_unstable();
        let mut found = 0;
        for i in best {
            if found == number {
                break;
            }
            let counts = self.sorted[i].counts();
            found += u64::from(counts);
            let reason = if counts {
                reason(found, i)
            } else {
                format!("{}, nothing better in its place", self.flaw(i))
            };
            if !self.reasons[i].contains(&reason) {
                self.reasons[i].push(reason);
            }
        }
    }

    fn local(&self, present: &[usize], timezone: &str) -> Vec<Local> {
        let mut zones: Vec<(&str, TimeZone)> = Vec::new();
        let mut local = Vec::with_capacity(present.len());
        for i in present {
            let p = self.sorted[*i];
            let at = zones.iter().position(|(name, _)| *name == p.timezone);
            let at = at.unwrap_or_else(|| {
                let zone = ZONES.get(&p.timezone).or_else(|_| ZONES.get(timezone));
                zones.push((&p.timezone, zone.unwrap_or(TimeZone::UTC)));
                zones.len() - 1
            });
            let offset = zones[at].1.to_offset(p.slot);
            let civil = offset.to_datetime(p.slot);
            local.push(Local {
                date: civil.date(),
                hour: civil.hour(),
                offset: offset.seconds(),
            });
        }
        local
    }

    fn calendar(&mut self, present: &[usize], local: &[Local], keep: &Keep) {
        // `local` stands in the order of `present`; reasons are asked by index of `sorted`.
        let of = |i: usize| local[present.binary_search(&i).unwrap_or(0)];
        let hour = |_, at: usize| (local[at].date, local[at].hour, local[at].offset);
        let week = |date: Date| {
            let week = date.iso_week_date();
            (week.year(), week.week())
        };
        self.rule(present, keep.hourly, hour, |_, i| {
            format!("hourly: {} {:02} h", of(i).date, of(i).hour)
        });
        self.rule(
            present,
            keep.daily,
            |_, at| local[at].date,
            |_, i| format!("daily: {}", of(i).date),
        );
        self.rule(
            present,
            keep.weekly,
            |_, at| week(local[at].date),
            |_, i| {
                let (year, week) = week(of(i).date);
                format!("weekly: {year}-W{week:02}")
            },
        );
        self.rule(
            present,
            keep.monthly,
            |_, at| (local[at].date.year(), local[at].date.month()),
            |_, i| format!("monthly: {}", of(i).date.strftime("%Y-%m")),
        );
        self.rule(
            present,
            keep.yearly,
            |_, at| local[at].date.year(),
            |_, i| format!("yearly: {}", of(i).date.year()),
        );
    }

    /// Why a snapshot satisfies no rule.
    fn flaw(&self, i: usize) -> &'static str {
        match self.sorted[i].verified {
            Some(false) => "failed its check",
            _ => "suspect",
        }
    }

    fn decisions(self, keep: &Keep) -> Vec<Decision> {
        let wanted: Vec<String> = rules(keep)
            .map(|(rule, number)| format!("{rule} {number}"))
            .chain(keep.within.map(|w| format!("within {}", in_words(w))))
            .collect();
        let nobody = format!("no rule wants it: {}", wanted.join(", "));
        let decision = |i: usize| {
            let reasons = &self.reasons[i];
            Decision {
                id: self.sorted[i].id.clone(),
                keep: !reasons.is_empty(),
                reasons: match (reasons.is_empty(), self.sorted[i].counts()) {
                    (false, _) => reasons.clone(),
                    (true, true) => vec![nobody.clone()],
                    (true, false) => vec![format!("{}, and there are better ones", self.flaw(i))],
                },
            }
        };
        (0..self.sorted.len()).map(decision).collect()
    }
}
