//! Sites become the files of nginx: pure, strict, and every value checked twice.
//!
//! [`super::validate`] checks what each value means and answers in the user's words. The template
//! engine's formatter then refuses, whatever the value is, the characters by which one could leave
//! its place: a field that a later change forgets to validate fails here instead of being written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, context};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::validate::{self, Refusal};
use super::{Settings, Site, SiteTls, paths};

/// Files of a generation by their path in it: `nginx.conf`, `sites/<name>.conf`, and what the
/// caller adds (nginx reads only those two kinds).
pub type Files = BTreeMap<String, String>;

/// Why nothing was rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Values that may not enter the files; never empty.
    #[error("{}", lines(.0))]
    Refused(Vec<Refusal>),
    /// A template is broken, or printed a value that nobody had checked.
    #[error("failed to render `{file}` of the proxy: {reason}")]
    Template {
        /// The file that was being rendered.
        file: String,
        /// What the template engine says.
        reason: String,
    },
}

fn lines(refusals: &[Refusal]) -> String {
    refusals
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A `location` of a site.
#[derive(Debug, Serialize)]
struct Location<'a> {
    path: &'a str,
    auth: bool,
    websocket: bool,
}

/// Renders `nginx.conf` and a file for each site. Every refused value is reported, not only the first.
pub fn render(settings: &Settings, sites: &[Site]) -> Result<Files, RenderError> {
    let refusals = validate::refusals(settings, sites);
    if !refusals.is_empty() {
        return Err(RenderError::Refused(refusals));
    }
    let templates = templates().map_err(|error| RenderError::Template {
        file: "nginx.conf".to_owned(),
        reason: error.to_string(),
    })?;
    let http = listeners(settings, 80, settings.http_port);
    let https = listeners(settings, 443, settings.https_port);
    let mut files = Files::new();
    let main = context! {
        run => paths::RUN,
        webroot => paths::WEBROOT,
        trusted => minijinja::value::Serde(&settings.trusted_proxies),
        http => minijinja::value::Serde(&http),
        https => minijinja::value::Serde(&https),
    };
    files.insert(
        "nginx.conf".to_owned(),
        render_one(&templates, "nginx.conf", "nginx.conf", main)?,
    );
    for site in sites {
        let name = format!("sites/{}.conf", site.name);
        let text = render_one(
            &templates,
            "site.conf",
            &name,
            site_context(settings, site, &http, &https),
        )?;
        files.insert(name, text);
    }
    Ok(files)
}

/// SHA-256 over names and contents, in hexadecimal: two generations of one hash run alike.
#[must_use]
pub fn content_hash(files: &Files) -> String {
    let mut hash = Sha256::new();
    for (name, content) in files {
        // Lengths first: no two different sets of files feed the same bytes.
        hash.update(format!("{} {}\n{name}{content}", name.len(), content.len()));
    }
    hash.finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn site_context(
    settings: &Settings,
    site: &Site,
    http: &[String],
    https: &[String],
) -> minijinja::Value {
    let redirect_port = match settings.https_port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let tls = match site.tls {
        SiteTls::Untrusted => "untrusted",
        SiteTls::Trusted => "trusted",
        SiteTls::Off => "off",
    };
    let servers: Vec<_> = site.upstream.split(' ').filter(|s| !s.is_empty()).collect();
    context! {
        name => &site.name,
        hosts => minijinja::value::Serde(&site.hosts),
        servers => minijinja::value::Serde(&servers),
        max_body => site.max_body,
        stream_uploads => site.stream_uploads,
        locations => minijinja::value::Serde(&locations(site)),
        tls => tls,
        redirect_port => redirect_port,
        webroot => paths::WEBROOT,
        certificates => paths::CERTIFICATES,
        http => minijinja::value::Serde(http),
        https => minijinja::value::Serde(https),
    }
}

/// One location a path, `/` always among them: nginx refuses the same path twice.
fn locations(site: &Site) -> Vec<Location<'_>> {
    let all = site
        .auth_paths
        .iter()
        .chain(&site.websocket_paths)
        .map(String::as_str);
    let paths: BTreeSet<&str> = all.chain(["/"]).collect();
    paths
        .into_iter()
        .map(|path| Location {
            path,
            auth: site.auth_paths.iter().any(|p| p == path),
            websocket: site.websocket_paths.iter().any(|p| p == path),
        })
        .collect()
}

