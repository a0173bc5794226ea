//! Paths: `~` is the user's home, a relative one counts from the folder of the file.

use std::path::{Component, Path, PathBuf};

use super::lookup::Lookup;
use crate::yaml::Field;

/// The absolute path of `field`, without `.` and `..`.
pub(super) fn absolute(field: &Field<'_>, root: &Path, lookup: &Lookup) -> Option<PathBuf> {
    let text = field.string()?;
    if text.is_empty() || text.contains(|c: char| c.is_control()) {
        return field.wrong("a path", None);
    }
    let path = if let Some(rest) = text.strip_prefix('~') {
        let Some(home) = &lookup.home else {
            field.fail_with(
                "`~` has no meaning here: there is no home folder",
                "write the whole path",
            );
            return None;
        };
        match rest.strip_prefix('/') {
            Some(rest) => home.join(rest),
            None if rest.is_empty() => home.clone(),
            None => {
                field.fail_with(
                    format!("`{text}` is the home of another user, which is not supported"),
                    "write the whole path",
                );
                return None;
            }
        }
    } else {
        root.join(&text)
    };
    Some(normal(&path))
}

/// Resolves `.` and `..` by text alone: the folder need not exist yet.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}
