//! t
/// Files.
pub type Files = std::collections::BTreeMap<String, String>;
