//! Writes a folder as an archive, entry by entry, in memory that does not grow with it.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{self, AtFlags, FileType, Stat};
use rustix::io::Errno;
use tar::EntryType;

use super::acl;
use super::format::{BLOCK, Entry, RECORD, Records, header, xattr_key};
use crate::backup::cold::content::{next_data, read_full};
use crate::backup::cold::node::{
    At, Names, Remarks, TreeError, Xattrs, ctime, identity, may_have_holes, mtime, open_file,
    open_folder, open_root, shown, size,
};
use crate::backup::cold::tree::Watch;
use crate::files::FileError;

/// Bytes that are handed on at once.
const CHUNK: usize = 256 * 1024;

/// What an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Entries in it.
    pub entries: u64,
    /// Bytes of its files' content, holes left out.
    pub content: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Files that changed or vanished while they were read.
    pub moving: u64,
    /// What was odd.
    pub remarks: Remarks,
}

/// Writes everything in `folder`, itself first as `./`. `sink` takes the bytes and says whether it
/// wants more.
pub fn pack(
    folder: &Path,
    watch: &Watch,
    sink: &mut dyn FnMut(Bytes) -> bool,
) -> Result<Packed, TreeError> {
    let root = open_root(folder)?;
    let mut packer = Packer {
        root: folder.to_owned(),
        watch,
        sink,
        buffer: Vec::with_capacity(CHUNK),
        path: b"./".to_vec(),
        links: HashMap::new(),
        xattrs: Xattrs::default(),
        packed: Packed::default(),
    };
    let stat = fs::fstat(&root).map_err(|e| packer.failed("look at", e.into()))?;
    packer.folder(root.as_fd(), &stat)?;
    // Two empty blocks end an archive; it is padded to a whole record.
    packer.zeros(2 * BLOCK as u64)?;
    let end = packer.packed.bytes.next_multiple_of(RECORD);
    packer.zeros(end - packer.packed.bytes)?;
    packer.hand_on()?;
    Ok(packer.packed)
}

struct Packer<'a> {
    root: PathBuf,
    watch: &'a Watch,
    sink: &'a mut dyn FnMut(Bytes) -> bool,
    buffer: Vec<u8>,
    /// As in the archive: `./a/b`; of folders with a `/` at the end.
    path: Vec<u8>,
    /// First name of what has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    xattrs: Xattrs,
    packed: Packed,
}

