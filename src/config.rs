//! `config.yml`: what the user said becomes an [`Environment`], or every problem at once.

pub mod environment;
pub mod file;
pub mod resolve;

pub use environment::Environment;
