//! What is refused, by name, with nothing touched.

use std::fs;

use criu_tests::{Lab, build_folder};

use super::support::{criu, end, guest, lives, no_tracer, shell, sleeper, state};

#[test]
fn roots_that_cannot_be_dumped() {
    let lab = Lab::new();
    super::support::folder(&lab, "im");
    criu(&lab, "dump -D im").refused(&["--tree"]);
    criu(&lab, "dump -D im -t 4194303").refused(&["process 4194303", "does not exist"]);
    criu(&lab, "dump -D im -t 1").refused(&["process 1", "ancestor of criu"]);
    // The test is a parent of the program, and a thread of it is no process.
    let own = std::process::id();
    criu(&lab, &format!("dump -D im -t {own}")).refused(&[&format!("process {own}"), "ancestor"]);
    let tid = nix::unistd::gettid();
    criu(&lab, &format!("dump -D im -t {tid}"))
        .refused(&[&format!("thread {tid}"), &format!("process {own}")]);
    let kernel = fs::read_to_string("/proc/2/stat").unwrap_or_default();
    if kernel.contains("(kthreadd)") {
        criu(&lab, "dump -D im -t 2").refused(&["process 2", "thread of the kernel"]);
    } else {
        println!("skipped: in this pid namespace no thread of the kernel is seen");
    }
    // Itself: a shell that becomes the program.
    let folder = build_folder();
    let line = format!("exec {}/criu dump -D im -t $$ 2> self", folder.display());
    let mut command = lab.command("/bin/sh");
    command.arg("-c").arg(line);
    let pid = criu_tests::reaper::spawn(&mut command).expect("start a shell");
    let ended = criu_tests::reaper::wait(pid, super::support::LIMIT);
    assert_eq!(ended, Some(criu_tests::reaper::End::Exit(1)));
    let told = super::support::read(&lab, "self");
    assert!(
        told.contains(&format!("process {pid}")) && told.contains("criu itself"),
        "{told}"
    );
    lab.assert_clean(&[]);
}

/// A traced process has its tracer, who is named.
#[test]
fn a_traced_process() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    // SAFETY: PTRACE_SEIZE with numbers touches no memory of this process.
    let traced = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    assert_eq!(traced, 0, "trace the process");
    let tracer = nix::unistd::gettid().as_raw();
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&[&pid.to_string(), "traced", &tracer.to_string()]);
    assert!(lives(pid));
    end(pid);
    lab.assert_clean(&[pid]);
}

/// A process inside vfork(2) cannot be stopped; the wait for it ends by --timeout, and its child goes on.
#[test]
fn timeout() {
    let lab = Lab::new();
    let pid = guest(&lab, "cli/vfork");
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("read the children");
    let child: i32 = children.trim().parse().expect("one child");
    assert_eq!(state(pid), Some('D'));
    let began = std::time::Instant::now();
    criu(&lab, &format!("dump -D im -t {pid} --timeout 1")).refused(&[&pid.to_string(), "--timeout", "1 s"]);
    let took = began.elapsed().as_secs_f64();
    assert!((1.0..20.0).contains(&took), "took {took} s");
    assert!(lives(pid));
    no_tracer(child);
    end(child);
    assert_eq!(lab.conclude(pid), criu_tests::Verdict::Pass);
    lab.assert_clean(&[pid]);
}

