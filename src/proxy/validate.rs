//! Every value that enters a file of the proxy is checked here first: nginx has no quoting that
//! would make an arbitrary text harmless.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::{Settings, Site};

/// A value that may not enter a file of the proxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Site it belongs to; `None` for the settings of the proxy.
    pub site: Option<String>,
    /// What it is: `host name`, `upstream`, `websocket path`, ….
    pub what: &'static str,
    /// The value itself.
    pub value: String,
    /// Why, fit for `… is refused: {why}`.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Some(site) => write!(f, "site `{}`: ", printable(site))?,
            None => f.write_str("proxy: ")?,
        }
        let (what, value, why) = (self.what, printable(&self.value), &self.why);
        write!(f, "the {what} `{value}` is refused: {why}")
    }
}

/// Control characters escaped, length bounded: a refused value may be anything.
fn printable(value: &str) -> String {
    let mut text: String = value
        .chars()
        .take(80)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().count() > 80 {
        text.push('…');
    }
    text
}

/// Characters that end a value or begin something else in a file of nginx.
const SPECIAL: &[char] = &[';', '{', '}', '"', '\'', '$', '\\', '#', '`', '<', '>'];

/// Why `value` could break out of its place, if it could.
pub(super) fn special(value: &str) -> Option<String> {
    if let Some(c) = value.chars().find(|c| SPECIAL.contains(c)) {
        return Some(format!("it contains `{c}`"));
    }
    value
        .chars()
        .find(|c| c.is_control() || c.is_whitespace() || !c.is_ascii())
        .map(|c| match c {
            ' ' => "it contains a blank".to_owned(),
            other => format!("it contains the character {}", other.escape_unicode()),
        })
}

/// Checks the settings of the proxy and all sites, alone and against each other.
pub(super) fn refusals(settings: &Settings, sites: &[Site]) -> Vec<Refusal> {
    let mut found = Vec::new();
    check_settings(settings, &mut found);
    for site in sites {
        check_site(site, &mut found);
    }
    check_together(sites, &mut found);
    found
}

fn check_settings(settings: &Settings, found: &mut Vec<Refusal>) {
    let mut refuse = |what, value: &str, why: &str| {
        found.push(Refusal {
            site: None,
            what,
            value: value.to_owned(),
            why: why.to_owned(),
        });
    };
    for network in &settings.trusted_proxies {
        if !is_network(network) {
            refuse(
                "trusted proxy",
                network,
                "it is no address and no network such as `10.0.0.0/8`",
            );
        }
    }
    for (what, port) in [
        ("HTTP port", settings.http_port),
        ("HTTPS port", settings.https_port),
    ] {
        if port == 0 {
            refuse(what, "0", "ports begin at 1");
        }
    }
    if settings.http_port == settings.https_port {
        refuse(
            "HTTPS port",
            &settings.https_port.to_string(),
            "it is the HTTP port too",
        );
    }
}

fn check_site(site: &Site, found: &mut Vec<Refusal>) {
    let mut refuse = |what, value: &str, why: String| {
        found.push(Refusal {
            site: Some(site.name.clone()),
            what,
            value: value.to_owned(),
            why,
        });
    };
    if let Err(why) = file_name(&site.name) {
        refuse("site name", &site.name, why);
    }
    if site.hosts.is_empty() {
        refuse("list of host names", "", "it is empty".to_owned());
    }
    for host in &site.hosts {
        if let Err(why) = host_name(host) {
            refuse("host name", host, why);
        }
    }
    if site.upstream.split(' ').all(str::is_empty) {
        refuse("upstream", &site.upstream, "it is empty".to_owned());
    }
    for server in site.upstream.split(' ').filter(|s| !s.is_empty()) {
        if let Err(why) = upstream(server) {
            refuse("upstream", server, why);
        }
    }
    // 0 would switch the limit off in nginx, and its numbers have a sign.
    if site.max_body == 0 || i64::try_from(site.max_body).is_err() {
        let why = format!("it is not between 1 and {}", i64::MAX);
        refuse("largest request body", &site.max_body.to_string(), why);
    }
    for (what, paths) in [
        ("websocket path", &site.websocket_paths),
        ("sign-in path", &site.auth_paths),
    ] {
        for value in paths {
            if let Err(why) = path(value) {
                refuse(what, value, why);
            }
        }
    }
}