/// Addresses to listen on. Beside the container's own port stands the one that is published on the
/// host, if it is another: an application that opens its own URL comes from the inside.
fn listeners(settings: &Settings, own: u16, published: u16) -> Vec<String> {
    let mut ports = vec![own];
    if ![80, 443].contains(&published) {
        ports.push(published);
    }
    let mut addresses = Vec::new();
    for port in ports {
        addresses.push(port.to_string());
        if settings.ipv6 {
            addresses.push(format!("[::]:{port}"));
        }
    }
    addresses
}

fn templates() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()?,
    );
    // Makes what a macro returns "safe": text of the template, each of its values seen below.
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("nginx".into()));
    environment.set_formatter(|out, _, value| {
        let text = value.to_string();
        if value.is_undefined() {
            return Err(ErrorKind::UndefinedError.into());
        }
        if let Some(why) = validate::special(&text).filter(|_| !value.is_safe()) {
            let message = format!("a value that nobody checked: {why}");
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
        }
        Ok(out.write_str(&text)?)
    });
    Ok(environment)
}

fn render_one(
    environment: &Environment<'static>,
    template: &str,
    file: &str,
    values: minijinja::Value,
) -> Result<String, RenderError> {
    let source = match template {
        "nginx.conf" => include_str!("../../templates/proxy/nginx.conf.j2"),
        _ => include_str!("../../templates/proxy/site.conf.j2"),
    };
    environment
        .template_from_str(source)
        .and_then(|template| template.render(values))
        .map_err(|error| RenderError::Template {
            file: file.to_owned(),
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second door: what no validation has seen stops here.
    #[test]
    fn a_value_that_could_leave_its_place_is_not_printed() {
        let templates = templates().unwrap();
        let render = |value: &str| {
            let source = "{% macro m() %}listen {{ value }};{% endmacro %}{{ m() }}";
            templates.render_str(source, context! { value => value })
        };
        assert_eq!(render("[::]:80").unwrap(), "listen [::]:80;");
        for bad in [
            "80;", "a b", "a\nb", "$host", "{", "}", "\"", "'", "\\", "#", "`", "<b>", "ä", "\0",
        ] {
            assert!(
                render(bad)
                    .unwrap_err()
                    .to_string()
                    .contains("nobody checked"),
                "{bad:?}"
            );
        }
        assert!(templates.render_str("{{ absent }}", ()).is_err());
    }

    #[test]
    fn a_path_that_is_both_has_one_location() {
        let site = Site {
            name: "chat".into(),
            hosts: vec!["chat.a.org".into()],
            upstream: "chat:80".into(),
            max_body: 1,
            stream_uploads: false,
            websocket_paths: vec!["/".into(), "/api".into()],
            auth_paths: vec!["/api".into(), "/api".into()],
            tls: SiteTls::Off,
        };
        let found: Vec<_> = locations(&site)
            .into_iter()
            .map(|l| (l.path, l.auth, l.websocket))
            .collect();
        assert_eq!(found, [("/", false, true), ("/api", true, true)]);
    }

    #[test]
    fn the_published_port_is_listened_to_on_the_inside_too() {
        let mut settings = Settings {
            http_port: 80,
            https_port: 443,
            trusted_proxies: Vec::new(),
            ipv6: false,
        };
        assert_eq!(listeners(&settings, 443, settings.https_port), ["443"]);
        settings.https_port = 8443;
        settings.ipv6 = true;
        assert_eq!(
            listeners(&settings, 443, settings.https_port),
            ["443", "[::]:443", "8443", "[::]:8443"]
        );
        // The other one's port is the other one's.
        assert_eq!(listeners(&settings, 443, 80), ["443", "[::]:443"]);
    }
}
