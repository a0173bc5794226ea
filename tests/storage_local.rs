//! A folder as a destination: what only a file system can do wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use jiff::{Timestamp, ToSpan as _};
use summoner::storage::local::{Dir, MARKER};
use summoner::storage::{Storage as _, StorageError};
use tokio::io::AsyncReadExt as _;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// All files below a folder, without the marker.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()).iter().map(|f| format!("{name}/{f}")));
        } else if name != MARKER {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn only_its_owner_reads_what_is_stored() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("backups");
    let dir = Dir::new(&root);
    dir.put("v1/a/b", Bytes::from_static(b"x")).await.unwrap();
    let mut upload = dir.upload("v1/a/c").await.unwrap();
    upload.write(Bytes::from_static(b"y")).await.unwrap();
    let hidden: Vec<_> = files(&root)
        .into_iter()
        .filter(|f| f.contains(".part"))
        .collect();
    assert_eq!(
        hidden.len(),
        1,
        "one temporary file, where the object will be: {hidden:?}"
    );
    assert!(hidden[0].starts_with("v1/a/."), "{hidden:?}");
    assert_eq!(mode(&root.join(&hidden[0])), 0o600);
    assert_eq!(upload.finish().await.unwrap(), 1);
    for folder in ["", "v1", "v1/a"] {
        assert_eq!(mode(&root.join(folder)), 0o700, "{folder}");
    }
    for file in ["v1/a/b", "v1/a/c", MARKER] {
        assert_eq!(mode(&root.join(file)), 0o600, "{file}");
    }
    assert_eq!(files(&root), ["v1/a/b", "v1/a/c"]);
}

