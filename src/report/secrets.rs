//! Values that are shown nowhere.

use std::sync::{PoisonError, RwLock};

use serde_json::Value;

/// Shorter ones are left alone: replacing `admin` or `1234` everywhere hides nothing and garbles much.
const SHORTEST: usize = 6;

/// The known secrets.
#[derive(Default)]
pub(super) struct Secrets {
    /// The longest first: one may hold another.
    values: RwLock<Vec<String>>,
}

impl Secrets {
    pub(super) fn add(&self, values: impl IntoIterator<Item = String>) {
        let mut known = self.values.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(values.into_iter().filter(|value| value.len() >= SHORTEST));
        known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
    }

    /// The text with `***` for each.
    pub(super) fn hide(&self, text: &str) -> String {
        let known = self.values.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(text.to_owned(), |text, value| {
            if text.contains(value.as_str()) {
                text.replace(value.as_str(), "***")
            } else {
                text
            }
        })
    }

    /// The same in every text of a document.
    pub(super) fn hide_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.hide(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_in(value)),
            Value::Object(map) => map.values_mut().for_each(|value| self.hide_in(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
