//! Tests of the whole crate, on small forked children.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};

mod basic;
mod killed;
mod many;

static KILL_AT: AtomicI64 = AtomicI64::new(-1);
/// Who is killed then, 0 for the master itself.
static WHOM: AtomicI32 = AtomicI32::new(0);

/// Counts the operations on a target; at the one that was told a master under test dies, or its target.
pub(crate) fn step() {
    if KILL_AT.load(Ordering::Relaxed) >= 0 && KILL_AT.fetch_sub(1, Ordering::Relaxed) == 0 {
        let whom = WHOM.load(Ordering::Relaxed);
        // SAFETY: ends this process, or a child of the test's.
        unsafe { libc::kill(if whom == 0 { libc::getpid() } else { whom }, libc::SIGKILL) };
    }
}

/// Makes this process die at its `n`th operation from now (0: the next).
fn die_at(n: i64) {
    KILL_AT.store(n, Ordering::Relaxed);
}

/// The same of another process.
fn kill_at(n: i64, whom: i32) {
    WHOM.store(whom, Ordering::Relaxed);
    die_at(n);
}

static NO_WAY_OUT: AtomicBool = AtomicBool::new(false);

/// Whether this process shall find nothing in its targets but a system call instruction.
pub(crate) fn no_way_out() -> bool {
    NO_WAY_OUT.load(Ordering::Relaxed)
}

/// Words shared with a child.
struct Shared(*mut AtomicU64);

// SAFETY: gives out only atomics.
unsafe impl Sync for Shared {}

impl Shared {
    const LEN: usize = 0x1000;

    fn new() -> Shared {
        let (rw, how) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), Shared::LEN, rw, how, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Shared(at.cast())
    }

    fn word(&self, i: usize) -> &AtomicU64 {
        assert!(i < Shared::LEN / 8);
        // SAFETY: inside of the mapping, which lives as long as self.
        unsafe { &*self.0.add(i) }
    }

    fn get(&self, i: usize) -> u64 {
        self.word(i).load(Ordering::SeqCst)
    }

    fn set(&self, i: usize, value: u64) {
        self.word(i).store(value, Ordering::SeqCst);
    }

    fn add(&self, i: usize) {
        self.word(i).fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until a word satisfies `good`; panics after 20 s.
    fn wait(&self, i: usize, good: impl Fn(u64) -> bool) -> u64 {
        let start = std::time::Instant::now();
        loop {
            let now = self.get(i);
            if good(now) {
                return now;
            }
            assert!(start.elapsed().as_secs() < 20, "word {i} stays {now:#x}");
            pause();
        }
    }
}

/// Between two looks. To yield the processor instead starves others where many do that.
fn pause() {
    std::thread::sleep(std::time::Duration::from_micros(100));
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.0.cast(), Shared::LEN) };
    }
}

/// A forked child, killed and reaped at the end of the test.
struct Child(i32);

impl Child {
    fn new(run: impl FnOnce()) -> Child {
        // SAFETY: the child uses only what works after a fork (system calls, its own memory, glibc's
        // allocator and threads) and ends by `_exit`.
        let pid = crate::maps::with_lock(|| unsafe { libc::fork() });
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: ends the child with its parent, and never returns into the test harness.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                libc::_exit(if done.is_ok() { 0 } else { 99 });
            }
        }
        Child(pid)
    }

    /// Waits for its end; the raw status.
    fn end(mut self) -> i32 {
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        self.0 = 0;
        status
    }

    fn state(&self) -> char {
        state(self.0)
    }

    /// Waits until the kernel says that it sleeps in system call `nr`.
    fn wait_in(&self, nr: i64) {
        wait_in(self.0, nr);
    }

    /// Its mappings, without the sizes of heap and stack, which may grow by themselves.
    fn maps(&self) -> Vec<String> {
        let text = std::fs::read_to_string(format!("/proc/{}/maps", self.0)).unwrap();
        let movable = |l: &&str| !l.ends_with("[stack]") && !l.ends_with("[heap]");
        text.lines().filter(movable).map(str::to_owned).collect()
    }

    fn status(&self, field: &str) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        text.lines()
            .find_map(|l| l.strip_prefix(field))
            .unwrap_or("")
            .trim()
            .to_owned()
    }

    /// What must not change: mappings and signal dispositions, masks.
    fn look(&self) -> (Vec<String>, Vec<String>) {
        let fields = [
            "SigBlk:",
            "SigIgn:",
            "SigCgt:",
            "SigPnd:",
            "ShdPnd:",
            "TracerPid:",
        ];
        (self.maps(), fields.iter().map(|f| self.status(f)).collect())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.0 > 0 {
            // SAFETY: our own child, not reaped yet.
            unsafe {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL);
            }
        }
    }
}

fn state(tid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{tid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .and_then(|(_, r)| r.chars().next())
        .unwrap_or('?')
}

fn wait_in(tid: i32, nr: i64) {
    wait_in_one_of(tid, &[nr]);
}

fn wait_in_one_of(tid: i32, nrs: &[i64]) {
    wait_for(&format!("{tid} in system call {nrs:?}"), || {
        let text = std::fs::read_to_string(format!("/proc/{tid}/syscall")).unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .is_some_and(|nr| nrs.contains(&nr))
    });
}

fn wait_for(what: &str, good: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !good() {
        assert!(start.elapsed().as_secs() < 20, "never: {what}");
        pause();
    }
}

fn sleep_ms(ms: i64) -> i32 {
    let time = libc::timespec {
        tv_sec: ms / 1000,
        tv_nsec: ms % 1000 * 1_000_000,
    };
    // SAFETY: valid time; the raw call, since libc's goes through clock_nanosleep.
    match unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, 0) } {
        0 => 0,
        _ => std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
    }
}

/// Spins with known values in all SSE registers (and AVX halves where there are any), counting in
/// `count`; returns false when a value changed.
fn spin_with_vectors(count: &AtomicU64, rounds: u64) -> bool {
    let pattern: [u64; 4] = [
        0x0123_4567_89ab_cdef,
        0xfedc_ba98_7654_3210,
        0x5555_aaaa_3333_cccc,
        0x1111_2222_4444_8888,
    ];
    let avx = std::arch::is_x86_feature_detected!("avx");
    let mut out = [0u64; 8];
    // SAFETY: reads and writes only the named memory; all used registers are declared.
    unsafe {
        if avx {
            std::arch::asm!(
                "vmovups ymm0, [{p}]", "vmovups ymm15, [{p}]",
                "2:", "lock inc qword ptr [{c}]", "dec {n}", "jnz 2b",
                "vmovups [{o}], ymm0", "vmovups [{o} + 32], ymm15", "vzeroupper",
                p = in(reg) pattern.as_ptr(), c = in(reg) count.as_ptr(), o = in(reg) out.as_mut_ptr(),
                n = inout(reg) rounds => _, out("xmm0") _, out("xmm15") _);
        } else {
            std::arch::asm!(
                "movups xmm0, [{p}]", "movups xmm15, [{p} + 16]",
                "2:", "lock inc qword ptr [{c}]", "dec {n}", "jnz 2b",
                "movups [{o}], xmm0", "movups [{o} + 16], xmm15",
                p = in(reg) pattern.as_ptr(), c = in(reg) count.as_ptr(), o = in(reg) out.as_mut_ptr(),
                n = inout(reg) rounds => _, out("xmm0") _, out("xmm15") _);
            out[4..].copy_from_slice(&pattern);
        }
    }
    out[..4] == pattern && out[4..] == pattern
}
