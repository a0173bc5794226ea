//! Durations as Compose writes them: `1m30s`, `500ms`, `1.5h`.

use std::fmt::Write as _;
use std::time::Duration;

/// Longest first where one is the beginning of another.
const UNITS: [(&str, u64); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// The duration in `text`. A number without a unit is none but `0`, as in Compose.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let (unit, factor) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        let part = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(*factor)?,
            Err(_) => fraction(number, *factor)?,
        };
        nanos = nanos.checked_add(part)?;
        rest = &tail[unit.len()..];
    }
    (!text.is_empty()).then(|| Duration::from_nanos(nanos))
}

/// `1.5` of a unit, rounded down, in whole numbers: a float would be off by some nanoseconds.
fn fraction(number: &str, factor: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && part.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    // Eighteen digits are finer than a nanosecond of a week.
    let part = &part[..part.len().min(18)];
    let number = |text: &str| text.parse::<u64>().ok();
    let whole = if whole.is_empty() { 0 } else { number(whole)? };
    let share = if part.is_empty() { 0 } else { number(part)? };
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let part = u64::try_from(u128::from(factor) * u128::from(share) / scale).ok()?;
    whole.checked_mul(factor)?.checked_add(part)
}

/// The shortest text that [`parse`] and `docker compose` read as the same duration.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut text = String::new();
    let seconds = duration.as_secs();
    for (unit, value) in [
        ("h", seconds / 3600),
        ("m", seconds / 60 % 60),
        ("s", seconds % 60),
    ] {
        if value > 0 {
            let _ = write!(text, "{value}{unit}");
        }
    }
    let nanos = duration.subsec_nanos();
    for (unit, value) in [
        ("ms", nanos / 1_000_000),
        ("us", nanos / 1_000 % 1_000),
        ("ns", nanos % 1_000),
    ] {
        if value > 0 {
            let _ = write!(text, "{value}{unit}");
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_compose_specification() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("2.5s", 2_500),
            (".5s", 500),
            ("1.s", 1_000),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("2h32m", 9_120_000),
            ("500ms", 500),
            ("1d", 86_400_000),
            ("1h5m30s20ms", 3_930_020),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1x",
            "1s ",
            "1 s",
            "ten seconds",
            "99999999999w",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for nanos in [
            0,
            1,
            999,
            1_000,
            1_500_000,
            90_000_000_000,
            3_661_001_001_001,
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(
                parse(&format(duration)),
                Some(duration),
                "{}",
                format(duration)
            );
        }
        assert_eq!(format(Duration::from_secs(90)), "1m30s");
    }
}
