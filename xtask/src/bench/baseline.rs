//! What the machine itself does at this moment: the measure of the targets.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use crate::bench::guest::Kind;
use crate::error::{At, Error};

/// Milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline {
    /// Memory: one thread's write of the amount from a hot buffer. A sleeping process: `/bin/true` from a shell.
    pub(crate) write_or_true: f64,
    /// Memory: two threads' reads of the amount into populated memory.
    pub(crate) read: f64,
}

/// What one call moves.
const CHUNK: usize = 1 << 20;

pub(crate) fn measure(kind: Option<Kind>, amount: usize, folder: &Path) -> Result<Baseline, Error> {
    match kind {
        None => {
            let begun = Instant::now();
            let status = Command::new("/bin/sh")
                .args(["-c", "/bin/true; :"])
                .status()
                .map_err(|cause| Error::Start {
                    program: "/bin/sh".into(),
                    cause,
                })?;
            if !status.success() {
                return Err(Error::Wrong("/bin/true did not succeed".into()));
            }
            Ok(Baseline {
                write_or_true: begun.elapsed().as_secs_f64() * 1e3,
                read: 0.0,
            })
        }
        Some(Kind::Memory) => memory(amount, folder),
        Some(_) => Ok(Baseline {
            write_or_true: 0.0,
            read: 0.0,
        }),
    }
}

fn memory(amount: usize, folder: &Path) -> Result<Baseline, Error> {
    let file = tempfile::tempfile_in(folder).at("make a file in", folder)?;
    let buffer = vec![1_u8; CHUNK];
    let begun = Instant::now();
    for at in (0..amount).step_by(CHUNK) {
        file.write_all_at(&buffer[..CHUNK.min(amount - at)], at as u64)
            .at("write to", folder)?;
    }
    let write_or_true = begun.elapsed().as_secs_f64() * 1e3;
    // Written once, so that the pages are there before the clock starts.
    let mut memory = vec![2_u8; amount];
    let half = amount.div_ceil(2).max(1);
    let begun = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = memory
            .chunks_mut(half)
            .enumerate()
            .map(|(number, part)| {
                scope.spawn({
                    let file = &file;
                    move || read(file, part, number * half)
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done.at("read from", folder),
            Err(_) => Err(Error::Wrong("a reader panicked".into())),
        })
    })?;
    Ok(Baseline {
        write_or_true,
        read: begun.elapsed().as_secs_f64() * 1e3,
    })
}

fn read(file: &File, into: &mut [u8], from: usize) -> std::io::Result<()> {
    for (number, part) in into.chunks_mut(CHUNK).enumerate() {
        file.read_exact_at(part, (from + number * CHUNK) as u64)?;
    }
    Ok(())
}
