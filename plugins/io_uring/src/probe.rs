//! How a ring was made. The kernel keeps the flags to itself, but answers differently for most of them.
//!
//! | what | how it shows |
//! |---|---|
//! | `SINGLE_ISSUER` | `EEXIST` for io_uring_register(2) by others than the issuer |
//! | `DEFER_TASKRUN` | `EEXIST` for io_uring_enter(2) that fetches; `EFAULT` where others have `EINVAL` for a new size |
//! | `R_DISABLED` | `EBADFD` for io_uring_enter(2) |
//! | `IOPOLL` | `EINVAL` where others have `EFAULT` for polling the network |
//! | `SQPOLL`, `SQ_AFF` | the thread in fdinfo, and where it may run |
//! | `CQE32` | a completion in fdinfo has more words |
//! | `NO_SQARRAY`, `SQE128` | a request in fdinfo is not shown, or has more words |
//!
//! Operations of io_uring_register(2) are asked for with an argument at an address where nothing is, so that none
//! is done. For the last two lines a completion, or a request, has to be there: the program's own end of the queue
//! is moved by one for a moment in which nobody of the tree runs.

use std::os::fd::{AsFd, AsRawFd};

use criu_plugin_api::message::{RemoteArg, RemoteCall};
use criu_plugin_api::{Context, Error, Host, Result};
use nix::errno::Errno;

use crate::credentials::Credentials;
use crate::fdinfo::FdInfo;
use crate::layout::Layout;
use crate::ring::{Caller, Mapped, Ring, number, plain, refuse, status_field};
use crate::sys::{self, Memory, enter, register, setup};

/// What was found out about a ring.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) flags: u32,
    /// The thread that alone may use it, and its process.
    pub(crate) issuer: Option<(i32, i32)>,
    /// The processor of the thread that looks for requests, with `SQ_AFF`.
    pub(crate) sq_cpu: u32,
    /// Those of that thread.
    pub(crate) credentials: Option<Credentials>,
}

/// Looks whether this kernel answers as is expected of it.
///
/// # Errors
/// It is refused: it is older, or built without something.
pub(crate) fn check_kernel() -> Result<()> {
    let make = |flags: u32| {
        let mut params = sys::Params {
            flags,
            ..sys::Params::default()
        };
        sys::make(1, &mut params).context(|| "making a ring to try what the kernel tells")
    };
    let ring = make(0)?;
    let defers = make(setup::SINGLE_ISSUER | setup::DEFER_TASKRUN | setup::R_DISABLED)?;
    let fault = -i64::from(libc::EFAULT);
    let good = sys::register_nowhere(&ring, register::NAPI, 1) == fault
        && sys::register_nowhere(&ring, register::MEM_REGION, 1) == fault
        && sys::register_nowhere(&defers, register::RESIZE_RINGS, 1) == fault
        && sys::buffer_group(&ring, 0) == -i64::from(libc::ENOENT);
    if good {
        return Ok(());
    }
    Err(refuse(
        "this kernel does not tell how a ring was made",
        "Linux 6.13 or later with CONFIG_NET_RX_BUSY_POLL is needed",
    ))
}

/// Finds out how a ring was made, and refuses what is registered with it that cannot be saved.
pub(crate) fn find(host: &Host<'_>, ring: &Ring, mapped: &[Mapped]) -> Result<Found> {
    let info = ring.info()?;
    let mut found = Found::default();
    let by = find_callers(host, ring, &mut found)?;
    find_registered(host, ring, by, &mut found)?;
    if info.personalities {
        return Err(refuse(
            "personalities are registered with it (IORING_REGISTER_PERSONALITY), whose credentials the kernel does not give",
            "have the program unregister them first",
        ));
    }
    if info.napi {
        return Err(refuse(
            "it polls the network (IORING_REGISTER_NAPI)",
            "have the program unregister that first",
        ));
    }
    if let Some(tid) = info.sq_thread {
        find_thread(ring, tid, &mut found)?;
    }
    find_shape(host, ring, mapped, &info, &mut found)?;
    Ok(found)
}

