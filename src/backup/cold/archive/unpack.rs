//! Reads an archive back into a folder, and never writes outside it: every step of every path is
//! opened by itself and never through a link, so that an archive cannot make a link and then write
//! through it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::parse::{Head, Reader, is_file};
use crate::backup::cold::node::{
    self, At, Meta, Remarks, TreeError, Xattrs, open_folder, open_root, shown,
};
use crate::files::{self, FileError};

/// Bytes that are written at once.
const CHUNK: usize = 1024 * 1024;

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries.
    pub entries: u64,
    /// Files among them.
    pub files: u64,
    /// Bytes of their content, holes left out.
    pub content: u64,
    /// What was odd.
    pub remarks: Remarks,
}

/// Unpacks a whole archive into `into`, which is made when it is missing (0700), with owners (as
/// root), modes, times and attributes; the entry `./` is for `into` itself. Reads `reader` to its
/// very end, and returns when everything is on the disk. After an error `into` holds a part of it.
pub fn unpack(reader: impl Read, into: &Path) -> Result<Unpacked, TreeError> {
    files::create_folder(into, 0o700)?;
    let root = open_root(into)?;
    // What the folder around it would hand down is not in the archive.
    let mut unpacker = Unpacker {
        reader: Reader::new(reader),
        into: into.to_owned(),
        open: Vec::new(),
        root,
        root_meta: None,
        path: Vec::new(),
        xattrs: Xattrs::default(),
        unpacked: Unpacked::default(),
        buffer: vec![0; CHUNK],
    };
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        let _ = fs::fremovexattr(&unpacker.root, name);
    }
    while let Some(head) = unpacker.reader.next()? {
        unpacker.entry(&head)?;
    }
    while !unpacker.open.is_empty() {
        unpacker.close()?;
    }
    unpacker.path.clear();
    if let Some(meta) = unpacker.root_meta.take() {
        let root = unpacker
            .root
            .try_clone()
            .map_err(FileError::of("open", into))?;
        unpacker.apply(At::Open(root.as_fd()), &meta)?;
    }
    fs::syncfs(&unpacker.root)
        .map_err(|e| FileError::of("write back the cache of", into)(e.into()))?;
    Ok(unpacker.unpacked)
}

/// A folder that entries are being put into; it gets its own things when they are done.
struct Open {
    /// Below the root.
    path: Vec<u8>,
    fd: OwnedFd,
    meta: Option<Meta>,
}

struct Unpacker<R> {
    reader: Reader<R>,
    into: PathBuf,
    root: OwnedFd,
    root_meta: Option<Meta>,
    /// Folders from the root down to the one worked in.
    open: Vec<Open>,
    /// Of the current entry, for messages.
    path: Vec<u8>,
    xattrs: Xattrs,
    unpacked: Unpacked,
    buffer: Vec<u8>,
}

/// Steps of a path below the root. Anything that could lead out of it is refused.
fn steps(path: &[u8]) -> Result<Vec<CString>, TreeError> {
    let refused = |why: &str| {
        let path = String::from_utf8_lossy(path);
        Err(TreeError::Refused(format!("its path `{path}` {why}")))
    };
    if path.first() == Some(&b'/') {
        return refused("is absolute");
    }
    let mut steps = Vec::new();
    for step in path.split(|b| *b == b'/') {
        match step {
            b"" | b"." => {}
            b".." => return refused("leads out of the folder"),
            step => match CString::new(step) {
                Ok(step) => steps.push(step),
                Err(_) => return refused("is none"),
            },
        }
    }
    Ok(steps)
}

fn joined(steps: &[CString]) -> Vec<u8> {
    let parts: Vec<&[u8]> = steps
        .iter()
        .map(CString::as_c_str)
        .map(CStr::to_bytes)
        .collect();
    parts.join(&b'/')
}

