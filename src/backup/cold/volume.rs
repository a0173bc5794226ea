//! What a cold backup saves: the data folders of an instance and its databases, other folders that
//! its containers mount from within `vsroot` and `dbsroot`, and named volumes of the engine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::engine::MountKind;
use crate::plan::desired::{Desired, Group};

/// Something to be saved as one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name in the manifest: of a data folder its last name (the volume's, or the database's
    /// service), else `vsroot/<path>`, `dbsroot/<path>`, `engine/<name>`.
    pub of: String,
    /// Name of its object without endings.
    pub object: String,
    /// Where it is.
    pub place: Place,
}

/// Where a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine, and the data root it lies below.
    Folder {
        /// The folder.
        path: PathBuf,
        /// `vsroot` or `dbsroot`.
        root: PathBuf,
    },
    /// A volume that the engine keeps, by name.
    Engine(String),
}

/// All volumes of an instance, data folders first.
#[must_use]
pub fn all(desired: &Desired, group: &Group) -> Vec<Volume> {
    let mut found: Vec<(String, Place)> = Vec::new();
    // One may lie in the other, as `dbsroot` does in `vsroot` by default: the innermost counts.
    let root_of = |path: &Path| {
        let around = desired.data_roots.iter().filter(|r| path.starts_with(r));
        around.max_by_key(|r| r.components().count())
    };
    for folder in &group.folders {
        let name = folder.path.file_name().unwrap_or_default();
        let root = root_of(&folder.path).cloned();
        let place = Place::Folder {
            path: folder.path.clone(),
            root: root.unwrap_or_else(|| folder.path.parent().unwrap_or(Path::new("/")).to_owned()),
        };
        let mut of = name.to_string_lossy().into_owned();
        if found.iter().any(|(o, _)| *o == of) {
            of = below_root(desired, &folder.path).unwrap_or(of);
        }
        found.push((of, place));
    }
    for mount in group.services.values().flat_map(|s| &s.spec.mounts) {
        match mount.kind {
            MountKind::Volume => {
                found.push((
                    format!("engine/{}", mount.source),
                    Place::Engine(mount.source.clone()),
                ));
            }
            MountKind::Bind => {
                let path = Path::new(&mount.source);
                let covered = found.iter().any(|(_, place)| {
                    matches!(place, Place::Folder { path: other, .. } if path.starts_with(other))
                });
                if let (false, Some(root), Some(of)) =
                    (covered, root_of(path), below_root(desired, path))
                {
                    let place = Place::Folder {
                        path: path.to_owned(),
                        root: root.clone(),
                    };
                    found.push((of, place));
                }
            }
        }
    }
    let (mut seen, mut names) = (BTreeSet::new(), BTreeSet::new());
    found.retain(|(of, _)| seen.insert(of.clone()));
    found
        .into_iter()
        .map(|(of, place)| {
            let plain: String = of
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                        c
                    } else {
                        '-'
                    }
                })
                .collect();
            let plain = plain.trim_start_matches('.').to_owned();
            // Two volumes may be called alike but for a sign.
            let mut object = plain.clone();
            // Two volumes may be called alike but for a sign.
            while !names.insert(object.clone()) {
                object.push('_');
            }
            Volume { of, object, place }
        })
        .collect()
}

/// `vsroot/<path>` or `dbsroot/<path>`.
fn below_root(desired: &Desired, path: &Path) -> Option<String> {
    let names = ["vsroot", "dbsroot"];
    let roots = names.iter().zip(&desired.data_roots);
    let around = roots.filter(|(_, root)| path.starts_with(root));
    let (name, root) = around.max_by_key(|(_, root)| root.components().count())?;
    let below = path.strip_prefix(root).ok()?;
    Some(format!("{name}/{}", below.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContainerSpec, MountSpec};
    use crate::plan::desired::{Folder, Service};
    use std::collections::BTreeMap;

    #[test]
    fn data_folders_other_mounts_and_engine_volumes_are_found_once() {
        let folder = |path: &str| Folder {
            path: path.into(),
            uid: 0,
            gid: 0,
            mode: 0o755,
        };
        let mount = |kind, source: &str| MountSpec {
            kind,
            source: source.into(),
            target: "/x".into(),
            read_only: false,
        };
        let service = Service {
            minion: "blog".into(),
            service: "app".into(),
            name: "blog".into(),
            spec: ContainerSpec {
                mounts: vec![
                    mount(MountKind::Bind, "/v/blog/html"),
                    mount(MountKind::Bind, "/v/blog/html/below"),
                    mount(MountKind::Bind, "/v/shared"),
                    mount(MountKind::Bind, "/etc/hosts"),
                    mount(MountKind::Volume, "blog_cache"),
                    mount(MountKind::Volume, "blog_cache"),
                ],
                ..ContainerSpec::default()
            },
            hash: String::new(),
            canonical: serde_json::Value::Null,
            depends_on: BTreeMap::new(),
            overlap: false,
        };
        let group = Group {
            name: "blog".into(),
            folders: vec![
                folder("/v/blog/html"),
                folder("/d/blog/db"),
                folder("/v/blog/db"),
            ],
            services: [("app".to_owned(), service)].into(),
            ..Group::default()
        };
        let desired = Desired {
            data_roots: vec!["/v".into(), "/d".into()],
            ..Desired::default()
        };
        let found = all(&desired, &group);
        let names: Vec<_> = found
            .iter()
            .map(|v| (v.of.as_str(), v.object.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("html", "html"),
                ("db", "db"),
                ("vsroot/blog/db", "vsroot-blog-db"),
                ("vsroot/shared", "vsroot-shared"),
                ("engine/blog_cache", "engine-blog_cache"),
            ]
        );
    }
}
