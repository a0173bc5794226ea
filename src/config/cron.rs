//! A superficial check of schedules; `schedule` knows when they fire.

use super::names::{Complaint, Verdict};

const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("a minute", 0, 59, &[]),
    ("an hour", 0, 23, &[]),
    ("a day", 1, 31, &[]),
    (
        "a month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    // Sunday is 0 and 7.
    (
        "a weekday",
        0,
        7,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

const NICKNAMES: [&str; 7] = [
    "@hourly",
    "@daily",
    "@midnight",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
];

/// Five fields of cron, or a nickname such as `@daily`.
pub fn check(text: &str) -> Verdict<()> {
    if NICKNAMES.contains(&text) {
        return Ok(());
    }
    let fields: Vec<_> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(Complaint {
            message: format!(
                "`{text}` is not a schedule: it has {} fields instead of 5",
                fields.len()
            ),
            hint: Some("minute hour day month weekday: `30 2 * * *` is 02:30 every day".to_owned()),
        });
    }
    for (field, (what, first, last, words)) in fields.iter().zip(FIELDS) {
        if !field.split(',').all(|part| fits(part, first, last, words)) {
            return Err(Complaint {
                message: format!("`{field}` is not {what}: {first} to {last}"),
                hint: Some("`*`, `5`, `1-5`, `*/15` and lists such as `0,30`".to_owned()),
            });
        }
    }
    Ok(())
}

fn fits(part: &str, first: u32, last: u32, words: &[&str]) -> bool {
    let (range, step) = part
        .split_once('/')
        .map_or((part, None), |(r, s)| (r, Some(s)));
    // A step beyond the range is silently something else in most crons.
    if !step.is_none_or(|step| {
        step.parse()
            .is_ok_and(|step: u32| step >= 1 && step <= last)
    }) {
        return false;
    }
    let number = |text: &str| {
        let word = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(text));
        let number = match word {
            Some(index) => u32::try_from(index).ok()? + first,
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (first..=last).contains(&number).then_some(number)
    };
    match range.split_once('-') {
        _ if range == "*" => true,
        Some((from, to)) => {
            matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to)
        }
        None => number(range).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn five_fields_in_their_ranges() {
        for good in [
            "30 2 * * *",
            "*/15 0-6 1,15 jan-mar MON",
            "@daily",
            "0 6 * * 7",
            "0 0 1-31/2 * *",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "*/90 * * * *",
            "5-1 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "a * * * *",
            "@sometimes",
            "1,,2 * * * *",
            "*/0 * * * *",
            "+5 * * * *",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
