//! A guest and the ways to run it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::criu::{Criu, Outcome};
use crate::lab::{Lab, Verdict};
use crate::reaper::{self, Pid};
use crate::requirements::Need;
use crate::snapshot::Snapshot;
use std::time::Duration;

/// A guest, and the options that its dump and restore need.
#[derive(Clone, Debug)]
pub struct Case {
    guest: &'static str,
    dump: Vec<&'static str>,
    restore: Vec<&'static str>,
    needs: Vec<Need>,
    /// A folder with another program than the build's, which needs no shared objects.
    program: Option<PathBuf>,
    /// Folders with more plugins.
    plugins: Vec<PathBuf>,
    /// What happens to the machine between dump and restore.
    between: Option<fn(&Lab)>,
    /// Names of fields that the comparison of /proc before and after leaves out.
    except: Vec<&'static str>,
    /// What a dump that is refused says.
    refused: Option<&'static str>,
}

impl Case {
    /// The guest `FAMILY/NAME`.
    pub fn new(guest: &'static str) -> Case {
        Case {
            guest,
            dump: Vec::new(),
            restore: Vec::new(),
            needs: Vec::new(),
            program: None,
            plugins: Vec::new(),
            between: None,
            except: Vec::new(),
            refused: None,
        }
    }

    /// At some moments of the guest's work a dump is refused, with this said; the guest goes on, and the next try may
    /// meet another moment.
    pub fn refused_at_times(mut self, saying: &'static str) -> Self {
        self.refused = Some(saying);
        self
    }

    /// Whether a dump met such a moment.
    pub(crate) fn was_refused(&self, dump: &Outcome) -> bool {
        let refused = self.refused.filter(|_| !dump.ok());
        if let Some(saying) = refused {
            dump.expect_error();
            assert!(dump.log.contains(saying), "another error than `{saying}`\n{dump}");
        }
        refused.is_some()
    }

    /// An option for the dump.
    pub fn dump_option(mut self, option: &'static str) -> Self {
        self.dump.push(option);
        self
    }

    /// An option for the restore.
    pub fn restore_option(mut self, option: &'static str) -> Self {
        self.restore.push(option);
        self
    }

    /// An option for the dump and the restore.
    pub fn option(self, option: &'static str) -> Self {
        self.restore_option(option).dump_option(option)
    }

    /// The program in this folder, which finds no plugins beside it.
    pub fn program_in(mut self, folder: &Path) -> Self {
        self.program = Some(folder.to_path_buf());
        self
    }

    /// One more folder with plugins.
    pub fn plugins_in(mut self, folder: &Path) -> Self {
        self.plugins.push(folder.to_path_buf());
        self
    }