/// nginx only warns when two servers claim a name, and gives it to the first.
fn check_together(sites: &[Site], found: &mut Vec<Refusal>) {
    let mut names = BTreeMap::new();
    let mut hosts = BTreeMap::new();
    for site in sites {
        let mut refuse = |what, value: &str, other: &str| {
            let why = format!("site `{}` has it already", printable(other));
            found.push(Refusal {
                site: Some(site.name.clone()),
                what,
                value: value.to_owned(),
                why,
            });
        };
        if let Some(other) = names.insert(&site.name, &site.name) {
            refuse("site name", &site.name, other);
        }
        for host in &site.hosts {
            if let Some(other) = hosts.insert(host, &site.name) {
                refuse("host name", host, other);
            }
        }
    }
}

/// Becomes a file name, the name of an upstream and a word of the waiting page.
fn file_name(name: &str) -> Result<(), String> {
    only(name, "-_.", 64)?;
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err("it begins with neither a letter nor a digit".to_owned())
    }
}

/// A DNS name in lower case; its first label may be `*`.
pub(super) fn host_name(host: &str) -> Result<(), String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    only(name, "-.", 253)?;
    if name.contains(|c: char| c.is_ascii_uppercase()) {
        return Err("host names are written in lower case".to_owned());
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("between its dots are 1 to 63 characters".to_owned());
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("none of its parts begins or ends with `-`".to_owned());
        }
    }
    // Also keeps addresses out: a handshake never names one.
    if name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err("it ends in a number, as no DNS name does".to_owned());
    }
    Ok(())
}

/// `name:port`, the name as Docker's DNS knows it.
fn upstream(server: &str) -> Result<(), String> {
    let (name, port) = server
        .rsplit_once(':')
        .ok_or("it lacks a port, as in `blog:80`")?;
    only(name, "-_.", 253)?;
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("its name begins with neither a letter nor a digit".to_owned());
    }
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    if !digits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("its port is not between 1 and 65535".to_owned());
    }
    Ok(())
}

/// A literal path prefix.
fn path(value: &str) -> Result<(), String> {
    only(value, "-_.~/", 255)?;
    if !value.starts_with('/') {
        return Err("it does not begin with `/`".to_owned());
    }
    // nginx compares with the path after resolving these: such a prefix would never match.
    if value.contains("//") || value.split('/').any(|part| part == "." || part == "..") {
        return Err("it contains `//`, `/.` or `/..`".to_owned());
    }
    if value.starts_with("/.well-known/acme-challenge") {
        return Err("certificates are requested through it".to_owned());
    }
    Ok(())
}

/// 1 to `most` letters, digits and characters of `others`.
fn only(value: &str, others: &str, most: usize) -> Result<(), String> {
    if let Some(why) = special(value) {
        return Err(why);
    }
    if value.is_empty() || value.len() > most {
        return Err(format!("it does not have 1 to {most} characters"));
    }
    match value
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !others.contains(*c))
    {
        Some(c) => Err(format!("it contains `{c}`")),
        None => Ok(()),
    }
}

fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| {
        bits.bytes().all(|b| b.is_ascii_digit())
            && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for good in [
            "localhost",
            "blog.localhost",
            "a.org",
            "*.a.org",
            "xn--bcher-kva.example",
            "1.a",
        ] {
            assert_eq!(host_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "", ".", "a..b", "-a.org", "a-.org", "A.org", "a.org;", "a b", "*", "*.", "a.*.b",
            "10.0.0.1", "a_b.org", "ä.org", &long,
        ] {
            assert!(host_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn upstreams() {
        for good in ["blog:80", "blog-example.org:8080", "blog.r7:1"] {
            assert_eq!(upstream(good), Ok(()), "{good}");
        }
        for bad in [
            "blog",
            "blog:",
            "blog:0",
            "blog:65536",
            "blog:+80",
            ":80",
            "b;log:80",
            "a:80 resolve",
            "unix:/run/x",
        ] {
            assert!(upstream(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        for good in ["/", "/wp-login.php", "/socket.io/", "/a/.b~c"] {
            assert_eq!(path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "/a b",
            "/a;",
            "/$x",
            "/a//b",
            "/a/../b",
            "/%2e",
            "/.well-known/acme-challenge/",
            "/a\nb",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks() {
        for good in ["10.0.0.0/8", "192.168.1.7", "::1", "fd00::/8", "0.0.0.0/0"] {
            assert!(is_network(good), "{good}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "host",
            "10.0.0.1; ",
            "::/129",
        ] {
            assert!(!is_network(bad), "{bad}");
        }
    }

    #[test]
    fn a_refusal_names_site_value_and_reason_and_prints_nothing_raw() {
        let refusal = Refusal {
            site: Some("blog".into()),
            what: "host name",
            value: "a\n;".into(),
            why: special("a\n;").unwrap(),
        };
        assert_eq!(
            refusal.to_string(),
            "site `blog`: the host name `a\\n;` is refused: it contains `;`"
        );
    }
}
