//! The main job on the real engine: config.yml becomes a running, reachable toolbox, and stays one.

mod engine_support;

mod main_job {
    pub mod catalogue;
    pub mod down;
    pub mod example;
    pub mod proxy;
    pub mod secrets;
    pub mod updates;
    pub mod verbs;
}
