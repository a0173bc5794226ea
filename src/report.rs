//! Stub until the engine helper's report lands.
use anyhow::Result;
use crate::cli::Color;
use crate::events::{Event, Events};
/// Prints.
pub struct Report;
#[allow(missing_docs, clippy::all, clippy::pedantic)]
impl Report {
    pub fn new(_: Color) -> Self { Self }
    pub fn data(&self, t: &str) { print!("{t}"); }
    pub fn plan(&self, t: &str) { print!("{t}"); }
    pub fn line(&self, t: &str) { println!("{t}"); }
    pub fn note(&self, t: &str) { eprintln!("{t}"); }
    pub fn warn(&self, t: &str) { eprintln!("warning: {t}"); }
    pub fn fail(&self, t: &str) { eprintln!("error: {t}"); }
    pub fn error(&self, e: &anyhow::Error) { eprintln!("error: {e:#}"); if let Some(h) = crate::commands::hint(e) { eprintln!("  hint: {h}"); } }
    pub fn table(&self, h: &[&str], rows: Vec<Vec<String>>) { println!("{}", h.join("\t")); for r in rows { println!("{}", r.join("\t")); } }
    pub fn json(&self, v: &impl serde::Serialize) -> Result<()> { println!("{}", serde_json::to_string_pretty(v)?); Ok(()) }
    pub fn confirm(&self, _: &str) -> Result<bool> { anyhow::bail!("no terminal\n  hint: --yes") }
    pub fn ask_name(&self, _: &str, _: &str) -> Result<bool> { anyhow::bail!("no terminal\n  hint: --yes-purge") }
    pub fn redact(&self, _: impl IntoIterator<Item = String>) {}
    pub fn finish_progress(&self) {}
}
impl Events for Report {
    fn event(&self, e: Event) { eprintln!("{e:?}"); }
}
