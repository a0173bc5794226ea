//! Folders copied, packed and unpacked with everything that is in them, and exchanged with GNU tar.

mod tree_support;

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use summoner::backup::cold::TreeError;
use summoner::backup::cold::archive::{self, Unpacked};
use summoner::backup::cold::content::How;
use summoner::backup::cold::tree::{self, Staging, Watch};
use tempfile::TempDir;
use tree_support::{Gardener, look, root, same, stamp};

/// A folder in memory where there is one: the tests write a lot back to their disk otherwise.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// A tree with everything, made from a seed: on the disk, or in memory.
fn garden(seed: u64) -> TempDir {
    let folder = if seed.is_multiple_of(8) {
        tempfile::tempdir().unwrap()
    } else {
        folder()
    };
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut gardener = Gardener::new(seed, &source);
    gardener.plant(30);
    gardener.dress_all(&source);
    folder
}

fn packed(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packed = archive::pack(folder, &Watch::default(), &mut |chunk| {
        assert!(chunk.len() <= 256 * 1024, "memory stays flat");
        bytes.extend_from_slice(&chunk);
        true
    })
    .unwrap();
    assert_eq!(packed.bytes, bytes.len() as u64);
    assert_eq!(packed.moving, 0, "{:?}", packed.remarks);
    bytes
}

fn unpacked(bytes: &[u8], into: &Path) -> Unpacked {
    // In pieces of odd sizes, as they come from a decompressor.
    struct Odd<'a>(&'a [u8], usize);
    impl Read for Odd<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = (self.1 * 7 + 1) % 9973;
            let most = buffer.len().min(self.1 + 1);
            self.0.read(&mut buffer[..most])
        }
    }
    archive::unpack(Odd(bytes, 1), into).unwrap()
}

/// Runs GNU tar; what it says on standard error is no failure.
fn gnu_tar(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("tar")
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("GNU tar is installed");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    assert!(
        output.status.success(),
        "tar {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_is_unpacked_to_the_last_bit(seed: u64) {
        prop_assume!(root());
        let folder = garden(seed);
        let (source, into) = (folder.path().join("source"), folder.path().join("into"));
        unpacked(&packed(&source), &into);
        same(&look(&source), &look(&into), "unpacked");
    }

    #[test]
    fn gnu_tar_unpacks_ours_to_an_identical_tree(seed: u64) {
        prop_assume!(root());
        let folder = garden(seed);
        let (source, into) = (folder.path().join("source"), folder.path().join("into"));
        fs::create_dir(&into).unwrap();
        let target = into.to_str().unwrap();
        gnu_tar(
            &["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-xpf", "-", "-C", target],
            &packed(&source),
        );
        same(&look(&source), &look(&into), "unpacked by GNU tar");
    }

    #[test]
    fn what_gnu_tar_packs_is_unpacked_to_an_identical_tree(seed: u64) {
        prop_assume!(root());
        let folder = garden(seed);
        let (source, into) = (folder.path().join("source"), folder.path().join("into"));
        let version = ["0.0", "0.1", "1.0"][usize::try_from(seed % 3).unwrap()];
        let sparse = format!("--sparse-version={version}");
        let bytes = gnu_tar(
            &["--format=posix", "-S", &sparse, "--xattrs", "--xattrs-include=*", "--acls", "-cf", "-", "-C", source.to_str().unwrap(), "."],
            &[],
        );
        unpacked(&bytes, &into);
        same(&look(&source), &look(&into), "packed by GNU tar");
    }

    #[test]
    fn the_old_format_of_gnu_tar_is_read(seed: u64) {
        prop_assume!(root());
        let folder = garden(seed);
        let (source, into) = (folder.path().join("source"), folder.path().join("into"));
        let bytes = gnu_tar(&["--format=gnu", "-S", "-cf", "-", "-C", source.to_str().unwrap(), "."], &[]);
        unpacked(&bytes, &into);
        // It knows neither attributes nor parts of seconds.
        let plain = |folder: &Path| {
            let mut all = look(folder);
            for seen in all.values_mut() {
                seen.xattrs.clear();
                seen.mtime.1 = 0;
            }
            all
        };
        same(&plain(&source), &plain(&into), "packed by GNU tar in its old format");
    }

    #[test]
    fn a_copy_that_is_brought_up_to_date_is_the_source(seed: u64) {
        prop_assume!(root());
        let folder = garden(seed);
        let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
        let mut gardener = Gardener::new(seed ^ 1, &source);
        let mut staging = Staging::new(&source, &copy, How::Copy);
        staging.pass(&Watch::default(), false).unwrap();
        same(&look(&source), &look(&copy), "first pass");
        for pass in 2..5 {
            gardener.change(&source, 12);
            staging.pass(&Watch::default(), pass == 4).unwrap();
            same(&look(&source), &look(&copy), &format!("pass {pass}"));
        }
        tree::delete(&copy).unwrap();
        assert!(!copy.exists());
    }
}

