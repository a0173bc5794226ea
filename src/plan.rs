//! The plan: what would change, where, and why; printable, and executed as it is printed.
//!
//! [`reconcile::plan`] compares [`desired::Desired`] with [`observed::Observed`]; both are data, so
//! the same two always give the same plan. `apply` executes it and decides nothing.

pub mod desired;
pub mod hash;
pub mod observed;
pub mod reconcile;
pub mod removal;
pub mod service;
pub mod subnets;

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::compose::Condition;
use crate::engine::{EndpointSpec, NetworkSpec};

/// Version of the JSON that [`Plan::to_json`] gives.
pub const SCHEMA_VERSION: u32 = 1;

/// Operations in an order in which they may be executed one by one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// What to do.
    pub operations: Vec<Operation>,
}

/// One effect, with its cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What it works on: `wordpress/app`, `network/summoner-acme-edge`, `proxy/routes`.
    pub target: String,
    /// The minion instance, or `proxy`; empty for what belongs to the project.
    pub minion: String,
    /// What to do.
    pub action: Action,
    /// Why: `not there`, `image wordpress:6.8.2 -> wordpress:6.8.3`.
    pub cause: String,
    /// What becomes of data, when that is a question.
    pub data: Option<String>,
    /// Who cannot be reached, and how long.
    pub interruption: Option<String>,
    /// Operations (by index) that must come before, and how far they must have come.
    pub after: Vec<(usize, Condition)>,
}

/// What to do. Containers are named by id, services by `minion/service` in the desired state.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make a network.
    CreateNetwork(NetworkSpec),
    /// Remove a network.
    RemoveNetwork {
        /// Its id.
        id: String,
    },
    /// Make a data folder with its owner.
    CreateFolder {
        /// Absolute path.
        path: PathBuf,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// Write the rendered files of a minion.
    WriteFiles,
    /// Pull an image.
    Pull {
        /// Reference.
        image: String,
    },
    /// Make and start the container of a service.
    Create,
    /// Put a new container in the place of an old one, which stays until the new one is healthy.
    Replace {
        /// Id of the container that works, or worked last.
        old: String,
        /// Whether the old one runs now.
        running: bool,
        /// Old and new may run side by side.
        overlap: bool,
        /// Failed or superseded attempts to take away first.
        discard: Vec<String>,
    },
    /// Finish a replacement that was cut off: wait for the new one, then remove the old.
    Finish {
        /// The new container.
        id: String,
        /// The one it replaces.
        previous: String,
    },
    /// Give a container its name back and start it: a replacement was cut off and is not wanted any more.
    Restore {
        /// The container.
        id: String,
    },
    /// Start a container that should run.
    Start {
        /// The container.
        id: String,
        /// Somebody paused it: it has to stop before it can start.
        paused: bool,
    },
    /// Give a container its own name back.
    Rename {
        /// The container.
        id: String,
    },
    /// Set limits and restart policy back to what config.yml says.
    Update {
        /// The container.
        id: String,
    },
    /// Join a container to a network it should be in.
    Connect {
        /// The container.
        id: String,
        /// Network name.
        network: String,
        /// How.
        endpoint: EndpointSpec,
        /// It is still joined to a network of that name that is no more: to be left first.
        stale: bool,
    },
    /// Stop and remove a container.
    Remove {
        /// The container.
        id: String,
        /// Seconds until it is killed.
        grace: u64,
    },
    /// Issue a certificate by the internal CA.
    Certificate {
        /// The site.
        site: String,
        /// Its host names.
        hosts: Vec<String>,
    },
    /// Put the user's own certificate files in place for a site.
    InstallCertificate {
        /// The site.
        site: String,
        /// Its host names.
        hosts: Vec<String>,
        /// Chain, PEM.
        certificate: PathBuf,
        /// Key, PEM.
        key: PathBuf,
    },
    /// Make a new internal CA.
    Authority {
        /// All names it must be able to certify.
        hosts: Vec<String>,
    },
    /// Check and switch to a new generation of the proxy's files.
    Routes,
    /// Make nginx read the generation that is already current.
    Reload,
    /// Delete the data of a minion for good.
    Purge {
        /// Folders, absolute.
        folders: Vec<PathBuf>,
    },
    /// Forget a removed minion: its rendered files.
    Forget,
}

