//! Amounts of memory as Compose writes them: `512m`, `1g`, `1.5gb`, `64 KiB`, plain bytes.

/// Bytes in `text`; every unit counts in 1024s, as the engine's own `--memory` does.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = factor(unit.trim_start())?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    fraction(number, factor)
}

fn factor(unit: &str) -> Option<u64> {
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    Some(1024_u64.pow(power))
}

/// `1.5` of a unit, rounded down, in whole numbers: a float would be off by some bytes at large sizes.
pub(super) fn fraction(number: &str, factor: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.')?;
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // Twelve digits are finer than a byte of a petabyte needs, and 10^12 * 2^50 fits into 128 bits.
    let mut share: u128 = 0;
    let mut scale: u128 = 1;
    for (i, digit) in part.bytes().enumerate() {
        let digit = char::from(digit).to_digit(10)?;
        if i < 12 {
            share = share * 10 + u128::from(digit);
            scale *= 10;
        }
    }
    let part = u64::try_from(u128::from(factor) * share / scale).ok()?;
    whole.checked_mul(factor)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_compose_specification() {
        const MIB: u64 = 1024 * 1024;
        for (text, bytes) in [
            ("0", 0),
            ("2048", 2048),
            ("100b", 100),
            ("64k", 65_536),
            ("64 KiB", 65_536),
            ("512m", 512 * MIB),
            ("512M", 512 * MIB),
            ("512MB", 512 * MIB),
            ("1g", 1024 * MIB),
            ("1.5gb", 1536 * MIB),
            (".5g", 512 * MIB),
            ("2t", 2 * 1024 * 1024 * MIB),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "m",
            "-1m",
            "1x",
            "1.2.3m",
            "1,5g",
            "1e9",
            ".",
            "99999999999p",
            "12 34",
            "\u{661}m",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