/// Sets back what the kernel alone sets, the ctime, by waiting: three seconds after the last change
/// a tree is trusted.
fn let_it_age() {
    std::thread::sleep(std::time::Duration::from_millis(3100));
}

#[test]
fn a_second_pass_touches_only_what_changed_whatever_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
    fs::create_dir_all(source.join("deep/er")).unwrap();
    let page = vec![7; 4 << 20];
    for n in 0..20 {
        fs::write(source.join(format!("deep/file-{n}")), &page).unwrap();
    }
    let_it_age();
    let mut staging = Staging::new(&source, &copy, How::Copy);
    let first = staging.pass(&Watch::default(), false).unwrap();
    assert_eq!((first.files, first.written), (20, 80 << 20));
    let idle = staging.pass(&Watch::default(), false).unwrap();
    assert_eq!((idle.files, idle.written, idle.total), (0, 0, 80 << 20));

    // One page of one file, with its time set back.
    let path = source.join("deep/file-3");
    let before = fs::metadata(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"changed", 3 << 20).unwrap();
    stamp(&path, before.mtime(), before.mtime_nsec());
    fs::write(source.join("deep/er/new"), "new").unwrap();
    fs::remove_file(source.join("deep/file-4")).unwrap();
    let watch = Watch::default();
    let second = staging.pass(&watch, true).unwrap();
    assert_eq!(
        (second.files, second.written, second.removed),
        (2, 65_536 + 3, 1)
    );
    let read = watch.done.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(read, (4 << 20) + 3, "only the two were read");
    same(&look(&source), &look(&copy), "second pass");
}

#[test]
fn a_write_through_a_memory_map_that_leaves_no_trace_is_found() {
    // What makes it dangerous: a page that is dirty already takes further stores without a new time.
    // A write within one tick of the clock of the file system looks the same from outside: so do two
    // writes between which the clock did not tick. Both have a ctime within two seconds of the pass.
    let folder = tempfile::tempdir().unwrap();
    let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
    fs::create_dir(&source).unwrap();
    let mut found = 0;
    for n in 0..20u32 {
        let path = source.join("file");
        fs::write(&path, [1; 100]).unwrap();
        let mut staging = Staging::new(&source, &copy, How::Copy);
        staging.pass(&Watch::default(), false).unwrap();
        let before = fs::metadata(&path).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(&n.to_le_bytes(), 0)
            .unwrap();
        let after = fs::metadata(&path).unwrap();
        found +=
            u32::from((before.ctime(), before.ctime_nsec()) == (after.ctime(), after.ctime_nsec()));
        let pass = staging.pass(&Watch::default(), false).unwrap();
        assert_eq!(pass.files, 1, "in doubt, so it is compared");
        assert_eq!(
            fs::read(copy.join("file")).unwrap(),
            fs::read(&path).unwrap()
        );
        tree::delete(&copy).unwrap();
    }
    // Not a condition of the test, only its reason: some of the writes bore the same time.
    println!("{found} of 20 writes had the ctime of the write before");
}

#[test]
fn a_walk_that_is_stopped_stops() {
    let folder = garden(1);
    let watch = Watch::default();
    watch.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let source = folder.path().join("source");
    let mut staging = Staging::new(&source, &folder.path().join("copy"), How::Copy);
    assert!(matches!(
        staging.pass(&watch, true),
        Err(TreeError::Stopped)
    ));
    let result = archive::pack(&source, &watch, &mut |_| true);
    assert!(matches!(result, Err(TreeError::Stopped)));
    let result = archive::pack(&source, &Watch::default(), &mut |_| false);
    assert!(matches!(result, Err(TreeError::Stopped)));
}

