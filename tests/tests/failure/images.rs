//! Restores of damaged images: an error in time, no process, no file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criu_tests::reaper::{self, Pid};
use criu_tests::{Criu, Lab, processes_of, until};

/// A good image set of a guest, which is dead by now.
pub(super) fn images(lab: &Lab, guest: &str, options: &[&str]) -> (Pid, Vec<PathBuf>) {
    let pid = lab.start_guest(guest);
    if let Some(early) = lab.wait_ready(pid) {
        panic!("{guest} before its checkpoint: {early:?}");
    }
    Criu::dump(lab, "images", pid)
        .args(options.iter().copied())
        .run()
        .expect_ok();
    assert!(reaper::wait(pid, Duration::from_secs(10)).is_some());
    let mut files: Vec<PathBuf> = fs::read_dir(lab.path().join("images"))
        .expect("read the images")
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "img"))
        .collect();
    files.sort();
    (pid, files)
}

/// A restore that fails within ten seconds, and leaves no process and no new file.
fn fails(lab: &Lab, what: &str) -> String {
    let before = listing(lab.path());
    let outcome = Criu::restore(lab, "images").limit(Duration::from_secs(10)).run();
    assert!(outcome.end.is_some(), "{what}: the restore hangs\n{outcome}");
    assert!(!outcome.ok(), "{what}: the restore succeeded");
    outcome.expect_error();
    assert!(
        outcome.output.contains("Error"),
        "{what}: no error is printed\n{outcome}"
    );
    assert_eq!(
        processes_of(lab.path()),
        Vec::<Pid>::new(),
        "{what}: processes are left"
    );
    assert_eq!(listing(lab.path()), before, "{what}: files are left");
    outcome.output
}

/// The names in the lab, the logs and statistics aside.
pub(super) fn listing(folder: &Path) -> BTreeSet<PathBuf> {
    let own = |p: &Path| p.is_dir() || p.extension().is_some_and(|e| e == "log" || e == "out");
    fs::read_dir(folder)
        .expect("read the lab")
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| !own(p))
        .collect()
}

#[test]
fn truncated_at_every_file() {
    let lab = Lab::new();
    let (_, files) = images(&lab, "files/offsets", &[]);
    for file in files {
        let whole = fs::read(&file).expect("read an image");
        let mut lengths = BTreeSet::from([0, 3, 4, 8, whole.len() / 2, whole.len().saturating_sub(1)]);
        lengths.retain(|length| *length < whole.len());
        for length in lengths {
            fs::write(&file, &whole[..length]).expect("write an image");
            // An empty list of entries is a valid image where nothing refers to it: cut at the end of the magic.
            let what = format!("{} cut to {length} of {} bytes", file.display(), whole.len());
            if length == 8 || whole.len() <= 8 {
                let outcome = Criu::restore(&lab, "images").limit(Duration::from_secs(10)).run();
                assert!(outcome.end.is_some(), "{what}: the restore hangs\n{outcome}");
                assert!(
                    outcome.ok() || matches!(outcome.end, Some(reaper::End::Exit(_))),
                    "{what}\n{outcome}"
                );
                end_all(&lab);
            } else {
                fails(&lab, &what);
            }
        }
        fs::write(&file, whole).expect("write an image");
    }
}