impl<R: Read> Unpacker<R> {
    fn failed(&self, action: &'static str, error: Errno) -> TreeError {
        self.failed_io(action, error.into())
    }

    fn failed_io(&self, action: &'static str, error: io::Error) -> TreeError {
        FileError::of(action, &shown(&self.into, &self.path))(error).into()
    }

    fn remark(&mut self, text: &str) {
        let path = shown(&self.into, &self.path);
        self.unpacked
            .remarks
            .add(|| format!("`{}`: {text}", path.display()));
    }

    fn apply(&mut self, at: At<'_>, meta: &Meta) -> Result<(), TreeError> {
        let mut odd = Vec::new();
        let applied = node::apply(at, meta, &mut self.xattrs, &mut |text| odd.push(text));
        applied.map_err(|(action, error)| self.failed_io(action, error))?;
        for text in &odd {
            self.remark(text);
        }
        Ok(())
    }

    /// Leaves the innermost folder and gives it its own things.
    fn close(&mut self) -> Result<(), TreeError> {
        if let Some(open) = self.open.pop()
            && let Some(meta) = open.meta
        {
            let path = std::mem::replace(&mut self.path, open.path);
            self.apply(At::Open(open.fd.as_fd()), &meta)?;
            self.path = path;
        }
        Ok(())
    }