/// Each option of later work is refused by its name, with dump and with restore; none is ignored.
#[test]
fn options_of_later_work() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    for (option, name) in [
        ("--daemon", ""),
        ("--unprivileged", ""),
        ("--status-fd 2", "--status-fd"),
        ("-M a:b", "--ext-mount-map"),
        ("--ext-mount-map auto", "--ext-mount-map"),
        ("--skip-mnt /x", "--skip-mnt"),
        ("--enable-external-sharing", ""),
        ("--enable-external-masters", ""),
        ("--empty-ns net", "--empty-ns"),
        ("--stream", ""),
        ("-r /x", "--root"),
        ("--root /x", "--root"),
        ("-J net:/proc/1/ns/net", "--join-ns"),
        ("--veth-pair a=b", "--veth-pair"),
        ("--weak-sysctls", ""),
        ("--mntns-compat-mode", ""),
        ("--track-mem", ""),
        ("--prev-images-dir x", "--prev-images-dir"),
        ("--pre-dump-mode read", "--pre-dump-mode"),
        ("--auto-dedup", ""),
        ("--page-server", ""),
        ("--lazy-pages", ""),
        ("--address 127.0.0.1", "--address"),
        ("--port 1234", "--port"),
        ("--ps-socket 3", "--ps-socket"),
        ("--tls", ""),
        ("--tls-cacert x", "--tls-cacert"),
        ("--tls-cacrl x", "--tls-cacrl"),
        ("--tls-cert x", "--tls-cert"),
        ("--tls-key x", "--tls-key"),
        ("--tls-no-cn-verify", ""),
        ("--external mnt[x]:y", "--external mnt[]"),
        ("--external net[1]:x", "--external net[]"),
        ("--external veth[eth0]:x", "--external veth[]"),
    ] {
        let name = if name.is_empty() { option } else { name };
        let wanted = format!("not implemented yet: {name}\n");
        criu(&lab, &format!("dump -D im -t {pid} {option}")).refused(&[&wanted]);
        criu(&lab, &format!("restore -D im -d {option}")).refused(&[&wanted]);
    }
    for command in [
        "pre-dump",
        "page-server",
        "lazy-pages",
        "dedup",
        "service",
        "swrk 3",
        "exec -- x",
    ] {
        let name = command.split(' ').next().expect("a word");
        criu(&lab, command).refused(&[&format!("not implemented yet: {name}")]);
    }
    no_tracer(pid);
    end(pid);
    lab.assert_clean(&[pid]);
}

/// What LXC writes: everything parses, and what is of later work is named, all of it at once.
#[test]
fn the_line_of_lxc() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    let common = "--tcp-established --file-locks --link-remap --manage-cgroups=full --ext-mount-map auto \
                  --enable-external-sharing --enable-external-masters --enable-fs hugetlbfs --enable-fs tracefs \
                  -D im -v4";
    let log = lab.path().join("im/dump.log");
    let named = ["--ext-mount-map", "--enable-external-sharing"];
    let ran = criu(
        &lab,
        &format!(
            "dump {common} -o {} -t {pid} --skip-in-flight --freeze-cgroup /x --ghost-limit 100",
            log.display()
        ),
    )
    .refused(&named);
    assert!(
        !ran.err.contains("cgroup") && !ran.err.contains("--ghost-limit") && !ran.err.contains("--enable-fs"),
        "{ran}"
    );
    let ran = criu(
        &lab,
        &format!("restore {common} -o {} --root /x --restore-detached --restore-sibling --inherit-fd fd[3]:tty[1:2]", log.display()),
    )
    .refused(&named);
    assert!(
        ran.err.contains("--root") && !ran.err.contains("--inherit-fd"),
        "{ran}"
    );
    no_tracer(pid);
    // The same without what is of later work.
    let line = format!(
        "--tcp-established --file-locks --link-remap --manage-cgroups=full -D im -v4 -o {}",
        log.display()
    );
    criu(
        &lab,
        &format!("dump {line} -t {pid} --skip-in-flight --ghost-limit 100 --leave-running"),
    )
    .ok();
    end(pid);
    let folder = build_folder();
    let line = format!(
        "{0}/criu restore {line} --restore-detached --restore-sibling --plugin-dir {0}",
        folder.display()
    );
    let caller = shell(&lab, &format!("{line} && exec sleep 1015"), &[]);
    assert_eq!(super::support::parent(pid), Some(caller));
    end(pid);
    end(caller);
    lab.assert_clean(&[pid]);
}

#[test]
fn what_is_unknown() {
    let lab = Lab::new();
    criu(&lab, "dump --no-such-option").refused(&["--no-such-option"]);
    criu(&lab, "frobnicate").refused(&["frobnicate"]);
    criu(&lab, "").refused(&["no command"]);
    criu(&lab, "dump -t 12x").refused(&["12x"]);
    criu(&lab, "dump -t -5").refused(&["-5"]);
    criu(&lab, "restore --external nonsense -D im").refused(&["nonsense"]);
    lab.assert_clean(&[]);
}

#[test]
fn plugins_as_json() {
    let lab = Lab::new();
    let ran = criu(&lab, "plugin list --json").ok();
    let listed: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let names: Vec<&str> = listed["plugins"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|plugin| plugin["name"].as_str())
        .collect();
    for name in [
        "aio", "bpf", "cgroup", "events", "files", "inotify", "io_uring", "ipc", "memfd", "pipes", "sockets",
        "task", "tty", "tun",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let file = build_folder().join("libcriu_plugin_files.so");
    let ran = criu(&lab, "plugin info --json").arg(file).ok();
    let info: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert!(info.to_string().contains("\"files\""), "{ran}");
    lab.assert_clean(&[]);
}
