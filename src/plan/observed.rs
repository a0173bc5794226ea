//! What is: read once, before the plan is made, and never again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use crate::engine::{Container, Image, Network};
use crate::state::State;

/// The world as it was when it was looked at.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Containers of this project (same root), one-off ones left out.
    pub containers: Vec<Container>,
    /// Names of containers that others own, and who: another project root, or nobody we know.
    pub foreign: BTreeMap<String, String>,
    /// Id and name of our own short-lived helpers (a check of nginx's files, a change of a folder).
    /// With the lock in hand, one that is there was left by a run that was cut off.
    pub helpers: Vec<(String, String)>,
    /// Networks of the engine.
    pub networks: Vec<Network>,
    /// Ids of those that are this project's.
    pub own_networks: BTreeSet<String>,
    /// Images that are there.
    pub images: Vec<Image>,
    /// Stand-in images whose registry answered: the real one can be had there.
    pub offered: BTreeSet<String>,
    /// Subnets the host already routes somewhere, CIDR.
    pub routes: Vec<String>,
    /// Data folders that exist, and whether they hold anything.
    pub folders: BTreeMap<PathBuf, FolderState>,
    /// Rendered files that are on disk, `instance -> path below build/<instance>/ -> content and mode`.
    pub files: BTreeMap<String, BTreeMap<PathBuf, (Vec<u8>, u32)>>,
    /// What the running services were made of: `instance -> service -> canonical`.
    pub applied: BTreeMap<String, BTreeMap<String, Value>>,
    /// The proxy's current generation.
    pub generation: Option<Generation>,
    /// Why the internal CA must be made anew, if it must.
    pub authority: Option<String>,
    /// Certificates that must be issued, and why: `site -> cause`.
    pub certificates: BTreeMap<String, String>,
    /// What we remember.
    pub state: State,
    /// Instances with rendered files on disk.
    pub built: BTreeSet<String>,
}

/// State of a data folder that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderState {
    /// There, with nothing in it.
    Empty,
    /// There, with something in it.
    Filled,
}

/// The proxy's generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Number of `current`.
    pub number: u64,
    /// Content hash of `current`.
    pub hash: String,
    /// Number the running nginx answers, if it answers.
    pub live: Option<u64>,
}

impl Observed {
    /// Whether a network is this project's.
    #[must_use]
    pub fn owns(&self, network: &Network) -> bool {
        self.own_networks.contains(&network.id)
    }

    /// Whether a reference has to be pulled: it is not there, or a stand-in is in its place that it can
    /// be had instead of.
    #[must_use]
    pub fn lacks(&self, reference: &str) -> bool {
        self.image(reference).is_none() || self.offered.contains(reference)
    }

    /// The image of a reference.
    #[must_use]
    pub fn image(&self, reference: &str) -> Option<&Image> {
        self.images
            .iter()
            .find(|i| i.tags.iter().any(|t| t == reference))
    }
}
