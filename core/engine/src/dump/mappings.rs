//! The mappings of the processes, read ahead of the walk over them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::error::{Error, Result};
use crate::proc::{self, Mapping};

/// How many processes the reader may be ahead: their mappings are kept meanwhile.
const AHEAD: usize = 16;

/// The mappings of one process after the other, as they were ordered.
pub(crate) struct Stream {
    reader: Option<Reader>,
    buffer: Vec<u8>,
}

/// A thread that reads.
struct Reader {
    orders: Sender<i32>,
    read: Receiver<(i32, Result<Vec<Mapping>>)>,
}

impl Stream {
    /// With a thread that reads, where one is worth starting.
    pub(crate) fn new(worth: bool) -> Self {
        Self {
            reader: worth.then(Reader::start).flatten(),
            buffer: Vec::new(),
        }
    }

    /// How many processes may be ordered before the first is taken.
    pub(crate) fn ahead(&self) -> usize {
        if self.reader.is_some() { AHEAD } else { 0 }
    }

    /// Has the mappings of a process be read, which is looked at by thread `pid`.
    pub(crate) fn order(&self, pid: i32) {
        if let Some(reader) = &self.reader {
            // A thread that is gone is found when its answer is waited for.
            _ = reader.orders.send(pid);
        }
    }

    /// Of a process that was ordered; those ordered before it are passed over.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn next(&mut self, pid: i32) -> Result<Vec<Mapping>> {
        let Some(reader) = &self.reader else {
            return proc::read_mappings(pid, &mut self.buffer);
        };
        let of_it = reader.read.iter().find(|&(read, _)| read == pid);
        of_it.map_or_else(
            || {
                Err(Error::malformed(
                    format!("the mappings of process {pid}"),
                    "have not been read",
                ))
            },
            |(_, mappings)| mappings,
        )
    }
}

impl Reader {
    fn start() -> Option<Self> {
        let (orders, ordered) = channel();
        let (sender, read) = channel();
        // It ends with either channel.
        let run = move || {
            let mut buffer = Vec::new();
            for pid in ordered {
                if sender.send((pid, proc::read_mappings(pid, &mut buffer))).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("mappings".to_owned())
            .spawn(run)
            .ok()
            .map(|_| Self { orders, read })
    }
}
