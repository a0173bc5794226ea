//! Is the disk there that should be?

use std::fs;
use std::path::{Path, PathBuf};

/// The mount point at or above `folder` that `/etc/fstab` names and that is not mounted.
pub(super) fn absent(folder: &Path) -> Option<PathBuf> {
    let fstab = fs::read_to_string("/etc/fstab").ok()?;
    let mounted = fs::read_to_string("/proc/self/mountinfo").ok()?;
    // A folder that is not there yet: what counts is where its parent really is.
    let real = folder.canonicalize().ok().or_else(|| {
        let parent = folder.parent()?.canonicalize().ok()?;
        Some(parent.join(folder.file_name()?))
    });
    absent_in(real.as_deref().unwrap_or(folder), &fstab, &mounted)
}

fn absent_in(folder: &Path, fstab: &str, mountinfo: &str) -> Option<PathBuf> {
    let mounted: Vec<PathBuf> = fields(mountinfo, 4).collect();
    fields(fstab, 1)
        .filter(|point| point.is_absolute() && folder.starts_with(point))
        .max_by_key(|point| point.as_os_str().len())
        .filter(|point| point != Path::new("/") && !mounted.contains(point))
}

/// The `n`th field of each line, a path; `\040` and its like are what the kernel writes for blanks.
fn fields(text: &str, n: usize) -> impl Iterator<Item = PathBuf> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(move |line| line.split_ascii_whitespace().nth(n))
        .map(|field| {
            let plain = field
                .replace("\\040", " ")
                .replace("\\011", "\t")
                .replace("\\012", "\n")
                .replace("\\134", "\\");
            let trimmed = plain.trim_end_matches('/');
            PathBuf::from(if trimmed.is_empty() { "/" } else { trimmed })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_of_fstab_that_is_not_mounted_is_told() {
        let fstab = "# disks\nUUID=1 / ext4 defaults 0 1\nUUID=2 /mnt/backup ext4 noauto 0 2\nUUID=3 /mnt/my\\040disk/ ext4 defaults 0 2\nUUID=4 none swap sw 0 0\n";
        let bare = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        let full = format!(
            "{bare}23 22 8:2 / /mnt/backup rw - ext4 /dev/sdb1 rw\n24 22 8:3 / /mnt/my\\040disk rw - ext4 /dev/sdc1 rw\n"
        );
        let absent = |folder: &str, mounted: &str| absent_in(Path::new(folder), fstab, mounted);
        for folder in ["/mnt/backup", "/mnt/backup/summoner", "/mnt/my disk/a"] {
            assert!(absent(folder, bare).is_some(), "{folder}");
            assert_eq!(absent(folder, &full), None, "{folder}");
        }
        for folder in ["/srv/backups", "/mnt/backup2", "/"] {
            assert_eq!(absent(folder, bare), None, "{folder}");
        }
    }
}
