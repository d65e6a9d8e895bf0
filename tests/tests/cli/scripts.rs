//! `--action-script`: every stage in its order, with what the script is told, and what its failure does.

use criu_tests::Lab;

use super::support::{criu, dump, end, gone, lives, no_tracer, read, sleeper};

const TELL: &str = "echo \"$CRTOOLS_SCRIPT_ACTION $CRTOOLS_IMAGE_DIR $CRTOOLS_INIT_PID\" >> told";

/// The stages that were told, each with the images' folder and, where there is one, the root.
#[track_caller]
fn told(lab: &Lab, pid: i32, expected: &[&str]) {
    let images = lab.path().join("im");
    let expected: Vec<String> = expected
        .iter()
        .map(|action| {
            // Before the root exists there is nothing to name.
            let pid = if *action == "pre-restore" {
                String::new()
            } else {
                pid.to_string()
            };
            format!("{action} {} {pid}", images.display())
        })
        .collect();
    assert_eq!(read(lab, "told").lines().collect::<Vec<_>>(), expected);
    std::fs::remove_file(lab.path().join("told")).expect("remove the file");
}

#[test]
fn the_stages_of_dump_and_restore() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    criu(&lab, &format!("dump -D im -t {pid} -R --action-script"))
        .arg(TELL)
        .ok();
    told(
        &lab,
        pid,
        &["pre-dump", "network-lock", "post-dump", "network-unlock"],
    );
    // A tree that is gone keeps its network locked until the restore.
    criu(&lab, &format!("dump -D im -t {pid} --action-script"))
        .arg(TELL)
        .ok();
    gone(pid);
    told(&lab, pid, &["pre-dump", "network-lock", "post-dump"]);
    criu(&lab, "restore -D im -d --action-script").arg(TELL).ok();
    told(
        &lab,
        pid,
        &[
            "pre-restore",
            "setup-namespaces",
            "post-setup-namespaces",
            "post-restore",
            "network-unlock",
            "pre-resume",
            "post-resume",
        ],
    );
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn several_scripts_run_in_order() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    criu(&lab, &format!("dump -D im -t {pid} -R"))
        .arg("--action-script")
        .arg("echo first $CRTOOLS_SCRIPT_ACTION >> told")
        .arg("--action-script")
        .arg("echo second $CRTOOLS_SCRIPT_ACTION >> told")
        .ok();
    let told = read(&lab, "told");
    let lines: Vec<&str> = told.lines().take(4).collect();
    assert_eq!(
        lines,
        [
            "first pre-dump",
            "second pre-dump",
            "first network-lock",
            "second network-lock"
        ]
    );
    end(pid);
    lab.assert_clean(&[pid]);
}

/// While a script of the frozen tree runs, the tree is stopped; when it fails, the tree goes on, and there is no set
/// that looks complete.
#[test]
fn a_failing_script_undoes_the_dump() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    for stage in ["pre-dump", "network-lock", "post-dump"] {
        let script = format!(
            "grep State: /proc/{pid}/status > state-$CRTOOLS_SCRIPT_ACTION; [ $CRTOOLS_SCRIPT_ACTION != {stage} ]"
        );
        criu(&lab, &format!("dump -D im -t {pid} --action-script"))
            .arg(&script)
            .refused(&[stage, "script", "exit status: 1"]);
        let frozen = read(&lab, &format!("state-{stage}")).contains("t (tracing stop)");
        assert_eq!(frozen, stage != "pre-dump", "{stage}");
        no_tracer(pid);
        assert!(
            !lab.path().join("im/inventory.img").exists(),
            "after {stage} the set looks complete"
        );
    }
    // The same when it fails at the last: the images are complete then, and the tree must go on.
    criu(&lab, &format!("dump -D im -t {pid} -R --action-script"))
        .arg("[ $CRTOOLS_SCRIPT_ACTION != network-unlock ]")
        .refused(&["network-unlock"]);
    no_tracer(pid);
    criu(&lab, &format!("dump -D im -t {pid} -R")).ok();
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn a_failing_script_undoes_the_restore() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    for stage in [
        "pre-restore",
        "setup-namespaces",
        "post-setup-namespaces",
        "post-restore",
        "network-unlock",
        "pre-resume",
        "post-resume",
    ] {
        criu(&lab, "restore -D im -d --action-script")
            .arg(format!("[ $CRTOOLS_SCRIPT_ACTION != {stage} ]"))
            .refused(&[stage, "script", "exit status: 1"]);
        assert!(!lives(pid), "after {stage} process {pid} is there");
    }
    criu(&lab, "restore -D im -d").ok();
    no_tracer(pid);
    end(pid);
    lab.assert_clean(&[pid]);
}
