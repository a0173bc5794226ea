//! A folder as a tar stream, in the `pax` format that GNU tar, libarchive and others understand:
//! nanoseconds, names of any bytes and length, extended attributes (`SCHILY.xattr.*`), access control
//! lists (also as `SCHILY.acl.*`), hard links, holes (`GNU.sparse` 1.0), devices and fifos.
//!
//! By hand: `zstd -d < html.tar.zst | tar --xattrs --xattrs-include='*' --acls --numeric-owner -xpf -`.

mod acl;
mod format;
mod pack;
mod parse;
mod unpack;

pub use self::pack::{Packed, pack};
pub use self::unpack::{Unpacked, unpack};
