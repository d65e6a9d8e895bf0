//! Many threads, many signals, filters.

use std::time::Instant;

use super::*;
use crate::{Call, Error, Queue, Tracee};

/// A child with `n` threads beside the main one; each counts in its word from 8 on, or sleeps.
pub(super) fn threaded(shared: &Shared, n: usize, busy: bool) -> Child {
    let child = Child::new(|| {
        std::thread::scope(|scope| {
            for i in 0..n {
                std::thread::Builder::new()
                    .stack_size(0x1_0000)
                    .spawn_scoped(scope, move || {
                        // SAFETY: a setting of this thread alone.
                        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000 + i) };
                        shared.add(0);
                        loop {
                            if !busy {
                                sleep_ms(100_000);
                            } else if spin_with_vectors(shared.word(4), 1000) {
                                shared.add(8 + i);
                            } else {
                                shared.add(3);
                            }
                        }
                    })
                    .unwrap();
            }
        });
    });
    shared.wait(0, |v| v == n as u64);
    // Its leading thread blocks all signals while it starts others; then it waits for their end.
    child.wait_in(libc::SYS_futex);
    child
}

pub(super) fn other_threads(pid: i32) -> Vec<i32> {
    let dir = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut tids: Vec<i32> = dir
        .map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    tids.retain(|t| *t != pid);
    tids.sort_unstable();
    tids
}

/// The leading thread and these others.
pub(super) fn seize_threads(pid: i32, tids: &[i32]) -> Vec<Tracee> {
    let mut all = vec![pid];
    all.extend(tids);
    Tracee::seize_all(&all).into_iter().map(Result::unwrap).collect()
}

/// Seizes all threads and asks them all; the answers.
pub(super) fn visit_threads(pid: i32) -> Vec<crate::ThreadState> {
    let tids = other_threads(pid);
    let mut tracees = seize_threads(pid, &tids);
    let mut infected = tracees.remove(0).infect().unwrap();
    let states = infected.threads(&mut tracees, &tids).unwrap();
    // More calls than fit at once, in one of them.
    if let Some((thread, &tid)) = tracees.iter_mut().zip(&tids).next_back() {
        let mut calls = [Call {
            nr: libc::SYS_gettid.cast_unsigned(),
            ..Call::default()
        }; 70];
        infected.thread_syscalls(thread, tid, &mut calls).unwrap();
        assert!(calls.iter().all(|call| call.result == i64::from(tid)));
    }
    assert_eq!(
        infected.syscall(libc::SYS_getpid, [0; 6]).unwrap(),
        i64::from(pid)
    );
    infected.cure().unwrap().detach().unwrap();
    tracees.into_iter().for_each(|t| t.detach().unwrap());
    states
}

fn all_progress(shared: &Shared, n: usize) {
    for i in 0..n {
        let seen = shared.get(8 + i);
        shared.wait(8 + i, |v| v > seen + 1);
    }
    assert_eq!(shared.get(3), 0, "vector registers changed");
}

#[test]
fn threads_answer_for_themselves() {
    let shared = Shared::new();
    let child = threaded(&shared, 70, false);
    let before = child.look();
    let states = visit_threads(child.0);
    let mut slack: Vec<i64> = states.iter().map(|s| s.info.timerslack).collect();
    slack.sort_unstable();
    assert_eq!(slack, (1000..1070).collect::<Vec<_>>());
    for s in &states {
        assert_ne!(s.info.tid_address, 0);
        // std gives every thread an alternate stack.
        assert!(
            s.info.altstack[0] != 0 && s.info.altstack[2] >= 8192,
            "{:x?}",
            s.info
        );
    }
    for tid in other_threads(child.0) {
        wait_in_one_of(tid, &[libc::SYS_nanosleep, libc::SYS_restart_syscall]);
    }
    assert_eq!(child.look(), before);
}

#[test]
fn busy_threads_survive() {
    let shared = Shared::new();
    let child = threaded(&shared, 8, true);
    for _ in 0..10 {
        visit_threads(child.0);
        all_progress(&shared, 8);
    }
}

