use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Instant;

use super::{Logger, filter, finish, open};
use tracing::level_filters::LevelFilter;
use tracing::{debug, error, info, warn};

/// What a piece of work logs into a file at a level.
fn logged(verbosity: u32, per_pid: bool, work: impl FnOnce()) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let fd = super::move_high(open(&path, true).unwrap());
    let logger = Logger::new(Some((path.clone(), fd)), verbosity, per_pid, Instant::now());
    tracing::subscriber::with_default(logger, work);
    std::fs::read_to_string(path).unwrap()
}

fn some_of_each() {
    error!(file_only = true, "an error");
    warn!(count = 3, "a warning");
    info!("information");
    debug!("debugging");
}

#[test]
fn lines_read_as_callers_expect() {
    let text = logged(4, false, some_of_each);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for line in &lines {
        let (time, _) = line.strip_prefix('(').unwrap().split_once(") ").unwrap();
        let (seconds, micros) = time.split_once('.').unwrap();
        assert!(seconds.len() >= 2 && micros.len() == 6, "{line}");
        assert!(
            (seconds.to_owned() + micros).bytes().all(|b| b.is_ascii_digit()),
            "{line}"
        );
    }
    let after = |line: &str| line.split_once(") ").unwrap().1.to_owned();
    let (place, told) = after(lines[0])
        .strip_prefix("Error (")
        .unwrap()
        .split_once("): ")
        .map(own)
        .unwrap();
    assert_eq!(told, "an error");
    let (file, line) = place.rsplit_once(':').unwrap();
    assert!(
        file.ends_with("tests.rs") && line.parse::<u32>().unwrap() > 0,
        "{place}"
    );
    let (_, told) = after(lines[1])
        .strip_prefix("Warn  (")
        .unwrap()
        .split_once("): ")
        .map(own)
        .unwrap();
    assert_eq!(told, "a warning count=3");
    assert_eq!(after(lines[2]), "information");
    assert_eq!(after(lines[3]), "debugging");
}

fn own((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[test]
fn levels_are_those_of_the_command_line() {
    for (verbosity, lines) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (9, 4)] {
        assert_eq!(
            logged(verbosity, false, some_of_each).lines().count(),
            lines,
            "-v{verbosity}"
        );
    }
    assert_eq!(filter(2), LevelFilter::WARN);
}

#[test]
fn what_is_not_printed_is_not_built() {
    struct Expensive;
    impl std::fmt::Display for Expensive {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("formatted for nothing")
        }
    }
    assert_eq!(logged(2, false, || info!("{Expensive}")), "");
}

#[test]
fn a_position_handed_on_replaces_that_of_the_source() {
    let text = logged(2, false, || warn!(at = "plugin.rs:7", "text"));
    assert!(text.ends_with("Warn  (plugin.rs:7): text\n"), "{text}");
}

#[test]
fn with_log_pid_the_lines_bear_the_pid() {
    let text = logged(3, true, || info!("text"));
    assert!(
        text.ends_with(&format!(" {}: text\n", std::process::id())),
        "{text}"
    );
}

#[test]
fn a_line_is_one_line_and_bounded() {
    let shaped = |text: &str| {
        let mut line = text.to_owned();
        finish(&mut line);
        line
    };
    assert_eq!(shaped("a\n"), "a\n");
    assert_eq!(shaped("a\nb\x1b[0m\tc"), "a b [0m\tc\n");
    let long = shaped(&"\u{e9}".repeat(5000));
    assert!(long.len() <= 4096 && long.ends_with("...\n"), "{}", long.len());
}

#[test]
fn an_existing_file_is_kept_and_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.log");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let before = std::fs::metadata(&path).unwrap();
    let fd = super::move_high(open(&path, true).unwrap());
    let after = std::fs::metadata(&path).unwrap();
    assert_eq!(
        (before.ino(), before.mode(), 0),
        (after.ino(), after.mode(), after.len())
    );
    let limit = nix::unistd::sysconf(nix::unistd::SysconfVar::OPEN_MAX)
        .unwrap()
        .unwrap_or(i64::MAX);
    assert!(fd.as_raw_fd() >= super::HIGH_FD || limit <= i64::from(super::HIGH_FD));
    let fresh = dir.path().join("new.log");
    drop(open(&fresh, true).unwrap());
    assert_eq!(std::fs::metadata(&fresh).unwrap().mode() & 0o777 & !0o600, 0);
}

#[test]
fn a_child_writes_to_the_same_file_under_its_pid_or_to_its_own() {
    for per_pid in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let fd = super::move_high(open(&path, true).unwrap());
        let logger = Logger::new(Some((path.clone(), fd)), 3, per_pid, Instant::now());
        let child = tracing::subscriber::with_default(logger, || {
            info!("parent");
            // SAFETY: the child writes one line and ends; what it uses is safe after a fork with threads around,
            // as glibc's allocator is.
            match unsafe { libc::fork() } {
                0 => {
                    info!("child");
                    // SAFETY: ends the child without running what belongs to the parent.
                    unsafe { libc::_exit(0) }
                }
                child => child,
            }
        });
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: waits for our own child; `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        let own = dir.path().join(format!("a.log.{child}"));
        let text = std::fs::read_to_string(if per_pid { &own } else { &path }).unwrap();
        assert!(
            text.lines()
                .last()
                .unwrap()
                .ends_with(&format!(") {child:6}: child")),
            "{text}"
        );
        assert_eq!(own.exists(), per_pid);
    }
}
