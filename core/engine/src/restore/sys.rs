//! The system calls of a restore: the one module here that talks to the kernel by itself.
//!
//! A task that is being restored will lose all of its present memory, so mappings are made at addresses
//! that no Rust object has: [`map_at`] never replaces one, and what is unmapped here was made by it.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use criu_blobs::restore::Early;
use nix::errno::Errno;

/// `struct clone_args` of clone3(2), up to `set_tid_size`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

fn check(result: i64) -> Result<i64, Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Forks a process with a given pid. `flags` are those of clone3(2) that need no further argument;
/// returns `false` in the child. Its end is told to its parent by `exit_signal`.
///
/// The caller is single-threaded, so that the child's copy of every lock is free.
pub(crate) fn fork_with_pid(pid: i32, flags: u64, exit_signal: u32) -> Result<bool, Errno> {
    let tid = [pid];
    let parent_flag = u64::try_from(libc::CLONE_PARENT).unwrap_or_default();
    // With CLONE_PARENT the signal is that of the caller.
    let exit_signal = if flags & parent_flag != 0 {
        0
    } else {
        exit_signal.into()
    };
    let args = CloneArgs {
        flags,
        exit_signal,
        set_tid: tid.as_ptr() as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    // SAFETY: the arguments live until the call returns; without CLONE_VM the child goes on with a copy
    // of this stack, as after fork(2).
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    check(result).map(|pid| pid != 0)
}

/// fork(2): the child's pid, 0 in the child.
pub(crate) fn fork() -> Result<i32, Errno> {
    // SAFETY: the child is a copy with this thread alone; what it may do then is the caller's affair.
    Errno::result(unsafe { libc::fork() })
}

/// Starts a thread with a given id at `entry`, which finds `argument` on top of its stack, a range of addresses. It has
/// all signals blocked: this program's handlers are not for it.
///
/// The caller answers for what runs at `entry`: it must use nothing of this program.
pub(crate) fn start_thread(
    tid: i32,
    entry: u64,
    (start, end): (u64, u64),
    argument: u64,
) -> Result<(), Errno> {
    const WORD: u64 = 8;
    let tids = [tid];
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    let args = CloneArgs {
        flags: flags.unsigned_abs().into(),
        stack: start,
        stack_size: end - start - WORD,
        set_tid: tids.as_ptr() as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    write_at(end - WORD, &argument.to_ne_bytes());
    let mask = block_signals();
    let result: i64;
    // SAFETY: the parent goes on as after any call. The thread has a stack of its own, jumps away at once and never
    // comes back here.
    unsafe {
        std::arch::asm!(
            "syscall", "test rax, rax", "jnz 2f", "jmp {entry}", "2:",
            entry = in(reg) entry,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args, in("rsi") size_of::<CloneArgs>(),
            // Lost by the call, so that `entry` must not be there.
            out("rcx") _, out("r11") _,
        );
    }
    set_signals(mask);
    match i32::try_from(-result) {
        Ok(errno) if errno > 0 => Err(Errno::from_raw(errno)),
        _ => Ok(()),
    }
}

/// Waits until a thread that [`start_thread`] has started with the address of its [`Early`] runs nothing of this
/// program any more.
pub(crate) fn await_early(at: u64) {
    // SAFETY: the caller has mapped it, zeroed; all of it is atomic.
    let early = unsafe { &*(at as *const Early) };
    while early.there.load(Ordering::Acquire) == 0 {
        futex_wait(&early.there, 0, None);
    }
}

/// Maps memory where nothing is mapped. `at` of 0 leaves the place to the kernel.
///
/// `EEXIST`: something is there already.
pub(crate) fn map_at(
    at: u64,
    length: u64,
    protection: i32,
    flags: i32,
    fd: RawFd,
    offset: u64,
) -> Result<u64, Errno> {
    let fixed = if at == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
    // SAFETY: nothing that exists is replaced; the descriptor is only borrowed.
    let result = unsafe { libc::syscall(libc::SYS_mmap, at, length, protection, flags | fixed, fd, offset) };
    let address = check(result)?.cast_unsigned();
    if at != 0 && address != at {
        unmap(address, length)?;
        return Err(Errno::EEXIST);
    }
    Ok(address)
}

/// Unmaps a range made by [`map_at`].
pub(crate) fn unmap(at: u64, length: u64) -> Result<(), Errno> {
    // SAFETY: by the rule of this module no Rust object lies there.
    check(unsafe { libc::syscall(libc::SYS_munmap, at, length) }).map(drop)
}

/// Changes the protection of a range made by [`map_at`].
pub(crate) fn protect(at: u64, length: u64, protection: i32) -> Result<(), Errno> {
    // SAFETY: as for `unmap`.
    check(unsafe { libc::syscall(libc::SYS_mprotect, at, length, protection) }).map(drop)
}

/// madvise(2) on a range made by [`map_at`].
pub(crate) fn advise(at: u64, length: u64, advice: i32) -> Result<(), Errno> {
    // SAFETY: as for `unmap`.
    check(unsafe { libc::syscall(libc::SYS_madvise, at, length, advice) }).map(drop)
}

/// pkey_mprotect(2) on a range made by [`map_at`].
pub(crate) fn protect_with_key(at: u64, length: u64, protection: i32, key: u32) -> Result<(), Errno> {
    // SAFETY: as for `unmap`.
    check(unsafe { libc::syscall(libc::SYS_pkey_mprotect, at, length, protection, key) }).map(drop)
}

/// The next free protection key, with all rights to it.
pub(crate) fn take_key() -> Option<u32> {
    // SAFETY: plain numbers; no memory has the key yet.
    let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 0) };
    u32::try_from(key).ok()
}

