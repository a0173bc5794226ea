//! What a name, a host, a network, a schedule may look like. Pure text checks.

use std::net::{IpAddr, Ipv4Addr};

use super::punycode;
use crate::problem::{Position, Problem};
use crate::yaml::Field;

/// What is wrong with a text, and what to type instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Lowercase fragment.
    pub message: String,
    /// The next thing to type.
    pub hint: Option<String>,
}

/// The checked value, or the complaint.
pub type Verdict<T> = Result<T, Complaint>;

fn complain<T>(message: impl Into<String>, hint: &str) -> Verdict<T> {
    Err(Complaint {
        message: message.into(),
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
    })
}

impl Complaint {
    /// The problem at `field`, or at its key when that is what is wrong.
    #[must_use]
    pub fn at(self, field: &Field<'_>, key: Option<Position>) -> Problem {
        let mut problem = field.problem(self.message);
        problem.position = key.or(problem.position);
        problem.hint = self.hint;
        problem
    }
}

/// Reports a complaint at `field`.
pub fn accept<T>(field: &Field<'_>, verdict: Verdict<T>) -> Option<T> {
    verdict
        .map_err(|complaint| field.push(complaint.at(field, None)))
        .ok()
}

/// Reports a complaint at the key of `field`.
pub fn accept_key<T>(field: &Field<'_>, key: Position, verdict: Verdict<T>) -> Option<T> {
    verdict
        .map_err(|complaint| field.push(complaint.at(field, Some(key))))
        .ok()
}

/// Longest instance name: with a service in front and a domain behind, container names stay readable.
const LONGEST_NAME: usize = 40;

/// A name of an instance, a minion, a destination: `[a-z0-9][a-z0-9-]{0,39}`, no `-` at the end.
pub fn name(text: &str) -> Verdict<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty()
        && text.len() <= LONGEST_NAME
        && text.chars().all(good)
        && !text.starts_with('-')
        && !text.ends_with('-')
    {
        return Ok(());
    }
    let suggestion: String = text
        .to_lowercase()
        .chars()
        .map(|c| if good(c) { c } else { '-' })
        .take(LONGEST_NAME)
        .collect();
    let suggestion = suggestion.trim_matches('-');
    let hint = if suggestion.is_empty() {
        String::new()
    } else {
        format!("write `{suggestion}`")
    };
    complain(
        format!(
            "`{text}` is not a name: up to {LONGEST_NAME} of a-z, 0-9 and `-`, `-` not first or last"
        ),
        &hint,
    )
}

/// A host name after RFC 1123, in lower case.
pub fn host(text: &str) -> Verdict<String> {
    let lower = text.trim().to_lowercase();
    if let Some((_, rest)) = lower.split_once("://") {
        let name = rest.split(['/', ':']).next().unwrap_or_default();
        return complain(
            format!("`{text}` is an address of a page, not a host name"),
            &write(name),
        );
    }
    if let Some(name) = lower
        .split(['/', ':'])
        .next()
        .filter(|n| n.len() < lower.len())
    {
        return complain(format!("`{text}` is more than a host name"), &write(name));
    }
    if !lower.is_ascii() {
        let labels: Option<Vec<_>> = lower.split('.').map(punycode::label).collect();
        let hint = labels.map_or_else(String::new, |labels| write(&labels.join(".")));
        return complain(format!("`{text}` has letters outside ASCII"), &hint);
    }
    if lower.starts_with("*.") {
        return complain(
            format!("`{text}` stands for many hosts, which is not supported"),
            "list each name",
        );
    }
    if let Some(name) = lower.strip_suffix('.') {
        return complain(format!("`{text}` ends with a dot"), &write(name));
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if lower.len() > 253 || !lower.split('.').all(label) {
        let hint = if lower.contains('_') {
            "`_` is not allowed, `-` is"
        } else {
            ""
        };
        return complain(format!("`{text}` is not a host name"), hint);
    }
    // RFC 1123 tells names from addresses by the last label.
    if lower
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
    {
        return complain(
            format!("`{text}` is a number, not a host name"),
            "for a first try use a name below `localhost`",
        );
    }
    Ok(lower)
}

fn write(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!("write `{name}`")
    }
}

/// An e-mail address, roughly: the mail server knows better.
pub fn email(text: &str) -> Verdict<String> {
    let good = text.split_once('@').is_some_and(|(user, domain)| {
        !user.is_empty() && domain.contains('.') && host(domain).is_ok()
    });
    if good && !text.contains(char::is_whitespace) {
        return Ok(text.to_owned());
    }
    complain(
        format!("`{text}` is not an e-mail address"),
        "such as `ops@example.org`",
    )
}

/// An IANA time zone, in its own spelling.
pub fn timezone(text: &str) -> Verdict<String> {
    let zones = jiff::tz::TimeZoneDatabase::bundled();
    if let Ok(zone) = zones.get(text)
        && let Some(name) = zone.iana_name()
    {
        return Ok(name.to_owned());
    }
    let names: Vec<String> = zones.available().map(|name| name.to_string()).collect();
    let capital = text.replace(' ', "_");
    let city = names
        .iter()
        .find(|name| {
            name.rsplit('/')
                .next()
                .is_some_and(|city| city.eq_ignore_ascii_case(&capital))
        })
        .map(String::as_str);
    let hint =
        match city.or_else(|| crate::problem::nearest(text, names.iter().map(String::as_str))) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "such as `Europe/Paris` or `UTC`".to_owned(),
        };
    complain(format!("`{text}` is not a time zone"), &hint)
}