/// Ends what a restore that was allowed to succeed has brought up.
pub(super) fn end_all(lab: &Lab) {
    let pids = processes_of(lab.path());
    for &pid in &pids {
        // SAFETY: kill touches no memory; the process is one of this lab's.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    // Their pids are needed again. What the reaper has noted may be the end of an earlier process of that number.
    until("the processes are gone", Duration::from_secs(10), || {
        pids.iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            .then_some(())
    });
}

#[test]
fn missing_each_file() {
    let lab = Lab::new();
    let (_, files) = images(&lab, "files/offsets", &[]);
    // These may be absent: older sets lack them, and nothing of this guest is in them.
    let optional = ["seccomp.img", "timens-", "tty-info.img", "stats-", "cgroup.img"];
    for file in files {
        let name = file
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default()
            .to_owned();
        if optional.iter().any(|o| name.starts_with(o)) {
            continue;
        }
        let aside = lab.path().join("aside.log");
        fs::rename(&file, &aside).expect("move an image away");
        let output = fails(&lab, &format!("without {name}"));
        assert!(
            output.contains(name.trim_end_matches(".img")),
            "the error does not name {name}:\n{output}"
        );
        fs::rename(&aside, &file).expect("move the image back");
    }
}

/// One bit changed, at many places of each file: never a hang, a crash, or a leftover. In the magic numbers and the
/// length of the first entry it is always found. What is a value (a register, a time, the pages) cannot be known to be
/// wrong: such a set is restored. `CRIU_TEST_ALL_BITS` tries every bit there is (an hour).
fn one_bit_flipped(guest: &str) {
    let lab = Lab::new();
    let (_, files) = images(&lab, guest, &[]);
    let all = std::env::var_os("CRIU_TEST_ALL_BITS").is_some();
    for file in files {
        let whole = fs::read(&file).expect("read an image");
        let pages = file
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"pages-"));
        // The inventory has one magic number, the others two; pages have none.
        let first = if file.ends_with("inventory.img") { 4 } else { 8 };
        let header = if pages { 0 } else { (first + 4).min(whole.len()) };
        let bits = whole.len() * 8;
        let step = if all && !pages { 1 } else { (bits / 32).max(1) | 1 };
        let places = (0..header).map(|byte| byte * 8 + byte % 8);
        for bit in places.chain((header * 8..bits).step_by(step)) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &bytes).expect("write an image");
            let what = format!(
                "{} with bit {} of byte {} changed",
                file.display(),
                bit % 8,
                bit / 8
            );
            if bit / 8 < header {
                fails(&lab, &what);
                continue;
            }
            let outcome = Criu::restore(&lab, "images").limit(Duration::from_secs(10)).run();
            match outcome.end {
                Some(reaper::End::Exit(0)) => end_all(&lab),
                Some(reaper::End::Exit(_)) => {
                    assert!(
                        outcome.output.contains("Error"),
                        "{what}: no error is printed\n{outcome}"
                    );
                    assert_eq!(
                        processes_of(lab.path()),
                        Vec::<Pid>::new(),
                        "{what}: processes are left"
                    );
                }
                other => panic!("{what}: the restore ended by {other:?}\n{outcome}"),
            }
        }
        fs::write(&file, whole).expect("write an image");
    }
    Criu::restore(&lab, "images").run().expect_ok();
    end_all(&lab);
}

#[test]
fn one_bit_flipped_files() {
    one_bit_flipped("files/offsets");
}

#[test]
fn one_bit_flipped_tree() {
    one_bit_flipped("core/tree");
}

#[test]
fn pid_in_use() {
    let lab = Lab::new();
    let (pid, _) = images(&lab, "core/sleeper", &[]);
    let holder = Holder::take(pid);
    let output = fails(&lab, "with its pid taken");
    assert!(
        output.contains(&pid.to_string()),
        "the error does not name the pid {pid}:\n{output}"
    );
    drop(holder);
    Criu::restore(&lab, "images").run().expect_ok();
    end_all(&lab);
}

/// A process with a pid of choice (clone3 with set_tid).
struct Holder(Pid);

impl Holder {
    fn take(pid: Pid) -> Holder {
        #[repr(C)]
        #[derive(Default)]
        struct CloneArgs([u64; 11]);
        let tids = [pid];
        let mut args = CloneArgs::default();
        args.0[4] = libc::SIGCHLD as u64;
        args.0[8] = tids.as_ptr() as u64;
        args.0[9] = 1;
        // SAFETY: without CLONE_VM this is a fork; the child only waits and is killed. `args` and `tids` live.
        let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
        if child == 0 {
            loop {
                // SAFETY: pause touches no memory.
                unsafe { libc::pause() };
            }
        }
        assert_eq!(
            child,
            i64::from(pid),
            "clone3: {}",
            std::io::Error::last_os_error()
        );
        Holder(pid)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // SAFETY: kill touches no memory; the child is ours.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        reaper::wait(self.0, Duration::from_secs(10));
    }
}

#[test]
fn file_gone() {
    let lab = Lab::new();
    let _ = images(&lab, "files/offsets", &[]);
    fs::rename(lab.path().join("data"), lab.path().join("data.log")).expect("move the file away");
    let output = fails(&lab, "without an open file");
    assert!(
        output.contains("/data"),
        "the error does not name the file:\n{output}"
    );
}

#[test]
fn file_changed() {
    let lab = Lab::new();
    let _ = images(&lab, "files/offsets", &[]);
    fs::write(lab.path().join("data"), "another content of another length").expect("change the file");
    let output = fails(&lab, "with a changed file");
    assert!(
        output.contains("/data"),
        "the error does not name the file:\n{output}"
    );
}

#[test]
fn no_images_at_all() {
    let lab = Lab::new();
    fs::create_dir(lab.path().join("images")).expect("make the folder");
    let output = fails(&lab, "out of an empty folder");
    assert!(
        output.contains("inventory"),
        "the error does not say what is missing:\n{output}"
    );
}