impl Packer<'_> {
    fn failed(&self, action: &'static str, error: io::Error) -> TreeError {
        FileError::of(action, &shown(&self.root, &self.path[2..]))(error).into()
    }

    fn remark(&mut self, text: &str) {
        let path = shown(&self.root, &self.path[2..]);
        self.packed
            .remarks
            .add(|| format!("`{}`: {text}", path.display()));
    }

    fn moving(&mut self, text: &str) {
        self.packed.moving += 1;
        self.remark(text);
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), TreeError> {
        while !bytes.is_empty() {
            let length = bytes.len().min(CHUNK - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..length]);
            self.packed.bytes += length as u64;
            bytes = &bytes[length..];
            if self.buffer.len() == CHUNK {
                self.hand_on()?;
            }
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), TreeError> {
        self.watch.check()?;
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        if full.is_empty() || (self.sink)(Bytes::from(full)) {
            Ok(())
        } else {
            Err(TreeError::Stopped)
        }
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), TreeError> {
        let empty = [0; 4096];
        while count > 0 {
            let length = empty
                .len()
                .min(usize::try_from(count).unwrap_or(empty.len()));
            self.write(&empty[..length])?;
            count -= length as u64;
        }
        Ok(())
    }

    /// A folder, then everything in it.
    fn folder(&mut self, folder: BorrowedFd<'_>, stat: &Stat) -> Result<(), TreeError> {
        let records = self.records(At::Open(folder))?;
        self.head(EntryType::Directory, stat, None, 0, &records)?;
        let names = Names::of(folder).map_err(|e| self.failed("read the folder", e))?;
        let length = self.path.len();
        for index in 0..names.len() {
            self.watch.check()?;
            self.path.extend_from_slice(names.get(index).to_bytes());
            self.entry(folder, names.get(index))?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CStr) -> Result<(), TreeError> {
        let stat = match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                self.moving("vanished while it was read");
                return Ok(());
            }
            Err(error) => return Err(self.failed("look at", error.into())),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity(&stat)).cloned() {
                return self.head(EntryType::Link, &stat, Some(&first), 0, &Records::default());
            }
            self.links.insert(identity(&stat), self.path.clone());
        }
        let before = self.packed.entries;
        self.one(folder, name, &stat, kind)?;
        if before == self.packed.entries {
            // It is not in the archive: another name of it must not lead there.
            self.links.remove(&identity(&stat));
        }
        Ok(())
    }

    fn one(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        kind: FileType,
    ) -> Result<(), TreeError> {
        match kind {
            FileType::Directory => match open_folder(folder, name) {
                Ok(below) => {
                    self.path.push(b'/');
                    let stat = fs::fstat(&below).map_err(|e| self.failed("look at", e.into()))?;
                    self.folder(below.as_fd(), &stat)
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    self.moving("vanished while it was read");
                    Ok(())
                }
                Err(error) => Err(self.failed("open", error.into())),
            },
            FileType::RegularFile => self.file(folder, name),
            FileType::Symlink => {
                let target = match fs::readlinkat(folder, name, Vec::new()) {
                    Ok(target) => target,
                    Err(Errno::NOENT | Errno::INVAL) => {
                        self.moving("vanished while it was read");
                        return Ok(());
                    }
                    Err(error) => return Err(self.failed("read the link", error.into())),
                };
                let records = self.records(At::Named(folder, name))?;
                let target = Some(target.as_bytes());
                self.head(EntryType::Symlink, stat, target, 0, &records)
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                let records = self.records(At::Named(folder, name))?;
                let kind = match kind {
                    FileType::Fifo => EntryType::Fifo,
                    FileType::CharacterDevice => EntryType::Char,
                    _ => EntryType::Block,
                };
                self.head(kind, stat, None, 0, &records)
            }
            _ => {
                self.remark("a socket is no data and is left out");
                Ok(())
            }
        }
    }

    /// Records of the extended attributes; access control lists also in the form that tar's
    /// `--acls` reads.
    fn records(&mut self, at: At<'_>) -> Result<Records, TreeError> {
        let xattrs = match self.xattrs.read(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|e| self.failed("read the attributes of", e))?,
        };
        let mut records = Records::default();
        for (name, value) in xattrs {
            for (attribute, key) in [acl::ACCESS, acl::DEFAULT] {
                if name.to_bytes() == attribute.as_bytes()
                    && let Some(text) = acl::to_text(&value)
                {
                    records.add(key.as_bytes(), text.as_bytes());
                }
            }
            records.add(&xattr_key(name.to_bytes()), &value);
        }
        Ok(records)
    }

    fn head(
        &mut self,
        kind: EntryType,
        stat: &Stat,
        link: Option<&[u8]>,
        size: u64,
        records: &Records,
    ) -> Result<(), TreeError> {
        let path = self.path.clone();
        self.head_as(&path, kind, stat, link, size, records)
    }

    fn head_as(
        &mut self,
        path: &[u8],
        kind: EntryType,
        stat: &Stat,
        link: Option<&[u8]>,
        size: u64,
        records: &Records,
    ) -> Result<(), TreeError> {
        self.packed.entries += 1;
        let entry = Entry {
            kind,
            path,
            link,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: mtime(stat),
            size,
            device: (fs::major(stat.st_rdev), fs::minor(stat.st_rdev)),
        };
        let blocks = header(&entry, records);
        self.write(&blocks)
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &CStr) -> Result<(), TreeError> {
        let file = match open_file(folder, name) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => {
                self.moving("vanished while it was read");
                return Ok(());
            }
            Err(error) => return Err(self.failed("open", error.into())),
        };
        let stat = fs::fstat(&file).map_err(|e| self.failed("look at", e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            self.moving("became something else while it was read");
            return Ok(());
        }
        let records = self.records(At::Open(file.as_fd()))?;
        let segments = if may_have_holes(&stat) {
            segments(&file, size(&stat)).map_err(|e| self.failed("read", e))?
        } else {
            vec![(0, size(&stat))]
        };
        if segments == [(0, size(&stat))] {
            self.head(EntryType::Regular, &stat, None, size(&stat), &records)?;
        } else {
            self.sparse_head(&stat, &segments, records)?;
        }
        let mut length = 0;
        for (start, end) in segments {
            self.data(&file, start, end)?;
            length += end - start;
        }
        self.zeros(length.next_multiple_of(BLOCK as u64) - length)?;
        let after = fs::fstat(&file).map_err(|e| self.failed("look at", e.into()))?;
        let seen = |s: &Stat| (size(s), mtime(s), ctime(s));
        if seen(&after) != seen(&stat) {
            self.moving("changed while it was read");
        }
        Ok(())
    }

    /// The map of a file with holes stands before its data (format 1.0).
    fn sparse_head(
        &mut self,
        stat: &Stat,
        segments: &[(u64, u64)],
        mut records: Records,
    ) -> Result<(), TreeError> {
        use std::fmt::Write as _;
        let mut map = segments.to_vec();
        // Where the data ends before the file does, an empty piece tells how long it is.
        if map.last().is_none_or(|(_, end)| *end < size(stat)) {
            map.push((size(stat), size(stat)));
        }
        let mut text = format!("{}\n", map.len());
        for (start, end) in &map {
            let _ = write!(text, "{start}\n{}\n", end - start);
        }
        let mut text = text.into_bytes();
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        let data: u64 = segments.iter().map(|(start, end)| end - start).sum();
        records.add(b"GNU.sparse.major", b"1");
        records.add(b"GNU.sparse.minor", b"0");
        records.add(b"GNU.sparse.name", &self.path.clone());
        let real = size(stat).to_string();
        records.add(b"GNU.sparse.realsize", real.as_bytes());
        // Whoever does not know the format gets a file of another name, not a wrong one.
        let mut path = b"./GNUSparseFile.0/".to_vec();
        path.extend_from_slice(&self.path[2..]);
        let length = text.len() as u64 + data;
        self.head_as(&path, EntryType::Regular, stat, None, length, &records)?;
        self.write(&text)
    }

    fn data(&mut self, file: &File, mut at: u64, end: u64) -> Result<(), TreeError> {
        while at < end {
            let begin = self.buffer.len();
            let room = CHUNK - begin;
            let length = room.min(usize::try_from(end - at).unwrap_or(room));
            self.buffer.resize(begin + length, 0);
            let got = read_full(file, &mut self.buffer[begin..], at);
            let got = got.map_err(|e| self.failed("read", e))?;
            // It became shorter: what was promised is filled with zeros, and it counts as moving.
            self.packed.bytes += length as u64;
            self.packed.content += got as u64;
            self.watch.add(got as u64);
            at += length as u64;
            if self.buffer.len() == CHUNK {
                self.hand_on()?;
            }
        }
        Ok(())
    }
}

/// Pieces of data of a file, holes between them.
fn segments(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut segments: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = next_data(file, at, size)? {
        match segments.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => segments.push((start, end)),
        }
        at = end;
    }
    Ok(segments)
}
