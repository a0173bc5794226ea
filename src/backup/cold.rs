//! Cold backups: containers stopped, volumes saved, containers back, with the shortest outage.

pub mod archive;
pub mod content;
pub mod guard;
pub mod journal;
mod node;
pub mod revive;
pub mod run;
mod services;
pub mod staging;
pub mod tree;
pub mod volume;
mod way;

pub use self::node::{Remarks, TreeError};