/// Who may ask, and the flags that decide about it.
fn find_callers(host: &Host<'_>, ring: &Ring, found: &mut Found) -> Result<Caller> {
    if sys::errno(sys::enter_ring(ring, 0, 0, 0)) == Some(Errno::EBADFD) {
        found.flags |= setup::R_DISABLED;
    }
    match sys::errno(sys::register_nowhere(ring, register::PROBE, 1)) {
        Some(Errno::EFAULT) => {
            let resize = sys::errno(sys::register_nowhere(ring, register::RESIZE_RINGS, 1));
            // Until it is enabled everybody may ask. Whether one without this flag is for a single issuer then shows
            // nowhere; a restored one is not, which no issuer can tell.
            if found.flags & setup::R_DISABLED != 0 && resize == Some(Errno::EFAULT) {
                found.flags |= setup::SINGLE_ISSUER | setup::DEFER_TASKRUN;
            }
            Ok(Caller::Anyone)
        }
        Some(Errno::EEXIST) => {
            found.flags |= setup::SINGLE_ISSUER;
            if sys::errno(sys::enter_ring(ring, 0, 0, enter::GETEVENTS)) == Some(Errno::EEXIST) {
                found.flags |= setup::DEFER_TASKRUN;
            }
            for user in &ring.users {
                for &tid in &user.task.threads {
                    let by = Caller::Thread { tid, fd: user.fd };
                    let answer = ring.register_nowhere(host, by, &[(register::PROBE, 1)])?;
                    if answer.first() != Some(&Errno::EEXIST) {
                        found.issuer = Some((tid, user.task.pid));
                        return Ok(by);
                    }
                }
            }
            Err(refuse(
                "it is for a single thread (IORING_SETUP_SINGLE_ISSUER), which has ended or has no descriptor of it",
                "have the program close it",
            ))
        }
        Some(Errno::EACCES) => Err(restricted()),
        other => Err(Error::new(format!(
            "asking what it supports: {}",
            other.unwrap_or(Errno::UnknownErrno).desc()
        ))),
    }
}

fn restricted() -> Error {
    refuse(
        "restrictions are registered with it (IORING_REGISTER_RESTRICTIONS), which the kernel does not tell",
        "have the program make it without restrictions",
    )
}

fn find_registered(host: &Host<'_>, ring: &Ring, by: Caller, found: &mut Found) -> Result<()> {
    let asked = [
        register::RESTRICTIONS,
        register::EVENTFD,
        register::MEM_REGION,
        register::NAPI,
    ];
    let answers = ring.register_nowhere(host, by, &asked.map(|operation| (operation, 1)))?;
    let [restrictions, event, region, napi] = answers[..] else {
        return Err(Error::new("the host gave too few results"));
    };
    if [restrictions, event, region, napi].contains(&Errno::EACCES) || restrictions == Errno::EBUSY {
        return Err(restricted());
    }
    if event == Errno::EBUSY {
        return Err(refuse(
            "an eventfd is registered with it (IORING_REGISTER_EVENTFD), and the kernel does not tell which",
            "have the program unregister it first",
        ));
    }
    if region == Errno::EBUSY {
        return Err(refuse(
            "a region of memory is registered with it (IORING_REGISTER_MEM_REGION), and the kernel does not tell where",
            "have the program make it without such a region",
        ));
    }
    if napi == Errno::EINVAL {
        found.flags |= setup::IOPOLL;
    }
    let expected = [event, region].iter().all(|errno| *errno == Errno::EFAULT)
        && matches!(napi, Errno::EFAULT | Errno::EINVAL)
        && matches!(restrictions, Errno::EBADFD | Errno::EFAULT);
    if !expected {
        let error = format!("asking what is registered: {restrictions:?}, {event:?}, {region:?}, {napi:?}");
        return Err(Error::new(error));
    }
    match first_group(host, ring, by)? {
        None => Ok(()),
        Some(group) => Err(refuse(
            format!("buffers are provided to it (group {group}), and the kernel does not tell which"),
            "have the program take them back first",
        )),
    }
}

/// The first group of provided buffers.
fn first_group(host: &Host<'_>, ring: &Ring, by: Caller) -> Result<Option<u16>> {
    let none = -i64::from(libc::ENOENT);
    match by {
        Caller::Anyone => {
            let fd = ring.local.as_fd();
            Ok(side_by_side(|group| sys::buffer_group(fd, group) != none))
        }
        Caller::Thread { tid, fd } => {
            const AT_ONCE: usize = 4096;
            let all: Vec<u16> = (0..=u16::MAX).collect();
            for groups in all.chunks(AT_ONCE) {
                let calls: Vec<RemoteCall> = groups.iter().map(|&group| ask_group(tid, fd, group)).collect();
                let results = host.remote_calls(&calls)?;
                let place = results.iter().position(|result| result.value != none);
                if let Some(group) = place.and_then(|place| groups.get(place)) {
                    return Ok(Some(*group));
                }
            }
            Ok(None)
        }
    }
}

