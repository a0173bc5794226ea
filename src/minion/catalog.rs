//! The catalogue: minions embedded in the binary, and the user's own in `./minions/<name>/`, which
//! come first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use sha2::{Digest as _, Sha256};

use super::{Minion, Origin, manifest};
use crate::problem::{Problem, Problems, nearest};

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/minions");

const MANIFEST: &str = "minion.yml";
const TEMPLATE: &str = "compose.yml.j2";
const EXTRA: &str = "files/";

/// A minion is a few texts; more is a folder put there by mistake.
const LARGEST: usize = 8 << 20;

/// Names and folders of all minions; one is read when asked for.
#[derive(Debug, Clone)]
pub struct Catalog {
    own: BTreeMap<String, PathBuf>,
    names: BTreeSet<String>,
}

/// Contents of a minion's folder by path, `/` between.
pub(super) type Contents = BTreeMap<String, Vec<u8>>;

impl Catalog {
    /// The embedded minions and, with `root` (the folder of `config.yml`), those in `root/minions/`.
    #[must_use]
    pub fn open(root: Option<&Path>) -> Self {
        let own = root
            .map(|root| folders(&root.join("minions")))
            .unwrap_or_default();
        let embedded = EMBEDDED.dirs().filter_map(|dir| dir.path().to_str());
        let names = embedded
            .map(str::to_owned)
            .chain(own.keys().cloned())
            .collect();
        Self { own, names }
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Reads one minion.
    pub fn get(&self, name: &str) -> Result<Minion, Problems> {
        if let Some(folder) = self.own.get(name) {
            let contents = read(folder).map_err(|error| {
                let file = folder.display().to_string();
                Problem::new(file, format!("failed to read the minion's folder: {error}"))
            })?;
            return load(name, Origin::Folder(folder.clone()), contents);
        }
        let Some(dir) = EMBEDDED.get_dir(name) else {
            let hint = match nearest(name, self.names()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => "type `summoner minion list` to see what there is".to_owned(),
            };
            return Err(
                Problem::new("minions", format!("there is no minion `{name}`"))
                    .hint(hint)
                    .into(),
            );
        };
        let mut contents = Contents::new();
        embedded(dir, name, &mut contents);
        load(name, Origin::Catalog, contents)
    }

    /// The files of a minion's folder by path, unread.
    pub fn contents(&self, name: &str) -> io::Result<BTreeMap<String, Vec<u8>>> {
        if let Some(folder) = self.own.get(name) {
            return read(folder);
        }
        let mut contents = Contents::new();
        if let Some(dir) = EMBEDDED.get_dir(name) {
            embedded(dir, name, &mut contents);
        }
        Ok(contents)
    }

    /// Reads every minion, in the order of their names.
    #[must_use]
    pub fn list(&self) -> Vec<(&str, Result<Minion, Problems>)> {
        self.names
            .iter()
            .map(|name| (name.as_str(), self.get(name)))
            .collect()
    }
}

fn folders(path: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let named =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    named
        .filter(|(name, path)| !name.starts_with('.') && path.is_dir())
        .collect()
}

fn embedded(dir: &Dir<'_>, name: &str, contents: &mut Contents) {
    for file in dir.files() {
        if let Ok(path) = file.path().strip_prefix(name)
            && let Some(path) = path.to_str()
            && !is_noise(path)
        {
            contents.insert(path.to_owned(), file.contents().to_vec());
        }
    }
    for inner in dir.dirs() {
        embedded(inner, name, contents);
    }
}

pub(super) fn read(folder: &Path) -> io::Result<Contents> {
    let mut contents = Contents::new();
    let mut left = LARGEST;
    let mut open = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(io::Error::other("a name in it is not UTF-8"));
            };
            let path = format!("{prefix}{name}");
            if is_noise(&path) {
                continue;
            }
            if entry.path().is_dir() {
                // A link to a folder above would never end.
                if !entry.file_type()?.is_symlink() {
                    open.push((entry.path(), format!("{path}/")));
                }
                continue;
            }
            let size = usize::try_from(fs::metadata(entry.path())?.len()).unwrap_or(usize::MAX);
            left = left
                .checked_sub(size)
                .ok_or_else(|| io::Error::other("it is larger than 8 MiB"))?;
            contents.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(contents)
}

/// What editors and version control leave behind is not part of a minion, nor of its hash.
fn is_noise(path: &str) -> bool {
    path.split('/').any(|part| {
        let swap = part.starts_with('.') && part.strip_suffix(".swp").is_some();
        swap || part.ends_with('~') || matches!(part, ".git" | ".DS_Store")
    })
}

