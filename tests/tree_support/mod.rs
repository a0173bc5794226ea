//! Folders with everything that a file system can hold, and their comparison down to the last bit.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// All that counts about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Kind and permission bits.
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    /// Content of a file, target of a link, numbers of a device.
    pub content: Content,
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// First of the names of the same file.
    pub same_as: PathBuf,
}

/// Everything below a folder, itself as the empty path. Sockets are no data.
pub fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut inodes: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    let mut queue = vec![root.to_owned()];
    while let Some(folder) = queue.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                queue.push(entry.path());
            }
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = FileType::from_raw_mode(meta.mode());
        if kind == FileType::Socket {
            continue;
        }
        let below = path.strip_prefix(root).unwrap().to_owned();
        let content = match kind {
            FileType::RegularFile => fs::read(&path).unwrap(),
            FileType::Symlink => fs::read_link(&path).unwrap().into_os_string().into_vec(),
            FileType::CharacterDevice | FileType::BlockDevice => {
                meta.rdev().to_string().into_bytes()
            }
            _ => Vec::new(),
        };
        let same_as = if kind == FileType::Directory {
            below.clone()
        } else {
            inodes
                .entry((meta.dev(), meta.ino()))
                .or_insert_with(|| below.clone())
                .clone()
        };
        let seen = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            content: Content(content),
            xattrs: xattrs(&path),
            same_as,
        };
        all.insert(below, seen);
    }
    all
}

/// Bytes of any number; only a few are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let begin = &self.0[..self.0.len().min(40)];
        write!(f, "{} bytes `{}`", self.0.len(), begin.escape_ascii())
    }
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut all: Vec<_> = names[..length]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65_536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect();
    all.sort();
    all
}

