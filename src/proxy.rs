//! The proxy: routes become nginx files (pure); generations are switched with a receipt.

pub mod certificate;
pub mod container;
pub mod control;
pub mod generation;
pub mod internal_ca;
pub mod nginx;
pub mod switch;
mod validate;
mod versioned;

pub use validate::Refusal;

/// What one minion instance shows to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Instance name; the file is `sites/<name>.conf`.
    pub name: String,
    /// Host names, the first is the main one.
    pub hosts: Vec<String>,
    /// Where requests go: a name on the edge network and its port, `wordpress.internal:80`; several
    /// with blanks between them. While nobody has the name, Docker passes the question on to the
    /// machine's own DNS: it must be a name that nobody can register.
    pub upstream: String,
    /// Largest request body, bytes.
    pub max_body: u64,
    /// Pass uploads on as they come.
    pub stream_uploads: bool,
    /// Paths of long-lived connections.
    pub websocket_paths: Vec<String>,
    /// Sign-in paths.
    pub auth_paths: Vec<String>,
    /// How the site is reached.
    pub tls: SiteTls,
}

/// How a site is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiteTls {
    /// HTTPS with a certificate that browsers do not trust by themselves: no HSTS.
    Untrusted,
    /// HTTPS with a publicly trusted certificate.
    Trusted,
    /// Plain HTTP behind another balancer.
    Off,
}

/// Everything a generation is rendered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// HTTP port on the host (in the container it is 80).
    pub http_port: u16,
    /// HTTPS port on the host (in the container it is 443).
    pub https_port: u16,
    /// Networks whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<String>,
    /// Listen on IPv6 too.
    pub ipv6: bool,
}

/// Paths inside the proxy container.
pub mod paths {
    /// Generations, read-only: `gen-N/`, `current`.
    pub const CONFIG: &str = "/etc/summoner/proxy";
    /// Certificates, read-only: `<site>/current/{fullchain,privkey}.pem`.
    pub const CERTIFICATES: &str = "/etc/summoner/certs";
    /// Answers to ACME challenges, read-only.
    pub const WEBROOT: &str = "/var/lib/summoner/webroot";
    /// Control socket `ctl.sock` and pid file.
    pub const RUN: &str = "/run/summoner";
}
