//! One target at a time.

use std::time::{Duration, Instant};

use super::*;
use crate::{Error, Found, Tracee};

fn infect_and_cure(pid: i32) {
    let mut infected = Tracee::seize(pid).unwrap().infect().unwrap();
    assert_eq!(
        infected.syscall(libc::SYS_getpid, [0; 6]).unwrap(),
        i64::from(pid)
    );
    assert_eq!(
        infected.syscall(libc::SYS_close, [9999, 0, 0, 0, 0, 0]).unwrap(),
        -i64::from(libc::EBADF)
    );
    infected.cure().unwrap().detach().unwrap();
}

#[test]
fn sleeper_sleeps_on() {
    let shared = Shared::new();
    let child = Child::new(|| {
        let start = Instant::now();
        let r = sleep_ms(400);
        shared.set(0, start.elapsed().as_millis() as u64);
        shared.set(1, 1 + r as u64);
        sleep_ms(100_000);
    });
    child.wait_in(libc::SYS_nanosleep);
    let before = child.look();
    infect_and_cure(child.0);
    assert_eq!(child.look(), before);
    assert_eq!(shared.wait(1, |v| v != 0), 1, "nanosleep was interrupted");
    assert!((395..2000).contains(&shared.get(0)), "{} ms", shared.get(0));
}

#[test]
fn poll_keeps_its_timeout() {
    let shared = Shared::new();
    let child = Child::new(|| {
        let start = Instant::now();
        // SAFETY: no descriptors.
        let r = unsafe { libc::poll(std::ptr::null_mut(), 0, 300) };
        shared.set(0, start.elapsed().as_millis() as u64);
        shared.set(1, 1 + r as u64);
    });
    child.wait_in(libc::SYS_poll);
    for _ in 0..5 {
        infect_and_cure(child.0);
    }
    assert_eq!(shared.wait(1, |v| v != 0), 1);
    assert!((295..2000).contains(&shared.get(0)), "{} ms", shared.get(0));
    assert_eq!(child.end(), 0);
}

#[test]
fn reader_reads_on() {
    let (shared, mut ends) = (Shared::new(), [0; 2]);
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let child = Child::new(|| {
        let mut byte = [0u8; 4];
        // SAFETY: the buffer is ours.
        let n = unsafe { libc::read(ends[0], byte.as_mut_ptr().cast(), 4) };
        shared.set(0, n as u64);
        shared.set(1, u64::from(byte[0]));
    });
    child.wait_in(libc::SYS_read);
    infect_and_cure(child.0);
    child.wait_in(libc::SYS_read);
    // SAFETY: one byte of ours, then our own descriptors.
    unsafe {
        libc::write(ends[1], b"x".as_ptr().cast(), 1);
        libc::close(ends[0]);
        libc::close(ends[1]);
    }
    assert_eq!(child.end(), 0);
    assert_eq!((shared.get(0), shared.get(1)), (1, u64::from(b'x')));
}

#[test]
fn vectors_survive() {
    let shared = Shared::new();
    let child = Child::new(|| {
        while shared.get(2) == 0 {
            let good = spin_with_vectors(shared.word(0), 200_000);
            shared.add(if good { 1 } else { 3 });
        }
    });
    for _ in 0..20 {
        let seen = shared.get(0);
        shared.wait(0, |v| v > seen);
        infect_and_cure(child.0);
    }
    let rounds = shared.get(1);
    shared.wait(1, |v| v > rounds + 1);
    shared.set(2, 1);
    assert_eq!(shared.get(3), 0, "vector registers changed");
    assert_eq!(child.end(), 0);
}

#[test]
fn stopped_stays_stopped() {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            shared.add(0);
        }
    });
    shared.wait(0, |v| v > 0);
    // SAFETY: our own child.
    unsafe { libc::kill(child.0, libc::SIGSTOP) };
    wait_for("stopped", || child.state() == 'T');
    let tracee = Tracee::seize(child.0).unwrap();
    assert_eq!(
        tracee.found(),
        Found::Stopped {
            signal: libc::SIGSTOP
        }
    );
    let mut infected = tracee.infect().unwrap();
    assert_eq!(
        infected.syscall(libc::SYS_getpid, [0; 6]).unwrap(),
        i64::from(child.0)
    );
    infected.cure().unwrap().detach().unwrap();
    wait_for("stopped again", || child.state() == 'T');
    let seen = shared.get(0);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(shared.get(0), seen, "it ran although it is stopped");
    // SAFETY: our own child.
    unsafe { libc::kill(child.0, libc::SIGCONT) };
    shared.wait(0, |v| v > seen);
}

#[test]
fn a_stop_signal_during_infection_stops_afterwards() {
    let shared = Shared::new();
    let child = Child::new(|| {
        loop {
            shared.add(0);
        }
    });
    shared.wait(0, |v| v > 0);
    let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
    // SAFETY: our own child.
    unsafe { libc::kill(child.0, libc::SIGSTOP) };
    assert_eq!(
        infected.syscall(libc::SYS_getpid, [0; 6]).unwrap(),
        i64::from(child.0)
    );
    infected.cure().unwrap().detach().unwrap();
    wait_for("stopped", || child.state() == 'T');
}