    /// Something that the machine has to give.
    pub fn need(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// Something that happens once the tree is dumped and gone, before it is restored.
    pub fn between(mut self, what: fn(&Lab)) -> Self {
        self.between = Some(what);
        self
    }

    /// Leaves a field (the part of a line before its first colon) out of the comparison of /proc.
    pub fn except(mut self, field: &'static str) -> Self {
        self.except.push(field);
        self
    }

    /// Without a checkpoint: shows that the guest itself is right.
    pub fn native(self) {
        self.run(|_, _, _| {});
    }

    /// Dump, which kills the tree, and restore.
    pub fn checkpoint(self) {
        self.run(|case, lab, pid| case.round(lab, pid, 1));
    }

    /// Dump and restore three times in a row: what a restore makes can be dumped again.
    pub fn thrice(self) {
        self.run(|case, lab, pid| (1..=3).for_each(|round| case.round(lab, pid, round)));
    }

    /// Dump with `--leave-running`: the tree goes on as if nothing had been.
    pub fn leave_running(self) {
        self.run(|case, lab, pid| {
            let before = Snapshot::settled(pid);
            case.dump(lab, "images", pid)
                .args(["--leave-running"])
                .run()
                .expect_ok();
            before.assert_same(
                &Snapshot::settled(pid),
                &case.except,
                "a dump with --leave-running",
            );
        });
    }

    /// Dump with `--leave-running`, and then another one, which kills the tree, and restore.
    pub fn after_another(self) {
        self.run(|case, lab, pid| {
            case.dump(lab, "earlier", pid)
                .args(["--leave-running"])
                .run()
                .expect_ok();
            case.round(lab, pid, 1);
        });
    }

    pub(crate) fn dump<'a>(&self, lab: &'a Lab, images: &str, pid: Pid) -> Criu<'a> {
        self.place(Criu::dump(lab, images, pid))
            .args(self.dump.iter().copied())
    }

    pub(crate) fn restore<'a>(&self, lab: &'a Lab, images: &str) -> Criu<'a> {
        self.place(Criu::restore(lab, images))
            .args(self.restore.iter().copied())
    }

    /// With the program and the plugins of choice.
    fn place<'a>(&self, criu: Criu<'a>) -> Criu<'a> {
        let criu = match &self.program {
            Some(folder) => criu.alone_in(folder),
            None => criu,
        };
        self.plugins.iter().fold(criu, |criu, folder| {
            criu.args(["--plugin-dir".as_ref(), folder.as_os_str()])
        })
    }

    /// One dump and restore with a comparison of the tree as /proc shows it.
    fn round(&self, lab: &Lab, pid: Pid, round: usize) {
        let images = format!("images-{round}");
        let before = Snapshot::settled(pid);
        let dumped: Outcome = self.dump(lab, &images, pid).run();
        dumped.expect_ok();
        self.gone(lab, pid, &dumped);
        let pidfile = lab.path().join(format!("pid-{round}"));
        let restored = self
            .restore(lab, &images)
            .args(["--pidfile".as_ref(), pidfile.as_os_str()])
            .run();
        restored.expect_ok();
        fs::write(lab.path().join("restored"), "").expect("mark the guest as restored");
        let text = fs::read_to_string(&pidfile).unwrap_or_default();
        assert_eq!(text.trim(), pid.to_string(), "the pid in --pidfile\n{restored}");
        // What goes wrong later is explained by the restore's log.
        println!("restore.log of round {round}:\n{restored}");
        if let Some(verdict) = lab.verdict() {
            println!("the guest has ended: {verdict:?}");
        }
        before.assert_same(&Snapshot::settled(pid), &self.except, "dump and restore");
    }

    /// Waits until the tree is gone that was dumped; then the machine changes as the case asks.
    pub(crate) fn gone(&self, lab: &Lab, pid: Pid, dumped: &Outcome) {
        let end = reaper::wait(pid, Duration::from_secs(10));
        assert!(end.is_some(), "process {pid} is alive after its dump\n{dumped}");
        if let Some(what) = self.between {
            what(lab);
        }
    }

    /// The guest's `FAMILY/NAME`.
    pub(crate) fn name(&self) -> &str {
        self.guest
    }

    pub(crate) fn run(self, act: impl FnOnce(&Case, &Lab, Pid)) {
        if let Some(why) = self.needs.iter().find_map(|need| need.lacking()) {
            println!("skipped: {}: {why}", self.guest);
            return;
        }
        let _met: Vec<_> = self.needs.iter().map(|need| need.meet()).collect();
        let mut lab = Lab::new();
        let pid = lab.start_guest(self.guest);
        if let Some(early) = lab.wait_ready(pid) {
            match early {
                Verdict::Skip(why) => println!("skipped: {}: {why}", self.guest),
                other => panic!("{} before its checkpoint: {other:?}", self.guest),
            }
            return;
        }
        act(&self, &lab, pid);
        lab.go();
        match lab.conclude(pid) {
            Verdict::Pass => {}
            Verdict::Skip(why) => panic!("{}: skipped after the checkpoint: {why}", self.guest),
            Verdict::Fail(why) => panic!("{}: {why}", self.guest),
        }
        lab.assert_clean(&[pid]);
    }

    /// Panics when the folder of a family holds a guest without tests.
    pub fn assert_all_listed(family: &str, listed: &[&str]) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(family);
        let found: BTreeSet<String> = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("read {}: {e}", folder.display()))
            .filter_map(|e| e.ok()?.path().file_stem()?.to_str().map(str::to_owned))
            .collect();
        let listed: BTreeSet<String> = listed.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(
            found,
            listed,
            "the guests in {} and those with tests",
            folder.display()
        );
    }
}
