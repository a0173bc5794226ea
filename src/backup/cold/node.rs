//! One file, folder or link: what is kept of it, and how it is put back. Everything goes by open
//! folders, never by whole paths: what runs in a container may swap any part of a path for a link.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    self, AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use crate::files::FileError;

/// Remarks that are kept with their words; of the others only the number.
const MOST_REMARKS: usize = 20;

/// Why a tree could not be copied, packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The archive could not be read on.
    #[error("failed to read the archive: {0}")]
    Read(#[source] io::Error),
    /// The archive is not whole.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// The archive wants to write where it has no business.
    #[error("the archive is refused: {0}")]
    Refused(String),
    /// Whoever waits for it does not want it any more.
    #[error("it was stopped")]
    Stopped,
}

impl TreeError {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            _ => None,
        }
    }
}

/// What was odd, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// The first of them.
    pub told: Vec<String>,
    /// How many more there were.
    pub more: u64,
}

impl Remarks {
    pub(super) fn add(&mut self, text: impl FnOnce() -> String) {
        if self.told.len() < MOST_REMARKS {
            self.told.push(text());
        } else {
            self.more += 1;
        }
    }

    /// All of it as lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.told.clone();
        if self.more > 0 {
            lines.push(format!("{} more remarks of this kind", self.more));
        }
        lines
    }
}

/// What is kept of an entry beside its content and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) kind: FileType,
    /// Permission bits with setuid, setgid and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    /// Of a device: major and minor.
    pub(super) device: (u32, u32),
    /// Sorted by name; access control lists are among them.
    pub(super) xattrs: Vec<(CString, Vec<u8>)>,
}

impl Meta {
    pub(super) fn of(stat: &Stat, xattrs: Vec<(CString, Vec<u8>)>) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: mtime(stat),
            device: (fs::major(stat.st_rdev), fs::minor(stat.st_rdev)),
            xattrs,
        }
    }
}

/// Modification time, seconds and nanoseconds.
pub(super) fn mtime(stat: &Stat) -> (i64, u32) {
    (
        stat.st_mtime,
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}

/// Time of the last change of anything, seconds and nanoseconds: nobody but the kernel sets it.
pub(super) fn ctime(stat: &Stat) -> (i64, u32) {
    (
        stat.st_ctime,
        u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
    )
}

/// Size in bytes.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Whether it takes fewer blocks than its size needs: it may have holes.
pub(super) fn may_have_holes(stat: &Stat) -> bool {
    u64::try_from(stat.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512)
        < size(stat)
}

/// Device and inode: what hard links have in common.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Where an entry is: itself opened, or its name in an open folder.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Open(BorrowedFd<'a>),
    Named(BorrowedFd<'a>, &'a CStr),
}

