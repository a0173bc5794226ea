//! `proxy:`.

use super::environment::{Proxy, Tls};
use super::names::{accept, network, url};
use super::paths;
use super::source::Sources;
use crate::yaml::{Field, Value};

impl Proxy {
    /// The nginx that Summoner's configuration is written and tested for.
    pub const IMAGE: &'static str = "nginx:1.30.6";
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            http_port: 80,
            https_port: 443,
            tls: Tls::Auto,
            trusted_proxies: Vec::new(),
            image: Self::IMAGE.to_owned(),
        }
    }
}

pub(super) const MODES: [&str; 5] = ["auto", "letsencrypt", "staging", "internal", "off"];

pub(super) fn resolve(field: Option<&Field<'_>>, sources: &Sources<'_>) -> Proxy {
    let mut proxy = Proxy::default();
    let Some(field) = field else { return proxy };
    let mut map = field.map();
    let (http, https) = (map.get("http_port"), map.get("https_port"));
    let read = |field: &Option<Field<'_>>, default| match field {
        Some(field) => field.port(),
        None => Some(default),
    };
    if let (Some(http_port), Some(https_port)) = (read(&http, 80), read(&https, 443)) {
        if let Some(place) = https.or(http).filter(|_| http_port == https_port) {
            place.fail(format!("`http_port` and `https_port` are both {http_port}"));
        }
        (proxy.http_port, proxy.https_port) = (http_port, https_port);
    }
    if let Some(tls) = map.get("tls").and_then(|field| tls(&field, sources)) {
        proxy.tls = tls;
    }
    for item in map.list("trusted_proxies") {
        let checked = item.string().and_then(|text| accept(&item, network(&text)));
        proxy.trusted_proxies.extend(checked);
    }
    if let Some(image) = map.get("image")
        && let Some(text) = image.string()
    {
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            image.fail_with(
                format!("`{text}` is not an image"),
                format!("such as `{}`", Proxy::IMAGE),
            );
        } else {
            proxy.image = text;
        }
    }
    map.finish();
    proxy
}

fn tls(field: &Field<'_>, sources: &Sources<'_>) -> Option<Tls> {
    let Value::Mapping(_) = field.value() else {
        // YAML 1.1 taught people that `off` is a boolean; both mean the same here.
        if field.value() == &Value::Bool(false) {
            return Some(Tls::Off);
        }
        return Some(match field.choice(&MODES)? {
            "letsencrypt" => Tls::LetsEncrypt,
            "staging" => Tls::Staging,
            "internal" => Tls::Internal,
            "off" => Tls::Off,
            _ => Tls::Auto,
        });
    };
    let mut map = field.map();
    let path = |field: Field<'_>| paths::absolute(&field, sources.root, sources.lookup);
    let tls = match map.exactly_one(&["files", "acme"]) {
        Some("files") => map.map("files").and_then(|mut files| {
            let certificate = files.require("certificate").and_then(path);
            let key = files.require("key").and_then(path);
            files.finish();
            Some(Tls::Files {
                certificate: certificate?,
                key: key?,
            })
        }),
        Some(_) => map.map("acme").and_then(|mut acme| {
            let directory = acme.require("directory");
            let directory = directory.and_then(|field| accept(&field, url(&field.string()?)));
            let ca_file = acme.get("ca_file").and_then(path);
            acme.finish();
            Some(Tls::Acme {
                directory: directory?,
                ca_file,
            })
        }),
        None => None,
    };
    map.finish();
    tls
}
