//! How the paths of watched files are found, where handles do not tell them.

use std::fs;
use std::path::{Path, PathBuf};

use criu_images::ImageDir;
use criu_proto::images::FileEntry;
use criu_proto::magic;
use criu_tests::{Lab, Verdict};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::support::{dump, restore};

/// `below/d/f` in the lab.
fn files_below(lab: &Lab) {
    fs::create_dir_all(lab.path().join("below/d")).expect("make a folder");
    fs::write(lab.path().join("below/d/f"), "x").expect("write a file");
}

/// A mount that ends with the value.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// An overlay of two folders at `below`.
fn overlay(lab: &Lab) -> Mounted {
    let at = |name: &str| lab.path().join(name);
    for folder in ["lower/d", "upper", "work", "below"] {
        fs::create_dir_all(at(folder)).expect("make a folder");
    }
    fs::write(at("lower/d/f"), "x").expect("write a file");
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower").display(),
        at("upper").display(),
        at("work").display()
    );
    let none: Option<&Path> = None;
    mount(
        none,
        &at("below"),
        Some("overlay"),
        MsFlags::empty(),
        Some(layers.as_str()),
    )
    .expect("mount an overlay");
    Mounted(at("below"))
}

fn started(lab: &Lab) -> i32 {
    let pid = lab.start_guest("cli/watches_below");
    if let Some(early) = lab.wait_ready(pid) {
        panic!("the guest before its checkpoint: {early:?}");
    }
    pid
}

/// The paths of what is watched, the newest watch first.
fn paths(lab: &Lab) -> Vec<PathBuf> {
    let dir = ImageDir::open(lab.path().join("im")).expect("open the set");
    let files: Vec<FileEntry> = dir.read_all(&magic::FILES, 0).expect("read the files");
    let watches = files
        .into_iter()
        .filter_map(|file| file.ify)
        .flat_map(|ify| ify.wd);
    let path = |bytes: Vec<u8>| PathBuf::from(String::from_utf8(bytes).expect("a path of letters"));
    watches.filter_map(|wd| wd.f_handle.path.map(path)).collect()
}

/// Dumps with these options and restores: both watches are where they were. The process, which has ended.
fn there_and_back(lab: &mut Lab, options: &str) -> i32 {
    let pid = started(lab);
    fs::create_dir(lab.path().join("im")).expect("make a folder");
    dump(lab, pid, options);
    let below = lab.path().join("below/d");
    assert_eq!(paths(lab), [below.join("f"), below]);
    restore(lab, "");
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    pid
}

#[test]
fn by_the_handle() {
    let mut lab = Lab::new();
    files_below(&lab);
    let pid = there_and_back(&mut lab, "");
    lab.assert_clean(&[pid]);
}

#[test]
fn by_search_where_it_is_asked_for() {
    let mut lab = Lab::new();
    files_below(&lab);
    let place = lab.path().display().to_string();
    let pid = there_and_back(
        &mut lab,
        &format!("--force-irmap --irmap-scan-path /nowhere --irmap-scan-path {place}"),
    );
    lab.assert_clean(&[pid]);
}

#[test]
fn by_search_on_an_overlay() {
    let mut lab = Lab::new();
    let mounted = overlay(&lab);
    let pid = there_and_back(&mut lab, "");
    drop(mounted);
    lab.assert_clean(&[pid]);
}

#[test]
fn by_search_in_a_place_on_an_overlay() {
    let mut lab = Lab::new();
    let mounted = overlay(&lab);
    let place = lab.path().join("below/d").display().to_string();
    let pid = there_and_back(&mut lab, &format!("--irmap-scan-path {place}"));
    drop(mounted);
    lab.assert_clean(&[pid]);
}
