//! Gives the threads of a caught process what they had.

use std::collections::HashMap;
use std::path::Path;

use criu_plugin_api::message::{RemoteArg, RemoteCall, TaskInfo};
use criu_plugin_api::{Context, Error, Host, Result, image};
use nix::errno::Errno;

use crate::entry::{Attributes, IMAGE, Policy, Thread};
use crate::{affinity, sys};

/// Reads and checks the image; the processes that have something to say, by pid.
pub(crate) fn prepare(host: &Host<'_>) -> Result<HashMap<i32, Attributes>> {
    let mut found = HashMap::new();
    let tasks = host.tasks()?;
    for attributes in image::read_all::<Attributes>(host, &IMAGE)? {
        let pid = attributes.pid;
        let wrong = |what: &str| Error::new(format!("{}: process {pid} {what}", IMAGE.file_name(0)));
        let Some(task) = tasks.iter().find(|task| task.pid == pid && !task.dead) else {
            return Err(wrong("is none of the set"));
        };
        for thread in &attributes.threads {
            if !task.threads.contains(&thread.tid) {
                return Err(wrong(&format!("has no thread {}", thread.tid)));
            }
        }
        let policies = attributes.ranges.iter().map(|range| &range.policy);
        let mut policies = policies.chain(
            attributes
                .threads
                .iter()
                .filter_map(|thread| thread.policy.as_ref()),
        );
        if !policies.all(Policy::is_sound) {
            return Err(wrong("has a memory policy that is none"));
        }
        if attributes.ranges.iter().any(|range| range.end <= range.start) {
            return Err(wrong("has a memory policy for no memory"));
        }
        if found.insert(pid, attributes).is_some() {
            return Err(wrong("is there twice"));
        }
    }
    Ok(found)
}

/// All of one process.
pub(crate) fn restore(host: &Host<'_>, task: &TaskInfo, attributes: &Attributes) -> Result<()> {
    let pid = task.host_pid;
    if let Some(filter) = attributes.dump_filter {
        put(&format!("/proc/{pid}/coredump_filter"), &format!("{filter:#x}"))?;
    }
    if let Some(nice) = attributes.autogroup {
        let path = format!("/proc/{pid}/autogroup");
        if Path::new(&path).exists() {
            put(&path, &nice.to_string())?;
        } else {
            tracing::warn!("process {pid}: this kernel has no autogroups, its nice value {nice} is lost");
        }
    }
    for range in &attributes.ranges {
        let (mode, nodes, bits) = range.policy.arguments();
        let args = [value(range.start), value(range.end - range.start), value(mode)];
        let rest = [buffer(nodes), value(bits), value(0)];
        let object = || format!("the memory policy of {:#x}-{:#x}", range.start, range.end);
        call(host, pid, libc::SYS_mbind, args.into_iter().chain(rest)).context(object)?;
    }
    for thread in &attributes.threads {
        restore_thread(host, thread).context(|| format!("thread {} of process {pid}", thread.tid))?;
    }
    Ok(())
}

fn restore_thread(host: &Host<'_>, thread: &Thread) -> Result<()> {
    let tid = thread.tid;
    if let Some(mask) = &thread.processors {
        set_processors(tid, mask)?;
    }
    if let Some(priority) = thread.io_priority {
        sys::set_io_priority(tid, priority).context(|| format!("setting I/O priority {priority:#x}"))?;
    }
    if let Some(policy) = &thread.policy {
        let (mode, nodes, bits) = policy.arguments();
        let args = [value(mode), buffer(nodes), value(bits)];
        call(host, tid, libc::SYS_set_mempolicy, args).context(|| "setting its memory policy")?;
    }
    Ok(())
}

/// On a machine that has none of these processors it may run on any.
fn set_processors(tid: i32, mask: &[u8]) -> Result<()> {
    let here = affinity::unrestricted()?;
    if !affinity::meet(mask, &here) {
        tracing::warn!("thread {tid}: this machine has none of the processors that it was bound to");
        return Ok(());
    }
    match sys::set_affinity(tid, mask) {
        // Its control group has none of them.
        Err(Errno::EINVAL) => {
            tracing::warn!("thread {tid}: its cpuset has none of the processors that it was bound to");
            Ok(())
        }
        other => other.context(|| "setting its processors"),
    }
}

fn put(path: &str, text: &str) -> Result<()> {
    std::fs::write(path, text).context(|| format!("writing {text} to {path}"))
}

fn value(value: u64) -> RemoteArg {
    RemoteArg {
        value,
        ..RemoteArg::default()
    }
}

/// A buffer with these bytes, or no buffer.
fn buffer(bytes: Vec<u8>) -> RemoteArg {
    RemoteArg {
        data: (!bytes.is_empty()).then_some(bytes),
        ..RemoteArg::default()
    }
}

/// Has a caught thread make a call.
fn call(host: &Host<'_>, tid: i32, nr: i64, args: impl IntoIterator<Item = RemoteArg>) -> Result<()> {
    let call = RemoteCall {
        pid: tid,
        nr,
        args: args.into_iter().collect(),
    };
    let result = host.remote_call(&call)?.value;
    if result < 0 {
        let errno = Errno::from_raw(i32::try_from(-result).unwrap_or(0));
        return Err(Error::new(errno.desc()));
    }
    Ok(())
}