#[test]
fn holes_stay_holes() {
    let folder = tempfile::tempdir().unwrap();
    let (source, into) = (folder.path().join("source"), folder.path().join("into"));
    fs::create_dir(&source).unwrap();
    let file = File::create(source.join("sparse")).unwrap();
    file.set_len(20 << 30).unwrap();
    file.write_all_at(b"in the middle", 9 << 30).unwrap();
    let bytes = packed(&source);
    assert!(
        bytes.len() < 100_000,
        "{} bytes for a file that is almost all hole",
        bytes.len()
    );
    unpacked(&bytes, &into);
    let meta = fs::metadata(into.join("sparse")).unwrap();
    assert_eq!(meta.len(), 20 << 30);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let copy = folder.path().join("copy");
    Staging::new(&source, &copy, How::Copy)
        .pass(&Watch::default(), false)
        .unwrap();
    assert!(fs::metadata(copy.join("sparse")).unwrap().blocks() * 512 < 1 << 20);
}

/// A header of an archive as an attacker writes it.
fn forged(kind: tar::EntryType, path: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path);
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn nothing_is_written_outside_the_folder() {
    use tar::EntryType as T;
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("up", vec![forged(T::Regular, b"../evil", b"", b"x")]),
        (
            "up from below",
            vec![forged(T::Regular, b"a/../../evil", b"", b"x")],
        ),
        (
            "absolute",
            vec![forged(T::Regular, b"/tmp/evil", b"", b"x")],
        ),
        (
            "through a link",
            vec![
                forged(T::Symlink, b"a", b"..", b""),
                forged(T::Regular, b"a/evil", b"", b"x"),
            ],
        ),
        (
            "a folder through a link",
            vec![
                forged(T::Symlink, b"a", b"..", b""),
                forged(T::Directory, b"a/evil/", b"", b""),
            ],
        ),
        (
            "a hard link up",
            vec![forged(T::Link, b"a", b"../precious", b"")],
        ),
        (
            "a hard link through a link",
            vec![
                forged(T::Symlink, b"a", b"..", b""),
                forged(T::Link, b"b", b"a/precious", b""),
            ],
        ),
        (
            "a link for the folder",
            vec![forged(T::Symlink, b"./", b"..", b"")],
        ),
    ];
    for (what, blocks) in cases {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("precious"), "kept").unwrap();
        let mut bytes = blocks.concat();
        bytes.resize(bytes.len() + 1024, 0);
        let result = archive::unpack(&bytes[..], &folder.path().join("into"));
        assert!(result.is_err(), "{what}: {result:?}");
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(names.len(), 2, "{what}: {names:?}");
        assert_eq!(
            fs::metadata(folder.path().join("precious"))
                .unwrap()
                .nlink(),
            1,
            "{what}"
        );
    }
}

#[test]
fn a_link_that_is_overwritten_is_replaced_not_followed() {
    use tar::EntryType as T;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("precious"), "kept").unwrap();
    let mut bytes = [
        forged(T::Symlink, b"a", b"../precious", b""),
        forged(T::Regular, b"a", b"", b"overwritten"),
    ]
    .concat();
    bytes.resize(bytes.len() + 1024, 0);
    let into = folder.path().join("into");
    archive::unpack(&bytes[..], &into).unwrap();
    assert_eq!(fs::read(folder.path().join("precious")).unwrap(), b"kept");
    assert_eq!(fs::read(into.join("a")).unwrap(), b"overwritten");
}

#[test]
fn an_archive_that_is_cut_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("below")).unwrap();
    fs::write(source.join("below/file"), vec![5; 3000]).unwrap();
    symlink("below", source.join("link")).unwrap();
    let whole = packed(&source);
    // Behind the two empty blocks there is only padding.
    let end = whole
        .iter()
        .rposition(|b| *b != 0)
        .unwrap()
        .next_multiple_of(512)
        + 1024;
    for cut in (0..end).filter(|cut| cut % 512 < 9 || cut % 512 > 503 || cut % 97 == 0) {
        let result = archive::unpack(&whole[..cut], &folder.path().join("into"));
        assert!(
            matches!(result, Err(TreeError::Damaged(_))),
            "cut at {cut}: {result:?}"
        );
    }
    archive::unpack(&whole[..], &folder.path().join("into")).unwrap();
}

#[test]
fn any_changed_byte_of_a_header_is_an_error_or_harmless() {
    let folder = folder();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let whole = packed(&source);
    for at in 0..whole.len().min(4096) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        // No panic, no endless loop, nothing outside.
        let _ = archive::unpack(&bytes[..], &folder.path().join("into"));
    }
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2);
}
