//! System calls that a stop has interrupted.

use criu_blobs::wire::abi;

use super::{CS_32BIT, Regs};

/// The results of an interrupted call that the kernel keeps to itself: what it does at the end of the stop.
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
/// Length of the `syscall` and `int $0x80` instructions.
const SYSCALL_LEN: u64 = 2;

/// The registers with which a stopped thread goes on by itself in place of a restart by the kernel, which is due only
/// as long as the thread is in that stop. `orig_rax` is left as it is.
///
/// A call that was interrupted is made again. The kernel's note of what was left of a time is lost: where it tells
/// nothing more than the arguments, or the rest of a sleep has been written to where the caller asked for it, the call
/// is made again with that; else it ends with `EINTR`, as signal(7) describes for a call after which a handler ran.
pub fn restarted(regs: &Regs) -> Regs {
    let mut new = *regs;
    let (mut number, mut result) = (regs.orig_rax.cast_signed(), regs.rax.cast_signed());
    if regs.cs == CS_32BIT {
        (number, result) = (i64::from(number as i32), i64::from(result as i32));
    }
    if number < 0 {
        return new;
    }
    let again = match result {
        ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND => true,
        ERESTART_RESTARTBLOCK if regs.cs == CS_32BIT => without_note_compat(number, &mut new),
        ERESTART_RESTARTBLOCK => without_note(number, &mut new),
        _ => return new,
    };
    if again {
        new.rax = regs.orig_rax;
        new.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
    } else {
        new.rax = i64::from(-libc::EINTR).cast_unsigned();
    }
    new
}

/// Bytes of code before a system call among which its number is looked for.
pub(crate) const CODE_BEFORE: usize = 16;

/// Whether a thread is in a call that an earlier stop had interrupted: the kernel goes on with it by a call of its own,
/// `restart_syscall`, in whose place the number of the first one is not seen.
pub(crate) fn is_resumed(regs: &Regs) -> bool {
    let number = regs.orig_rax & !abi::X32_BIT;
    regs.cs != CS_32BIT
        && number.cast_signed() == libc::SYS_restart_syscall
        && regs.rax.cast_signed() == ERESTART_RESTARTBLOCK
}

/// Notes which call it was first, if that can be told: code that makes one of the calls that the kernel goes on with
/// loads its number (`mov $NUMBER, %eax`) just before the `syscall` instruction, at which `code` ends.
pub(crate) fn name_resumed(regs: &mut Regs, code: &[u8]) {
    const MOV_EAX: u8 = 0xb8;
    const RESUMED: [i64; 4] = [
        libc::SYS_poll,
        libc::SYS_nanosleep,
        libc::SYS_clock_nanosleep,
        libc::SYS_futex,
    ];
    let Some((before, &[0x0f, 0x05])) = code.split_last_chunk::<2>() else {
        return;
    };
    let loaded = before.windows(5).rev().find_map(|window| match window {
        [MOV_EAX, number @ ..] => Some(u32::from_le_bytes(number.try_into().ok()?)),
        _ => None,
    });
    let x32 = regs.orig_rax & abi::X32_BIT;
    if let Some(number) = loaded.map(u64::from)
        && number & abi::X32_BIT == x32
        && RESUMED.contains(&(number & !x32).cast_signed())
    {
        regs.orig_rax = number;
    }
}

const FUTEX_OP: u64 = 0x7f;
const FUTEX_WAIT_BITSET: u64 = 9;

/// Whether a call can be made again without the kernel's note, with its arguments as they are afterwards.
fn without_note(number: i64, regs: &mut Regs) -> bool {
    // The calls of x32 that have such notes have the numbers and arguments of 64-bit programs.
    match number & !abi::X32_BIT.cast_signed() {
        // Its second argument is where the rest of the time stands.
        libc::SYS_nanosleep if regs.rsi != 0 => {
            regs.rdi = regs.rsi;
            true
        }
        // The fourth; with TIMER_ABSTIME there is no note.
        libc::SYS_clock_nanosleep if regs.r10 != 0 => {
            regs.rdx = regs.r10;
            true
        }
        // Until an absolute time.
        libc::SYS_futex => regs.rsi & FUTEX_OP == FUTEX_WAIT_BITSET,
        libc::SYS_poll => waits_for_ever(regs.rdx),
        _ => false,
    }
}

/// The same of a 32-bit program.
fn without_note_compat(number: i64, regs: &mut Regs) -> bool {
    const NANOSLEEP: i64 = 162;
    const POLL: i64 = 168;
    const FUTEX: [i64; 2] = [240, 422];
    const CLOCK_NANOSLEEP: [i64; 2] = [267, 407];
    if number == NANOSLEEP && regs.rcx != 0 {
        regs.rbx = regs.rcx;
        true
    } else if CLOCK_NANOSLEEP.contains(&number) && regs.rsi != 0 {
        regs.rdx = regs.rsi;
        true
    } else if number == POLL {
        waits_for_ever(regs.rdx)
    } else {
        FUTEX.contains(&number) && regs.rcx & FUTEX_OP == FUTEX_WAIT_BITSET
    }
}

