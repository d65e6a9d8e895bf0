//! Where things go: images, work directory, logs, statistics.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use criu_proto::images::StatsEntry;
use criu_tests::Lab;
use prost::Message;

use super::support::{criu, dump, end, folder, lives, no_tracer, read, restore, sleeper};

#[test]
fn the_work_directory_takes_all_but_the_images() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    folder(&lab, "work");
    dump(&lab, pid, "-W work");
    restore(&lab, "-W work --pidfile pid");
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(lab.path().join(folder)).expect("read the folder");
        let mut names: Vec<String> = entries
            .map(|e| e.expect("read").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(
        names("work"),
        ["dump.log", "pid", "restore.log", "stats-dump", "stats-restore"]
    );
    assert!(
        names("im").iter().all(|name| name.ends_with(".img")),
        "{:?}",
        names("im")
    );
    end(pid);
    lab.assert_clean(&[pid]);
}

/// Containers' managers label the log before: it must stay the file that it is.
#[test]
fn a_log_file_that_is_there_stays_the_same_file() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    let path = lab.path().join("im/dump.log");
    fs::write(&path, "old text, longer than nothing\n").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    let before = fs::metadata(&path).expect("stat");
    dump(&lab, pid, "");
    let after = fs::metadata(&path).expect("stat");
    assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()));
    assert!(!read(&lab, "im/dump.log").contains("old text"));
    let path = lab.path().join("absolute.log");
    criu(&lab, "restore -D im -d -v4 -o").arg(&path).ok();
    assert!(!read(&lab, "absolute.log").is_empty());
    end(pid);
    lab.assert_clean(&[pid]);
}

/// Every line bears its time; the first that says `Error` tells the cause.
#[test]
fn the_logs_lines() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    restore(&lab, "");
    let ran = criu(&lab, "restore -D im -d -v4 -o restore.log").refused(&["in use"]);
    // One line for those who look at the terminal.
    assert_eq!(ran.err.matches("Error").count(), 1, "{ran}");
    end(pid);
    for name in ["im/dump.log", "im/restore.log"] {
        let log = read(&lab, name);
        for line in log.lines() {
            let time = line
                .strip_prefix('(')
                .and_then(|l| l.split_once(") "))
                .map(|(time, _)| time);
            let (seconds, micros) = time.and_then(|t| t.split_once('.')).unwrap_or_default();
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            assert!(
                seconds.len() >= 2 && digits(seconds) && micros.len() == 6 && digits(micros),
                "{name}: {line}"
            );
        }
    }
    let log = read(&lab, "im/restore.log");
    let first = log
        .lines()
        .find(|line| line.contains("Error"))
        .expect("an error in the log");
    let (_, rest) = first.split_once(") ").expect("a time");
    let (place, text) = rest.split_once("): ").expect("a place");
    let (file, line) = place
        .strip_prefix("Error (")
        .and_then(|place| place.rsplit_once(':'))
        .expect("a file and a line");
    assert!(file.ends_with(".rs") && line.parse::<u32>().is_ok(), "{first}");
    assert!(
        text.contains(&format!("pid {pid}")) && text.contains("in use"),
        "{first}"
    );
    lab.assert_clean(&[pid]);
}

#[test]
fn verbosity() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    let mut sizes = Vec::new();
    for level in ["-v0", "-v2", "-v3", "-vvvv"] {
        criu(&lab, &format!("dump -D im -R -t {pid} -o log {level}")).ok();
        sizes.push(read(&lab, "im/log").len());
    }
    assert_eq!(sizes[..2], [0, 0], "a dump that goes well has nothing to say");
    assert!(sizes[3] > 0 && sizes[3] >= sizes[2], "{sizes:?}");
    // Without -o the log is standard error.
    let ran = criu(&lab, &format!("dump -D im -R -t {pid} -v4")).ok();
    assert!(ran.err.starts_with("(00."), "{ran}");
    end(pid);
    lab.assert_clean(&[pid]);
}

/// With `--log-pid` what each process of the restore says goes into a file of its own.
#[test]
fn log_pid() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    let own = lab.path().join(format!("im/restore.log.{pid}"));
    restore(&lab, "");
    let whole = read(&lab, "im/restore.log");
    let line = format!("{pid:6}: process {pid} is there");
    assert!(whole.contains(&line) && !own.exists(), "{whole}");
    end(pid);
    fs::write(&own, "old").expect("write");
    restore(&lab, "--log-pid");
    let main = read(&lab, "im/restore.log");
    let theirs = fs::read_to_string(&own).expect("read the log of the process");
    assert!(
        !main.contains(&line) && theirs.contains(&line),
        "{main}\n{theirs}"
    );
    assert!(!theirs.contains("old"), "{theirs}");
    end(pid);
    lab.assert_clean(&[pid]);
}

