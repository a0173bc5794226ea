//! Restores, drills and rebuilds of real databases.

mod engine_restore_cases;
mod engine_support;
mod restore_support;
