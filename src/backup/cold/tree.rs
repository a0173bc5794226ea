//! A copy of a folder beside it, on the same file system: made while the application runs, brought
//! up to date while it is stopped. Only what changed in between is touched again, so that the outage
//! does not grow with the data.
//!
//! What counts as unchanged: path, inode, size, mtime and ctime are as at the pass before, and the
//! ctime lies before that pass began. The latter is needed twice: clocks of file systems tick in
//! milliseconds, so that two writes may bear one time; and a program that maps a file into memory
//! gives it a new time at its first store into a page only, until that page is written back. Each
//! pass therefore has everything written back first, and distrusts whatever was changed since (and in
//! the two seconds before): its content is read and compared.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::hash::BuildHasher as _;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::content::{self, How};
use super::node::{
    self, At, Meta, Names, Remarks, TreeError, Xattrs, ctime, identity, mtime, open_file,
    open_folder, open_root, shown, size,
};
use crate::files::{self, FileError};

/// Seconds before a pass in which a file that changed is not trusted to show its next change.
const DOUBT: i64 = 2;

/// What a long walk tells while it goes on, and hears.
#[derive(Debug, Default)]
pub struct Watch {
    /// Bytes of content so far.
    pub done: AtomicU64,
    /// Set to make it end with [`TreeError::Stopped`].
    pub stop: AtomicBool,
}

impl Watch {
    pub(super) fn check(&self) -> Result<(), TreeError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(TreeError::Stopped);
        }
        Ok(())
    }

    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A copy in the making.
pub struct Staging {
    source: PathBuf,
    folder: PathBuf,
    how: How,
    hasher: RandomState,
    /// Hash of a path and of what was seen there, sorted: 16 bytes a file.
    seen: Vec<(u64, u64)>,
}

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pass {
    /// Entries looked at.
    pub entries: u64,
    /// Files whose content was looked at, since they were new, changed or in doubt.
    pub files: u64,
    /// Bytes that were written.
    pub written: u64,
    /// Bytes that were shared with the original instead.
    pub shared: u64,
    /// Bytes of all files together.
    pub total: u64,
    /// Entries that were removed from the copy.
    pub removed: u64,
    /// Entries that vanished or changed while they were copied: others write there too.
    pub moving: u64,
    /// What was odd.
    pub remarks: Remarks,
}

impl Staging {
    /// A copy of `source` in `folder`, which is made (0700) and empty still.
    #[must_use]
    pub fn new(source: &Path, folder: &Path, how: How) -> Self {
        Self {
            source: source.to_owned(),
            folder: folder.to_owned(),
            how,
            hasher: RandomState::new(),
            seen: Vec::new(),
        }
    }

    /// Where the copy lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Brings the copy up to date; the first time that is all of it. After the `last` time, when
    /// nothing writes there any more, there is no other.
    pub fn pass(&mut self, watch: &Watch, last: bool) -> Result<Pass, TreeError> {
        files::create_folder(&self.folder, 0o700)?;
        let source = open_root(&self.source)?;
        let copy = open_root(&self.folder)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
        if !last {
            // Seconds, on a busy disk: never while the application is stopped.
            fs::syncfs(&source)
                .map_err(|e| FileError::of("write back the cache of", &self.source)(e.into()))?;
        }
        let mut walk = Walk {
            of: self,
            copy: copy.as_fd(),
            watch,
            trusted: now - DOUBT,
            seen: Vec::with_capacity(self.seen.len()),
            links: HashMap::new(),
            path: Vec::new(),
            changes: 0,
            xattrs: Xattrs::default(),
            pass: Pass::default(),
        };
        let stat = fs::fstat(&source).map_err(|e| walk.failed("look at", e.into()))?;
        walk.folder(source.as_fd(), copy.as_fd(), false)?;
        walk.finish_folder(source.as_fd(), copy.as_fd(), &stat)?;
        let (mut seen, pass) = (walk.seen, walk.pass);
        seen.sort_unstable();
        self.seen = seen;
        Ok(pass)
    }
}

/// Bytes that a folder takes on its disk, as `du` counts them.
pub fn disk_usage(folder: &Path, watch: &Watch) -> Result<u64, TreeError> {
    fn below(
        folder: BorrowedFd<'_>,
        watch: &Watch,
        links: &mut std::collections::HashSet<(u64, u64)>,
    ) -> Result<u64, io::Error> {
        let names = Names::of(folder)?;
        let mut sum = 0;
        for index in 0..names.len() {
            let name = names.get(index);
            if watch.check().is_err() {
                return Ok(sum);
            }
            // What vanishes takes no room.
            let Ok(stat) = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if stat.st_nlink > 1
                && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
                && !links.insert(identity(&stat))
            {
                continue;
            }
            sum += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && let Ok(child) = open_folder(folder, name)
            {
                sum += below(child.as_fd(), watch, links)?;
            }
        }
        Ok(sum)
    }
    let root = open_root(folder)?;
    let sum = below(root.as_fd(), watch, &mut std::collections::HashSet::new())
        .map_err(FileError::of("read the folder", folder))?;
    watch.check()?;
    Ok(sum)
}