/// Whether a time given to poll(2) is none: there is no rest of it that the kernel alone would know.
fn waits_for_ever(timeout: u64) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "the kernel takes an int")]
    let timeout = timeout as i32;
    timeout < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regs(orig: i64, ax: i64) -> Regs {
        // SAFETY: user_regs_struct is plain integers; all zero is a value of it.
        let mut regs: Regs = unsafe { std::mem::zeroed() };
        regs.orig_rax = orig.cast_unsigned();
        regs.rax = ax.cast_unsigned();
        regs.rip = 0x1002;
        regs
    }

    #[test]
    fn an_interrupted_call_is_wound_back() {
        let new = restarted(&regs(34, ERESTARTNOHAND));
        assert_eq!((new.rax, new.rip), (34, 0x1000));
    }

    #[test]
    fn a_call_with_a_restart_block_ends_with_eintr() {
        let new = restarted(&regs(35, ERESTART_RESTARTBLOCK));
        assert_eq!((new.rax.cast_signed(), new.rip), (-4, 0x1002));
    }

    #[test]
    fn a_poll_without_a_time_is_made_once_more() {
        let mut poll = regs(libc::SYS_poll, ERESTART_RESTARTBLOCK);
        poll.rdx = 0xffff_ffff;
        let new = restarted(&poll);
        assert_eq!((new.rax.cast_signed(), new.rip), (libc::SYS_poll, 0x1000));
        poll.rdx = 5;
        assert_eq!(restarted(&poll).rax.cast_signed(), -4);
    }

    #[test]
    fn a_sleep_goes_on_with_what_was_left() {
        let mut sleep = regs(35, ERESTART_RESTARTBLOCK);
        (sleep.rdi, sleep.rsi) = (0x100, 0x200);
        let new = restarted(&sleep);
        assert_eq!((new.rax, new.rip, new.rdi), (35, 0x1000, 0x200));
        let mut sleep = regs(230, ERESTART_RESTARTBLOCK);
        (sleep.rdx, sleep.r10) = (0x100, 0x300);
        let new = restarted(&sleep);
        assert_eq!((new.rax, new.rip, new.rdx), (230, 0x1000, 0x300));
        let mut futex = regs(202, ERESTART_RESTARTBLOCK);
        futex.rsi = 9 | 128;
        assert_eq!(restarted(&futex).rax, 202);
        futex.rsi = 128;
        assert_eq!(restarted(&futex).rax.cast_signed(), -4);
    }

    #[test]
    fn a_call_of_a_32_bit_program_is_known_by_its_own_number() {
        let mut poll = regs(168, i64::from(-516i32 as u32));
        (poll.cs, poll.rdx) = (CS_32BIT, 0xffff_ffff);
        let new = restarted(&poll);
        assert_eq!((new.rax, new.rip), (168, 0x1000));
        let mut sleep = regs(162, ERESTART_RESTARTBLOCK);
        (sleep.cs, sleep.rbx, sleep.rcx) = (CS_32BIT, 0x100, 0x200);
        let new = restarted(&sleep);
        assert_eq!((new.rax, new.rip, new.rbx), (162, 0x1000, 0x200));
    }

    #[test]
    fn a_call_of_x32_stays_one() {
        const X32: i64 = 0x4000_0000;
        let new = restarted(&regs(X32 | libc::SYS_poll, ERESTARTNOHAND));
        assert_eq!((new.rax.cast_signed(), new.rip), (X32 | libc::SYS_poll, 0x1000));
        let mut sleep = regs(X32 | libc::SYS_nanosleep, ERESTART_RESTARTBLOCK);
        (sleep.rdi, sleep.rsi) = (0x100, 0x200);
        let new = restarted(&sleep);
        assert_eq!(
            (new.rax.cast_signed(), new.rdi),
            (X32 | libc::SYS_nanosleep, 0x200)
        );
    }

    #[test]
    fn a_call_that_goes_on_is_known_by_the_code_before_it() {
        let mut poll = regs(libc::SYS_restart_syscall, ERESTART_RESTARTBLOCK);
        poll.rdx = u64::MAX;
        assert!(is_resumed(&poll));
        assert_eq!(restarted(&poll).rax.cast_signed(), -4);
        for code in [
            &[0x90, 0xb8, 7, 0, 0, 0, 0x0f, 0x05][..],
            &[0xb8, 7, 0, 0, 0, 0x4c, 0x89, 0xc2, 0x0f, 0x05],
        ] {
            let mut named = poll;
            name_resumed(&mut named, code);
            assert_eq!(named.orig_rax, 7);
            let new = restarted(&named);
            assert_eq!((new.rax, new.rip), (7, 0x1000));
        }
        // Another call, no load, no call.
        for code in [
            &[0xb8, 1, 0, 0, 0, 0x0f, 0x05][..],
            &[0x90, 0x90, 0x0f, 0x05],
            &[0xb8, 7, 0, 0, 0, 0x90],
            &[],
        ] {
            let mut named = poll;
            name_resumed(&mut named, code);
            assert_eq!(named, poll);
        }
        assert!(!is_resumed(&regs(7, ERESTART_RESTARTBLOCK)));
    }

    #[test]
    fn what_is_no_call_stays() {
        let new = restarted(&regs(-1, ERESTARTSYS));
        assert_eq!((new.rax.cast_signed(), new.rip), (ERESTARTSYS, 0x1002));
    }
}