/// The first group that something holds for, which all are asked about: by several threads, as each answer is a call of
/// the kernel.
fn side_by_side(holds: impl Fn(u16) -> bool + Sync) -> Option<u16> {
    const MOST_THREADS: usize = 8;
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let look = |part: &[u16]| part.iter().copied().find(|&group| holds(group));
    let mut parts = all.chunks(all.len().div_ceil(threads));
    let own = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts
            .map(|part| {
                (
                    part,
                    std::thread::Builder::new().spawn_scoped(scope, || look(part)),
                )
            })
            .collect();
        let mut found = look(own);
        for (part, other) in others {
            // Without another thread this one does it all.
            let theirs = other.map_or_else(
                |_| look(part),
                |other| other.join().unwrap_or_else(|_| look(part)),
            );
            found = found.or(theirs);
        }
        found
    })
}

fn ask_group(tid: i32, fd: i32, group: u16) -> RemoteCall {
    let operation = u64::from(register::PBUF_STATUS);
    let mut call = plain(tid, libc::SYS_io_uring_register, &[number(fd), operation]);
    call.args.push(RemoteArg {
        data: Some(sys::group_status(group).to_vec()),
        ..RemoteArg::default()
    });
    call.args.push(RemoteArg {
        value: 1,
        ..RemoteArg::default()
    });
    call
}

/// The thread of `SQPOLL`.
fn find_thread(ring: &Ring, tid: i32, found: &mut Found) -> Result<()> {
    found.flags |= setup::SQPOLL;
    let path = format!("/proc/{}/task/{tid}/status", host_pid(ring, tid)?);
    let credentials = Credentials::read(&path)?;
    if credentials.uids[1] != credentials.uids[3] || credentials.gids[1] != credentials.gids[3] {
        return Err(refuse(
            format!("its thread {tid} (IORING_SETUP_SQPOLL) has ids for files of their own (setfsuid)"),
            "have the program make it without them",
        ));
    }
    found.credentials = Some(credentials);
    if !status_field(&path, "State")?.starts_with('t') {
        return Err(Error::new(format!(
            "its thread {tid} (IORING_SETUP_SQPOLL) does not stand still"
        )));
    }
    if let Some(cpu) = only_processor(tid)? {
        found.flags |= setup::SQ_AFF;
        found.sq_cpu = cpu;
    }
    Ok(())
}

/// The process that a thread of the kernel's belongs to.
fn host_pid(ring: &Ring, tid: i32) -> Result<i32> {
    let has = |pid: i32| std::path::Path::new(&format!("/proc/{pid}/task/{tid}")).exists();
    let user = ring.users.iter().find(|user| has(user.task.host_pid));
    user.map(|user| user.task.host_pid).ok_or_else(|| {
        refuse(
            format!("its thread {tid} (IORING_SETUP_SQPOLL) belongs to no process with a descriptor of it"),
            "have the process that made it keep its descriptor",
        )
    })
}

/// The processor of a thread that may run on one of several alone.
fn only_processor(tid: i32) -> Result<Option<u32>> {
    use nix::sched::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(nix::unistd::Pid::from_raw(tid))
        .context(|| format!("asking for the processors of thread {tid}"))?;
    let mut cpus = (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false));
    let (first, second) = (cpus.next(), cpus.next());
    let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    if !several || second.is_some() {
        return Ok(None);
    }
    Ok(first.and_then(|cpu| u32::try_from(cpu).ok()))
}