#[test]
fn threads_survive_the_master() {
    let shared = Shared::new();
    let child = threaded(&shared, 3, true);
    all_progress(&shared, 3);
    let before = child.look();
    let main_waits = || wait_in(child.0, libc::SYS_futex);
    main_waits();
    let mut n = 0;
    while killed::killed_at(n, || drop(visit_threads(child.0))) {
        all_progress(&shared, 3);
        // The leading thread may still be waiting for the others to say that they are out.
        wait_for(&format!("no new mapping after death at operation {n}"), || {
            child.maps() == before.0
        });
        // They count themselves out before they are back: one that is met on its alternate stack on the way is taken for
        // one with memory of its own making, and is not asked by a signal should the next master die.
        all_progress(&shared, 3);
        main_waits();
        assert_eq!(child.look(), before, "after death at operation {n}");
        n += 1;
    }
    assert!(n >= 100, "only {n} points");
    all_progress(&shared, 3);
    assert_eq!(child.look(), before);
}

/// Threads that never get a signal (those of an allocator, say) cannot be asked whether they are out.
#[test]
fn threads_that_block_every_signal_survive_the_master() {
    let shared = Shared::new();
    let words = &shared;
    let child = Child::new(|| {
        std::thread::scope(|scope| {
            for i in 0..2 {
                let shared = words;
                scope.spawn(move || {
                    let all = !0u64;
                    // SAFETY: reads eight bytes; a setting of this thread alone.
                    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const all, 0, 8) };
                    shared.add(0);
                    loop {
                        sleep_ms(2);
                        shared.add(8 + i);
                    }
                });
            }
        });
    });
    shared.wait(0, |v| v == 2);
    // Not on the way there any more.
    wait_in(child.0, libc::SYS_futex);
    let before = child.look();
    let mut n = 0;
    while killed::killed_at(n, || drop(visit_threads(child.0))) {
        all_progress(&shared, 2);
        wait_for(&format!("no new mapping after death at operation {n}"), || {
            child.maps() == before.0
        });
        wait_in(child.0, libc::SYS_futex);
        assert_eq!(child.look(), before, "after death at operation {n}");
        n += 1;
    }
    assert!(n >= 50, "only {n} points");
}

static HANDLED: std::sync::atomic::AtomicPtr<AtomicU64> =
    std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());

extern "C" fn count(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let words = HANDLED.load(Ordering::SeqCst);
    // SAFETY: the kernel's siginfo with a value; the words are mapped.
    unsafe {
        let value = (*info).si_value().sival_ptr as u64;
        (*words.add(1)).fetch_add(1, Ordering::SeqCst);
        (*words.add(2)).fetch_add(value, Ordering::SeqCst);
    }
}

#[test]
fn no_signal_is_lost_or_doubled() {
    const VISITS: usize = 40;
    /// Words of the sender: whether to end, and how many it has sent.
    const END: usize = 6;
    const SENT: usize = 7;
    let shared = Shared::new();
    let child = Child::new(|| {
        HANDLED.store(shared.0, Ordering::SeqCst);
        // SAFETY: a handler that touches only atomics.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(libc::SIGRTMIN() + 3, &raw const action, std::ptr::null_mut());
        }
        shared.set(0, 1);
        loop {
            shared.add(5);
        }
    });
    shared.wait(0, |v| v == 1);
    let sender = Child::new(|| {
        let mut i = 0u64;
        while shared.get(END) == 0 {
            let value = libc::sigval {
                sival_ptr: i as *mut libc::c_void,
            };
            // SAFETY: sends a signal to the target; a full queue is tried again.
            while unsafe { libc::sigqueue(child.0, libc::SIGRTMIN() + 3, value) } != 0 {
                std::thread::yield_now();
            }
            i += 1;
            shared.set(SENT, i);
            if i.is_multiple_of(8) {
                std::thread::yield_now();
            }
        }
    });
    for visits in 0..VISITS {
        let tracee = Tracee::seize(child.0).unwrap();
        if visits % 2 == 0 {
            tracee.detach().unwrap();
        } else {
            tracee.infect().unwrap().cure().unwrap().detach().unwrap();
        }
    }
    shared.set(END, 1);
    assert_eq!(sender.end(), 0);
    let sent = shared.get(SENT);
    shared.wait(1, |v| v >= sent);
    assert_eq!(
        (shared.get(1), shared.get(2)),
        (sent, sent * sent.saturating_sub(1) / 2),
        "after {VISITS} visits"
    );
}

