//! Snapshots of what minions keep: made, listed, checked, thinned out, brought back.
//!
//! A **dump** is hot and logical, made by the database's own tool inside its container. A **backup**
//! is cold and physical: containers stopped, volumes saved, containers back. Both make a
//! **snapshot** in a **destination**. Its manifest is written last: without it the snapshot does
//! not exist. A **drill** restores a snapshot into a throwaway container and checks it.

pub mod catalog;
pub mod cold;
pub mod definition;
pub mod destination;
pub mod discover;
pub mod drill;
pub mod dump;
pub mod encryption;
pub mod error;
pub mod manifest;
pub mod pin;
mod pipeline;
pub mod prune;
pub mod reader;
pub mod rebuild;
pub mod redact;
pub mod restore;
pub mod retention;
pub mod scratch;
pub mod source;
pub mod swap;
pub mod verify;
pub mod writer;
