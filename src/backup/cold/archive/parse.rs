//! Reads archives: ours, and those of GNU tar, busybox, libarchive.

use std::ffi::CString;
use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::acl;
use super::format::{BLOCK, parse_time};
use crate::backup::cold::node::TreeError;

/// Bytes of records that one entry may have: a thousand attributes of the largest size the kernel takes.
const MOST_RECORDS: u64 = 64 * 1024 * 1024;
/// Pieces that one file with holes may have.
const MOST_PIECES: usize = 1 << 22;

/// An entry's header with everything that stood before it.
pub(super) struct Head {
    /// As written, not checked.
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<(CString, Vec<u8>)>,
    /// Size of the file, holes included.
    pub(super) size: u64,
    /// Where its data goes: offset and length of each piece.
    pub(super) pieces: Vec<(u64, u64)>,
    /// What of it cannot be had: names of people that this machine does not know.
    pub(super) odd: Vec<String>,
}

/// Key and value.
type Record = (Vec<u8>, Vec<u8>);

/// Reads entry by entry.
pub(super) struct Reader<R> {
    inner: R,
    /// Bytes of the current entry's data, and of the padding after it, that are not read yet.
    data: u64,
    padding: u64,
    global: Vec<Record>,
}

fn damaged(text: impl Into<String>) -> TreeError {
    TreeError::Damaged(text.into())
}