/// Frees a key that [`take_key`] gave.
pub(crate) fn give_key_back(key: u32) {
    // SAFETY: plain numbers; no memory has the key.
    unsafe { libc::syscall(libc::SYS_pkey_free, key) };
}

/// Names anonymous memory made by [`map_at`] (Linux 5.17).
pub(crate) fn name_memory(at: u64, length: u64, name: &[u8]) -> Result<(), Errno> {
    const PR_SET_VMA: i32 = 0x5356_4d41;
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the string ends with a NUL and outlives the call; the memory does not change.
    check(unsafe { libc::syscall(libc::SYS_prctl, PR_SET_VMA, 0, at, length, name.as_ptr()) }).map(drop)
}

/// Locks a range made by [`map_at`] into memory.
pub(crate) fn lock(at: u64, length: u64, flags: u32) -> Result<(), Errno> {
    // SAFETY: as for `unmap`; contents do not change.
    check(unsafe { libc::syscall(libc::SYS_mlock2, at, length, flags) }).map(drop)
}

/// Fills ranges `(address, length)` made by [`map_at`], one after the other, from a place in a file.
/// Returns the bytes read.
pub(crate) fn fill(fd: RawFd, offset: u64, ranges: &[libc::iovec]) -> Result<usize, Errno> {
    let count = i32::try_from(ranges.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the ranges are writable mappings made for the restored task; the kernel refuses others.
    let result = unsafe { libc::preadv(fd, ranges.as_ptr(), count, offset.cast_signed()) };
    usize::try_from(check(result as i64)?).map_err(|_| Errno::EIO)
}

/// The bytes of a range of the restored task's memory.
pub(crate) fn bytes_at<'a>(at: u64, length: usize) -> &'a [u8] {
    // SAFETY: the caller has mapped the range readable by `map_at`, and nobody writes it meanwhile.
    unsafe { std::slice::from_raw_parts(at as *const u8, length) }
}

/// Writes into a range made by [`map_at`], which is writable.
pub(crate) fn write_at(at: u64, bytes: &[u8]) {
    // SAFETY: by the rule of this module the range is no Rust object, and the caller has mapped it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
}

/// Waits for a change of `word` from `value`, or for a time.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) {
    let time = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().cast_signed(),
        tv_nsec: t.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), |t| &raw const *t);
    // SAFETY: the word and the time outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            time,
            0,
            0,
        )
    };
}