#[test]
fn a_trap_from_elsewhere_is_kept() {
    let shared = Shared::new();
    let child = Child::new(|| {
        HANDLED.store(shared.0, Ordering::SeqCst);
        // SAFETY: a handler that touches only atomics.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut());
        }
        shared.set(0, 1);
        loop {
            shared.add(5);
        }
    });
    shared.wait(0, |v| v == 1);
    let before = child.look();
    let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
    let value = libc::sigval {
        sival_ptr: 77 as *mut libc::c_void,
    };
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::sigqueue(child.0, libc::SIGTRAP, value) }, 0);
    infected.syscall(libc::SYS_getpid, [0; 6]).unwrap();
    let tracee = infected.cure().unwrap();
    // It was sent to the process, and waits there again.
    let pending = tracee.pending(Queue::Process).unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0][0], libc::SIGTRAP as u8);
    tracee.detach().unwrap();
    shared.wait(1, |v| v == 1);
    assert_eq!(shared.get(2), 77);
    assert_eq!(child.look(), before);
}

#[test]
fn pending_signals_are_seen_and_stay() {
    let shared = Shared::new();
    let child = Child::new(|| {
        // SAFETY: blocks signals of this process.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut set);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        }
        shared.set(0, 1);
        loop {
            shared.add(5);
        }
    });
    shared.wait(0, |v| v == 1);
    for i in 0..40 {
        let value = libc::sigval {
            sival_ptr: i as *mut libc::c_void,
        };
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::sigqueue(child.0, libc::SIGRTMIN() + 1, value) }, 0);
    }
    // SAFETY: our own child; with all blocked, SIGTRAP too.
    unsafe { libc::syscall(libc::SYS_tgkill, child.0, child.0, libc::SIGTRAP) };
    let before = child.look();
    let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
    assert_eq!(
        infected.syscall(libc::SYS_getpid, [0; 6]).unwrap(),
        i64::from(child.0)
    );
    let tracee = infected.cure().unwrap();
    let pending = tracee.pending(Queue::Process).unwrap();
    assert_eq!(pending.len(), 40);
    for (i, info) in pending.iter().enumerate() {
        assert_eq!(info[24], i as u8, "order or value lost");
    }
    assert_eq!(tracee.pending(Queue::Thread).unwrap().len(), 1);
    assert_eq!(!tracee.sigmask().unwrap() & !(1 << 8 | 1 << 18 | 3 << 31), 0);
    tracee.detach().unwrap();
    assert_eq!(child.look(), before);
}

#[test]
fn a_filtered_process_is_infected() {
    let shared = Shared::new();
    let child = Child::new(|| {
        // Allow nothing but nanosleep, write and exits; kill on the rest.
        let allow = [
            libc::SYS_nanosleep,
            libc::SYS_exit_group,
            libc::SYS_restart_syscall,
        ];
        let mut program = vec![libc::sock_filter {
            code: 0x20,
            jt: 0,
            jf: 0,
            k: 0,
        }];
        for nr in allow {
            program.push(libc::sock_filter {
                code: 0x15,
                jt: 0,
                jf: 1,
                k: nr as u32,
            });
            program.push(libc::sock_filter {
                code: 0x06,
                jt: 0,
                jf: 0,
                k: 0x7fff_0000,
            });
        }
        program.push(libc::sock_filter {
            code: 0x06,
            jt: 0,
            jf: 0,
            k: 0x8000_0000,
        });
        let fprog = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: a valid filter for this process.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            assert_eq!(libc::syscall(libc::SYS_seccomp, 1, 0, &raw const fprog), 0);
        }
        shared.set(0, 1);
        loop {
            sleep_ms(1);
            shared.add(1);
        }
    });
    shared.wait(1, |v| v > 0);
    let before = child.look();
    let tracee = Tracee::seize(child.0).unwrap();
    let filters = tracee.seccomp_filters().unwrap();
    assert_eq!(filters.len(), 1);
    assert_eq!(filters[0].program.len(), 8 * 8);
    let mut infected = tracee.infect().unwrap();
    assert_eq!(
        infected.syscall(libc::SYS_getpid, [0; 6]).unwrap(),
        i64::from(child.0)
    );
    infected.cure().unwrap().detach().unwrap();
    let seen = shared.get(1);
    shared.wait(1, |v| v > seen + 2);
    assert_eq!(child.look(), before);
}