/// An address or a network, `10.0.0.0/8`, in its own spelling.
pub fn network(text: &str) -> Verdict<String> {
    let (address, length) = text
        .split_once('/')
        .map_or((text, None), |(a, l)| (a, Some(l)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return complain(
            format!("`{text}` is not an address or a network"),
            "such as `10.0.0.0/8`",
        );
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let good = length.is_none_or(|l| l.parse::<u8>().is_ok_and(|l| l <= longest));
    if good {
        return Ok(text.to_owned());
    }
    complain(format!("`{text}` has no such length: 0 to {longest}"), "")
}

/// A pool of IPv4 addresses for our networks, each of which takes a /26.
pub fn pool(text: &str) -> Verdict<String> {
    let parts = text.split_once('/');
    let Some((address, length)) = parts.and_then(|(address, length)| {
        Some((
            address.parse::<Ipv4Addr>().ok()?,
            length.parse::<u32>().ok()?,
        ))
    }) else {
        return complain(
            format!("`{text}` is not an IPv4 network"),
            "such as `10.210.0.0/16`",
        );
    };
    if !(8..=26).contains(&length) {
        return complain(
            format!("`{text}` does not fit: /8 to /26, a network takes a /26"),
            "",
        );
    }
    let mask = u32::MAX << (32 - length);
    let first = Ipv4Addr::from(u32::from(address) & mask);
    if first != address {
        return complain(
            format!("`{text}` does not start at a boundary"),
            &write(&format!("{first}/{length}")),
        );
    }
    Ok(text.to_owned())
}

/// An image tag.
pub fn tag(text: &str) -> Verdict<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=128).contains(&text.len()) && text.chars().all(good) && !text.starts_with(['.', '-']) {
        return Ok(text.to_owned());
    }
    complain(format!("`{text}` is not an image tag"), "such as `5.130.0`")
}

/// Whether a tag moves: `latest`, `stable-alpine`, a bare major such as `16` or `v2`.
#[must_use]
pub fn is_floating(tag: &str) -> bool {
    const MOVING: [&str; 10] = [
        "latest", "stable", "main", "master", "edge", "nightly", "release", "current", "lts",
        "rolling",
    ];
    let lower = tag.to_ascii_lowercase();
    let first = lower.split(['-', '_']).next().unwrap_or_default();
    let number = first.strip_prefix('v').unwrap_or(first);
    MOVING.contains(&first)
        || (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && number.len() < 6)
}

/// A variable's name.
pub fn variable(text: &str) -> Verdict<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.is_empty() && text.chars().all(good) && !text.starts_with(|c: char| c.is_ascii_digit())
    {
        return Ok(text.to_owned());
    }
    complain(
        format!("`{text}` is not a variable's name"),
        "letters, digits and `_`, no digit first",
    )
}

/// A URL with `http://` or `https://`.
pub fn url(text: &str) -> Verdict<String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':']))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if good {
        return Ok(text.to_owned());
    }
    let hint = if text.contains("://") {
        String::new()
    } else {
        format!("write `https://{text}`")
    };
    complain(format!("`{text}` is not a URL"), &hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_rfc_1123() {
        for good in [
            "example.org",
            "localhost",
            "a-b.1c.org",
            "xn--caf-dma.fr",
            "9gag.com",
        ] {
            assert_eq!(host(good).as_deref(), Ok(good));
        }
        assert_eq!(host("Blog.Example.ORG").unwrap(), "blog.example.org");
        for bad in [
            "", ".", "a..b", "-a.org", "a-.org", "a_b.org", "*.a.org", "10.0.0.1", "a.org.", "a b",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
        let hint = |text| host(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("café.fr"), "write `xn--caf-dma.fr`");
        assert_eq!(hint("bücher.example"), "write `xn--bcher-kva.example`");
        assert_eq!(hint("例え.jp"), "write `xn--r8jz45g.jp`");
        assert_eq!(hint("https://a.org/x"), "write `a.org`");
        assert_eq!(hint("a.org:8080"), "write `a.org`");
    }

    #[test]
    fn floating_tags_are_told_from_fixed_ones() {
        for floating in ["latest", "stable-alpine", "16", "v2", "8-alpine", "LTS"] {
            assert!(is_floating(floating), "{floating}");
        }
        for fixed in [
            "1.30.6",
            "31.0.8-apache",
            "2024.10",
            "20241001",
            "6.9.1-php8.3",
            "RELEASE.2024",
        ] {
            assert!(!is_floating(fixed), "{fixed}");
        }
    }

    #[test]
    fn pools_are_aligned() {
        assert!(pool("10.210.0.0/16").is_ok());
        assert_eq!(
            pool("10.210.1.0/16").unwrap_err().hint.unwrap(),
            "write `10.210.0.0/16`"
        );
        for bad in ["10.0.0.0", "10.0.0.0/27", "::/64", "10.0.0.0/0"] {
            assert!(pool(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zones_come_from_the_bundled_database() {
        assert_eq!(timezone("europe/paris").unwrap(), "Europe/Paris");
        assert_eq!(
            timezone("Paris").unwrap_err().hint.unwrap(),
            "did you mean `Europe/Paris`?"
        );
        assert_eq!(
            timezone("Europe/Pariss").unwrap_err().hint.unwrap(),
            "did you mean `Europe/Paris`?"
        );
    }

    #[test]
    fn names_suggest_what_would_do() {
        assert_eq!(
            name("My Blog").unwrap_err().hint.unwrap(),
            "write `my-blog`"
        );
        assert!(name("a").is_ok());
        assert!(name(&"a".repeat(41)).is_err());
        assert!(name("blog-").is_err());
    }
}
