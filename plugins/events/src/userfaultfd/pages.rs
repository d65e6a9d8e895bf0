//! Which pages of a registered range are there, and how.

use std::fs::File;
use std::os::unix::fs::FileExt;

use criu_plugin_api::{Context, Error, Result};
use nix::errno::Errno;

use super::sys::{self, PFNZERO, PRESENT, Region, WRITTEN};
use super::{FILLED, PAGE, PROTECTED, RunEntry, ZERO};

/// The page map of a process.
pub(super) struct PageMap {
    file: File,
    path: String,
}

impl PageMap {
    pub(super) fn open(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/pagemap");
        let file = File::open(&path).context(|| format!("opening {path}"))?;
        Ok(Self { file, path })
    }

    /// The pages of a range that are not just missing, ascending.
    pub(super) fn runs(&self, start: u64, end: u64, protects: bool) -> Result<Vec<RunEntry>> {
        let (mut regions, mut at) = (Vec::new(), start);
        while at < end {
            let next = sys::scan(&self.file, at, end, &mut regions).map_err(|errno| match errno {
                Errno::EINVAL | Errno::ENOTTY => {
                    let error = Error::new(format!("{}: this kernel has no PAGEMAP_SCAN", self.path));
                    error.with_remedy("Linux 6.7 has it; what userfaultfds watch cannot be saved without")
                }
                errno => Error::new(format!(
                    "{}: scanning {at:#x}-{end:#x}: {}",
                    self.path,
                    errno.desc()
                )),
            })?;
            if next <= at {
                return Err(Error::new(format!(
                    "{}: a scan made no progress at {at:#x}",
                    self.path
                )));
            }
            at = next;
        }
        let mut runs = Vec::new();
        for region in regions {
            let protected = protects && region.categories & WRITTEN == 0;
            if protected && region.categories & PRESENT == 0 {
                self.absent(&region, &mut runs)?;
                continue;
            }
            let zero = region.categories & PRESENT != 0 && region.categories & PFNZERO != 0;
            let state = if zero { ZERO } else { FILLED } | if protected { PROTECTED } else { 0 };
            push(&mut runs, region.start, region.end, state);
        }
        Ok(runs)
    }

    /// Pages that are protected and not there: swapped out, or marked without ever having been filled. A mark has
    /// the last of the 32 swap areas, which is none.
    fn absent(&self, region: &Region, runs: &mut Vec<RunEntry>) -> Result<()> {
        const AREA: u64 = 31;
        for at in (region.start..region.end).step_by(PAGE as usize) {
            let mut word = [0; 8];
            self.file
                .read_exact_at(&mut word, at / PAGE * 8)
                .context(|| format!("{}: reading the entry of {at:#x}", self.path))?;
            let is_mark = u64::from_ne_bytes(word) & AREA == AREA;
            push(
                runs,
                at,
                at + PAGE,
                if is_mark { PROTECTED } else { PROTECTED | FILLED },
            );
        }
        Ok(())
    }
}

fn push(runs: &mut Vec<RunEntry>, start: u64, end: u64, state: u32) {
    match runs.last_mut() {
        Some(last) if last.end == start && last.state == state => last.end = end,
        _ => runs.push(RunEntry { start, end, state }),
    }
}

/// What is there `now` and was not in `saved` in one of these states: ranges, ascending. Both ascend.
pub(super) fn surplus(now: &[RunEntry], saved: &[RunEntry], states: u32) -> Vec<(u64, u64)> {
    let mut surplus = Vec::new();
    let mut kept = saved.iter().filter(|run| run.state & states != 0).peekable();
    for run in now.iter().filter(|run| run.state & (FILLED | ZERO) != 0) {
        let mut at = run.start;
        while at < run.end {
            while kept.next_if(|kept| kept.end <= at).is_some() {}
            match kept.peek() {
                Some(next) if next.start <= at => at = next.end,
                next => {
                    let end = next.map_or(run.end, |next| next.start.min(run.end));
                    surplus.push((at, end));
                    at = end;
                }
            }
        }
    }
    surplus
}