/// The flags that decide where in its memory what lies.
fn find_shape(
    host: &Host<'_>,
    ring: &Ring,
    mapped: &[Mapped],
    info: &FdInfo,
    found: &mut Found,
) -> Result<()> {
    let plain = Layout::of(info.sq_entries, info.cq_entries, 0).context(|| "making a ring of its size")?;
    if info.unconsumed() > info.cq_entries || info.unsubmitted() > info.sq_entries {
        return Err(refuse(
            format!(
                "its positions make no sense: requests {} to {} of {}, completions {} to {} of {}",
                info.cached_sq_head,
                info.sq_tail,
                info.sq_entries,
                info.cq_head,
                info.cached_cq_tail,
                info.cq_entries
            ),
            "the program must not have written to them",
        ));
    }
    let with_completion = |info: &FdInfo| info.completions.first().map(|line| line.long);
    let long = match with_completion(info) {
        Some(long) => Some(long),
        None => {
            let before = info.cached_cq_tail.wrapping_sub(1);
            let changed = ring.change(host, mapped, plain.params.cq.head, before)?;
            let seen = ring.info();
            drop(changed);
            with_completion(&seen?)
        }
    };
    match long {
        Some(true) => found.flags |= setup::CQE32,
        Some(false) => {}
        None => return Err(Error::new("the kernel does not show its completions")),
    }
    let request = match info.requests.first() {
        Some(line) => Some(*line),
        None if info.unsubmitted() > 0 => None,
        None => {
            let behind = info.cached_sq_head.wrapping_add(1);
            let changed = ring.change(host, mapped, plain.params.sq.tail, behind)?;
            let seen = ring.info();
            drop(changed);
            seen?.requests.first().copied()
        }
    };
    match request {
        Some(line) if line.long => found.flags |= setup::SQE128,
        Some(_) => {}
        None => {
            must_have_no_array(ring, info, found.flags)?;
            found.flags |= setup::NO_SQARRAY;
            if requests_are_long(host, ring, info)? {
                found.flags |= setup::SQE128;
            }
        }
    }
    Ok(())
}

/// A request that the kernel does not show has an index of nonsense, or the ring has no indices at all.
fn must_have_no_array(ring: &Ring, info: &FdInfo, flags: u32) -> Result<()> {
    let layout =
        Layout::of(info.sq_entries, info.cq_entries, flags).context(|| "making a ring of its size")?;
    let (array, length) = layout.array();
    let at = array + 4 * (info.cached_sq_head & (info.sq_entries - 1)) as usize;
    let memory = Memory::map(ring, sys::OFF_SQ_RING, array + length).context(|| "mapping it")?;
    let mut index = [0; 4];
    let there = memory.has(at) && memory.read(at, &mut index).is_ok();
    if there && u32::from_ne_bytes(index) >= info.sq_entries {
        return Err(refuse(
            "the kernel does not show whether it has an array of indices (IORING_SETUP_NO_SQARRAY): the next index is \
             none",
            "dump again after the program has used the ring",
        ));
    }
    Ok(())
}

/// Whether the requests of a ring without indices are the longer ones, which the kernel does not show. The memory
/// of a ring of at least 64 requests tells by its length, that of a smaller one by what lies in it.
fn requests_are_long(host: &Host<'_>, ring: &Ring, info: &FdInfo) -> Result<bool> {
    const URING_CMD: u8 = 46;
    let short = 64 * info.sq_entries as usize;
    let memory = Memory::map(ring, sys::OFF_SQES, 2 * short).context(|| "mapping its requests")?;
    if short >= 4096 {
        return Ok(memory.has(short));
    }
    let mut bytes = vec![0; 2 * short];
    memory.read(0, &mut bytes).context(|| "reading its requests")?;
    let (low, high) = bytes.split_at(short);
    let used = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    if used(high) {
        return Ok(true);
    }
    // The second half of a long request is for commands of devices alone.
    let is_short = |pair: &[u8]| pair.len() == 128 && pair[0] != URING_CMD && used(&pair[64..]);
    if low.chunks(128).any(is_short) {
        return Ok(false);
    }
    match host.option("request-size")?.as_deref() {
        Some("64") => Ok(false),
        Some("128") => Ok(true),
        Some(other) => Err(Error::new(format!(
            "option request-size is `{other}`, neither 64 nor 128"
        ))),
        None => Err(refuse(
            format!(
                "the kernel does not tell whether its requests are of 64 or 128 bytes (IORING_SETUP_SQE128), and its \
                 {} places have not been used enough to show it",
                info.sq_entries
            ),
            "say which with --plugin-option io_uring.request-size=64, or dump again after the program has used it",
        )),
    }
}

/// Whether a process runs a 32-bit program, whose requests have another form.
pub(crate) fn is_compat(pid: i32) -> bool {
    use std::io::Read;
    let mut head = [0; 5];
    let read =
        std::fs::File::open(format!("/proc/{pid}/exe")).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"\x7fELF\x01"
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Ring({}, fd {}, {})",
            self.pid,
            self.fd,
            self.local.as_raw_fd()
        )
    }
}
