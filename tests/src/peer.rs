//! Image sets of another program with the same format, and ours for it.

use std::env;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::case::Case;
use crate::lab::Lab;
use crate::reaper::Pid;

impl Case {
    /// We restore what the peer dumps, and it restores what we dump if it knows the format of CRIU 4.2; the guest checks
    /// itself. What the peer cannot do with a set of its own is no matter of ours.
    pub fn peer(self) {
        let peer = env::var_os("CRIU_TEST_PEER").expect("CRIU_TEST_PEER names the other program");
        let peer = PathBuf::from(peer);
        let exchange = |dumps: Option<&PathBuf>, restores: Option<&PathBuf>| {
            let case = self.clone();
            case.run(|case, lab, pid| case.exchange_by(lab, pid, dumps, restores));
        };
        let alone = panic::catch_unwind(AssertUnwindSafe(|| exchange(Some(&peer), Some(&peer))));
        if alone.is_err() {
            println!("skipped: {}: the peer does not restore its own set", self.name());
            return;
        }
        println!("--- the peer dumps, ours restores");
        exchange(Some(&peer), None);
        if knows_the_format(&peer) {
            println!("--- ours dumps, the peer restores");
            exchange(None, Some(&peer));
        }
    }

    fn exchange_by(&self, lab: &Lab, pid: Pid, dumps: Option<&PathBuf>, restores: Option<&PathBuf>) {
        let mut dump = self.dump(lab, "images", pid);
        if let Some(program) = dumps {
            dump = dump.of(program);
        }
        let dumped = dump.run();
        dumped.expect_ok();
        self.gone(lab, pid, &dumped);
        let mut restore = self.restore(lab, "images");
        if let Some(program) = restores {
            restore = restore.of(program);
        }
        let restored = restore.run();
        restored.expect_ok();
        fs::write(lab.path().join("restored"), "").expect("mark the guest as restored");
        println!("{restored}");
    }
}

/// Whether a program finds the pages of our sets: CRIU before 4.1 looks for their number elsewhere.
fn knows_the_format(peer: &Path) -> bool {
    let output = Command::new(peer).arg("--version").output();
    let output = output.expect("ask the peer for its version").stdout;
    let text = String::from_utf8_lossy(&output);
    let version = text.lines().find_map(|line| line.strip_prefix("Version: "));
    let mut numbers = version.unwrap_or_default().split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (4, 1),
        _ => panic!("the peer does not tell its version: {text}"),
    }
}