/// Deletes a folder and all in it, whatever is in it. One that is not there is no error.
pub fn delete(folder: &Path) -> Result<(), FileError> {
    let failed = |e: Errno| FileError::of("delete", folder)(e.into());
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(failed(Errno::INVAL));
    };
    let parent = match fs::open(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let name = CString::new(name.as_encoded_bytes()).map_err(|_| failed(Errno::INVAL))?;
    node::remove(parent.as_fd(), &name).map_err(failed)
}

/// One pass on its way.
struct Walk<'a> {
    of: &'a Staging,
    /// The copy's root.
    copy: BorrowedFd<'a>,
    watch: &'a Watch,
    /// What changed at this second or later is in doubt.
    trusted: i64,
    seen: Vec<(u64, u64)>,
    /// Where the first of several hard links is in the copy.
    links: HashMap<(u64, u64), CString>,
    /// Where we are, below the root.
    path: Vec<u8>,
    /// Entries of the copy that were made, removed or renewed.
    changes: u64,
    xattrs: Xattrs,
    pass: Pass,
}

impl Walk<'_> {
    fn failed(&self, action: &'static str, error: io::Error) -> TreeError {
        FileError::of(action, &shown(&self.of.source, &self.path))(error).into()
    }

    fn failed_copy(&self, action: &'static str, error: io::Error) -> TreeError {
        FileError::of(action, &shown(&self.of.folder, &self.path))(error).into()
    }

    fn remark(&mut self, text: &str) {
        let path = shown(&self.of.source, &self.path);
        self.pass
            .remarks
            .add(|| format!("`{}`: {text}", path.display()));
    }

    /// Everything in a folder; `same` when its own list of names is as it was.
    fn folder(
        &mut self,
        source: BorrowedFd<'_>,
        copy: BorrowedFd<'_>,
        same: bool,
    ) -> Result<(), TreeError> {
        let names = Names::of(source).map_err(|e| self.failed("read the folder", e))?;
        if !same {
            let there = Names::of(copy).map_err(|e| self.failed_copy("read the folder", e))?;
            for index in 0..there.len() {
                if !names.has(there.get(index)) {
                    self.remove(copy, there.get(index))?;
                    self.pass.removed += 1;
                }
            }
        }
        for index in 0..names.len() {
            self.watch.check()?;
            let name = names.get(index);
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            self.entry(source, copy, name)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn remove(&mut self, copy: BorrowedFd<'_>, name: &CStr) -> Result<(), TreeError> {
        self.changes += 1;
        node::remove(copy, name).map_err(|e| self.failed_copy("remove", e.into()))
    }

    /// What vanished between the list and the look is not in the copy either.
    fn vanished(&mut self, copy: BorrowedFd<'_>, name: &CStr) -> Result<(), TreeError> {
        self.pass.moving += 1;
        self.remark("vanished while it was copied");
        self.remove(copy, name)
    }

    fn key(&self) -> u64 {
        self.of.hasher.hash_one(&self.path)
    }

    fn stamp(&self, stat: &Stat) -> u64 {
        self.of.hasher.hash_one((
            identity(stat),
            stat.st_mode,
            stat.st_size,
            mtime(stat),
            ctime(stat),
        ))
    }

    fn known(&self, stat: &Stat) -> bool {
        let key = self.key();
        let seen = &self.of.seen;
        seen.binary_search_by_key(&key, |(k, _)| *k)
            .is_ok_and(|index| seen[index].1 == self.stamp(stat))
    }

    /// Remembers what was copied, where its next change will show.
    fn note(&mut self, stat: &Stat) {
        if ctime(stat).0 < self.trusted {
            let note = (self.key(), self.stamp(stat));
            self.seen.push(note);
        }
    }

    fn entry(
        &mut self,
        source: BorrowedFd<'_>,
        copy: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), TreeError> {
        self.pass.entries += 1;
        let stat = match fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return self.vanished(copy, name),
            Err(error) => return Err(self.failed("look at", error.into())),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.directory(source, copy, name),
            FileType::Socket => {
                self.remark("a socket is no data and is left out");
                return self.remove(copy, name);
            }
            _ => {}
        }
        let known = self.known(&stat);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity(&stat)).cloned() {
                return self.link(copy, name, &first);
            }
            let path = CString::new(self.path.clone()).unwrap_or_default();
            self.links.insert(identity(&stat), path);
        }
        if known {
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                self.pass.total += size(&stat);
            }
            self.note(&stat);
            return Ok(());
        }
        self.changes += 1;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            self.file(source, copy, name)
        } else {
            self.special(source, copy, name, &stat)
        }
    }

    /// A further name of a file that is in the copy already.
    fn link(&mut self, copy: BorrowedFd<'_>, name: &CStr, first: &CStr) -> Result<(), TreeError> {
        let of = |dir, name: &CStr| {
            fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| identity(&s))
        };
        if of(self.copy, first).is_ok_and(|a| of(copy, name).is_ok_and(|b| a == b)) {
            return Ok(());
        }
        self.remove(copy, name)?;
        match fs::linkat(self.copy, first, copy, name, AtFlags::empty()) {
            // The first one vanished in the middle of it, a socket perhaps: the next pass will tell.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed_copy("link", error.into())),
        }
    }

    fn directory(
        &mut self,
        source: BorrowedFd<'_>,
        copy: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), TreeError> {
        let below = match open_folder(source, name) {
            Ok(below) => below,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return self.vanished(copy, name),
            Err(error) => return Err(self.failed("open", error.into())),
        };
        let stat = fs::fstat(&below).map_err(|e| self.failed("look at", e.into()))?;
        let known = self.known(&stat);
        let copied = if let Ok(copied) = open_folder(copy, name) {
            copied
        } else {
            self.remove(copy, name)?;
            fs::mkdirat(copy, name, Mode::RWXU)
                .and_then(|()| open_folder(copy, name))
                .map_err(|e| self.failed_copy("create the folder", e.into()))?
        };
        let before = self.changes;
        self.folder(below.as_fd(), copied.as_fd(), known)?;
        if known && before == self.changes {
            self.note(&stat);
            return Ok(());
        }
        self.changes += 1;
        self.finish_folder(below.as_fd(), copied.as_fd(), &stat)
    }

    /// A folder gets its own things last: work in it changes its times.
    fn finish_folder(
        &mut self,
        source: BorrowedFd<'_>,
        copy: BorrowedFd<'_>,
        stat: &Stat,
    ) -> Result<(), TreeError> {
        self.note(stat);
        self.apply(At::Open(source), At::Open(copy), stat)
    }

    fn apply(&mut self, source: At<'_>, copy: At<'_>, stat: &Stat) -> Result<(), TreeError> {
        let xattrs = match self.xattrs.read(source) {
            Ok(xattrs) => xattrs,
            // Gone or another by now; it is noted as moving below or by the next pass.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(self.failed("read the attributes of", error)),
        };
        let meta = Meta::of(stat, xattrs);
        let mut odd = Vec::new();
        let applied = node::apply(copy, &meta, &mut self.xattrs, &mut |text| odd.push(text));
        applied.map_err(|(action, error)| self.failed_copy(action, error))?;
        for text in &odd {
            self.remark(text);
        }
        Ok(())
    }

    /// A link, a fifo, a device: made anew.
    fn special(
        &mut self,
        source: BorrowedFd<'_>,
        copy: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), TreeError> {
        self.remove(copy, name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let made = if kind == FileType::Symlink {
            match fs::readlinkat(source, name, Vec::new()) {
                Ok(target) => fs::symlinkat(target, copy, name),
                Err(Errno::NOENT | Errno::INVAL) => return self.vanished(copy, name),
                Err(error) => return Err(self.failed("read the link", error.into())),
            }
        } else {
            fs::mknodat(copy, name, kind, Mode::RUSR, stat.st_rdev)
        };
        made.map_err(|e| self.failed_copy("create", e.into()))?;
        self.note(stat);
        self.apply(At::Named(source, name), At::Named(copy, name), stat)
    }

    fn file(
        &mut self,
        source: BorrowedFd<'_>,
        copy: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), TreeError> {
        let from = match open_file(source, name) {
            Ok(from) => File::from(from),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return self.vanished(copy, name),
            Err(error) => return Err(self.failed("open", error.into())),
        };
        let stat = fs::fstat(&from).map_err(|e| self.failed("look at", e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return self.vanished(copy, name);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // One that has several names may no longer belong to all of them.
        let there = fs::openat(copy, name, flags, Mode::empty())
            .ok()
            .filter(|fd| {
                fs::fstat(fd).is_ok_and(|s| {
                    FileType::from_raw_mode(s.st_mode) == FileType::RegularFile && s.st_nlink == 1
                })
            });
        let to = if let Some(to) = there {
            to
        } else {
            self.remove(copy, name)?;
            let flags = flags | OFlags::CREATE | OFlags::EXCL;
            fs::openat(copy, name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(|e| self.failed_copy("create", e.into()))?
        };
        let to = File::from(to);
        let copied =
            content::copy(&from, &stat, &to, self.of.how, self.watch).map_err(|e| match e {
                content::Failed::Stopped => TreeError::Stopped,
                content::Failed::Reading(error) => self.failed("read", error),
                content::Failed::Writing(error) => self.failed_copy("write", error),
            })?;
        self.pass.files += 1;
        self.pass.total += size(&stat);
        self.pass.written += copied.written;
        self.pass.shared += copied.shared;
        self.apply(At::Open(from.as_fd()), At::Open(to.as_fd()), &stat)?;
        let after = fs::fstat(&from).map_err(|e| self.failed("look at", e.into()))?;
        if self.stamp(&after) == self.stamp(&stat) {
            self.note(&stat);
        } else {
            self.pass.moving += 1;
            self.remark("changed while it was copied");
        }
        Ok(())
    }
}