#[tokio::test]
async fn a_missing_parent_is_a_missing_destination_and_nothing_is_made() {
    let home = tempfile::tempdir().unwrap();
    let dir = Dir::new(&home.path().join("mnt/backups"));
    let missing = |result: Result<(), StorageError>| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, StorageError::NoDestination { .. }),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("mount"), "{error}");
    };
    missing(dir.put("a", Bytes::new()).await);
    missing(dir.upload("a").await.map(drop));
    missing(dir.read("a").await.map(drop));
    missing(dir.stat("a").await.map(drop));
    missing(dir.list("").await.map(drop));
    missing(dir.delete("a").await);
    missing(dir.sweep(Timestamp::now()).await.map(drop));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn looking_makes_nothing() {
    let home = tempfile::tempdir().unwrap();
    for dir in [
        Dir::new(home.path()),
        Dir::new(&home.path().join("not-yet")),
    ] {
        assert_eq!(dir.list("").await.unwrap(), []);
        assert_eq!(dir.stat("a").await.unwrap(), None);
        dir.delete("a").await.unwrap();
        assert_eq!(dir.sweep(Timestamp::now()).await.unwrap(), 0);
        assert!(matches!(
            dir.read("a").await.err(),
            Some(StorageError::Missing(_))
        ));
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

/// The disk that held the snapshots is not mounted: the empty mount point is not the destination.
#[tokio::test]
async fn an_empty_mount_point_does_not_stand_in_for_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let (point, disk) = (home.path().join("point"), home.path().join("disk"));
    fs::create_dir(&point).unwrap();
    let (first, later) = (Dir::new(&point), Dir::new(&point).known(true));
    first.put("a", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(later.stat("a").await.unwrap(), Some(1));
    // "Unmounted".
    fs::rename(&point, &disk).unwrap();
    fs::create_dir(&point).unwrap();
    for error in [
        later.put("b", Bytes::new()).await.unwrap_err(),
        later.list("").await.unwrap_err(),
    ] {
        assert!(
            matches!(error, StorageError::NoDestination { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(MARKER), "{error}");
    }
    assert_eq!(fs::read_dir(&point).unwrap().count(), 0);
    // "Mounted" again.
    fs::remove_dir(&point).unwrap();
    fs::rename(&disk, &point).unwrap();
    later.put("b", Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_shrinks_or_grows_while_it_is_read_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let dir = Dir::new(home.path());
    for change in [1_000_000_u64, 7_000_000] {
        let key = format!("a-{change}");
        dir.put(&key, Bytes::from(vec![7; 6_000_000]))
            .await
            .unwrap();
        let mut reading = dir.read(&key).await.unwrap();
        reading.read_exact(&mut [0; 10]).await.unwrap();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(home.path().join(&key))
            .unwrap();
        file.set_len(change).unwrap();
        let error = reading.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("6000000"), "{error}");
    }
}

#[tokio::test]
async fn a_sweep_leaves_what_a_living_run_writes() {
    let home = tempfile::tempdir().unwrap();
    let dir = Dir::new(home.path());
    dir.put("v1/kept", Bytes::from_static(b"x")).await.unwrap();
    let stale = home.path().join("v1/.summoner-0123.part");
    fs::write(&stale, "left by a run that was killed").unwrap();
    let mut living = dir.upload("v1/living").await.unwrap();
    living.write(Bytes::from(vec![1; 3 << 20])).await.unwrap();
    let hour = Timestamp::now() - 1.hour();
    assert_eq!(dir.sweep(hour).await.unwrap(), 0, "too young");
    let later = Timestamp::now() + 1.hour();
    assert_eq!(dir.sweep(later).await.unwrap(), 1);
    assert!(!stale.exists());
    assert_eq!(living.finish().await.unwrap(), 3 << 20);
    assert_eq!(files(home.path()), ["v1/kept", "v1/living"]);
}

#[tokio::test]
async fn deletes_and_aborts_leave_no_empty_folders() {
    let home = tempfile::tempdir().unwrap();
    let dir = Dir::new(home.path());
    dir.put("v1/p/m/dump/a/x", Bytes::new()).await.unwrap();
    dir.put("v1/p/m/dump/b/x", Bytes::new()).await.unwrap();
    dir.delete("v1/p/m/dump/a/x").await.unwrap();
    assert!(!home.path().join("v1/p/m/dump/a").exists());
    assert!(home.path().join("v1/p/m/dump/b").exists());
    dir.delete("v1/p/m/dump/b/x").await.unwrap();
    assert!(!home.path().join("v1").exists());
    dir.upload("v1/q/x").await.unwrap().abort().await;
    assert!(!home.path().join("v1").exists());
    assert!(home.path().join(MARKER).exists());
}

/// Folders come and go under the uploads' feet: none of them may fail or lose an object.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_deletes_in_the_same_folders_do_not_disturb_each_other() {
    let home = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let dir = Dir::new(home.path());
            tokio::spawn(async move {
                for round in 0..50 {
                    let key = format!("v1/shared/{n}-{round}");
                    dir.put(&key, Bytes::from_static(b"x")).await.unwrap();
                    assert_eq!(dir.stat(&key).await.unwrap(), Some(1));
                    dir.delete(&key).await.unwrap();
                }
                dir.put(&format!("v1/shared/{n}"), Bytes::new())
                    .await
                    .unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(Dir::new(home.path()).list("").await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_link_to_a_folder_is_not_followed_and_a_link_to_a_file_is_the_file() {
    let home = tempfile::tempdir().unwrap();
    let dir = Dir::new(home.path());
    dir.put("v1/a", Bytes::from_static(b"abc")).await.unwrap();
    std::os::unix::fs::symlink(home.path(), home.path().join("v1/circle")).unwrap();
    std::os::unix::fs::symlink("a", home.path().join("v1/b")).unwrap();
    let keys: Vec<_> = dir
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|o| (o.key, o.size))
        .collect();
    assert_eq!(keys, [("v1/a".to_owned(), 3), ("v1/b".to_owned(), 3)]);
}

/// A file system of 4 MiB of its own; gone when it is dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// `None` where we may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|o| o.status.success());
        mounted.then(|| Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_is_told_and_nothing_stays() {
    let Some(small) = Small::mount() else {
        assert!(
            !rustix::process::geteuid().is_root(),
            "root can mount a tmpfs"
        );
        return;
    };
    let dir = Dir::new(small.0.path());
    dir.put("v1/before", Bytes::from(vec![1; 1 << 20]))
        .await
        .unwrap();
    let mut upload = dir.upload("v1/large").await.unwrap();
    let mut written = 0_u64;
    let error = loop {
        match upload.write(Bytes::from(vec![2; 300_000])).await {
            Ok(()) => written += 300_000,
            Err(error) => break error,
        }
        assert!(written < 8 << 20, "the disk has 4 MiB");
    };
    assert!(matches!(error, StorageError::Full { .. }), "{error}");
    assert!(error.hint().unwrap().contains("df -h"));
    upload.abort().await;
    let error = dir
        .put("v1/too-large", Bytes::from(vec![3; 5 << 20]))
        .await
        .unwrap_err();
    assert!(matches!(error, StorageError::Full { .. }), "{error}");
    assert_eq!(files(small.0.path()), ["v1/before"], "no litter");
    // The room is there again, and what was there is as it was.
    dir.put("v1/after", Bytes::from(vec![4; 2 << 20]))
        .await
        .unwrap();
    let mut before = Vec::new();
    dir.read("v1/before")
        .await
        .unwrap()
        .read_to_end(&mut before)
        .await
        .unwrap();
    assert_eq!(before, vec![1; 1 << 20]);
}

/// The last bytes are still in our buffer when `finish` is called: it must not lie either.
#[tokio::test]
async fn a_disk_that_is_full_at_the_end_is_told_by_finish() {
    let Some(small) = Small::mount() else {
        assert!(
            !rustix::process::geteuid().is_root(),
            "root can mount a tmpfs"
        );
        return;
    };
    let dir = Dir::new(small.0.path());
    let mut upload = dir.upload("v1/large").await.unwrap();
    upload.write(Bytes::from(vec![2; 3 << 20])).await.unwrap();
    upload.write(Bytes::from(vec![2; 1_000_000])).await.unwrap();
    let filler = small.0.path().join("filler");
    // Fills what is left.
    let _ = fs::write(&filler, vec![0; 4 << 20]);
    let error = upload.finish().await.unwrap_err();
    assert!(matches!(error, StorageError::Full { .. }), "{error}");
    assert_eq!(dir.stat("v1/large").await.unwrap(), None);
    assert_eq!(files(small.0.path()), ["filler"]);
}
