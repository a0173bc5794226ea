//! Every method gives the same tree.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::common::{IDLE, both_run, configure, manifests, minion, no_copies, project, unpack};
use crate::engine_support::Project;
use crate::tree_support::{Gardener, look, same};

#[test]
fn every_method_saves_the_same_tree_down_to_the_last_bit() {
    let project = project(IDLE, "", "", 0);
    let data = project.path("data/one/data");
    let mut gardener = Gardener::new(7, &data);
    gardener.plant(30);
    gardener.dress_all(&data);
    for method in ["auto", "two_pass", "copy", "container"] {
        let ran = project.run(&["backup", "--method", method, "--json"]).ok();
        let made = &ran.json()["minions"][0];
        let wanted = if method == "auto" { "two_pass" } else { method };
        let used = made["outage"]["method"].as_str().unwrap();
        assert!(
            used == wanted || (method == "auto" && used == "reflink"),
            "{used}: {}",
            ran.all()
        );
        let into = project.path(&format!("unpacked-{method}"));
        unpack(&project, "data.tar.zst", &into);
        let (mut wanted, found) = (look(&data), look(&into));
        if method == "container" {
            // The kernel shows `trusted.*` to the host's root only; docs/backup-cold.md says so.
            for seen in wanted.values_mut() {
                seen.xattrs
                    .retain(|(name, _)| !name.starts_with("trusted."));
            }
        }
        same(&wanted, &found, method);
        assert!(both_run(&project) && no_copies(&project), "{method}");
    }
}

/// A file system in a file, mounted below the project; unmounted when the test ends.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(project: &Project, make: &[&str], at: &'a Path) -> Self {
        let image = project.path("disk.img");
        fs::File::create(&image)
            .unwrap()
            .set_len(400 << 20)
            .unwrap();
        let formatted = Command::new(make[0]).args(&make[1..]).arg(&image).output();
        assert!(
            formatted.is_ok_and(|m| m.status.success()),
            "{}",
            make.join(" ")
        );
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, at])
            .status();
        assert!(mounted.unwrap().success());
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn file_systems_that_share_blocks_are_used() {
    for make in [&["mkfs.xfs", "-q", "-f"][..], &["mkfs.btrfs", "-q", "-f"]] {
        let project = Project::new("");
        minion(&project, IDLE, "");
        let at = project.path("data");
        let _mounted = Mounted::new(&project, make, &at);
        configure(&project, "");
        project.up();
        fs::write(project.path("data/one/data/large"), vec![9; 100 << 20]).unwrap();
        let ran = project.run(&["backup", "--json"]).ok();
        let made = &ran.json()["minions"][0];
        assert_eq!(made["outage"]["method"], "reflink", "{}", make[0]);
        assert_eq!(made["volumes"][0]["outage_bytes"], 0);
        let into = project.path("unpacked");
        unpack(&project, "data.tar.zst", &into);
        same(&look(&project.path("data/one/data")), &look(&into), make[0]);
        assert!(no_copies(&project));
        project.run(&["down", "--yes"]).ok();
    }
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_stopped() {
    let project = project(IDLE, "", "", 1);
    let before = super::common::started(&project.container("one"));
    if !summoner::backup::cold::content::can_share(&project.path("data"), &project.path("data")) {
        project
            .run(&["backup", "--method", "reflink"])
            .code(2)
            .says("cannot share blocks");
    }
    project
        .run(&["backup", "--to", "dsik"])
        .code(2)
        .says("disk");
    project
        .run(&["backup", "two"])
        .code(2)
        .says("no minion `two`");
    assert_eq!(super::common::started(&project.container("one")), before);
    assert!(manifests(&project).is_empty() && no_copies(&project));
}
