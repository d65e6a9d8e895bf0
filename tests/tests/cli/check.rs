//! `criu check`, as its callers use it.

use criu_tests::reaper::End;
use criu_tests::{Lab, Verdict};

use super::support::criu;

/// The names that callers of CRIU 4.2 ask for.
const FEATURES: &str = "mnt_id mem_dirty_track aio_remap timerfd tun tun_ns userns fdinfo_lock seccomp_suspend \
    seccomp_filters loginuid cgroupns autofs tcp_half_closed compat_cr uffd uffd-noncoop can_map_vdso sk_ns \
    sk_unix_file net_diag_raw nsid link_nsid kcmp_epoll timens external_net_ns clone3_set_tid newifindex nftables \
    has_ipt_legacy pidfd_store ns_pid apparmor_stacking network_lock_nftables sockopt_buf_lock memfd_hugetlb \
    move_mount_set_group openat2 get_rseq_conf ipv6_freebind pagemap_scan timer_cr_ids overlayfs_maps breakpoints \
    pagemap_scan_guard_pages";

/// On a machine that the other tests pass on, all that is needed is there.
#[test]
fn what_is_needed_is_there() {
    let lab = Lab::new();
    let ran = criu(&lab, "check").ok();
    assert!(ran.out.contains("Looks good."), "{ran}");
    let ran = criu(&lab, "check --json").ok();
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let checks = report["checks"].as_array().expect("a list");
    assert!(
        checks.len() > 5 && checks.iter().all(|check| check["ok"] == true),
        "{ran}"
    );
    for options in ["--extra", "--all", "--experimental"] {
        criu(&lab, &format!("check {options}")).ok();
    }
    lab.assert_clean(&[]);
}

/// 0 when a feature is there, 1 when not, and an error for a name that nobody knows.
#[test]
fn features() {
    let lab = Lab::new();
    let ran = criu(&lab, "check --feature list").ok();
    let listed: Vec<&str> = ran.out.split_whitespace().collect();
    for name in FEATURES.split_whitespace() {
        assert!(listed.contains(&name), "{name} is not listed:\n{ran}");
    }
    for name in FEATURES.split_whitespace() {
        let ran = criu(&lab, &format!("check --feature {name}")).run();
        match ran.end {
            Some(End::Exit(0)) => assert_eq!(ran.err, "", "{ran}"),
            Some(End::Exit(1)) => assert!(ran.err.contains(name), "{ran}"),
            _ => panic!("{ran}"),
        }
    }
    for name in [
        "mnt_id",
        "clone3_set_tid",
        "timerfd",
        "kcmp_epoll",
        "memfd_hugetlb",
    ] {
        criu(&lab, &format!("check --feature {name}")).ok();
    }
    criu(&lab, "check --feature external_net_ns").refused(&["external_net_ns"]);
    criu(&lab, "check --feature mnt_id --feature external_net_ns").refused(&["external_net_ns"]);
    criu(&lab, "check --feature no_such_feature").refused(&["no_such_feature"]);
    lab.assert_clean(&[]);
}

/// Without privilege it says what is missing, instead of letting a dump find out.
#[test]
fn without_privilege() {
    let lab = Lab::new();
    let folder = criu_tests::build_folder();
    let mut command = lab.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
        .arg(folder.join("criu"))
        .args(["check", "--plugin-dir"])
        .arg(&folder);
    let err = std::fs::File::create(lab.path().join("told")).expect("make a file");
    command.stderr(err);
    let pid = criu_tests::reaper::spawn(&mut command).expect("start setpriv");
    let ended = criu_tests::reaper::wait(pid, super::support::LIMIT);
    let told = super::support::read(&lab, "told");
    assert_eq!(ended, Some(End::Exit(1)), "{told}");
    assert!(told.contains("Error"), "{told}");
    lab.assert_clean(&[]);
}

/// Everything that is in the way of a dump is told at once, with what removes it; nothing is written, and the tree
/// goes on.
#[test]
fn all_that_is_in_the_way_of_a_dump() {
    let lab = Lab::new();
    let pid = super::support::guest(&lab, "cli/blocked");
    let ran = criu(&lab, &format!("check --tree {pid} --json")).refused(&["3 things are in the way"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(report["ok"], false, "{ran}");
    let blockers = report["blockers"].as_array().expect("a list");
    for option in ["--file-locks", "--tcp-established"] {
        let remedied = |blocker: &&serde_json::Value| {
            blocker["remedy"]
                .as_str()
                .is_some_and(|remedy| remedy.contains(option))
                && blocker["object"]
                    .as_str()
                    .is_some_and(|object| object.contains(&pid.to_string()))
        };
        assert!(
            blockers.iter().any(|blocker| remedied(&blocker)),
            "{option}: {ran}"
        );
    }
    criu(&lab, &format!("check --tree {pid} --tcp-established")).refused(&["one thing is in the way"]);
    let all = "--tcp-established --file-locks";
    let ran = criu(&lab, &format!("check --tree {pid} {all}")).ok();
    assert!(ran.out.contains("can be dumped"), "{ran}");
    let written = std::fs::read_dir(lab.path().join("im")).expect("list the folder");
    assert_eq!(written.count(), 0, "a check writes no image");
    super::support::no_tracer(pid);
    // A dump that fails tells the same list.
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["--file-locks", "--tcp-established"]);
    super::support::no_tracer(pid);
    criu(&lab, &format!("dump -D im -t {pid} {all}")).ok();
    criu(&lab, &format!("restore -D im -d {all}")).ok();
    super::support::end(pid);
    lab.assert_clean(&[pid]);
}

/// Sockets that cannot be saved do not end the look at the tree: each is listed with its place and what helps.
#[test]
fn sockets_in_the_way_of_a_dump() {
    let mut lab = Lab::new();
    super::support::folder(&lab, "im");
    let pid = lab.start_guest("refused/socket_ebpf");
    match lab.wait_ready(pid) {
        None => {}
        Some(Verdict::Skip(why)) => {
            println!("skipped: {why}");
            return;
        }
        Some(other) => panic!("before its checkpoint: {other:?}"),
    }
    let ran = criu(&lab, &format!("check --tree {pid} --json")).refused(&["3 things are in the way"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let blockers = report["blockers"].as_array().expect("a list");
    for (reason, remedy) in [("eBPF", "SO_DETACH_BPF"), ("network namespace", "that namespace")] {
        let says = |blocker: &serde_json::Value, field: &str, word: &str| {
            blocker[field].as_str().is_some_and(|text| text.contains(word))
        };
        let is_told = |blocker: &serde_json::Value| {
            says(blocker, "object", &format!("pid {pid} fd "))
                && says(blocker, "reason", reason)
                && says(blocker, "remedy", remedy)
        };
        assert!(blockers.iter().any(is_told), "{reason}: {ran}");
    }
    super::support::no_tracer(pid);
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}
