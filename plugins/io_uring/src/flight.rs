//! Requests in flight: whether there are any, and the wait for their end.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use criu_plugin_api::message::RemoteCall;
use criu_plugin_api::{Context, Error, Host, Result};

use crate::fdinfo::FdInfo;
use crate::layout::Layout;
use crate::probe::Found;
use crate::ring::{Ring, number, plain, refuse};
use crate::sys::{self, enter, setup};

/// What the core waits by default, if it does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests are given before the threads that they belong to are made to look at them again.
const LOOK_AGAIN: u16 = 5;

/// How long requests may still be waited for, all rings of a dump together. What else is done with rings takes its time
/// too, and does not count.
#[derive(Default)]
pub(crate) struct Patience(Cell<Option<Duration>>);

impl Patience {
    pub(crate) fn forget(&self) {
        self.0.set(None);
    }

    fn left(&self, host: &Host<'_>) -> Result<Duration> {
        if let Some(left) = self.0.get() {
            return Ok(left);
        }
        let seconds = host.setting("timeout")?.and_then(|text| text.parse().ok());
        Ok(seconds.map_or(TIMEOUT, Duration::from_secs))
    }

    /// Counts the time that `wait` takes, which is given how long that may be.
    fn spend<T>(&self, host: &Host<'_>, wait: impl FnOnce(Duration) -> T) -> Result<T> {
        let left = self.left(host)?;
        let begun = Instant::now();
        let result = wait(left);
        self.0.set(Some(left.saturating_sub(begun.elapsed())));
        Ok(result)
    }
}

/// Waits until nothing is in flight. What is done belongs to the threads that asked for it, and becomes a
/// completion when they next come by; they stand still, so each is made to come by, once at least.
pub(crate) fn settle(host: &Host<'_>, ring: &Ring, found: &Found, patience: &Patience) -> Result<FdInfo> {
    patience.spend(host, |time| settle_within(host, ring, found, time))?
}

fn settle_within(host: &Host<'_>, ring: &Ring, found: &Found, time: Duration) -> Result<FdInfo> {
    let begun = Instant::now();
    let mut at_work = Workers {
        host,
        ring,
        go: false,
    };
    loop {
        let info = ring.info()?;
        if info.overflow > 0 {
            return Err(refuse(
                format!("{} completions wait for room in it", info.overflow),
                "dump again when the program has fetched its completions, or have it make a larger ring",
            ));
        }
        let outstanding = outstanding(ring, &info)?;
        let in_step = info.sq_head == info.cached_sq_head && info.cq_tail == info.cached_cq_tail;
        let idle = outstanding == 0 && info.polls == 0 && in_step;
        if idle && !at_work.go {
            return Ok(info);
        }
        if idle {
            // And once more, when nobody can move it any more.
            at_work.set(false)?;
            continue;
        }
        if outstanding < 0 {
            return Err(refuse(
                format!(
                    "whether requests are in flight cannot be told: it has had {} more completions than requests \
                         (multishot requests, or messages of other rings)",
                    -outstanding
                ),
                "dump the program before it uses such requests on this ring",
            ));
        }
        if at_work.go && begun.elapsed() >= time {
            return Err(in_flight(outstanding, &info));
        }
        at_work.set(true)?;
        run_threads(host, ring, found)?;
        sys::await_ring(ring.as_fd(), LOOK_AGAIN).context(|| "waiting for its requests")?;
    }
}

/// Requests that have been taken and have no completion; less than none when there were more completions.
fn outstanding(ring: &Ring, info: &FdInfo) -> Result<i32> {
    let layout = Layout::of(info.sq_entries, info.cq_entries, 0).context(|| "making a ring of its size")?;
    let word = |at: u32| ring.head.load(at).context(|| "reading its memory");
    let (dropped, lost) = (word(layout.params.sq.dropped)?, word(layout.params.cq.overflow)?);
    let taken = info.cached_sq_head.wrapping_sub(dropped);
    let done = info.cached_cq_tail.wrapping_add(lost);
    Ok(taken.wrapping_sub(done).cast_signed())
}

fn in_flight(outstanding: i32, info: &FdInfo) -> Error {
    let remedy = "dump again when the program waits for nothing, or wait longer with --timeout";
    let requests = |count: usize| if count == 1 { "request" } else { "requests" };
    let waiting = format!(
        "{} {} for a file to become ready",
        info.polls,
        requests(info.polls)
    );
    let what = match usize::try_from(outstanding) {
        Ok(count) if count > 0 && info.polls > 0 => {
            format!("{count} {} in flight, among them {waiting}", requests(count))
        }
        Ok(count) if count > 0 => format!(
            "{count} {} in flight, or completed without a word (IOSQE_CQE_SKIP_SUCCESS)",
            requests(count)
        ),
        _ => format!("in flight: {waiting}"),
    };
    refuse(what, remedy)
}

/// The threads that the kernel has made for the requests of a ring; they stand still again when this is dropped.
struct Workers<'a> {
    host: &'a Host<'a>,
    ring: &'a Ring,
    go: bool,
}

impl Workers<'_> {
    fn set(&mut self, go: bool) -> Result<()> {
        if self.go == go {
            return Ok(());
        }
        self.go = go;
        self.ring
            .users
            .iter()
            .try_for_each(|user| self.host.let_workers(user.task.pid, go))
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set(false) {
            tracing::warn!("after waiting for a ring of process {}: {error}", self.ring.pid);
        }
    }
}

/// Makes every thread that may have asked for something look at what came of it.
fn run_threads(host: &Host<'_>, ring: &Ring, found: &Found) -> Result<()> {
    if found.flags & setup::R_DISABLED != 0 {
        return Ok(());
    }
    let fetch = |tid: i32, fd: i32| {
        let args = [number(fd), 0, 0, enter::GETEVENTS.into()];
        plain(tid, libc::SYS_io_uring_enter, &args)
    };
    let mut calls: Vec<RemoteCall> = Vec::new();
    for user in &ring.users {
        for &tid in &user.task.threads {
            match found.issuer {
                Some((issuer, _)) if issuer != tid => {}
                _ => calls.push(fetch(tid, user.fd)),
            }
        }
    }
    host.remote_calls(&calls).map(drop)
}

/// The tasks stood still since: nothing may have moved.
pub(crate) fn still_idle(ring: &Ring, before: &FdInfo) -> Result<()> {
    let now = ring.info()?;
    let positions = |info: &FdInfo| {
        [
            info.cached_sq_head,
            info.sq_tail,
            info.cq_head,
            info.cached_cq_tail,
        ]
    };
    if positions(&now) == positions(before) && now.polls == 0 && now.overflow == 0 {
        return Ok(());
    }
    Err(refuse(
        "requests were in flight during the dump",
        "dump again when the program waits for nothing",
    ))
}
