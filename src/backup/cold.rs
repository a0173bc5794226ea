//! Cold backups: containers stopped, volumes saved, containers back, with the shortest outage.

pub mod archive;
pub mod content;
mod node;
pub mod tree;

pub use self::node::{Remarks, TreeError};
