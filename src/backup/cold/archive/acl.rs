//! Access control lists: the kernel's bytes in `system.posix_acl_*`, and the text of tar archives.

/// An entry's tag in the kernel's format.
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;
/// Version of the kernel's format.
const VERSION: u32 = 2;
/// The id of entries that have none.
const NOBODY: u32 = u32::MAX;

/// Attribute and record of the list that counts for an entry itself.
pub(super) const ACCESS: (&str, &str) = ("system.posix_acl_access", "SCHILY.acl.access");
/// Attribute and record of the list that new entries of a folder get.
pub(super) const DEFAULT: (&str, &str) = ("system.posix_acl_default", "SCHILY.acl.default");

/// `user::rw-,user:1000:r--,…`; `None` where the bytes are no list.
pub(super) fn to_text(bytes: &[u8]) -> Option<String> {
    let (version, entries) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || entries.len() % 8 != 0 {
        return None;
    }
    let mut lines = Vec::new();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let rights = u16::from_le_bytes([entry[2], entry[3]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let who = match tag {
            USER_OBJ => "user:".to_owned(),
            USER => format!("user:{id}"),
            GROUP_OBJ => "group:".to_owned(),
            GROUP => format!("group:{id}"),
            MASK => "mask:".to_owned(),
            OTHER => "other:".to_owned(),
            _ => return None,
        };
        let right = |bit, letter| if rights & bit == 0 { '-' } else { letter };
        lines.push(format!(
            "{who}:{}{}{}",
            right(4, 'r'),
            right(2, 'w'),
            right(1, 'x')
        ));
    }
    Some(lines.join(","))
}

/// The kernel's bytes; `None` where the text is none, or names somebody whom `id` does not know
/// (`true` asks for a user, `false` for a group).
pub(super) fn to_bytes(text: &str, id: &dyn Fn(bool, &str) -> Option<u32>) -> Option<Vec<u8>> {
    let mut entries = Vec::new();
    for line in text.split([',', '\n']) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let parts: Vec<&str> = line.split(':').collect();
        let (kind, name, rights) = match parts[..] {
            [kind, rights] => (kind, "", rights),
            [kind, name, rights] => (kind, name, rights),
            // star adds the number to the name.
            [kind, _, rights, number] => (kind, number, rights),
            _ => return None,
        };
        let mut bits = 0;
        for letter in rights.chars() {
            bits |= match letter {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return None,
            };
        }
        let number = |user| name.parse().ok().or_else(|| id(user, name));
        let (tag, who) = match (kind, name.is_empty()) {
            ("user" | "u", true) => (USER_OBJ, NOBODY),
            ("user" | "u", false) => (USER, number(true)?),
            ("group" | "g", true) => (GROUP_OBJ, NOBODY),
            ("group" | "g", false) => (GROUP, number(false)?),
            ("mask" | "m", _) => (MASK, NOBODY),
            ("other" | "o", _) => (OTHER, NOBODY),
            _ => return None,
        };
        entries.push((tag, who, bits));
    }
    // The kernel wants them in this order.
    entries.sort_unstable();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, who, bits) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&u16::to_le_bytes(bits));
        bytes.extend_from_slice(&who.to_le_bytes());
    }
    Some(bytes)
}

/// Looks a name up in `/etc/passwd` or `/etc/group`.
pub(super) fn id_of(user: bool, name: &str) -> Option<u32> {
    let file = if user { "/etc/passwd" } else { "/etc/group" };
    let text = std::fs::read_to_string(file).ok()?;
    let line = text
        .lines()
        .find(|l| l.split(':').next().is_some_and(|n| n == name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_go_to_text_and_back() {
        let text = "user::rw-,user:7:r--,group::r-x,group:1000:rwx,mask::rwx,other::---";
        let bytes = to_bytes(text, &|_, _| None).unwrap();
        assert_eq!(to_text(&bytes).as_deref(), Some(text));
        let named = "user::rw-\nuser:www-data:r--:33\ngroup::r--\nmask::r--\nother::---\n";
        let bytes = to_bytes(named, &|_, _| None).unwrap();
        assert!(to_text(&bytes).unwrap().contains("user:33:r--"));
        let unknown = "user::rw-,user:nobody-here:r--,group::r--,mask::r--,other::---";
        assert_eq!(to_bytes(unknown, &|_, _| None), None);
        assert!(to_bytes(unknown, &|user, _| user.then_some(9)).is_some());
        assert_eq!(to_text(b"\x02\0\0\0abc"), None);
    }
}
