//! Short forms of `ports:` and `expose:`.

use super::Port;

/// What is wrong with a short form: message and hint.
pub type Wrong = (String, String);

/// `[ADDRESS:]HOST:CONTAINER[/PROTOCOL]`; ranges give one port each.
pub fn parse(text: &str) -> Result<Vec<Port>, Wrong> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol_name(protocol)?;
    let Some((head, container)) = text.rsplit_once(':') else {
        return Err(no_host_port());
    };
    let (address, host) = match head.rsplit_once(':') {
        Some((address, host)) => (bare_address(address)?, host),
        None => (String::new(), head),
    };
    if host.is_empty() {
        return Err(no_host_port());
    }
    let (host, container) = (range(host)?, range(container)?);
    if host.len() != container.len() {
        return Err((
            format!(
                "{} ports of the host for {} of the container",
                host.len(),
                container.len()
            ),
            "give both ranges the same length".to_owned(),
        ));
    }
    Ok(host
        .zip(container)
        .map(|(host, container)| Port {
            address: address.clone(),
            host,
            container,
            protocol: protocol.clone(),
        })
        .collect())
}

/// The protocol in lower case.
pub fn protocol_name(text: &str) -> Result<String, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        protocol @ ("tcp" | "udp") => Ok(protocol.to_owned()),
        _ => Err(("not a protocol".to_owned(), "`tcp` or `udp`".to_owned())),
    }
}

/// An address without the brackets of IPv6.
pub fn bare_address(text: &str) -> Result<String, Wrong> {
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse::<std::net::IpAddr>()
        .map(|address| address.to_string())
        .map_err(|_| {
            (
                "not an IP address".to_owned(),
                "`127.0.0.1:8080:80`, `[::1]:8080:80`".to_owned(),
            )
        })
}

/// `8080` or `8080-8090`.
pub fn range(text: &str) -> Result<std::ops::RangeInclusive<u16>, Wrong> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err((
            "not a port".to_owned(),
            "a number from 1 to 65535, or a range `3000-3005`".to_owned(),
        )),
    }
}

fn no_host_port() -> Wrong {
    (
        "no port of the host given".to_owned(),
        "give both, such as `8080:80`; a port chosen by the engine is not supported".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(ports) => ports
                .iter()
                .map(|p| format!("{}|{}|{}|{}", p.address, p.host, p.container, p.protocol))
                .collect::<Vec<_>>()
                .join(" "),
            Err((message, _)) => message,
        }
    }

    #[test]
    fn short_forms() {
        for (text, expected) in [
            ("8080:80", "|8080|80|tcp"),
            ("8080:80/udp", "|8080|80|udp"),
            ("8080:80/TCP", "|8080|80|tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1|8080|80|tcp"),
            ("[::1]:8080:80", "::1|8080|80|tcp"),
            ("::1:8080:80", "::1|8080|80|tcp"),
            ("3000-3001:4000-4001", "|3000|4000|tcp |3001|4001|tcp"),
            ("80", "no port of the host given"),
            ("127.0.0.1::80", "no port of the host given"),
            ("3000-3002:80", "3 ports of the host for 1 of the container"),
            ("0:80", "not a port"),
            ("8080:99999", "not a port"),
            ("5-3:80", "not a port"),
            ("host:80:80", "not an IP address"),
            ("80:80/sctp", "not a protocol"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