/// A path that leads through an open folder to a name in it, for calls that know no other way.
fn through(folder: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

/// Room for the longest list of names and the longest value: 64 KiB by the kernel's own limit.
const XATTR_MOST: usize = 65_536;

/// Reads extended attributes; keeps its buffer.
pub(super) struct Xattrs {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Xattrs {
    fn default() -> Self {
        Self {
            names: vec![0; XATTR_MOST],
            value: vec![0; XATTR_MOST],
        }
    }
}

impl Xattrs {
    /// All extended attributes of an entry. A file system without any has none.
    pub(super) fn read(&mut self, at: At<'_>) -> io::Result<Vec<(CString, Vec<u8>)>> {
        let length = match at {
            At::Open(fd) => fs::flistxattr(fd, &mut self.names[..]),
            At::Named(folder, name) => fs::llistxattr(through(folder, name), &mut self.names[..]),
        };
        let length = match length {
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            length => length?,
        };
        let mut all = Vec::new();
        for name in self.names[..length].split_inclusive(|b| *b == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            let length = match at {
                At::Open(fd) => fs::fgetxattr(fd, name, &mut self.value[..]),
                At::Named(folder, of) => {
                    fs::lgetxattr(through(folder, of), name, &mut self.value[..])
                }
            };
            match length {
                Ok(length) => all.push((name.to_owned(), self.value[..length].to_vec())),
                // Taken away in between, or one that is listed and cannot be had.
                Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        all.sort();
        Ok(all)
    }
}

/// Gives an entry its owner, mode, attributes and times. What a file system cannot hold is
/// remarked upon; everything else that fails is an error.
pub(super) fn apply(
    at: At<'_>,
    meta: &Meta,
    xattrs: &mut Xattrs,
    odd: &mut dyn FnMut(String),
) -> Result<(), (&'static str, io::Error)> {
    let owner = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    let given = match at {
        At::Open(fd) => fs::fchown(fd, owner.0, owner.1),
        At::Named(folder, name) => {
            fs::chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
        }
    };
    match given {
        // Only root gives files away; for everybody else they stay their own.
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {}
        given => given.map_err(|e| ("set the owner of", e.into()))?,
    }
    let mode = Mode::from_raw_mode(meta.mode);
    let moded = match at {
        At::Open(fd) => fs::fchmod(fd, mode),
        // A link has no mode of its own.
        At::Named(..) if meta.kind == FileType::Symlink => Ok(()),
        At::Named(folder, name) => fs::chmodat(folder, name, mode, AtFlags::empty()),
    };
    moded.map_err(|e| ("set the permissions of", e.into()))?;
    apply_xattrs(at, meta, xattrs, odd).map_err(|e| ("set the attributes of", e))?;
    let time = Timespec {
        tv_sec: meta.mtime.0,
        tv_nsec: meta.mtime.1.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    match at {
        At::Open(fd) => fs::futimens(fd, &times),
        At::Named(folder, name) => fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW),
    }
    .map_err(|e| ("set the times of", e.into()))
}

fn apply_xattrs(
    at: At<'_>,
    meta: &Meta,
    xattrs: &mut Xattrs,
    odd: &mut dyn FnMut(String),
) -> io::Result<()> {
    let there = xattrs.read(at)?;
    for (name, _) in &there {
        if meta.xattrs.iter().any(|(n, _)| n == name) {
            continue;
        }
        // Those that the system itself gives, as a label of SELinux, may not be taken away.
        let _ = match at {
            At::Open(fd) => fs::fremovexattr(fd, name.as_c_str()),
            At::Named(folder, of) => fs::lremovexattr(through(folder, of), name.as_c_str()),
        };
    }
    for (name, value) in &meta.xattrs {
        if there.iter().any(|(n, v)| n == name && v == value) {
            continue;
        }
        let flags = fs::XattrFlags::empty();
        let set = match at {
            At::Open(fd) => fs::fsetxattr(fd, name.as_c_str(), value, flags),
            At::Named(folder, of) => {
                fs::lsetxattr(through(folder, of), name.as_c_str(), value, flags)
            }
        };
        match set {
            Ok(()) => {}
            Err(error @ (Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::INVAL)) => {
                odd(format!(
                    "the attribute `{}` could not be set: {error}",
                    name.to_string_lossy()
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Names in a folder, sorted, in one piece of memory: there may be a million.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Names {
    pub(super) fn of(folder: BorrowedFd<'_>) -> io::Result<Self> {
        let mut names = Self::default();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let start = u32::try_from(names.bytes.len())
                .map_err(|_| io::Error::other("there are too many names in one folder"))?;
            names.starts.push(start);
            names.bytes.extend_from_slice(name.to_bytes_with_nul());
        }
        let bytes = std::mem::take(&mut names.bytes);
        names
            .starts
            .sort_unstable_by_key(|start| name_at(&bytes, *start));
        names.bytes = bytes;
        Ok(names)
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn get(&self, index: usize) -> &CStr {
        name_at(&self.bytes, self.starts[index])
    }

    pub(super) fn has(&self, name: &CStr) -> bool {
        self.starts
            .binary_search_by_key(&name, |start| name_at(&self.bytes, *start))
            .is_ok()
    }
}

fn name_at(bytes: &[u8], start: u32) -> &CStr {
    CStr::from_bytes_until_nul(&bytes[start as usize..]).unwrap_or_default()
}

/// Opens a folder by its path; a link is followed, as the engine does with what it mounts.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, FileError> {
    fs::open(path, FOLDER, Mode::empty()).map_err(|e| FileError::of("open", path)(e.into()))
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Opens a folder in a folder, never through a link.
pub(super) fn open_folder(folder: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a file for reading, never through a link, without touching its access time.
pub(super) fn open_file(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match fs::openat(folder, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner and root may ask for that.
        Err(Errno::PERM) => fs::openat(folder, name, flags, Mode::empty()),
        opened => opened,
    }
}

/// Deletes an entry whatever it is, with everything in it. One that is not there is no error.
pub(super) fn remove(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let below = open_folder(folder, name)?;
    let names =
        Names::of(below.as_fd()).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    for index in 0..names.len() {
        remove(below.as_fd(), names.get(index))?;
    }
    fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
}

/// Bytes of a path for people.
pub(super) fn shown(root: &Path, below: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(below))
}
