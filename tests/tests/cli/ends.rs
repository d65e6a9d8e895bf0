//! How a dump and a restore end: who runs, who waits, whose child the tree is.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::Duration;

use criu_tests::reaper::{self, End};
use criu_tests::{Lab, Verdict, until};

use super::support::{
    LIMIT, criu, dump, end, gone, lives, no_tracer, parent, read, restore, shell, signal, sleeper, state,
};

#[test]
fn leave_running() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    criu(&lab, &format!("dump -D im -t {pid} --leave-running")).ok();
    no_tracer(pid);
    criu(&lab, &format!("dump -D im -t {pid} -R")).ok();
    no_tracer(pid);
    end(pid);
    restore(&lab, "");
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn leave_stopped_after_a_dump() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    criu(&lab, &format!("dump -D im -t {pid} -s")).ok();
    assert_eq!(state(pid), Some('T'));
    signal(pid, libc::SIGCONT);
    until("the process goes on", LIMIT, || {
        (state(pid) == Some('S')).then_some(())
    });
    // The image is that of a process that was not stopped.
    end(pid);
    restore(&lab, "");
    no_tracer(pid);
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn leave_stopped_after_a_restore() {
    let lab = Lab::new();
    let pid = shell(&lab, "sleep 1000 & exec sleep 1001", &[]);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("read the children");
    let child: i32 = children.trim().parse().expect("one child");
    dump(&lab, pid, "");
    restore(&lab, "--leave-stopped");
    for pid in [pid, child] {
        until("the process stops", LIMIT, || {
            (state(pid) == Some('T')).then_some(())
        });
    }
    for pid in [pid, child] {
        signal(pid, libc::SIGCONT);
        until("the process goes on", LIMIT, || {
            (state(pid) == Some('S')).then_some(())
        });
    }
    end(child);
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn a_dump_ends_the_tree() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    criu(&lab, &format!("dump -D im -t {pid}")).ok();
    gone(pid);
    lab.assert_clean(&[pid]);
}

/// Attached, the program waits for the root and ends with 0 whatever becomes of that: the restore went well.
#[test]
fn an_attached_restore_waits_for_the_root() {
    let lab = Lab::new();
    let (reading, writing) = nix::unistd::pipe().expect("make a pipe");
    let pid = shell(&lab, "exec sed q7", &[(reading.as_raw_fd(), 0)]);
    let name = fs::read_link(format!("/proc/{pid}/fd/0")).expect("the pipe's name");
    let key = format!("fd[5]:{}", name.display());
    dump(&lab, pid, "");
    for how in ["exit", "kill"] {
        let running = criu(&lab, "restore -D im -v4 -o restore.log")
            .arg("--inherit-fd")
            .arg(&key)
            .fd(reading.as_raw_fd(), 5)
            .start();
        until("the process is there", LIMIT, || {
            (state(pid) == Some('S')).then_some(())
        });
        assert_eq!(
            parent(pid),
            Some(running.pid),
            "an attached root is the program's child"
        );
        assert_eq!(
            reaper::wait(running.pid, Duration::from_millis(300)),
            None,
            "it waits"
        );
        if how == "exit" {
            nix::unistd::write(&writing, b"end\n").expect("write");
        } else {
            signal(pid, libc::SIGTERM);
        }
        let ran = running.finish();
        assert_eq!(ran.end, Some(End::Exit(0)), "{how}: {ran}");
        assert!(!lives(pid));
    }
    lab.assert_clean(&[pid]);
}

#[test]
fn a_detached_restore_does_not_wait() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    criu(&lab, "restore -D im --restore-detached").ok();
    no_tracer(pid);
    // Its parent is gone, and this process takes over orphans.
    assert_eq!(parent(pid), Some(std::process::id().cast_signed()));
    end(pid);
    lab.assert_clean(&[pid]);
}

/// The caller, here a shell, gets the root as its own child.
#[test]
fn a_sibling_is_the_callers_child() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    let folder = criu_tests::build_folder();
    let line = format!(
        "{0}/criu restore -D im -v4 -o restore.log -d -S --plugin-dir {0}; echo $? $$ > code; exec sleep 1002",
        folder.display()
    );
    let caller = shell(&lab, &line, &[]);
    assert_eq!(read(&lab, "code").trim(), format!("0 {caller}"));
    assert_eq!(parent(pid), Some(caller));
    end(pid);
    end(caller);
    // What cannot be waited for is not.
    criu(&lab, "restore -D im -S").refused(&["--restore-sibling", "--restore-detached"]);
    assert!(!lives(pid));
    lab.assert_clean(&[pid]);
}

#[test]
fn exec_cmd_takes_the_programs_place() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    let running = criu(&lab, "restore -D im --exec-cmd -- sh -c")
        .arg("echo $$ $0 \"$1\" > told; wait")
        .arg("first")
        .arg("-R second")
        .start();
    let program = running.pid;
    let ran = running.finish();
    assert_eq!(ran.end, Some(End::Exit(0)), "{ran}");
    assert_eq!(read(&lab, "told").trim(), format!("{program} first -R second"));
    no_tracer(pid);
    end(pid);
    criu(&lab, "restore -D im --exec-cmd -- no-such-program").refused(&["--exec-cmd", "no-such-program"]);
    assert!(!lives(pid), "nothing is restored for a program that is not there");
    lab.assert_clean(&[pid]);
}

#[test]
fn pidfile() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    super::support::folder(&lab, "work");
    dump(&lab, pid, "");
    restore(&lab, "-W work --pidfile root.pid");
    assert_eq!(read(&lab, "work/root.pid"), pid.to_string());
    end(pid);
    // What stands there is not overwritten: it may be the file of a process that lives.
    criu(&lab, "restore -D im -W work -d --pidfile root.pid").refused(&["root.pid", "File exists"]);
    assert!(!lives(pid));
    // A restore that fails later takes its own back.
    criu(
        &lab,
        "restore -D im -W work -d --pidfile failed.pid --action-script",
    )
    .arg("[ $CRTOOLS_SCRIPT_ACTION != pre-resume ]")
    .refused(&["pre-resume"]);
    assert!(!lab.path().join("work/failed.pid").exists());
    assert_eq!(read(&lab, "work/root.pid"), pid.to_string());
    let absolute = lab.path().join("elsewhere.pid");
    restore(&lab, &format!("-W work --pidfile {}", absolute.display()));
    assert_eq!(read(&lab, "elsewhere.pid"), pid.to_string());
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn restoring_twice_names_the_pid_in_use() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    restore(&lab, "");
    criu(&lab, "restore -D im -d").refused(&[&format!("pid {pid}"), "in use", "sleep"]);
    no_tracer(pid);
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn processes_that_end_before_all_their_threads_are_let_go() {
    let mut lab = Lab::new();
    let pid = lab.start_guest("cli/ends_at_once");
    assert!(lab.wait_ready(pid).is_none(), "the guest gets ready");
    fs::create_dir(lab.path().join("im")).expect("make the images' folder");
    dump(&lab, pid, "");
    restore(&lab, "");
    lab.go();
    assert!(
        matches!(lab.conclude(pid), Verdict::Pass),
        "both ends are seen by the parent"
    );
    lab.assert_clean(&[pid]);
}
