//! What goes wrong on a real engine, and what is said and kept then: exact exit codes, the words
//! that matter, the next thing to type; and that nothing else came to harm.

mod engine_support;
mod registry_support;

mod engine_failures_cases {
    pub mod absent;
    pub mod broken;
    pub mod common;
    pub mod drift;
    pub mod gate;
    pub mod interrupted;
    pub mod killed;
    pub mod killed_lines;
    pub mod owners;
    pub mod ports;
    pub mod removal;
    pub mod secrets;
    pub mod stand_ins;
    pub mod state;
    pub mod talk;
    pub mod updates;
}