/// The two must be the same; says what differs.
pub fn same(wanted: &BTreeMap<PathBuf, Seen>, found: &BTreeMap<PathBuf, Seen>, what: &str) {
    let mut differences = Vec::new();
    for path in wanted
        .keys()
        .chain(found.keys().filter(|p| !wanted.contains_key(*p)))
    {
        let (a, b) = (wanted.get(path), found.get(path));
        if a != b {
            differences.push(format!(
                "{}\n  wanted {a:?}\n  found  {b:?}",
                path.display()
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{what}:\n{}",
        differences.join("\n")
    );
}

/// Makes and changes trees at random, the same ones for the same seed.
pub struct Gardener {
    pub rng: StdRng,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Gardener {
    pub fn new(seed: u64, root: &Path) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            folders: vec![root.to_owned()],
            files: Vec::new(),
        }
    }

    fn name(&mut self) -> OsString {
        let number: u32 = self.rng.random();
        let mut name = match self.rng.random_range(0..8) {
            0 => vec![b'n'; 200],
            1 => b"caf\xe9 \xff\xfe".to_vec(),
            2 => "größe ünd=100%".as_bytes().to_vec(),
            3 => b"line\nbreak".to_vec(),
            4 => b"-rf".to_vec(),
            _ => b"f".to_vec(),
        };
        name.extend_from_slice(format!("{number:x}").as_bytes());
        OsString::from_vec(name)
    }

    fn place(&mut self) -> PathBuf {
        let folder = self.folders.choose(&mut self.rng).unwrap().clone();
        let name = self.name();
        folder.join(name)
    }

    /// Content with holes perhaps.
    pub fn fill(&mut self, path: &Path) {
        let file = File::create(path).unwrap();
        match self.rng.random_range(0..7) {
            0 => {}
            1 => {
                // Holes at the beginning, between, and at the end.
                for _ in 0..self.rng.random_range(0..9) {
                    let at = self.rng.random_range(0..200u64) * 4096 + self.rng.random_range(0..3);
                    let mut bytes = vec![0; self.rng.random_range(1..20_000)];
                    self.rng.fill(&mut bytes[..]);
                    file.write_all_at(&bytes, at).unwrap();
                }
                let end = file.metadata().unwrap().len() + self.rng.random_range(0..100_000u64);
                file.set_len(end).unwrap();
            }
            _ => {
                let sizes = [1, 511, 512, 513, 4096, 65_537, 300_000, 1_048_577];
                let mut bytes = vec![0; *sizes.choose(&mut self.rng).unwrap()];
                self.rng.fill(&mut bytes[..]);
                file.write_all_at(&bytes, 0).unwrap();
            }
        }
    }

    /// Owner, mode, attributes, time of an entry, in the order in which they do not undo each other.
    pub fn dress(&mut self, path: &Path) {
        let kind = FileType::from_raw_mode(fs::symlink_metadata(path).unwrap().mode());
        let ids = [0, 33, 999, 65_534, 3_000_000];
        let (uid, gid) = (
            *ids.choose(&mut self.rng).unwrap(),
            *ids.choose(&mut self.rng).unwrap(),
        );
        lchown(path, Some(uid), Some(gid)).unwrap();
        if kind != FileType::Symlink {
            let modes = [0o644, 0o600, 0o755, 0o400, 0o000, 0o4755, 0o2770, 0o1777];
            let mode = *modes.choose(&mut self.rng).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let set = |name: &str, value: &[u8]| {
            rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
        };
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            if self.rng.random_ratio(1, 4) {
                set("user.note", b"two\nlines=\0and\xff more");
            }
            if self.rng.random_ratio(1, 6) {
                set("user.a=b%3D", b"");
                set("user.long", &[b'x'; 700]);
            }
            if self.rng.random_ratio(1, 5) {
                set(
                    "system.posix_acl_access",
                    &acl(self.rng.random_range(1000..2000)),
                );
            }
            if kind == FileType::Directory && self.rng.random_ratio(1, 4) {
                set(
                    "system.posix_acl_default",
                    &acl(self.rng.random_range(1000..2000)),
                );
            }
            if kind == FileType::RegularFile && self.rng.random_ratio(1, 8) {
                // cap_net_bind_service=ep
                let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                set("security.capability", &capability);
            }
        }
        if self.rng.random_ratio(1, 8) {
            set("trusted.overlay.opaque", b"y");
        }
        self.age(path);
    }

    /// A time of any age.
    pub fn age(&mut self, path: &Path) {
        let seconds = match self.rng.random_range(0..6) {
            0 => -5,
            1 => 0,
            2 => 3_000_000_000,
            _ => self.rng.random_range(1_000_000_000..1_700_000_000),
        };
        let nanos = *[0, 1, 999_999_999, 120_000_000]
            .choose(&mut self.rng)
            .unwrap();
        stamp(path, seconds, nanos);
    }

    /// Plants so many things.
    pub fn plant(&mut self, count: usize) {
        for _ in 0..count {
            let path = self.place();
            match self.rng.random_range(0..14) {
                0..3 => {
                    fs::create_dir(&path).unwrap();
                    self.folders.push(path);
                }
                3..9 => {
                    self.fill(&path);
                    self.files.push(path);
                }
                9 => {
                    if let Some(of) = self.files.choose(&mut self.rng).filter(|f| f.exists()) {
                        fs::hard_link(of, &path).unwrap();
                        self.files.push(path);
                    }
                }
                10 => symlink(OsStr::from_bytes(b"../away/\xff"), &path).unwrap(),
                11 => symlink("x/".repeat(90), &path).unwrap(),
                12 => make(&path, FileType::Fifo, 0),
                _ => make(&path, FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
            }
        }
    }

    /// Dresses everything, the innermost first.
    pub fn dress_all(&mut self, root: &Path) {
        let paths: Vec<PathBuf> = look(root).into_keys().collect();
        for path in paths.iter().rev() {
            self.dress(&root.join(path));
        }
    }

    /// Changes things at random: content, names, links, kinds, dress.
    pub fn change(&mut self, root: &Path, count: usize) {
        for _ in 0..count {
            let paths: Vec<PathBuf> = look(root).into_keys().skip(1).collect();
            let Some(below) = paths.choose(&mut self.rng) else {
                return self.plant(1);
            };
            let path = root.join(below);
            let meta = fs::symlink_metadata(&path).unwrap();
            match self.rng.random_range(0..8) {
                0 if meta.is_file() => self.fill(&path),
                1 | 2 if meta.is_file() && meta.len() > 0 => {
                    // One byte, the time set back: size and mtime tell nothing.
                    let file = File::options().write(true).open(&path).unwrap();
                    let at = self.rng.random_range(0..meta.len());
                    file.write_all_at(&[self.rng.random()], at).unwrap();
                    stamp(&path, meta.mtime(), meta.mtime_nsec());
                }
                3 if meta.is_dir() => fs::remove_dir_all(&path).unwrap(),
                3 => fs::remove_file(&path).unwrap(),
                4 if !meta.is_dir() => {
                    fs::remove_file(&path).unwrap();
                    fs::create_dir(&path).unwrap();
                    fs::write(path.join("inside"), "new").unwrap();
                }
                5 => {
                    let to = root.join(self.name());
                    fs::rename(&path, to).unwrap();
                }
                6 if meta.is_file() => {
                    let _ = fs::hard_link(&path, root.join(self.name()));
                }
                7 if meta.is_file() && meta.nlink() > 1 => {
                    // Parted from its other names.
                    let content = fs::read(&path).unwrap();
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, content).unwrap();
                }
                _ => self.dress(&path),
            }
            self.folders.retain(|f| f.is_dir());
            self.files.retain(|f| f.is_file());
            if self.rng.random_ratio(1, 3) {
                self.plant(1);
            }
        }
    }
}

/// The kernel's bytes of a list with one user more.
pub fn acl(user: u32) -> Vec<u8> {
    let nobody = u32::MAX;
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1u16, 6u16, nobody),
        (2, 4, user),
        (4, 5, nobody),
        (16, 5, nobody),
        (32, 0, nobody),
    ] {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn make(path: &Path, kind: FileType, device: u64) {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(CWD, name.as_c_str(), kind, Mode::RUSR, device).unwrap();
}

/// Sets a modification time.
pub fn stamp(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Whether tests may make devices, owners and attributes at will.
pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}
