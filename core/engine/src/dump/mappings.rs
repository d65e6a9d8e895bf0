//! The mappings of the processes, read ahead of the walk over them.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::error::{Error, Result};
use crate::proc::{self, Mapping};

/// How many processes the reader may be ahead: their mappings are kept meanwhile.
const AHEAD: usize = 16;

/// The mappings of processes, each of which is ordered before it is taken.
#[derive(Default)]
pub(crate) struct Stream {
    reader: Option<Reader>,
    /// What has been read and not been taken.
    read: HashMap<i32, Result<Vec<Mapping>>>,
    buffer: Vec<u8>,
}

/// A thread that reads.
struct Reader {
    orders: Sender<i32>,
    read: Receiver<(i32, Result<Vec<Mapping>>)>,
    /// Those that are still being read, or waiting for it.
    under_way: HashSet<i32>,
}

impl Stream {
    /// With a thread that reads, where one is worth starting.
    pub(crate) fn new(worth: bool) -> Self {
        Self {
            reader: worth.then(Reader::start).flatten(),
            ..Self::default()
        }
    }

    /// How many processes may be ordered before the first is taken.
    pub(crate) fn ahead(&self) -> usize {
        if self.reader.is_some() { AHEAD } else { 0 }
    }

    /// Has the mappings of a process be read, which is looked at by thread `pid`.
    pub(crate) fn order(&mut self, pid: i32) {
        if let Some(reader) = &mut self.reader {
            reader.under_way.insert(pid);
            // A thread that is gone is found when its answer is waited for.
            _ = reader.orders.send(pid);
        }
    }

    /// Waits until the mappings of a process are not being read: they may be changed then, until it is ordered or
    /// taken.
    pub(crate) fn settle(&mut self, pid: i32) {
        let Some(reader) = &mut self.reader else { return };
        while reader.under_way.contains(&pid)
            && let Ok((other, mappings)) = reader.read.recv()
        {
            reader.under_way.remove(&other);
            self.read.insert(other, mappings);
        }
    }

    /// Of a process that was ordered.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn take(&mut self, pid: i32) -> Result<Vec<Mapping>> {
        if self.reader.is_none() {
            return proc::read_mappings(pid, &mut self.buffer);
        }
        self.settle(pid);
        self.read.remove(&pid).unwrap_or_else(|| {
            Err(Error::malformed(
                format!("the mappings of process {pid}"),
                "have not been read",
            ))
        })
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
            .map(|_| Self {
                orders,
                read,
                under_way: HashSet::new(),
            })
    }
}
