//! The content of one file: shared with the original where the file system can, else copied, holes
//! kept, and where there is a copy already, only what differs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{self, IFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::node::{may_have_holes, size};
use super::tree::Watch;

/// Read at once.
const CHUNK: usize = 1024 * 1024;
/// Compared and written at once: what differs in a database is pages, far apart.
const PIECE: usize = 64 * 1024;

/// How the copy is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By sharing blocks (`FICLONE`); a file that cannot be shared is copied.
    Reflink,
    /// By copying.
    Copy,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) written: u64,
    pub(super) shared: u64,
}

/// Why it could not be done.
pub(super) enum Failed {
    Stopped,
    Reading(io::Error),
    Writing(io::Error),
}

/// Makes `to` what `from` is. `stat` is of `from`; what it grows by from now on is left out.
pub(super) fn copy(
    from: &File,
    stat: &Stat,
    to: &File,
    how: How,
    watch: &Watch,
) -> Result<Copied, Failed> {
    let mut copied = Copied::default();
    let there = fs::fstat(to).map_err(|e| Failed::Writing(e.into()))?;
    if how == How::Reflink && size(stat) > 0 && share(from, to).map_err(Failed::Writing)? {
        copied.shared = size(stat);
        watch.add(size(stat));
    } else if may_have_holes(stat) || may_have_holes(&there) || size(&there) == 0 {
        to.set_len(0).map_err(Failed::Writing)?;
        let mut at = 0;
        while let Some((start, end)) = next_data(from, at, size(stat)).map_err(Failed::Reading)? {
            range(from, to, (start, end), false, watch, &mut copied)?;
            at = end;
        }
    } else {
        range(from, to, (0, size(stat)), true, watch, &mut copied)?;
    }
    to.set_len(size(stat)).map_err(Failed::Writing)?;
    Ok(copied)
}

/// Shares all blocks; `false` where that cannot be done with this file.
fn share(from: &File, to: &File) -> io::Result<bool> {
    to.set_len(0)?;
    match fs::ioctl_ficlone(to, from) {
        Ok(()) => return Ok(true),
        // btrfs shares only among files that agree on copy-on-write.
        Err(Errno::INVAL) => {
            let Ok(flags) = fs::ioctl_getflags(from) else {
                return Ok(false);
            };
            if !flags.contains(IFlags::NOCOW) || fs::ioctl_setflags(to, IFlags::NOCOW).is_err() {
                return Ok(false);
            }
        }
        Err(error) if cannot(error) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    Ok(fs::ioctl_ficlone(to, from).is_ok())
}

fn cannot(error: Errno) -> bool {
    matches!(
        error,
        Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::TXTBSY | Errno::PERM
    )
}

/// The next piece of data at or after `at`, before `end`; holes lie between.
pub(super) fn next_data(file: &File, at: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= end {
        return Ok(None);
    }
    let start = match fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, end))),
        Err(error) => return Err(error.into()),
    };
    if start >= end {
        return Ok(None);
    }
    let hole = fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, hole.min(end))))
}

fn range(
    from: &File,
    to: &File,
    (mut at, end): (u64, u64),
    compare: bool,
    watch: &Watch,
    copied: &mut Copied,
) -> Result<(), Failed> {
    let most = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
    let mut new = vec![0; most];
    let mut old = vec![0; if compare { most } else { 0 }];
    while at < end {
        watch.check().map_err(|_| Failed::Stopped)?;
        let length = most.min(usize::try_from(end - at).unwrap_or(most));
        let got = read_full(from, &mut new[..length], at).map_err(Failed::Reading)?;
        if got == 0 {
            break;
        }
        let there = if compare {
            read_full(to, &mut old[..got], at).map_err(Failed::Writing)?
        } else {
            0
        };
        let mut begin = 0;
        while begin < got {
            let stop = got.min(begin + PIECE);
            if stop > there || new[begin..stop] != old[begin..stop] {
                to.write_all_at(&new[begin..stop], at + begin as u64)
                    .map_err(Failed::Writing)?;
                copied.written += (stop - begin) as u64;
            }
            begin = stop;
        }
        at += got as u64;
        watch.add(got as u64);
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Whether files of `from` can share their blocks with files in `to`: tried with one of them.
#[must_use]
pub fn can_share(from: &Path, to: &Path) -> bool {
    let try_it = || -> io::Result<bool> {
        let copy = tempfile::tempfile_in(to)?;
        let own = tempfile::tempfile_in(to)?;
        own.write_all_at(&[1; 4096], 0)?;
        if fs::ioctl_ficlone(&copy, &own).is_err() {
            return Ok(false);
        }
        // One file tells: other mounts within the folder are found out file by file.
        let mut looks = 1000;
        match some_file(from, &mut looks) {
            Some(file) => share(&file, &copy),
            None => Ok(fs::stat(from)?.st_dev == fs::stat(to)?.st_dev),
        }
    };
    try_it().unwrap_or(false)
}

/// A file with something in it, below a folder, found by at most so many looks.
fn some_file(folder: &Path, looks: &mut u32) -> Option<File> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        *looks = looks.checked_sub(1)?;
        let kind = entry.file_type().ok()?;
        if kind.is_file() && entry.metadata().is_ok_and(|m| m.len() > 0) {
            return File::open(entry.path()).ok();
        }
        if kind.is_dir()
            && let Some(file) = some_file(&entry.path(), looks)
        {
            return Some(file);
        }
    }
    None
}
