//! Sizes and durations as people write them.

use std::time::Duration;

/// Bytes of `512m`, `10G`, `1.5GiB`, `1048576`. Units are powers of 1024, as Docker reads them.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    // Two parts as whole numbers: a float would round large sizes.
    let (whole, fraction) = number.split_once('.')?;
    let (whole, fraction) = (
        whole.parse::<u64>().ok()?,
        fraction.get(..fraction.len().min(9))?,
    );
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * (1_u128 << shift) / u128::from(scale);
    whole
        .checked_mul(1 << shift)?
        .checked_add(u64::try_from(part).ok()?)
}

/// `60s`, `5m`, `1h30m`, `500ms`, `1d`, `1w`; a number needs its unit.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (unit, after) = rest.split_at(letters);
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3_600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            "w" => Duration::from_secs(number.checked_mul(604_800)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("1048576", Some(1 << 20)),
            ("512m", Some(512 << 20)),
            ("10G", Some(10 << 30)),
            ("1.5 GiB", Some(3 << 29)),
            ("64kb", Some(64 << 10)),
            ("", None),
            ("m", None),
            ("1.m", None),
            ("-1m", None),
            ("10 apples", None),
            ("99999999999999t", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations_need_their_unit() {
        for (text, seconds) in [
            ("60s", Some(60)),
            ("1h30m", Some(5_400)),
            ("1w", Some(604_800)),
            ("60", None),
            ("", None),
            ("s", None),
            ("5 m", None),
            ("99999999999999999w", None),
        ] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
    }
}
