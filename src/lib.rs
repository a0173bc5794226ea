//! Summoner: one `config.yml` becomes a team's self-hosted toolbox, and keeps it safe.
//!
//! The modules stand in reading order. A module uses only what stands above it
//! (`tests/tidy.rs` checks the arrows); ARCHITECTURE.md tells why.

// What everything else may use: what went wrong, what is going on, files, YAML, secrets, time.
pub mod clock;
pub mod events;
pub mod files;
pub mod problem;
pub mod secret;
pub mod yaml;

// What the user's files speak of: services, kinds of databases, places for snapshots.
pub mod compose;
pub mod database;
pub mod storage;

// What the user said, and what it means.
pub mod config;
pub mod minion;
pub mod render;

// The engine's door, the state we keep, the proxy: what the plan speaks of.
pub mod engine;
pub mod proxy;
pub mod state;

// What shall be, what is, and the difference.
pub mod plan;

// From config.yml to what shall be, and the look at what is.
pub mod project;

// The only place that changes what runs.
pub mod apply;

// Snapshots: made, kept, checked, and brought back.
pub mod backup;

// What the user sees.
pub mod report;

// What the user types.
pub mod cli;
pub mod commands;
