//! Image sets of another program with the same format, and ours for it.

use std::env;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use crate::case::Case;
use crate::lab::Lab;
use crate::reaper::Pid;

impl Case {
    /// The peer restores what we dump, and we restore what it dumps; the guest checks itself. What the peer cannot do
    /// with a set of its own is no matter of ours.
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
        println!("--- ours dumps, the peer restores");
        let given = panic::catch_unwind(AssertUnwindSafe(|| exchange(None, Some(&peer))));
        println!("--- the peer dumps, ours restores");
        exchange(Some(&peer), None);
        if let Err(why) = given {
            panic::resume_unwind(why);
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