impl Action {
    /// `+` adds, `~` changes, `-` removes.
    #[must_use]
    pub fn symbol(&self) -> char {
        match self {
            Self::CreateNetwork(_)
            | Self::CreateFolder { .. }
            | Self::Pull { .. }
            | Self::Create
            | Self::Authority { .. }
            | Self::InstallCertificate { .. }
            | Self::Certificate { .. } => '+',
            Self::RemoveNetwork { .. }
            | Self::Remove { .. }
            | Self::Purge { .. }
            | Self::Forget => '-',
            _ => '~',
        }
    }

    /// Whether a container runs afterwards that did not before.
    #[must_use]
    pub fn starts_a_container(&self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Replace { .. }
                | Self::Finish { .. }
                | Self::Restore { .. }
                | Self::Start { .. }
        )
    }

    /// The verb.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::CreateNetwork(_)
            | Self::CreateFolder { .. }
            | Self::Authority { .. }
            | Self::Create => "create",
            Self::RemoveNetwork { .. } | Self::Remove { .. } => "remove",
            Self::WriteFiles => "write",
            Self::Pull { .. } => "pull",
            Self::Replace { .. } => "recreate",
            Self::Finish { .. } => "finish",
            Self::Restore { .. } => "restore",
            Self::Start { .. } => "start",
            Self::Rename { .. } => "rename",
            Self::Update { .. } => "update",
            Self::Connect { .. } => "connect",
            Self::Certificate { .. } => "issue",
            Self::InstallCertificate { .. } => "install",
            Self::Routes => "switch",
            Self::Reload => "reload",
            Self::Purge { .. } => "delete",
            Self::Forget => "forget",
        }
    }
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many operations add, change and remove.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |c| {
            self.operations
                .iter()
                .filter(|o| o.action.symbol() == c)
                .count()
        };
        (count('+'), count('~'), count('-'))
    }

    /// The plan for people, a line an operation, what it costs indented below; without colours.
    #[must_use]
    pub fn to_text(&self) -> String {
        if self.is_empty() {
            return "nothing to do: everything is as config.yml says\n".to_owned();
        }
        let target = self
            .operations
            .iter()
            .map(|o| o.target.chars().count())
            .max()
            .unwrap_or(0);
        let verb = self
            .operations
            .iter()
            .map(|o| o.action.verb().len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for o in &self.operations {
            let _ = writeln!(
                text,
                "  {} {:target$}  {:verb$}  {}",
                o.action.symbol(),
                o.target,
                o.action.verb(),
                o.cause
            );
            let costs: Vec<String> = [
                o.data.as_ref().map(|d| format!("data: {d}")),
                o.interruption
                    .as_ref()
                    .map(|i| format!("interruption: {i}")),
            ]
            .into_iter()
            .flatten()
            .collect();
            if !costs.is_empty() {
                let _ = writeln!(text, "      {}", costs.join("; "));
            }
        }
        let (add, change, remove) = self.counts();
        let _ = writeln!(
            text,
            "plan: {add} to add, {change} to change, {remove} to remove"
        );
        text
    }

    /// The plan for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let operations: Vec<Value> = self
            .operations
            .iter()
            .map(|o| {
                json!({
                    "symbol": o.action.symbol().to_string(),
                    "target": o.target,
                    "minion": o.minion,
                    "action": o.action.verb(),
                    "cause": o.cause,
                    "data": o.data,
                    "interruption": o.interruption,
                })
            })
            .collect();
        json!({"schema_version": SCHEMA_VERSION, "changes": operations.len(), "operations": operations})
    }
}
