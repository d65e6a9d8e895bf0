//! The tables of registered rings (`IORING_REGISTER_RING_FDS`) that threads have.
//!
//! A thread is asked about each place of its table; which ring is there shows when exactly that one has a completion
//! to be fetched where it had none, or the reverse.

use criu_plugin_api::message::{RemoteArg, RemoteCall};
use criu_plugin_api::{Context, Error, Host, Result};
use nix::errno::Errno;

use crate::dump::Saved;
use crate::entry::Registered;
use crate::layout::Layout;
use crate::ring::{Mapped, plain, refuse};
use crate::sys::{self, enter};

/// `IO_RINGFD_REG_MAX`.
pub(crate) const SLOTS: u32 = 16;
/// Between the words of a ring and its completions the kernel leaves room that is zero: a time of no length.
const ZEROS: u64 = 48;

/// For each place in the table of a thread that has any of the rings: which of them is there.
pub(crate) fn find(host: &Host<'_>, all: &[Saved], mapped: &[Mapped]) -> Result<Vec<(usize, Registered)>> {
    let mut found = Vec::new();
    let mut looked = Vec::new();
    for task in all
        .iter()
        .flat_map(|saved| &saved.ring.users)
        .map(|user| &user.task)
    {
        if looked.contains(&task.pid) {
            continue;
        }
        looked.push(task.pid);
        for &tid in &task.threads {
            let calls: Vec<RemoteCall> = (0..SLOTS).map(|slot| ask(tid, slot)).collect();
            let answers = host.remote_calls(&calls)?;
            for (slot, answer) in (0..SLOTS).zip(answers) {
                // Without a table, or with an empty place.
                if matches!(sys::errno(answer.value), Some(Errno::EINVAL | Errno::EBADF)) {
                    continue;
                }
                let place = Place {
                    tid,
                    pid: task.pid,
                    slot,
                };
                let ring = place.which(host, all, mapped).map_err(|error| {
                    error.context(format!("pid {}, thread {tid}, registered ring {slot}", task.pid))
                })?;
                let registered = Registered {
                    tid,
                    pid: task.pid,
                    slot,
                };
                found.push((ring, registered));
            }
        }
    }
    Ok(found)
}

fn ask(tid: i32, slot: u32) -> RemoteCall {
    let flags = enter::REGISTERED_RING;
    plain(
        tid,
        libc::SYS_io_uring_enter,
        &[slot.into(), 0, 0, flags.into(), 0, 0],
    )
}

struct Place {
    tid: i32,
    pid: i32,
    slot: u32,
}

impl Place {
    fn which(&self, host: &Host<'_>, all: &[Saved], mapped: &[Mapped]) -> Result<usize> {
        let unknown = || {
            refuse(
                "which ring of io_uring it is does not show",
                "have the program unregister it first (io_uring_unregister_ring_fd)",
            )
        };
        let zeros = mapped
            .iter()
            .find(|mapping| mapping.pid == self.pid && mapping.offset != sys::OFF_SQES)
            .ok_or_else(unknown)?;
        let clear = |at: u64| {
            let ring = all.iter().find(|saved| saved.entry.inode == zeros.inode);
            ring.is_some_and(|saved| saved.ring.head.load(at as u32) == Ok(0))
        };
        if !(ZEROS..ZEROS + 16).step_by(4).all(clear) || zeros.end - zeros.start < 4096 {
            return Err(unknown());
        }
        let before = self
            .has_completion(host, zeros.start + ZEROS)?
            .ok_or_else(unknown)?;
        for (at, saved) in all.iter().enumerate() {
            let info = &saved.info;
            let layout =
                Layout::of(info.sq_entries, info.cq_entries, 0).context(|| "making a ring of its size")?;
            let other = if info.unconsumed() == 0 {
                info.cached_cq_tail.wrapping_sub(1)
            } else {
                info.cached_cq_tail
            };
            let changed = saved.ring.change(host, mapped, layout.params.cq.head, other)?;
            let after = self.has_completion(host, zeros.start + ZEROS);
            drop(changed);
            if after?.ok_or_else(unknown)? != before {
                return Ok(at);
            }
        }
        Err(unknown())
    }

    /// Whether the ring has a completion to be fetched; `None` if it does not say.
    fn has_completion(&self, host: &Host<'_>, zeros: u64) -> Result<Option<bool>> {
        // `struct io_uring_getevents_arg`: no signals, no least time, and the time to wait.
        let mut argument = vec![0; 24];
        argument[16..].copy_from_slice(&zeros.to_ne_bytes());
        let flags = enter::GETEVENTS | enter::EXT_ARG | enter::REGISTERED_RING;
        let mut call = plain(
            self.tid,
            libc::SYS_io_uring_enter,
            &[self.slot.into(), 0, 1, flags.into()],
        );
        call.args.push(RemoteArg {
            data: Some(argument),
            ..RemoteArg::default()
        });
        call.args.push(RemoteArg {
            value: 24,
            ..RemoteArg::default()
        });
        let results = host.remote_calls(&[call])?;
        let result = results
            .first()
            .ok_or_else(|| Error::new("the host gave no result"))?;
        Ok(match sys::errno(result.value) {
            None => Some(true),
            Some(Errno::ETIME) => Some(false),
            Some(_) => None,
        })
    }
}
