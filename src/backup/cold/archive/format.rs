//! Blocks and records of the `pax` format.

use std::io::Write as _;

use tar::{EntryType, Header};

/// Everything in an archive begins at a multiple of this.
pub(super) const BLOCK: usize = 512;
/// Ends of archives are at multiples of this: twenty blocks, as GNU tar writes them.
pub(super) const RECORD: u64 = 20 * BLOCK as u64;
/// The largest number in seven and in eleven octal digits.
const OCTAL_7: u64 = 0o777_7777;
const OCTAL_11: u64 = 0o777_7777_7777;

/// What a header says; what does not fit it goes into records before it.
pub(super) struct Entry<'a> {
    pub(super) kind: EntryType,
    pub(super) path: &'a [u8],
    pub(super) link: Option<&'a [u8]>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    /// Bytes that follow in the archive.
    pub(super) size: u64,
    pub(super) device: (u32, u32),
}

/// Records of one entry, in the order they are written.
#[derive(Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    /// `<length> <key>=<value>\n`, the length counting itself.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() > length {
            length = rest + length.to_string().len();
        }
        let _ = write!(self.0, "{length} ");
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

/// `=` ends a key, so GNU tar writes it in the names of attributes as `%3D`.
pub(super) fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            other => key.push(*other),
        }
    }
    key
}

/// Blocks of a header with the records that it needs: those given, and those for what does not fit.
pub(super) fn header(entry: &Entry<'_>, given: &Records) -> Vec<u8> {
    let mut records = Records::default();
    // Names that are no text must be marked for libarchive; GNU tar takes any bytes as they are.
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    if !text(entry.path) || entry.link.is_some_and(|l| !text(l)) {
        records.add(b"hdrcharset", b"BINARY");
    }
    if !fits(entry.path) {
        records.add(b"path", entry.path);
    }
    if let Some(link) = entry.link.filter(|l| !fits(l)) {
        records.add(b"linkpath", link);
    }
    for (key, number, most) in [
        ("size", entry.size, OCTAL_11),
        ("uid", entry.uid.into(), OCTAL_7),
        ("gid", entry.gid.into(), OCTAL_7),
    ] {
        if number > most {
            records.add(key.as_bytes(), number.to_string().as_bytes());
        }
    }
    let (seconds, nanos) = entry.mtime;
    if nanos != 0 || u64::try_from(seconds).map_or(true, |s| s > OCTAL_11) {
        records.add(b"mtime", time(entry.mtime).as_bytes());
    }
    records.0.extend_from_slice(&given.0);

    let mut blocks = Vec::new();
    if !records.0.is_empty() {
        let mut before = Header::new_ustar();
        before.as_mut_bytes()[..15].copy_from_slice(b"./PaxHeaders/@x");
        before.set_entry_type(EntryType::XHeader);
        before.set_mode(0o644);
        before.set_uid(0);
        before.set_gid(0);
        before.set_mtime(0);
        before.set_size(records.0.len() as u64);
        before.set_cksum();
        blocks.extend_from_slice(before.as_bytes());
        blocks.extend_from_slice(&records.0);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let mut own = Header::new_ustar();
    let length = entry.path.len().min(100);
    own.as_mut_bytes()[..length].copy_from_slice(&entry.path[..length]);
    if let Some(link) = entry.link {
        let length = link.len().min(100);
        own.as_mut_bytes()[157..157 + length].copy_from_slice(&link[..length]);
    }
    own.set_entry_type(entry.kind);
    own.set_mode(entry.mode);
    let fitting = |number: u64, most| if number > most { 0 } else { number };
    own.set_uid(fitting(entry.uid.into(), OCTAL_7));
    own.set_gid(fitting(entry.gid.into(), OCTAL_7));
    own.set_size(fitting(entry.size, OCTAL_11));
    own.set_mtime(fitting(u64::try_from(seconds).unwrap_or(0), OCTAL_11));
    if matches!(entry.kind, EntryType::Char | EntryType::Block) {
        // A ustar header has room for these.
        let _ = own.set_device_major(entry.device.0);
        let _ = own.set_device_minor(entry.device.1);
    }
    own.set_cksum();
    blocks.extend_from_slice(own.as_bytes());
    blocks
}

/// Whether a name can stand in the header itself, which every tar of the world reads alike.
fn fits(name: &[u8]) -> bool {
    name.len() <= 100 && name.is_ascii()
}

/// Seconds with nine decimals; before 1970 the whole is negative.
fn time((seconds, nanos): (i64, u32)) -> String {
    if seconds >= 0 || nanos == 0 {
        format!("{seconds}.{nanos:09}")
    } else {
        format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos)
    }
}

/// What [`time`] wrote, and what others write.
pub(super) fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().ok()?;
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_to_text_and_back() {
        for at in [
            (0, 0),
            (1, 5),
            (1_700_000_000, 999_999_999),
            (-1, 1),
            (-1, 0),
            (-5, 250_000_000),
        ] {
            assert_eq!(parse_time(&time(at)), Some(at), "{}", time(at));
        }
        assert_eq!(parse_time("-0.5"), Some((-1, 500_000_000)));
        assert_eq!(parse_time("12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_time("1x"), None);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [1, 5, 6, 88, 89, 90, 91, 985, 986, 987] {
            let mut records = Records::default();
            records.add(b"path", &vec![b'x'; length]);
            let text = String::from_utf8(records.0.clone()).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, records.0.len());
        }
    }
}