impl<R: Read> Reader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            data: 0,
            padding: 0,
            global: Vec::new(),
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), TreeError> {
        self.inner.read_exact(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                damaged("it ends in the middle")
            } else {
                TreeError::Read(error)
            }
        })
    }

    /// Reads the next bytes of the current entry's data; there must be that many.
    pub(super) fn read_data(&mut self, buffer: &mut [u8]) -> Result<(), TreeError> {
        let length = buffer.len() as u64;
        if length > self.data {
            return Err(damaged("a file is shorter than its map says"));
        }
        self.exact(buffer)?;
        self.data -= length;
        Ok(())
    }

    fn skip(&mut self) -> Result<(), TreeError> {
        let mut rest = self.data + self.padding;
        let mut buffer = [0; 8192];
        while rest > 0 {
            let length = buffer
                .len()
                .min(usize::try_from(rest).unwrap_or(buffer.len()));
            self.exact(&mut buffer[..length])?;
            rest -= length as u64;
        }
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads what follows the end of the archive, so that whoever checks the bytes saw all of them.
    fn drain(&mut self) -> Result<(), TreeError> {
        io::copy(&mut self.inner, &mut io::sink()).map_err(TreeError::Read)?;
        Ok(())
    }

    fn block(&mut self) -> Result<Header, TreeError> {
        let mut header = Header::new_old();
        self.exact(header.as_mut_bytes())?;
        Ok(header)
    }

    /// The whole data of the current entry, as text of a record.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, TreeError> {
        if size > MOST_RECORDS {
            return Err(damaged("records of one file are too long"));
        }
        let mut all = vec![0; usize::try_from(size).unwrap_or(0)];
        self.exact(&mut all)?;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        self.skip()?;
        Ok(all)
    }

    /// The next entry; what is left of the data of the one before is skipped. `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Head>, TreeError> {
        self.skip()?;
        let mut records = self.global.clone();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            let header = self.block()?;
            if header.as_bytes().iter().all(|b| *b == 0) {
                let second = self.block()?;
                if second.as_bytes().iter().any(|b| *b != 0) {
                    return Err(damaged("there is something after its end"));
                }
                self.drain()?;
                return Ok(None);
            }
            check(&header)?;
            let size = number(header.entry_size())?;
            match header.entry_type() {
                EntryType::XHeader => records.extend(self.records(size)?),
                EntryType::XGlobalHeader => {
                    let more = self.records(size)?;
                    records.extend(more.clone());
                    self.global.extend(more);
                }
                EntryType::GNULongName => long_path = Some(until_nul(self.small(size)?)),
                EntryType::GNULongLink => long_link = Some(until_nul(self.small(size)?)),
                // The name of the volume.
                kind if kind.as_byte() == b'V' => drop(self.small(size)?),
                _ => {
                    return self
                        .head(&header, size, &records, long_path, long_link)
                        .map(Some);
                }
            }
        }
    }

    fn records(&mut self, size: u64) -> Result<Vec<Record>, TreeError> {
        let text = self.small(size)?;
        let bad = || damaged("a record is malformed");
        let mut records = Vec::new();
        let mut rest = &text[..];
        // Some pad with zeros.
        while !rest.is_empty() && rest[0] != 0 {
            let space = rest.iter().position(|b| *b == b' ').ok_or_else(bad)?;
            let length: usize = std::str::from_utf8(&rest[..space])
                .ok()
                .and_then(|digits| digits.parse().ok())
                .filter(|length| *length > space + 1 && *length <= rest.len())
                .ok_or_else(bad)?;
            let (record, after) = rest.split_at(length);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
            rest = after;
        }
        Ok(records)
    }

    fn head(
        &mut self,
        header: &Header,
        size: u64,
        records: &[Record],
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Head, TreeError> {
        let mtime = seconds(header)?;
        let id = |id: u64| u32::try_from(id).map_err(|_| damaged("an owner is no number"));
        let part = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or(0);
        let mut head = Head {
            path: long_path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: long_link.unwrap_or_else(|| {
                header
                    .link_name_bytes()
                    .map_or_else(Vec::new, std::borrow::Cow::into_owned)
            }),
            kind: header.entry_type(),
            mode: number(header.mode())? & 0o7777,
            uid: id(number(header.uid())?)?,
            gid: id(number(header.gid())?)?,
            mtime: (mtime, 0),
            device: (part(header.device_major()), part(header.device_minor())),
            xattrs: Vec::new(),
            size,
            pieces: Vec::new(),
            odd: Vec::new(),
        };
        let mut sparse = SparseRecords::default();
        self.data = size;
        for (key, value) in records {
            let text = || std::str::from_utf8(value).map_err(|_| damaged("a record holds no text"));
            let digits = || {
                text()?
                    .parse()
                    .map_err(|_| damaged("a record holds no number"))
            };
            match key.as_slice() {
                b"path" => head.path.clone_from(value),
                b"linkpath" => head.link.clone_from(value),
                b"size" => self.data = digits()?,
                b"uid" => head.uid = id(digits()?)?,
                b"gid" => head.gid = id(digits()?)?,
                b"mtime" => {
                    head.mtime = parse_time(text()?).ok_or_else(|| damaged("a time is none"))?;
                }
                _ => {
                    if !sparse.take(key, value)? {
                        attribute(&mut head, key, value);
                    }
                }
            }
        }
        head.xattrs.sort();
        // Only files have data; what a folder's header says of sizes is for tapes.
        if !is_file(head.kind) {
            if head.kind == EntryType::Directory {
                (head.size, self.data) = (0, 0);
            }
            self.padding = self.data.next_multiple_of(BLOCK as u64) - self.data;
            return Ok(head);
        }
        self.padding = self.data.next_multiple_of(BLOCK as u64) - self.data;
        head.size = self.data;
        head.pieces = vec![(0, self.data)];
        if head.kind == EntryType::GNUSparse {
            self.old_sparse(header, &mut head)?;
        } else if sparse.any {
            if let Some(name) = sparse.name.take() {
                head.path = name;
            }
            head.size = sparse.size.ok_or_else(|| damaged("a size is missing"))?;
            head.pieces = if sparse.major == 1 {
                self.map()?
            } else {
                sparse.pieces()?
            };
        }
        check_pieces(&head)?;
        Ok(head)
    }

    /// The map of format 1.0: lines of decimal numbers, padded to a block.
    fn map(&mut self) -> Result<Vec<(u64, u64)>, TreeError> {
        let mut block = [0; BLOCK];
        let mut at = BLOCK;
        let mut line = |reader: &mut Self| -> Result<u64, TreeError> {
            let mut number: u64 = 0;
            loop {
                if at == BLOCK {
                    reader.read_data(&mut block)?;
                    at = 0;
                }
                let byte = block[at];
                at += 1;
                if byte == b'\n' {
                    return Ok(number);
                }
                number = byte
                    .is_ascii_digit()
                    .then(|| number.checked_mul(10)?.checked_add(u64::from(byte - b'0')))
                    .flatten()
                    .ok_or_else(|| damaged("a map of holes is malformed"))?;
            }
        };
        let count = usize::try_from(line(self)?).unwrap_or(usize::MAX);
        if count > MOST_PIECES {
            return Err(damaged("a map of holes is too long"));
        }
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push((line(self)?, line(self)?));
        }
        Ok(pieces)
    }

    /// The old format of GNU tar: pieces in the header and in blocks after it.
    fn old_sparse(&mut self, header: &Header, head: &mut Head) -> Result<(), TreeError> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| damaged("a map of holes in a header that has none"))?;
        head.size = number(gnu.real_size())?;
        head.pieces.clear();
        let mut all = Vec::new();
        all.extend(
            gnu.sparse
                .iter()
                .filter(|p| !p.is_empty())
                .map(|p| (p.offset(), p.length())),
        );
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.exact(block.as_mut_bytes())?;
            let pieces = block.sparse().iter().filter(|p| !p.is_empty());
            all.extend(pieces.map(|p| (p.offset(), p.length())));
            more = block.is_extended();
            if all.len() > MOST_PIECES {
                return Err(damaged("a map of holes is too long"));
            }
        }
        for (offset, length) in all {
            head.pieces.push((number(offset)?, number(length)?));
        }
        Ok(())
    }
}

