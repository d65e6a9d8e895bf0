//! The master is killed, at each of its operations or at any time: the target goes on as if it had never been. Or the
//! target is, and its master is told.

use super::many::{other_threads, seize_threads, threaded, visit_threads};
use super::*;
use crate::{Error, Infected, Tracee};

/// What a master does between its start and its end; false when it got to the end alive.
pub(super) fn killed_at(n: i64, master: impl FnOnce()) -> bool {
    let child = Child::new(|| {
        die_at(n);
        master();
        die_at(-1);
    });
    let status = child.end();
    if libc::WIFSIGNALED(status) {
        assert_eq!(libc::WTERMSIG(status), libc::SIGKILL);
        return true;
    }
    assert_eq!(status, 0, "the master failed by itself");
    false
}

/// Kills masters at the 1st, 2nd, 3rd ... operation until one gets to the end; how many died.
fn kill_everywhere(run: impl Fn(), check: impl Fn(i64)) -> i64 {
    let mut n = 0;
    while killed_at(n, &run) {
        eprintln!("died at operation {n}");
        check(n);
        n += 1;
        assert!(n < 1000);
    }
    check(n);
    n
}

pub(super) fn visit(pid: i32) {
    let mut infected: Infected = Tracee::seize(pid).unwrap().infect().unwrap();
    infected.push_undo(libc::SYS_getpid, [0; 6], None).unwrap();
    infected.process_info().unwrap();
    infected.syscall(libc::SYS_getpid, [0; 6]).unwrap();
    infected.descriptor_flags(&mut [0, 1]).unwrap();
    infected.leader().unwrap();
    infected.pop_undo().unwrap();
    infected.cure().unwrap().detach().unwrap();
}

/// Says what differs if the target, which must have run its own code since, is not as before.
fn same_again(child: &Child, before: &(Vec<String>, Vec<String>), n: i64) {
    let now = child.look();
    let new: Vec<_> = now.0.iter().filter(|l| !before.0.contains(l)).collect();
    assert!(new.is_empty(), "after death at operation {n}: mappings {new:?}");
    assert_eq!(now, *before, "after death at operation {n}");
}

#[test]
fn computing_target() {
    let shared = Shared::new();
    let child = Child::new(|| {
        while shared.get(2) == 0 {
            let good = spin_with_vectors(shared.word(0), 20_000);
            shared.add(if good { 1 } else { 3 });
        }
    });
    shared.wait(0, |v| v > 0);
    let before = child.look();
    let died = kill_everywhere(
        || visit(child.0),
        |n| {
            let rounds = shared.get(1);
            shared.wait(1, |v| v > rounds + 2);
            same_again(&child, &before, n);
            assert_eq!(shared.get(3), 0, "vector registers changed at {n}");
        },
    );
    assert!(died >= 50, "only {died} points");
    shared.set(2, 1);
    assert_eq!(child.end(), 0);
}

#[test]
fn reading_target() {
    let (shared, mut ends) = (Shared::new(), [0; 2]);
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let child = Child::new(|| {
        loop {
            let mut byte = [0u8; 4];
            // SAFETY: the buffer is ours. The raw call: its result must be the bytes or nothing else.
            let n = unsafe { libc::syscall(libc::SYS_read, ends[0], byte.as_mut_ptr(), 4) };
            shared.add(if n == 1 { 0 } else { 1 });
        }
    });
    child.wait_in(libc::SYS_read);
    let before = child.look();
    let died = kill_everywhere(
        || visit(child.0),
        |n| {
            let seen = shared.get(0);
            // SAFETY: one byte of ours.
            assert_eq!(unsafe { libc::write(ends[1], b"x".as_ptr().cast(), 1) }, 1);
            shared.wait(0, |v| v == seen + 1);
            assert_eq!(shared.get(1), 0, "read failed at {n}");
            child.wait_in(libc::SYS_read);
            same_again(&child, &before, n);
        },
    );
    assert!(died >= 50, "only {died} points");
    // SAFETY: our own descriptors.
    unsafe {
        libc::close(ends[0]);
        libc::close(ends[1]);
    }
}

#[test]
fn sleeping_target() {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            match sleep_ms(100_000) {
                0 | libc::EINTR => shared.add(0),
                _ => shared.add(1),
            }
        }
    });
    child.wait_in(libc::SYS_nanosleep);
    let before = child.look();
    kill_everywhere(
        || visit(child.0),
        |n| {
            wait_in_one_of(child.0, &[libc::SYS_nanosleep, libc::SYS_restart_syscall]);
            same_again(&child, &before, n);
            assert_eq!(shared.get(1), 0, "nanosleep failed at {n}");
        },
    );
}

