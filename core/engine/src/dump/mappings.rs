//! The mappings of the processes, read ahead of the walk over them.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::parasite::Infection;
use crate::error::{Error, Result};
use crate::proc::{self, Mapping};

/// How many processes the reader may be ahead: their mappings are kept meanwhile.
const AHEAD: usize = 16;
/// From this many processes on a thread is worth starting.
const WORTH: usize = 8;

/// The mappings of one process after the other.
pub(crate) struct Stream {
    ahead: Option<Receiver<(i32, Result<Vec<Mapping>>)>>,
    buffer: Vec<u8>,
}

impl Stream {
    /// Of the living processes of a stopped tree, in their order.
    pub(crate) fn of(infection: &Infection) -> Self {
        let living = infection.processes.iter().filter(|p| p.facts.is_some());
        let pids: Vec<i32> = living.map(|p| p.eye).collect();
        let ahead = (pids.len() >= WORTH).then(|| {
            let (sender, receiver) = sync_channel(AHEAD);
            // Dropping the receiver ends the thread, and so does a failure.
            thread::Builder::new()
                .name("mappings".to_owned())
                .spawn(move || read(&pids, &sender))
                .ok()
                .map(|_| receiver)
        });
        Self {
            ahead: ahead.flatten(),
            buffer: Vec::new(),
        }
    }

    /// Of the next process, which is looked at by thread `pid`.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn next(&mut self, pid: i32) -> Result<Vec<Mapping>> {
        let Some(ahead) = &self.ahead else {
            return proc::read_mappings(pid, &mut self.buffer);
        };
        match ahead.recv() {
            Ok((read, mappings)) if read == pid => mappings,
            _ => Err(Error::malformed(
                format!("the mappings of process {pid}"),
                "were not read in turn",
            )),
        }
    }
}

fn read(pids: &[i32], to: &SyncSender<(i32, Result<Vec<Mapping>>)>) {
    let mut buffer = Vec::new();
    for &pid in pids {
        if to.send((pid, proc::read_mappings(pid, &mut buffer))).is_err() {
            return;
        }
    }
}