fn stats(lab: &Lab, name: &str) -> StatsEntry {
    let bytes = fs::read(lab.path().join(name)).expect("read the statistics");
    // Two magics, the length of the one entry, the entry.
    let length = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
    assert_eq!(bytes.len(), 12 + length as usize, "{name} holds one entry");
    StatsEntry::decode(&bytes[12..]).expect("decode the statistics")
}

#[test]
fn statistics() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    let began = std::time::Instant::now();
    let ran = dump(&lab, pid, "--display-stats");
    let took = began.elapsed().as_micros();
    let entry = stats(&lab, "im/stats-dump");
    assert!(entry.restore.is_none());
    let entry = entry.dump.expect("statistics of a dump");
    assert!(
        u128::from(entry.frozen_time) <= took && entry.frozen_time >= entry.freezing_time,
        "{entry:?}"
    );
    assert!(entry.memdump_time <= entry.frozen_time, "{entry:?}");
    assert!(
        entry.pages_written > 0 && entry.pages_scanned >= entry.pages_written,
        "{entry:?}"
    );
    let pages = fs::metadata(lab.path().join("im/pages-1.img"))
        .expect("stat")
        .len()
        / 4096;
    assert_eq!(entry.pages_written, pages);
    assert!(
        ran.out.contains("Frozen time") && ran.out.contains(&pages.to_string()),
        "{ran}"
    );

    let began = std::time::Instant::now();
    let ran = restore(&lab, "--display-stats");
    let took = began.elapsed().as_micros();
    let entry = stats(&lab, "im/stats-restore")
        .restore
        .expect("statistics of a restore");
    assert!(u128::from(entry.restore_time) <= took, "{entry:?}");
    assert!(
        entry.forking_time > 0 && entry.forking_time <= entry.restore_time,
        "{entry:?}"
    );
    // Pages that the kernel gives anew are in the images, too.
    let restored = entry.pages_restored.unwrap_or(0);
    assert!(
        restored > 0 && restored <= pages,
        "{entry:?}, {pages} pages in the images"
    );
    assert!(
        ran.out.contains("Restore time") && ran.out.contains(&restored.to_string()),
        "{ran}"
    );
    end(pid);
    dump_prints_nothing_else(&lab);
    lab.assert_clean(&[pid]);
}

fn dump_prints_nothing_else(lab: &Lab) {
    let pid = sleeper(lab);
    let ran = dump(lab, pid, "");
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""), "{ran}");
}

#[test]
fn images_directories_that_will_not_do() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    fs::write(lab.path().join("plain"), "").expect("write");
    for (place, word) in [
        ("nowhere", "No such file"),
        ("plain", "Not a directory"),
        ("/proc/self", "/proc/self"),
    ] {
        criu(&lab, &format!("dump -t {pid} -D {place}")).refused(&[place, word]);
        no_tracer(pid);
        criu(&lab, &format!("restore -d -D {place}")).refused(&[place]);
        criu(&lab, &format!("dump -t {pid} -D im -W {place} -o log")).refused(&[place]);
        no_tracer(pid);
    }
    // No statistics can be written there: it is found out before anything is done.
    criu(&lab, &format!("dump -t {pid} -D im -W nowhere")).refused(&["nowhere"]);
    no_tracer(pid);
    assert!(!lab.path().join("im/inventory.img").exists());
    // A directory without a set is no set.
    criu(&lab, "restore -d -D im").refused(&["im", "inventory.img"]);
    // The current directory is the default.
    criu(&lab, "restore -d").refused(&["inventory.img"]);
    dump(&lab, pid, "");
    criu(&lab, "restore -d -D im -W nowhere").refused(&["nowhere"]);
    assert!(!lives(pid));
    lab.assert_clean(&[pid]);
}

#[test]
fn closed_descriptors() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    let (reading, writing) = nix::unistd::pipe().expect("make a pipe");
    use std::os::fd::AsRawFd;
    dump(&lab, pid, "");
    let line = "restore -D im --close 17 --exec-cmd -- sh -c";
    criu(&lab, line)
        .arg("ls -l /proc/self/fd > fds")
        .fd(writing.as_raw_fd(), 17)
        .ok();
    let fds = read(&lab, "fds");
    assert!(!fds.contains("pipe:"), "{fds}");
    end(pid);
    drop(reading);
    lab.assert_clean(&[pid]);
}