#[test]
fn pausing_target() {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            // SAFETY: no arguments. There is no handler, so it must never return.
            unsafe { libc::syscall(libc::SYS_pause) };
            shared.add(0);
        }
    });
    child.wait_in(libc::SYS_pause);
    let before = child.look();
    kill_everywhere(
        || visit(child.0),
        |n| {
            child.wait_in(libc::SYS_pause);
            same_again(&child, &before, n);
            assert_eq!(shared.get(0), 0, "pause returned after death at {n}");
        },
    );
}

#[test]
fn stopped_target() {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            let good = spin_with_vectors(shared.word(0), 5_000);
            shared.add(if good { 1 } else { 3 });
        }
    });
    shared.wait(0, |v| v > 0);
    let before = child.look();
    let stop = || {
        // SAFETY: our own child.
        unsafe { libc::kill(child.0, libc::SIGSTOP) };
        wait_for("stopped", || child.state() == 'T');
    };
    stop();
    kill_everywhere(
        || visit(child.0),
        |n| {
            wait_for(&format!("stopped after death at {n}"), || child.state() == 'T');
            let seen = shared.get(1);
            // SAFETY: our own child.
            unsafe { libc::kill(child.0, libc::SIGCONT) };
            shared.wait(1, |v| v > seen + 2);
            same_again(&child, &before, n);
            assert_eq!(shared.get(3), 0, "vector registers changed");
            stop();
        },
    );
}

#[test]
fn the_undo_table_is_run() {
    let shared = Shared::new();
    let child = Child::new(|| {
        // SAFETY: changes this process alone.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0) };
        loop {
            let mut reaper = 0;
            // SAFETY: writes one integer.
            unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut reaper) };
            shared.set(0, 1 + reaper as u64);
            shared.add(1);
        }
    });
    shared.wait(1, |v| v > 0);
    let before = child.look();
    let master = Child::new(|| {
        let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
        let set = |v| [libc::PR_SET_CHILD_SUBREAPER as u64, v, 0, 0, 0, 0];
        // The last one pushed is run first.
        infected.push_undo(libc::SYS_prctl, set(1), None).unwrap();
        infected.push_undo(libc::SYS_prctl, set(0), None).unwrap();
        infected.push_undo(libc::SYS_prctl, set(0), None).unwrap();
        infected.pop_undo().unwrap();
        // SAFETY: ends this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    assert!(libc::WIFSIGNALED(master.end()));
    let seen = shared.get(1);
    shared.wait(1, |v| v > seen + 1);
    same_again(&child, &before, 0);
    assert_eq!(
        shared.get(0),
        2,
        "the undo table was not run, or in the wrong order"
    );
}

/// More calls than fit at first, twice over; the one to be made last gives the process its name.
fn push_many(infected: &mut Infected) {
    for number in 0..20_000 {
        let name = if number == 0 { b"first\0" } else { b"later\0" };
        let args = [libc::PR_SET_NAME as u64, 0, 0, 0, 0, 0];
        infected
            .push_undo(libc::SYS_prctl, args, Some((1, name)))
            .unwrap();
    }
    assert!(!infected.undo_is_full());
}

/// A process that counts is visited; it goes on as before.
fn goes_on_after(visit: impl FnOnce(i32)) -> Child {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            shared.add(0);
        }
    });
    shared.wait(0, |v| v > 0);
    let before = child.look();
    visit(child.0);
    let seen = shared.get(0);
    shared.wait(0, |v| v > seen + 1);
    same_again(&child, &before, 0);
    child
}