/// Counts on a stack that is memory of our own making, full of data right below the red zone: rounds in word 1 and
/// in `own`, in word 2 those after which the data was not as before.
fn on_memory_of_its_own(shared: &Shared, own: usize) {
    let mut memory = vec![0x5au8; 0x1_0000];
    let middle = (memory.as_mut_ptr() as u64 + 0x8000) & !15;
    loop {
        // SAFETY: the stack pointer is put back; nothing is called in between.
        unsafe {
            std::arch::asm!("mov {s}, rsp", "mov rsp, {m}", "2:", "lock inc qword ptr [{c}]", "dec {n}", "jnz 2b",
                "mov rsp, {s}", s = out(reg) _, m = in(reg) middle, c = in(reg) shared.word(0).as_ptr(),
                n = inout(reg) 100_000u64 => _);
        }
        shared.add(own);
        shared.add(if memory.iter().all(|b| *b == 0x5a) { 1 } else { 2 });
    }
}

fn main_stack(pid: i32) -> String {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().find(|l| l.ends_with("[stack]")).unwrap().to_owned()
}

#[test]
fn the_main_stack_does_not_grow_with_each_visit() {
    let shared = Shared::new();
    let child = Child::new(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| on_memory_of_its_own(&shared, 9));
            on_memory_of_its_own(&shared, 8);
        });
    });
    for own in [8, 9] {
        shared.wait(own, |v| v > 0);
    }
    visit_threads(child.0);
    let first = main_stack(child.0);
    for _ in 0..20 {
        visit_threads(child.0);
        let seen = shared.get(1);
        shared.wait(1, |v| v > seen);
    }
    assert_eq!(main_stack(child.0), first);
    assert_eq!(shared.get(2), 0, "memory changed");
}

#[test]
fn nothing_is_left_in_threads_on_memory_of_their_own() {
    const OWN: [usize; 3] = [8, 9, 10];
    let shared = Shared::new();
    let target = || {
        OWN.iter().for_each(|own| shared.set(*own, 0));
        let child = Child::new(|| {
            std::thread::scope(|scope| {
                for own in &OWN[1..] {
                    scope.spawn(|| on_memory_of_its_own(&shared, *own));
                }
                on_memory_of_its_own(&shared, OWN[0]);
            });
        });
        for own in OWN {
            shared.wait(own, |v| v > 0);
        }
        let before = child.look();
        (child, before)
    };
    let (mut child, mut before) = target();
    let (mut n, mut left) = (0, Vec::new());
    while killed::killed_at(n, || drop(visit_threads(child.0))) {
        for own in OWN {
            let seen = shared.get(own);
            shared.wait(own, |v| v > seen + 1);
        }
        assert_eq!(
            shared.get(2),
            0,
            "memory changed after death at {n}, left at {left:?}"
        );
        if child.look() != before {
            left.push(n);
            drop(child);
            (child, before) = target();
        }
        n += 1;
    }
    assert!(n > 50, "only {n} points");
    // Between its being counted and its entry, and the reverse, a thread that runs cannot be told from one inside.
    assert!(
        left.len() <= 2 * 6,
        "a mapping was left at {left:?} of {n} points"
    );
}

#[test]
fn a_thread_on_its_own_stack_keeps_the_memory_below() {
    let shared = Shared::new();
    let child = Child::new(|| on_memory_of_its_own(&shared, 8));
    shared.wait(1, |v| v > 0);
    let before = child.look();
    let mut n = 0;
    let visit = || {
        Tracee::seize(child.0)
            .unwrap()
            .infect()
            .unwrap()
            .cure()
            .unwrap()
            .detach()
            .unwrap();
    };
    while killed::killed_at(n, visit) {
        let seen = shared.get(1);
        shared.wait(1, |v| v > seen + 1);
        assert_eq!(shared.get(2), 0, "memory changed after death at {n}");
        assert_eq!(child.look(), before, "after death at {n}");
        n += 1;
    }
}

#[test]
fn code_of_32_bits_is_entered_and_left() {
    let child = Child::new(|| {
        sleep_ms(100_000);
    });
    let tracee = Tracee::seize(child.0).unwrap();
    let good = tracee.regs().unwrap();
    let mut regs = good;
    regs.cs = 0x23;
    tracee.set_regs(&regs).unwrap();
    let mut infected = tracee.infect().map_err(|failed| failed.error).unwrap();
    let pid = infected.syscall(libc::SYS_getpid, [0; 6]).unwrap();
    assert_eq!(pid, i64::from(child.0));
    let tracee = infected.cure().unwrap();
    assert_eq!(tracee.regs().unwrap().cs, 0x23);
    tracee.set_regs(&good).unwrap();
}

