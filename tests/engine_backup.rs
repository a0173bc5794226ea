//! `summoner backup` on the real engine: outages, kills at every step, what was stopped before.

mod engine_support;
mod tree_support;

#[path = "engine_backup_cases/common.rs"]
mod common;
#[path = "engine_backup_cases/killed.rs"]
mod killed;
#[path = "engine_backup_cases/methods.rs"]
mod methods;
#[path = "engine_backup_cases/outage.rs"]
mod outage;