/// Wakes all that wait for `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: only the address is used.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            i32::MAX,
            0,
            0,
            0,
        )
    };
}

/// prctl(2) with plain values.
pub(crate) fn prctl(option: i32, value: u64) -> Result<i64, Errno> {
    prctl2(option, value, 0)
}

/// prctl(2) with two plain values.
pub(crate) fn prctl2(option: i32, value: u64, second: u64) -> Result<i64, Errno> {
    // SAFETY: the options used take no pointer.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, value, second, 0, 0) })
}

/// Sets the name of this process (at most 15 bytes).
pub(crate) fn set_name(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    // SAFETY: the string ends with a NUL; the call cannot fail otherwise.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Ends this process at once, without destructors: what it shares with others stays.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// Closes descriptors from `first` to `last`, both included.
pub(crate) fn close_range(first: u32, last: u32) {
    // SAFETY: the descriptors are the restore's own or inherited ones that no object of this process
    // uses any more. That none is open is no failure.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Closes a descriptor.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: the caller owns it.
    unsafe { libc::close(fd) };
}

/// Duplicates a descriptor to the lowest free number from `lowest` on.
pub(crate) fn duplicate(fd: RawFd, lowest: RawFd, cloexec: bool) -> Result<RawFd, Errno> {
    let command = if cloexec {
        libc::F_DUPFD_CLOEXEC
    } else {
        libc::F_DUPFD
    };
    // SAFETY: integers only.
    let result = unsafe { libc::fcntl(fd, command, lowest) };
    Errno::result(result)
}

/// Duplicates a descriptor to a number, replacing what is there.
pub(crate) fn duplicate_to(fd: RawFd, number: RawFd, cloexec: bool) -> Result<(), Errno> {
    // SAFETY: integers only; the caller owns whatever stands at the number.
    Errno::result(unsafe { libc::dup3(fd, number, if cloexec { libc::O_CLOEXEC } else { 0 }) }).map(drop)
}

/// Sets or clears `FD_CLOEXEC`.
pub(crate) fn set_cloexec(fd: RawFd, on: bool) -> Result<(), Errno> {
    // SAFETY: integers only.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }) };
    Errno::result(result).map(drop)
}

/// pidfd_open(2).
pub(crate) fn pidfd_open(pid: i32) -> Result<RawFd, Errno> {
    // SAFETY: integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    RawFd::try_from(fd).map_err(|_| Errno::EBADF)
}

/// Waits until the process of a pidfd has ended; its children have other parents then.
pub(crate) fn await_end(pidfd: RawFd) -> Result<(), Errno> {
    let mut poll = libc::pollfd {
        fd: pidfd,
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        // SAFETY: one structure, which outlives the call.
        match Errno::result(unsafe { libc::poll(&raw mut poll, 1, -1) }) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Ends the process of a pidfd by SIGKILL.
pub(crate) fn pidfd_kill(pidfd: RawFd) -> Result<(), Errno> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: plain numbers; without a siginfo the kernel makes one.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, libc::SIGKILL, info, 0) }).map(drop)
}

/// pidfd_getfd(2).
pub(crate) fn pidfd_getfd(pidfd: RawFd, fd: RawFd) -> Result<RawFd, Errno> {
    // SAFETY: integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, fd, 0) })?;
    RawFd::try_from(fd).map_err(|_| Errno::EBADF)
}

/// Blocks all signals of this thread; returns the mask as it was.
pub(crate) fn block_signals() -> u64 {
    set_signals(u64::MAX)
}

/// Sets the signals that this thread blocks; returns the mask as it was.
pub(crate) fn set_signals(mask: u64) -> u64 {
    let mut before = 0u64;
    // SAFETY: both masks outlive the call and have the kernel's size.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<u64>(),
        )
    };
    before
}

