//! The walk of a dump without a dump: what stands in the way of one.

use criu_images::ImageDir;
use criu_plugin_api::Stage;

use super::blockers::Blocker;
use super::pages::Room;
use super::seccomp::Seccomp;
use super::{at_stage, cured, give_up, root, walk, with_plugins};
use crate::error::{Error, Result};
use crate::options::{Options, Silent};

/// Stops the tree below `--tree`, looks at all that a dump would save, and lets it go on. No image is written.
///
/// # Errors
/// It could not be found out. That the tree cannot be dumped is no error, but told by what is returned.
pub fn preflight(opts: &Options) -> Result<Vec<Blocker>> {
    let root = opts.tree.ok_or_else(|| {
        Error::refused_but(
            "check --tree",
            "does not know which process",
            "name the root of the tree with --tree PID",
        )
    })?;
    let mut found = Vec::new();
    match look_through(opts, root, &mut found) {
        // What ended the walk is the last that is in the way.
        Err(error) if error.is_refusal() => found.push(error),
        other => other?,
    }
    let mut blockers: Vec<Blocker> = Vec::with_capacity(found.len());
    for blocker in found.iter().map(Blocker::from) {
        if !blockers.contains(&blocker) {
            blockers.push(blocker);
        }
    }
    Ok(blockers)
}

fn look_through(opts: &Options, root: i32, found: &mut Vec<Error>) -> Result<()> {
    root::check(root)?;
    crate::limits::raise_open_files();
    let images = ImageDir::unkept()?;
    let opts = Options {
        leave_running: true,
        leave_stopped: false,
        ..opts.clone()
    };
    with_plugins(&opts, images, root, |dump, _| {
        at_stage(dump, Stage::BeforeFreeze).inspect_err(|_| cured(dump))?;
        let mut stopped = None;
        let seccomp = Seccomp::default();
        let walked = walk(dump, &Silent, root, &mut Room::default(), &mut stopped, &seccomp);
        // To the kinds it is a dump that has failed: they take back all that they did.
        give_up(dump, &Silent, root, stopped);
        found.extend(dump.blockers.take());
        walked
    })
}
