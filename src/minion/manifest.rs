//! `minion.yml`: what a minion is, needs, exposes and keeps.

use std::collections::BTreeMap;

pub use super::reading::parse;
pub use crate::database::DatabaseEngine;

/// A validated `minion.yml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Name of the folder.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// One line.
    pub summary: String,
    /// `storage`, `publishing`, `organise`, `talk`, `code`, `quality`, `logs`, `monitor`, `business`, `data`, `network`.
    pub category: String,
    /// Its home page.
    pub website: String,
    /// Default image tag.
    pub version: String,
    /// What the machine must offer.
    pub requires: Requires,
    /// Parameters by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// What is reachable through the proxy.
    pub expose: Vec<Expose>,
    /// Databases.
    pub databases: Vec<Database>,
    /// Application volumes.
    pub volumes: Vec<Volume>,
    /// SQL (or Mongo) statements that must be true after a restore.
    pub asserts: Vec<String>,
    /// What to run before and after a backup.
    pub quiesce: Option<Quiesce>,
    /// Majors that must not be skipped, in order.
    pub upgrade_stops: Vec<String>,
    /// A word for the user after `up`; a template.
    pub notes: Option<String>,
}

/// What the machine must offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requires {
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub disk: u64,
    /// Kernel settings: name -> at least this number (or exactly this text).
    pub sysctl: BTreeMap<String, String>,
    /// Only works over HTTPS with a certificate browsers trust.
    pub https: bool,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its type.
    pub kind: ParameterKind,
    /// Value when the user gives none.
    pub default: Option<serde_json::Value>,
    /// May be left out without a default: the template then sees `none`.
    pub optional: bool,
    /// For people.
    pub description: Option<String>,
}

/// Type of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterKind {
    /// Text.
    String,
    /// Whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Generated once with so many characters unless given.
    Secret {
        /// Characters.
        length: usize,
    },
    /// One of these.
    Choice(Vec<String>),
}

/// A service reachable through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// Service of the template.
    pub service: String,
    /// Port it listens on.
    pub port: u16,
    /// Path that answers below 400 when it works; default `/`.
    pub health: String,
    /// Largest request body, bytes; `None` = the proxy's default of 64 MiB.
    pub max_body: Option<u64>,
    /// Pass uploads on as they come instead of collecting them first.
    pub stream_uploads: bool,
    /// Paths of long-lived connections.
    pub websocket_paths: Vec<String>,
    /// Sign-in paths, limited more strictly.
    pub auth_paths: Vec<String>,
    /// Stateless: an update may run old and new side by side.
    pub overlap: bool,
}

/// A database of a minion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Service of the template.
    pub service: String,
    /// Engine.
    pub engine: DatabaseEngine,
    /// Name of the database.
    pub name: String,
    /// The application's user.
    pub user: String,
    /// Parameter that holds its password.
    pub password: Option<String>,
    /// Who may dump everything: user and the parameter of the password.
    pub admin: Option<(String, String)>,
    /// Owner of the data directory.
    pub uid: u32,
    /// Group of the data directory.
    pub gid: u32,
    /// Mode of the data directory.
    pub mode: u32,
}

/// A volume of application data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Folder below `vsroot/<instance>/`.
    pub name: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Commands around a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiesce {
    /// Service they run in.
    pub service: String,
    /// argv before.
    pub before: Vec<String>,
    /// argv after.
    pub after: Vec<String>,
}