pub(super) fn is_file(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
    )
}

fn number<T>(value: io::Result<T>) -> Result<T, TreeError> {
    value.map_err(|e| damaged(format!("a header holds no number: {e}")))
}

/// Modification time of a header. GNU tar writes one before 1970 as a binary number below zero.
fn seconds(header: &Header) -> Result<i64, TreeError> {
    let field = &header.as_bytes()[136..148];
    match field.last_chunk::<8>() {
        Some(low) if field[0] == 0xff => Ok(i64::from_be_bytes(*low)),
        _ => Ok(i64::try_from(number(header.mtime())?).unwrap_or(i64::MAX)),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn check(header: &Header) -> Result<(), TreeError> {
    let bytes = header.as_bytes();
    let sum = bytes.iter().enumerate().map(|(index, byte)| match index {
        // The sum itself counts as spaces.
        148..156 => u32::from(b' '),
        _ => u32::from(*byte),
    });
    if header.cksum().ok() != Some(sum.sum()) {
        return Err(damaged("the checksum of a header is wrong"));
    }
    Ok(())
}

/// Pieces stand in order within the file and take up its data.
fn check_pieces(head: &Head) -> Result<(), TreeError> {
    let mut end = 0;
    for (offset, length) in &head.pieces {
        let stop = offset.checked_add(*length);
        match stop.filter(|stop| *offset >= end && *stop <= head.size) {
            Some(stop) => end = stop,
            None => return Err(damaged("a map of holes does not fit its file")),
        }
    }
    Ok(())
}

fn attribute(head: &mut Head, key: &[u8], value: &[u8]) {
    let mut give = |name: Vec<u8>, value: Vec<u8>| {
        if let Ok(name) = CString::new(name) {
            head.xattrs.retain(|(n, _)| *n != name);
            head.xattrs.push((name, value));
        }
    };
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        let mut plain = Vec::new();
        let mut rest = name;
        while let Some(byte) = rest.first() {
            let (one, length) = match rest {
                [b'%', b'2', b'5', ..] => (b'%', 3),
                [b'%', b'3', b'D', ..] => (b'=', 3),
                _ => (*byte, 1),
            };
            plain.push(one);
            rest = &rest[length..];
        }
        give(plain, value.to_vec());
        return;
    }
    for (name, record) in [acl::ACCESS, acl::DEFAULT] {
        // The attribute itself says the same and more exactly.
        let there = |head: &Head| {
            head.xattrs
                .iter()
                .any(|(n, _)| n.as_bytes() == name.as_bytes())
        };
        if key != record.as_bytes() || there(head) {
            continue;
        }
        let text = String::from_utf8_lossy(value);
        match acl::to_bytes(&text, &acl::id_of) {
            Some(bytes) => {
                if let Ok(name) = CString::new(name) {
                    head.xattrs.push((name, bytes));
                }
            }
            None => head
                .odd
                .push(format!("an access control list is left out: `{text}`")),
        }
    }
}

/// `GNU.sparse.*` of all three formats.
#[derive(Default)]
struct SparseRecords {
    any: bool,
    major: u64,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
}

impl SparseRecords {
    /// Whether the record was one of these.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<bool, TreeError> {
        let Some(key) = key.strip_prefix(b"GNU.sparse.") else {
            return Ok(false);
        };
        self.any = true;
        let bad = || damaged("a map of holes is malformed");
        let text = || std::str::from_utf8(value).map_err(|_| bad());
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        match key {
            b"major" => self.major = number(text()?)?,
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number(text()?)?),
            b"offset" => self.offsets.push(number(text()?)?),
            b"numbytes" => self.lengths.push(number(text()?)?),
            b"map" => {
                for (index, part) in text()?.split(',').enumerate() {
                    let list = if index % 2 == 0 {
                        &mut self.offsets
                    } else {
                        &mut self.lengths
                    };
                    list.push(number(part)?);
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn pieces(self) -> Result<Vec<(u64, u64)>, TreeError> {
        if self.offsets.len() != self.lengths.len() || self.offsets.len() > MOST_PIECES {
            return Err(damaged("a map of holes is malformed"));
        }
        Ok(self.offsets.into_iter().zip(self.lengths).collect())
    }
}
