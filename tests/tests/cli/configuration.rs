//! Configuration files, in both forms, in a real dump.

use std::fs;

use criu_tests::Lab;

use super::support::{criu, end, gone, no_tracer, read, restore, sleeper};

fn write(lab: &Lab, name: &str, text: &str) {
    let path = lab.path().join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    fs::write(path, text).expect("write the configuration");
}

#[test]
fn in_the_form_of_lines() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    write(
        &lab,
        ".criu/default.conf",
        "# as criu(8) has it\nleave-running\nlog-file own.log\n\nverbosity 4\n",
    );
    criu(&lab, &format!("dump -D im -t {pid}")).ok();
    no_tracer(pid);
    assert!(!read(&lab, "im/own.log").is_empty());
    // The file of --config counts more, the command line most.
    write(
        &lab,
        "second.conf",
        "log-file second.log\naction-script \"echo $CRTOOLS_SCRIPT_ACTION >> told\"\n",
    );
    criu(&lab, &format!("dump -D im -t {pid} --config second.conf -v1")).ok();
    assert_eq!(read(&lab, "im/second.log"), "");
    assert!(read(&lab, "told").starts_with("pre-dump\n"));
    criu(
        &lab,
        &format!("dump -D im -t {pid} --config second.conf -o third.log"),
    )
    .ok();
    assert!(!read(&lab, "im/third.log").is_empty());
    // Without the defaults the process is not left running.
    criu(&lab, &format!("dump -D im -t {pid} --no-default-config")).ok();
    gone(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn in_the_form_of_toml() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    write(
        &lab,
        ".config/criu/config.toml",
        "leave-running = true\nlog-file = \"own.log\"\nverbosity = 4\n",
    );
    criu(&lab, &format!("dump -D im -t {pid}")).ok();
    no_tracer(pid);
    assert!(!read(&lab, "im/own.log").is_empty());
    // Our own form is weaker than CRIU's.
    write(&lab, ".criu/default.conf", "log-file stronger.log\n");
    criu(&lab, &format!("dump -D im -t {pid}")).ok();
    assert!(!read(&lab, "im/stronger.log").is_empty());
    write(&lab, "named.toml", "leave-running = false\n");
    criu(&lab, &format!("dump -D im -t {pid}"))
        .env("CRIU_CONFIG_FILE", lab.path().join("named.toml"))
        .ok();
    gone(pid);
    restore(&lab, "");
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    write(&lab, "bad.conf", "leave-running\n\nno-such-option 3\n");
    criu(&lab, &format!("dump -D im -t {pid} --config bad.conf")).refused(&["bad.conf:3", "no-such-option"]);
    write(&lab, "later.conf", "mntns-compat-mode\n");
    criu(&lab, &format!("dump -D im -t {pid} --config later.conf"))
        .refused(&["not implemented yet: --mntns-compat-mode"]);
    criu(&lab, &format!("dump -D im -t {pid} --config none.conf")).refused(&["none.conf"]);
    no_tracer(pid);
    end(pid);
    lab.assert_clean(&[pid]);
}
