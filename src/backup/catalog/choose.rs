//! Which snapshot the user means.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::backup::catalog::Entry;
use crate::backup::manifest::Status;

/// Which one is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest that is good.
    Latest,
    /// The newest that is good and was made at this time or before.
    At(Timestamp),
    /// By its id, or the beginning or end of it.
    Id(String),
}

/// Why none was chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There is none at all.
    #[error("there is no snapshot yet")]
    Empty,
    /// None so old.
    #[error("there is no snapshot of {wanted} or before, the oldest is of {oldest}")]
    TooEarly {
        /// Asked for.
        wanted: Timestamp,
        /// What there is.
        oldest: Timestamp,
    },
    /// None of that id.
    #[error("there is no snapshot `{0}`")]
    Unknown(String),
    /// Several.
    #[error("`{given}` can be {}", ids.join(", "))]
    Ambiguous {
        /// What was typed.
        given: String,
        /// Ids it fits.
        ids: Vec<String>,
    },
}

impl ChoiceError {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Empty => "`summoner dump` and `summoner backup` make one".into(),
            Self::TooEarly { .. } | Self::Unknown(_) => {
                "`summoner snapshots` shows what there is".into()
            }
            Self::Ambiguous { .. } => "type more of it".into(),
        }
    }
}

/// The chosen one among `entries`, which may be of several destinations: of one snapshot in several
/// the first is taken. A suspect one, or one that failed a check, is chosen by its id, or where
/// there is no better one.
pub fn choose<'a>(entries: &'a [Entry], which: &Which) -> Result<&'a Entry, ChoiceError> {
    let newest = |entries: &mut dyn Iterator<Item = &'a Entry>| {
        let mut best: Option<&Entry> = None;
        for entry in entries {
            let rank = |e: &Entry| (counts(e), e.manifest.started, e.manifest.id.clone());
            // Strictly newer: of equal ones the first stays.
            if best.is_none_or(|b| rank(entry) > rank(b)) {
                best = Some(entry);
            }
        }
        best
    };
    match which {
        Which::Latest => newest(&mut entries.iter()).ok_or(ChoiceError::Empty),
        Which::At(time) => {
            let early = |e: &&Entry| e.manifest.started <= *time;
            newest(&mut entries.iter().filter(early)).ok_or_else(|| {
                match entries.iter().map(|e| e.manifest.started).min() {
                    Some(oldest) => ChoiceError::TooEarly {
                        wanted: *time,
                        oldest,
                    },
                    None => ChoiceError::Empty,
                }
            })
        }
        Which::Id(given) => by_id(entries, given),
    }
}

fn by_id<'a>(entries: &'a [Entry], given: &str) -> Result<&'a Entry, ChoiceError> {
    // ULIDs are written in capitals; nobody should have to.
    let wanted = given.trim().to_ascii_uppercase();
    let mut fits: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in entries {
        let id = entry.manifest.id.as_str();
        if !wanted.is_empty() && (id.starts_with(&wanted) || id.ends_with(&wanted)) {
            fits.entry(id).or_insert(entry);
        }
    }
    match fits.len() {
        0 => Err(ChoiceError::Unknown(given.to_owned())),
        1 => Ok(fits.into_values().next().expect("there is one")),
        _ => Err(ChoiceError::Ambiguous {
            given: given.to_owned(),
            ids: fits.into_keys().map(str::to_owned).collect(),
        }),
    }
}

fn counts(entry: &Entry) -> bool {
    entry.manifest.status == Status::Complete && entry.verdict() != Some(false)
}