#[test]
fn an_undo_table_that_has_grown_is_run_and_goes() {
    let child = goes_on_after(|pid| {
        let master = Child::new(|| {
            let mut infected = Tracee::seize(pid).unwrap().infect().unwrap();
            push_many(&mut infected);
            // SAFETY: ends this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        });
        assert!(libc::WIFSIGNALED(master.end()));
    });
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", child.0)).unwrap();
    assert_eq!(comm, "first\n");
}

#[test]
fn an_undo_table_that_has_grown_goes_with_the_parasite() {
    goes_on_after(|pid| {
        let mut infected = Tracee::seize(pid).unwrap().infect().unwrap();
        push_many(&mut infected);
        infected.cure().unwrap().detach().unwrap();
    });
}

#[test]
pub(super) fn killed_at_any_time() {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            let good = spin_with_vectors(shared.word(0), 5_000);
            shared.add(if good { 1 } else { 3 });
        }
    });
    shared.wait(0, |v| v > 0);
    let before = child.look();
    killed_at_moments(
        &shared,
        60,
        || visit(child.0),
        |n| {
            let rounds = shared.get(1);
            shared.wait(1, |v| v > rounds + 2);
            same_again(&child, &before, n);
            assert_eq!(shared.get(3), 0, "vector registers changed");
        },
    );
}

/// So many masters that visit over and over are killed, each a little later; their visits are counted in word 2.
fn killed_at_moments(shared: &Shared, count: i64, visit: impl Fn(), check: impl Fn(i64)) {
    for n in 0..count {
        let master = Child::new(|| {
            loop {
                visit();
                shared.add(2);
            }
        });
        let visits = shared.get(2);
        shared.wait(2, |v| v > visits);
        for _ in 0..n * 997 {
            std::hint::spin_loop();
        }
        drop(master);
        check(n);
    }
}

/// Not at the operations on them, but also in the middle of one.
#[test]
fn threads_survive_a_master_that_is_killed_at_any_time() {
    let shared = Shared::new();
    let child = threaded(&shared, 20, false);
    let before = child.look();
    let visit = || drop(visit_threads(child.0));
    killed_at_moments(&shared, 300, visit, |n| {
        wait_for(&format!("as before after death {n}"), || child.look() == before);
    });
}

/// While its leader is waited for, which the kernel tells of only when the others are gone.
#[test]
fn a_process_that_is_killed_ends_a_wait_for_it() {
    for count in [1, 20] {
        let shared = Shared::new();
        let child = threaded(&shared, count, count == 20);
        let mut threads = seize_threads(child.0, &other_threads(child.0));
        let mut infected = threads.remove(0).infect().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                child.wait_in(libc::SYS_pause);
                // SAFETY: our own child, not reaped yet.
                unsafe { libc::kill(child.0, libc::SIGKILL) };
            });
            let ended = infected.syscall(libc::SYS_pause, [0; 6]);
            assert!(
                matches!(ended, Err(Error::Died { tid, .. }) if tid == child.0),
                "{ended:?}"
            );
        });
        Tracee::detach_all(threads).unwrap();
        drop(infected);
    }
}

/// At each operation on it.
#[test]
fn a_process_that_is_killed_leaves_its_master_well() {
    let mut was_killed = true;
    let mut n = 0;
    while was_killed {
        let shared = Shared::new();
        let child = threaded(&shared, 2, true);
        let master = Child::new(|| {
            kill_at(n, child.0);
            // What it is told of the end is another matter.
            _ = std::panic::catch_unwind(|| visit_threads(child.0));
            shared.set(1, u64::from(KILL_AT.load(Ordering::Relaxed) < 0) + 1);
        });
        was_killed = shared.wait(1, |v| v > 0) == 2;
        assert_eq!(master.end(), 0);
        n += 1;
    }
    assert!(n > 50, "only {n} points");
}

/// A target without code for its own way out: visited like any other, and unharmed when the master
/// dies while it waits in the parasite, though the mapping stays.
#[test]
fn target_without_gadgets() {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            let good = spin_with_vectors(shared.word(0), 5_000);
            shared.add(if good { 1 } else { 3 });
        }
    });
    shared.wait(0, |v| v > 0);
    let before = child.look();
    let well = || {
        let seen = shared.get(1);
        shared.wait(1, |v| v > seen + 2);
        assert_eq!(shared.get(3), 0, "vector registers changed");
    };
    let master = Child::new(|| {
        NO_WAY_OUT.store(true, Ordering::Relaxed);
        visit(child.0);
    });
    assert_eq!(master.end(), 0);
    well();
    same_again(&child, &before, 0);
    let master = Child::new(|| {
        NO_WAY_OUT.store(true, Ordering::Relaxed);
        let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
        infected.process_info().unwrap();
        // SAFETY: ends this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    assert!(libc::WIFSIGNALED(master.end()));
    well();
    let now = child.look();
    assert_eq!(now.1, before.1);
    assert!(now.0.len() > before.0.len(), "the mapping was expected to stay");
}