    /// The innermost open folder.
    fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |o| o.fd.as_fd())
    }

    /// Opens the folder of these steps, makes what is missing of it, and closes all others.
    fn enter(&mut self, steps: &[CString]) -> Result<(), TreeError> {
        let within = |open: &Open| {
            let depth = open.path.split(|b| *b == b'/').count();
            depth <= steps.len() && joined(&steps[..depth]) == open.path
        };
        while self.open.last().is_some_and(|open| !within(open)) {
            self.close()?;
        }
        for depth in self.open.len()..steps.len() {
            let fd = self.open_or_make(
                &steps[depth],
                Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH,
            )?;
            self.open.push(Open {
                path: joined(&steps[..=depth]),
                fd,
                meta: None,
            });
        }
        Ok(())
    }

    fn open_or_make(&self, name: &CStr, mode: Mode) -> Result<OwnedFd, TreeError> {
        match open_folder(self.here(), name) {
            Err(Errno::NOENT) => fs::mkdirat(self.here(), name, mode)
                .and_then(|()| open_folder(self.here(), name))
                .map_err(|e| self.failed("create the folder", e)),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(TreeError::Refused(format!(
                "its path `{}` leads through something that is no folder",
                String::from_utf8_lossy(&self.path)
            ))),
            opened => opened.map_err(|e| self.failed("open", e)),
        }
    }

    fn entry(&mut self, head: &Head) -> Result<(), TreeError> {
        self.path.clone_from(&head.path);
        let steps = steps(&head.path)?;
        self.path = joined(&steps);
        self.unpacked.entries += 1;
        for text in &head.odd {
            self.remark(text);
        }
        let meta = Meta {
            kind: FileType::Unknown,
            mode: head.mode,
            uid: head.uid,
            gid: head.gid,
            mtime: head.mtime,
            device: head.device,
            xattrs: head.xattrs.clone(),
        };
        let Some((name, parents)) = steps.split_last() else {
            if head.kind != EntryType::Directory {
                return Err(TreeError::Refused("an entry without a name".to_owned()));
            }
            self.root_meta = Some(Meta {
                kind: FileType::Directory,
                ..meta
            });
            return Ok(());
        };
        if head.kind == EntryType::Directory {
            return self.folder(&steps, name, parents, meta);
        }
        self.enter(parents)?;
        // What came before under this name gives way; a folder with something in it does not.
        match fs::unlinkat(self.here(), name.as_c_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                fs::unlinkat(self.here(), name.as_c_str(), AtFlags::REMOVEDIR)
                    .map_err(|e| self.failed("replace", e))?;
            }
            Err(error) => return Err(self.failed("replace", error)),
        }
        match head.kind {
            kind if is_file(kind) => self.file(name, head, meta),
            EntryType::Link => self.link(name, head),
            EntryType::Symlink => {
                let target = CString::new(head.link.clone())
                    .map_err(|_| TreeError::Refused("a link to what is no path".to_owned()))?;
                fs::symlinkat(target.as_c_str(), self.here(), name.as_c_str())
                    .map_err(|e| self.failed("create the link", e))?;
                self.finish(
                    name,
                    &Meta {
                        kind: FileType::Symlink,
                        ..meta
                    },
                )
            }
            EntryType::Fifo => self.special(name, FileType::Fifo, meta),
            EntryType::Char => self.special(name, FileType::CharacterDevice, meta),
            EntryType::Block => self.special(name, FileType::BlockDevice, meta),
            other => Err(TreeError::Refused(format!(
                "`{}` is of a kind that is not known: `{}`",
                String::from_utf8_lossy(&self.path),
                char::from(other.as_byte())
            ))),
        }
    }

    fn folder(
        &mut self,
        steps: &[CString],
        name: &CStr,
        parents: &[CString],
        meta: Meta,
    ) -> Result<(), TreeError> {
        self.enter(parents)?;
        let fd = self.open_or_make(name, Mode::RWXU)?;
        self.open.push(Open {
            path: joined(steps),
            fd,
            meta: Some(Meta {
                kind: FileType::Directory,
                ..meta
            }),
        });
        Ok(())
    }

    fn finish(&mut self, name: &CStr, meta: &Meta) -> Result<(), TreeError> {
        let folder = self.here().try_clone_to_owned();
        let folder = folder.map_err(|e| self.failed_io("open", e))?;
        self.apply(At::Named(folder.as_fd(), name), meta)
    }

    fn special(&mut self, name: &CStr, kind: FileType, meta: Meta) -> Result<(), TreeError> {
        let device = fs::makedev(meta.device.0, meta.device.1);
        match fs::mknodat(self.here(), name, kind, Mode::RUSR, device) {
            Ok(()) => self.finish(name, &Meta { kind, ..meta }),
            Err(Errno::PERM) if kind != FileType::Fifo => {
                self.remark("a device, which only root may make, is left out");
                Ok(())
            }
            Err(error) => Err(self.failed("create", error)),
        }
    }

    /// A further name of something unpacked before.
    fn link(&mut self, name: &CStr, head: &Head) -> Result<(), TreeError> {
        let target = steps(&head.link)?;
        let Some((last, parents)) = target.split_last() else {
            return Err(TreeError::Refused("a link to the folder itself".to_owned()));
        };
        let mut folder = self
            .root
            .try_clone()
            .map_err(|e| self.failed_io("open", e))?;
        for step in parents {
            folder = open_folder(&folder, step).map_err(|e| self.failed("follow the link", e))?;
        }
        fs::linkat(
            &folder,
            last.as_c_str(),
            self.here(),
            name,
            AtFlags::empty(),
        )
        .map_err(|e| self.failed("create the link", e))
    }

    fn file(&mut self, name: &CStr, head: &Head, meta: Meta) -> Result<(), TreeError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(self.here(), name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.failed("create", e))?;
        let file = File::from(file);
        let mut written_to = 0;
        for (offset, length) in &head.pieces {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let most = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
                self.reader.read_data(&mut self.buffer[..most])?;
                file.write_all_at(&self.buffer[..most], at)
                    .map_err(|e| self.failed_io("write", e))?;
                at += most as u64;
                self.unpacked.content += most as u64;
                written_to = at;
            }
        }
        if written_to < head.size {
            file.set_len(head.size)
                .map_err(|e| self.failed_io("write", e))?;
        }
        self.unpacked.files += 1;
        let meta = Meta {
            kind: FileType::RegularFile,
            ..meta
        };
        self.apply(At::Open(file.as_fd()), &meta)
    }
}