#[test]
fn who_cannot_be_seized_is_named() {
    let child = Child::new(|| {});
    wait_for("zombie", || child.state() == 'Z');
    assert!(matches!(
        Tracee::seize(child.0),
        Err(Error::Zombie { state: 'Z', .. })
    ));
    let pid = child.0;
    drop(child);
    assert!(matches!(Tracee::seize(pid), Err(Error::Gone { .. })));

    let shared = Shared::new();
    let target = Child::new(|| {
        sleep_ms(100_000);
    });
    let tracer = Child::new(|| {
        let _held = Tracee::seize(target.0).unwrap();
        shared.set(0, 1);
        sleep_ms(100_000);
    });
    shared.wait(0, |v| v == 1);
    match Tracee::seize(target.0) {
        Err(Error::Traced { tracer: who, .. }) => assert_eq!(who, tracer.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn death_in_the_parasite_is_an_error() {
    let child = Child::new(|| {
        sleep_ms(100_000);
    });
    let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
    assert!(matches!(
        infected.syscall(libc::SYS_exit_group, [7, 0, 0, 0, 0, 0]),
        Err(Error::Died { .. })
    ));
}

#[test]
fn process_state_is_told() {
    let shared = Shared::new();
    let child = Child::new(|| {
        // SAFETY: sets state of this process alone.
        unsafe {
            libc::signal(libc::SIGUSR1, libc::SIG_IGN);
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
            libc::prctl(libc::PR_SET_DUMPABLE, 0);
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
            let spec = libc::itimerval {
                it_interval: libc::timeval {
                    tv_sec: 5,
                    tv_usec: 6,
                },
                it_value: libc::timeval {
                    tv_sec: 5000,
                    tv_usec: 0,
                },
            };
            libc::syscall(libc::SYS_setitimer, 0, &raw const spec, 0);
            let mut timer = 0i32;
            libc::syscall(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, 0, &raw mut timer);
            let spec = [3i64, 4, 100_000, 0];
            libc::syscall(libc::SYS_timer_settime, timer, 0, spec.as_ptr(), 0);
            shared.set(0, 1 + timer as u64);
        }
        sleep_ms(100_000);
    });
    let timer = shared.wait(0, |v| v != 0) as i32 - 1;
    let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
    let info = infected.process_info().unwrap();
    assert_eq!(
        info.actions[libc::SIGUSR1 as usize - 1].handler,
        libc::SIG_IGN as u64
    );
    assert_eq!(
        info.actions[libc::SIGTRAP as usize - 1],
        crate::SigAction::default()
    );
    assert_eq!((info.child_subreaper, info.dumpable), (1, 1));
    assert_eq!((info.itimers[0][0], info.itimers[0][1]), (5, 6));
    assert!((4900..=5000).contains(&info.itimers[0][2]));
    assert!(info.brk > 0);
    let timers = infected.timers(&[timer, 12345]).unwrap();
    assert_eq!((timers[0].error, timers[0].spec[0], timers[0].spec[1]), (0, 3, 4));
    assert!((99_000..=100_000).contains(&timers[0].spec[2]));
    assert_eq!(timers[1].error, -i64::from(libc::EINVAL));
    let leader = infected.leader().unwrap();
    assert_eq!(leader.info.pdeathsig, i64::from(libc::SIGKILL));
    assert_ne!(leader.info.tid_address, 0);
    let at = infected.scratch().start;
    infected.write_mem(at, b"hello").unwrap();
    let mut back = [0; 5];
    infected.read_mem(at, &mut back).unwrap();
    assert_eq!(&back, b"hello");
    infected.cure().unwrap().detach().unwrap();
}

#[test]
fn flags_of_descriptors_come_in_the_order_of_the_numbers() {
    let shared = Shared::new();
    let child = Child::new(|| {
        // SAFETY: dup2, fcntl and close take plain numbers; the child is single-threaded.
        let ready = unsafe {
            libc::dup2(0, 700) == 700
                && libc::dup2(0, 701) == 701
                && libc::fcntl(701, libc::F_SETFD, libc::FD_CLOEXEC) == 0
                && (libc::close(702) == 0 || *libc::__errno_location() == libc::EBADF)
        };
        shared.add(if ready { 0 } else { 1 });
        loop {
            // SAFETY: pause takes nothing.
            unsafe { libc::pause() };
        }
    });
    assert_eq!(
        shared.wait(0, |v| v != 0),
        1,
        "the child could not prepare itself"
    );
    let mut infected = Tracee::seize(child.0).unwrap().infect().unwrap();
    let bad = -libc::EBADF;
    // More than one command takes, the last of them but for one.
    let mut flags: Vec<i32> = [700, 701, 702, -1].repeat(600);
    flags.push(701);
    infected.descriptor_flags(&mut flags).unwrap();
    let (last, rest) = flags.split_last().unwrap();
    assert_eq!(*last, libc::FD_CLOEXEC);
    assert!(rest.chunks(4).all(|four| four == [0, libc::FD_CLOEXEC, bad, bad]));
    infected.cure().unwrap().detach().unwrap();
}