pub(super) fn load(name: &str, origin: Origin, contents: Contents) -> Result<Minion, Problems> {
    let file = |inner: &str| match &origin {
        Origin::Catalog => format!("minions/{name}/{inner}"),
        Origin::Kept(folder) | Origin::Folder(folder) => folder.join(inner).display().to_string(),
    };
    let mut problems = Problems::default();
    let text = |inner: &str| -> Result<String, Problems> {
        let bytes = contents
            .get(inner)
            .ok_or_else(|| Problem::new(file(inner), "there is no such file"))?;
        Ok(String::from_utf8(bytes.clone())
            .map_err(|_| Problem::new(file(inner), "the file is not text in UTF-8"))?)
    };
    let manifest =
        problems.collect(text(MANIFEST).and_then(|text| manifest::parse(&file(MANIFEST), &text)));
    let template = problems.collect(text(TEMPLATE));
    if let Some(manifest) = manifest.as_ref().filter(|manifest| manifest.name != name) {
        problems.push(
            Problem::new(
                file(MANIFEST),
                format!("the name is `{}`, the folder `{name}`", manifest.name),
            )
            .hint(format!("write `name: {name}`")),
        );
    }
    let hash = hash(&contents);
    let files = contents
        .iter()
        .filter_map(|(path, bytes)| Some((path.strip_prefix(EXTRA)?.to_owned(), bytes.clone())))
        .collect();
    match (manifest, template) {
        (Some(manifest), Some(template)) => problems.into_result(Minion {
            manifest,
            template,
            files,
            origin,
            hash,
            contents: Arc::new(contents),
        }),
        _ => Err(problems),
    }
}

/// Lengths stand between names and contents, so that no two folders spell the same bytes.
fn hash(contents: &Contents) -> String {
    let mut sum = Sha256::new();
    for (path, bytes) in contents {
        sum.update((path.len() as u64).to_be_bytes());
        sum.update(path);
        sum.update((bytes.len() as u64).to_be_bytes());
        sum.update(bytes);
    }
    sum.finalize()
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINION: &str = "name: mine\ntitle: Mine\nsummary: my own\ncategory: data\n\
                          website: https://example.org\nversion: \"1.2.3\"\n";

    #[test]
    fn every_embedded_minion_loads_and_is_the_one_on_disk() {
        let disk = Path::new(env!("CARGO_MANIFEST_DIR"));
        let catalog = Catalog::open(None);
        assert!(!catalog.names().is_empty());
        // Reads the same folders once as embedded and once as the user's own.
        let own = Catalog::open(Some(disk));
        assert_eq!(catalog.names(), own.names());
        for (name, minion) in catalog.list() {
            let minion = minion.unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(minion.hash, own.get(name).unwrap().hash, "{name}");
            assert_eq!(minion.origin, Origin::Catalog);
        }
    }

    #[test]
    fn an_own_folder_comes_first_and_its_hash_knows_every_file() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("minions/mine");
        fs::create_dir_all(folder.join("files/conf.d")).unwrap();
        fs::write(folder.join("minion.yml"), MINION).unwrap();
        fs::write(folder.join("compose.yml.j2"), "services: {}\n").unwrap();
        fs::write(folder.join("files/conf.d/a.conf"), "a").unwrap();
        fs::write(folder.join(".a.swp"), "noise").unwrap();
        let catalog = Catalog::open(Some(root.path()));
        assert!(catalog.names().contains(&"mine"));
        let one = catalog.get("mine").unwrap();
        assert_eq!(one.files.keys().collect::<Vec<_>>(), ["conf.d/a.conf"]);
        assert_eq!(one.origin, Origin::Folder(folder.clone()));
        fs::write(folder.join("files/conf.d/a.conf"), "b").unwrap();
        assert_ne!(one.hash, catalog.get("mine").unwrap().hash);
    }

    #[test]
    fn what_is_missing_or_named_otherwise_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("minions/yours");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("minion.yml"), MINION).unwrap();
        let told = Catalog::open(Some(root.path()))
            .get("yours")
            .unwrap_err()
            .to_string();
        let told = told.replace(&root.path().display().to_string(), "R");
        assert_eq!(
            told,
            "R/minions/yours/compose.yml.j2: there is no such file\n\
             R/minions/yours/minion.yml: the name is `mine`, the folder `yours`\n  hint: write `name: yours`"
        );
        let told = Catalog::open(None).get("wordpres").unwrap_err().to_string();
        assert_eq!(
            told,
            "minions: there is no minion `wordpres`\n  hint: did you mean `wordpress`?"
        );
    }
}
