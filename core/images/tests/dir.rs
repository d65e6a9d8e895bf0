//! The image directory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use criu_images::magic::{self, FILES, Header, IMG_COMMON_MAGIC, IdFormat, ImageKind, PSTREE};
use criu_images::{Error, FrameError, ImageDir};
use criu_proto::images::{InventoryEntry, PstreeEntry};
use tempfile::TempDir;

fn new() -> (TempDir, ImageDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = ImageDir::open(folder.path()).unwrap();
    (folder, dir)
}

fn inventory(version: u32) -> InventoryEntry {
    InventoryEntry {
        img_version: version,
        ..Default::default()
    }
}

fn task(pid: u32) -> PstreeEntry {
    PstreeEntry {
        pid,
        ppid: 0,
        pgid: pid,
        sid: pid,
        threads: vec![pid],
    }
}

#[test]
fn entries_come_back() {
    let (_folder, dir) = new();
    assert_eq!(dir.read_all::<PstreeEntry>(&PSTREE, 0).unwrap(), []);
    assert_eq!(dir.read_one_if_exists::<PstreeEntry>(&PSTREE, 0).unwrap(), None);
    let tasks: Vec<_> = (1..5).map(task).collect();
    dir.write_all(&PSTREE, 0, &tasks).unwrap();
    assert_eq!(dir.read_all::<PstreeEntry>(&PSTREE, 0).unwrap(), tasks);
    let error = dir.read_one::<PstreeEntry>(&PSTREE, 0).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Frame {
                source: FrameError::Trailing { .. },
                ..
            }
        ),
        "{error}"
    );
    dir.write_one(&PSTREE, 0, &tasks[0]).unwrap();
    assert_eq!(dir.read_one::<PstreeEntry>(&PSTREE, 0).unwrap(), tasks[0]);
    assert_eq!(dir.list().unwrap(), ["pstree.img"]);
    let error = dir.open_image(&FILES, 0).unwrap_err();
    assert!(error.to_string().contains("files.img"), "{error}");
}

#[test]
fn a_set_is_complete_only_when_finished() {
    let (folder, dir) = new();
    dir.begin_dump().unwrap();
    assert!(matches!(dir.inventory(), Err(Error::Incomplete { .. })));
    dir.finish_dump(&inventory(2)).unwrap();
    assert!(dir.is_complete().unwrap());
    assert_eq!(dir.inventory().unwrap().img_version, 2);
    assert_eq!(dir.list().unwrap(), ["inventory.img"]);
    // The next dump into the same directory makes it incomplete again, also of its remains.
    fs::write(
        folder.path().join("inventory.img.tmp"),
        "left by a dump that was killed",
    )
    .unwrap();
    dir.begin_dump().unwrap();
    assert!(!dir.is_complete().unwrap());
    assert!(dir.list().unwrap().is_empty());
}

#[test]
fn a_new_set_begins_without_images_of_an_earlier_one() {
    let (folder, dir) = new();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let own = ImageKind {
        name: "OWN",
        prefix: "own-extra.img",
        id: IdFormat::None,
        suffix: "",
        magic: 0x4f57_4e31,
        header: Header::Image,
    };
    dir.write_one(&PSTREE, 0, &task(7)).unwrap();
    dir.create(&own, 0).unwrap().finish().unwrap();
    put("pages-1.img", b"pages have no header");
    put("core-7.img", b"");
    dir.finish_dump(&inventory(2)).unwrap();
    let strange = ["cpuinfo.img", "disk.img", "dump.log", "short.img", "stats-dump"];
    put("cpuinfo.img", &IMG_COMMON_MAGIC.to_le_bytes());
    put("disk.img", b"another program's");
    put("dump.log", &IMG_COMMON_MAGIC.to_le_bytes());
    put("short.img", &IMG_COMMON_MAGIC.to_le_bytes()[..3]);
    put("stats-dump", b"");
    let parent = tempfile::tempdir().unwrap();
    ImageDir::open(parent.path())
        .unwrap()
        .finish_dump(&inventory(2))
        .unwrap();
    dir.set_parent(parent.path()).unwrap();
    fs::create_dir(folder.path().join("mm-7.img")).unwrap();

    dir.invalidate().unwrap();
    assert!(!dir.is_complete().unwrap());
    assert!(dir.exists("pstree.img").unwrap());
    dir.begin_dump().unwrap();
    let mut left: Vec<_> = strange.into_iter().chain(["mm-7.img", "parent"]).collect();
    left.sort_unstable();
    assert_eq!(dir.list().unwrap(), left);
    assert!(dir.parent().unwrap().unwrap().is_complete().unwrap());
}

#[test]
fn a_directory_of_which_nothing_is_kept_loses_nothing() {
    ImageDir::unkept().unwrap().begin_dump().unwrap();
}

#[test]
fn an_inventory_that_cannot_be_completed_leaves_nothing() {
    let (folder, dir) = new();
    fs::create_dir(folder.path().join("inventory.img")).unwrap();
    assert!(dir.begin_dump().is_err());
    assert!(dir.finish_dump(&inventory(2)).is_err());
    assert_eq!(dir.list().unwrap(), ["inventory.img"]);
}

#[test]
fn other_versions_are_refused() {
    let (_folder, dir) = new();
    dir.finish_dump(&inventory(1)).unwrap();
    assert!(matches!(dir.inventory(), Err(Error::Version { found: 1, .. })));
}

#[test]
fn names_do_not_lead_out() {
    let (_folder, dir) = new();
    for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b"] {
        assert!(
            matches!(dir.create_raw(name), Err(Error::Name { .. })),
            "{name:?}"
        );
        assert!(matches!(dir.open_raw(name), Err(Error::Name { .. })), "{name:?}");
        assert!(matches!(dir.remove(name), Err(Error::Name { .. })), "{name:?}");
        assert!(matches!(dir.exists(name), Err(Error::Name { .. })), "{name:?}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let (folder, dir) = new();
    let path = folder.path().join("pstree.img");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(dir.open_image(&PSTREE, 0), Err(Error::NotAFile { .. })));
    fs::create_dir(folder.path().join("files.img")).unwrap();
    assert!(matches!(dir.open_image(&FILES, 0), Err(Error::NotAFile { .. })));
    assert!(ImageDir::open(&path).is_err());
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    assert!(ImageDir::from_fd(file).is_err());
}

#[test]
fn a_link_in_the_place_of_an_image_is_replaced_not_followed() {
    let (folder, dir) = new();
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, folder.path().join("pstree.img")).unwrap();
    dir.write_one(&PSTREE, 0, &task(1)).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn a_directory_that_was_renamed_is_still_the_one() {
    let (folder, _) = new();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    fs::create_dir(&old).unwrap();
    let dir = ImageDir::from_fd(fs::File::open(&old).unwrap().into()).unwrap();
    assert_eq!(dir.path(), old);
    fs::rename(&old, &new).unwrap();
    dir.write_one(&PSTREE, 0, &task(1)).unwrap();
    assert!(new.join("pstree.img").exists());
}

#[test]
fn parents() {
    let (folder, _) = new();
    for name in ["1", "2"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let second = ImageDir::open(folder.path().join("2")).unwrap();
    assert!(second.parent().unwrap().is_none());
    assert!(second.set_parent(Path::new("../none")).is_err());
    second.set_parent(Path::new("../1")).unwrap();
    second.set_parent(Path::new("../1")).unwrap();
    second
        .parent()
        .unwrap()
        .unwrap()
        .write_one(&PSTREE, 0, &task(7))
        .unwrap();
    assert!(folder.path().join("1").join(magic::PSTREE.file_name(0)).exists());
}