/// Takes a signal that this thread blocks, once it is there.
pub(crate) fn await_signal(signal: i32) {
    let set = 1u64 << (signal - 1);
    // SAFETY: the set outlives the call and has the kernel's size; nothing is written.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            std::ptr::null_mut::<libc::siginfo_t>(),
            std::ptr::null::<libc::timespec>(),
            size_of::<u64>(),
        )
    };
}

/// Has a signal do nothing.
pub(crate) fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is no handler of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Has a signal do what it does by default, unblocked.
pub(crate) fn default_signal(signal: i32) {
    // SAFETY: SIG_DFL is no handler of ours; the set lives until the call returns.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Takes the C library's rseq area of this thread out of the kernel's hands: its memory is about to go.
pub(crate) fn unregister_rseq() -> Result<(), Errno> {
    const SIGNATURE: u32 = 0x5305_3053;
    const UNREGISTER: i32 = 1;
    const AT_RSEQ_FEATURE_SIZE: u64 = 27;
    // SAFETY: looks a symbol up; the name ends with a NUL.
    let offset = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()) };
    if offset.is_null() {
        return Ok(());
    }
    // SAFETY: the C library documents this symbol as a `const ptrdiff_t`.
    let offset = unsafe { *offset.cast::<isize>() };
    let pointer: usize;
    // SAFETY: the first word at fs is the thread pointer itself (x86-64 ABI).
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly)) };
    let area = pointer.wrapping_add_signed(offset);
    // SAFETY: a plain query.
    let features = unsafe { libc::getauxval(AT_RSEQ_FEATURE_SIZE) };
    for length in [32, features.next_multiple_of(32)] {
        // SAFETY: the kernel only compares the values and forgets the area.
        let result = unsafe { libc::syscall(libc::SYS_rseq, area, length, UNREGISTER, SIGNATURE) };
        if result == 0 {
            return Ok(());
        }
    }
    match Errno::last() {
        // Nothing was registered for this thread.
        Errno::EINVAL | Errno::ENOSYS => Ok(()),
        other => Err(other),
    }
}

/// Leaves this program for the restorer: jumps to `entry` with `task` as its argument.
pub(crate) fn jump(entry: u64, task: u64, stack: u64) -> ! {
    // SAFETY: the engine has put the restorer there, its arguments and its stack; nothing of this
    // program runs afterwards.
    unsafe {
        std::arch::asm!(
            "mov rsp, {stack}", "jmp {entry}",
            stack = in(reg) stack, entry = in(reg) entry, in("rdi") task, options(noreturn)
        )
    }
}

/// Writes all bytes to a place in a file.
pub(crate) fn write_all_at(fd: RawFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        // SAFETY: the bytes outlive the call.
        let written = unsafe { libc::pwrite(fd, bytes.as_ptr().cast(), bytes.len(), offset.cast_signed()) };
        let written = usize::try_from(check(written as i64)?).map_err(|_| Errno::EIO)?;
        if written == 0 {
            return Err(Errno::EIO);
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Kills a process.
pub(crate) fn kill(pid: i32) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    Errno::result(unsafe { libc::kill(pid, libc::SIGKILL) }).map(drop)
}

/// Waits for the end of a child without reaping it, or reaps it.
pub(crate) fn wait_for(pid: i32, reap: bool) -> Result<(), Errno> {
    let keep = if reap { 0 } else { libc::WNOWAIT };
    loop {
        // SAFETY: all zero is a siginfo; the call fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the structure outlives the call.
        let result = unsafe {
            libc::waitid(
                libc::P_PID,
                pid.unsigned_abs(),
                &raw mut info,
                libc::WEXITED | keep | libc::__WALL,
            )
        };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Whether a process or thread has this id (kill(2) with signal 0).
pub(crate) fn exists(pid: i32) -> bool {
    // SAFETY: plain numbers; no signal is sent.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || Errno::last() != Errno::ESRCH
}

/// Whether a descriptor is open.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: integers only.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}