#[test]
fn a_failed_infection_changes_nothing() {
    let shared = Shared::new();
    let child = Child::new(|| {
        // As many mappings as there may be (vm.max_map_count): neighbours differ, so that they stay apart.
        for protection in [libc::PROT_NONE, libc::PROT_READ].into_iter().cycle() {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: maps memory that nobody refers to.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
            if at == libc::MAP_FAILED {
                break;
            }
        }
        loop {
            let good = spin_with_vectors(shared.word(0), 5_000);
            shared.add(if good { 1 } else { 3 });
        }
    });
    shared.wait(1, |v| v > 1);
    let before = child.look();
    let failed = Tracee::seize(child.0).unwrap().infect().unwrap_err();
    match &failed.error {
        Error::Remote {
            call: "mmap",
            errno: nix::errno::Errno::ENOMEM,
            ..
        } => {}
        other => panic!("{other}"),
    }
    failed.tracee.detach().unwrap();
    let seen = shared.get(1);
    shared.wait(1, |v| v > seen + 2);
    assert_eq!(shared.get(3), 0);
    assert_eq!(child.look(), before);
}

#[test]
fn a_process_that_denies_write_execute_is_infected() {
    const PR_SET_MDWE: i32 = 65;
    let shared = Shared::new();
    let child = Child::new(|| {
        // SAFETY: a setting of this process alone.
        let denied = unsafe { libc::prctl(PR_SET_MDWE, 1, 0, 0, 0) } == 0;
        shared.set(2, if denied { 1 } else { 2 });
        loop {
            let good = spin_with_vectors(shared.word(0), 5_000);
            shared.add(if good { 1 } else { 3 });
        }
    });
    if shared.wait(2, |v| v != 0) == 2 {
        eprintln!("skipped: this kernel has no PR_SET_MDWE (Linux 6.3)");
        return;
    }
    let before = child.look();
    let mut n = 0;
    while killed::killed_at(n, || killed::visit(child.0)) {
        let seen = shared.get(1);
        shared.wait(1, |v| v > seen + 2);
        assert_eq!(child.look(), before, "after death at {n}");
        n += 1;
    }
    assert!(n > 50);
    assert_eq!(shared.get(3), 0);
}

#[test]
fn a_cancelled_wait_leaves_the_target_well() {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            let good = spin_with_vectors(shared.word(0), 5_000);
            shared.add(if good { 1 } else { 3 });
        }
    });
    shared.wait(1, |v| v > 1);
    let before = child.look();
    // In a process of its own: cancelling is for all of it.
    let master = Child::new(|| {
        let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
        crate::cancel();
        let cancelled = infected.syscall(libc::SYS_pause, [0; 6]);
        assert!(matches!(cancelled, Err(Error::Cancelled { .. })));
        crate::uncancel();
        infected.cure().unwrap().detach().unwrap();
    });
    assert_eq!(master.end(), 0);
    let seen = shared.get(1);
    shared.wait(1, |v| v > seen + 2);
    assert_eq!(shared.get(3), 0);
    assert_eq!(child.look(), before);
}

/// Figures, not checks: `cargo test --release -p criu-infect figures -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn figures() {
    let shared = Shared::new();
    let child = Child::new(|| {
        sleep_ms(100_000);
    });
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
        infected.process_info().unwrap();
        infected.leader().unwrap();
        infected.cure().unwrap().detach().unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    println!(
        "seize, infect, ask, cure: median {:?}, worst {:?}",
        times[100], times[199]
    );
    for n in [100, 500] {
        shared.set(0, 0);
        let child = threaded(&shared, n, false);
        let tids = other_threads(child.0);
        let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
        let mut tracees: Vec<Tracee> = Tracee::seize_all(&tids).into_iter().map(Result::unwrap).collect();
        let start = Instant::now();
        infected.threads(&mut tracees, &tids).unwrap();
        println!(
            "{n} threads: {:?}, {:?} each",
            start.elapsed(),
            start.elapsed() / n as u32
        );
    }
}
