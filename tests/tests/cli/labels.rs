//! Labels of security modules. What needs one that is active is tested where the labels are planned, in the engine.

use std::fs;

use criu_images::{ImageDir, magic};
use criu_proto::images::{CoreEntry, Lsmtype};
use criu_tests::{Lab, Need};

use super::support::{criu, dump, end, lives, sleeper};

/// A set of a process that AppArmor confined as `web`.
fn confined(lab: &Lab) -> i32 {
    let pid = sleeper(lab);
    dump(lab, pid, "");
    let set = ImageDir::open(lab.path().join("im")).expect("open the set");
    let mut core: CoreEntry = set
        .read_one(&magic::CORE, pid.unsigned_abs().into())
        .expect("read the core");
    let creds = core.thread_core.as_mut().and_then(|thread| thread.creds.as_mut());
    creds.expect("credentials").lsm_profile = Some("web".to_owned());
    set.write_one(&magic::CORE, pid.unsigned_abs().into(), &core)
        .expect("write the core");
    let mut inventory = set.inventory().expect("read the inventory");
    inventory.lsmtype = Some(Lsmtype::Apparmor as i32);
    set.finish_dump(&inventory).expect("write the inventory");
    pid
}

#[test]
fn lsm_profile() {
    if fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")) {
        println!("skipped: AppArmor is active");
        return;
    }
    let lab = Lab::new();
    let pid = confined(&lab);
    criu(&lab, "restore -D im -d").refused(&[&pid.to_string(), "AppArmor", "`web`", "--lsm-profile"]);
    for (given, why) in [
        ("web", "names no security module"),
        ("smack:web", "names no security module"),
        ("apparmor:", "names no profile"),
        ("apparmor:other", "AppArmor, which is not active here"),
    ] {
        criu(&lab, &format!("restore -D im -d --lsm-profile {given}")).refused(&["--lsm-profile", why]);
    }
    assert!(!lives(pid));
    criu(&lab, "restore -D im -d --lsm-profile apparmor:unconfined").ok();
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn a_profile_that_is_not_loaded() {
    if let Some(why) = Need::AppArmor.lacking() {
        println!("skipped: {why}");
        return;
    }
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    criu(&lab, "restore -D im -d --lsm-profile apparmor:criu-test-none").refused(&[
        "`criu-test-none`",
        "not loaded",
        "apparmor_parser",
    ]);
    assert!(!lives(pid));
    criu(&lab, "restore -D im -d").ok();
    end(pid);
    lab.assert_clean(&[pid]);
}

/// They are for mounts, and none is made for processes in the namespaces of the machine.
#[test]
fn options_for_mounts() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "--enable-fs hugetlbfs,tracefs");
    let ran = criu(
        &lab,
        "restore -D im -d -v4 -o restore.log --enable-fs all --lsm-mount-context u:object_r:x:s0",
    );
    ran.ok();
    let log = super::support::read(&lab, "im/restore.log");
    assert!(log.contains("--lsm-mount-context is for mounts"), "{log}");
    end(pid);
    lab.assert_clean(&[pid]);
}
