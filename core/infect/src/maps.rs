//! `/proc/PID/maps`: where there is room, where the stack is, and where code lies that helps to
//! leave the process.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::arch::{Gadgets, LONGEST_GADGET};
use crate::error::{Error, Result};
use crate::sys;

/// What the text of most processes fits into.
const ROOM: usize = 16 << 10;

/// One mapping.
#[derive(Debug, Clone)]
pub(crate) struct Vma {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// `rwxp`.
    pub(crate) perms: [u8; 4],
    pub(crate) offset: u64,
    /// Device (text) and inode of a mapped file.
    pub(crate) file: Option<(String, u64)>,
    pub(crate) name: String,
}

impl Vma {
    fn parse(line: &str) -> Option<Vma> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let perms: [u8; 4] = fields.next()?.as_bytes().try_into().ok()?;
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        let device = fields.next()?.to_owned();
        let inode: u64 = fields.next()?.parse().ok()?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let name = fields.next().unwrap_or("").trim_start().to_owned();
        (start < end).then(|| Vma {
            start,
            end,
            perms,
            offset,
            file: (inode != 0).then_some((device, inode)),
            name,
        })
    }

    fn executable(&self) -> bool {
        self.perms[0] == b'r' && self.perms[2] == b'x'
    }
}

/// All mappings of a process, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Maps(Vec<Vma>);

impl Maps {
    pub(crate) fn read(tid: i32) -> Result<Maps> {
        let path = format!("/proc/{tid}/maps");
        // With room from the start: the kernel hands out a page at a time, and nothing tells the length.
        let mut text = Vec::with_capacity(ROOM);
        let read = fs::File::open(&path).and_then(|file| file.take(u64::MAX).read_to_end(&mut text));
        read.map_err(|e| Error::Proc {
            path: path.clone(),
            why: e.to_string(),
        })?;
        let mut all = Vec::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let vma = Vma::parse(line).ok_or_else(|| Error::Proc {
                path: path.clone(),
                why: format!("unknown line {line:?}"),
            })?;
            all.push(vma);
        }
        Ok(Maps(all))
    }

    /// The mapping with `address` and the one before it.
    fn at(&self, address: u64) -> Option<(&Vma, Option<&Vma>)> {
        let next = self.0.partition_point(|v| v.end <= address);
        let vma = self.0.get(next).filter(|v| v.start <= address)?;
        Some((vma, next.checked_sub(1).map(|i| &self.0[i])))
    }

    /// The address for a mapping of `size` bytes: the upper end of the largest gap, where the
    /// kernel would place it too.
    /// `limit` is the end of the addresses.
    pub(crate) fn room(&self, size: u64, limit: u64) -> Option<u64> {
        const DISTANCE: u64 = 0x1_0000;
        let mut floor = 0x1_0000;
        let mut best = (0, 0);
        for vma in &self.0 {
            // A stack may grow down into the gap below it.
            let grows = if vma.name == "[stack]" {
                0x1000_0000
            } else {
                DISTANCE
            };
            let ceiling = vma.start.min(limit).saturating_sub(grows);
            if ceiling > floor && ceiling - floor > best.0 {
                best = (ceiling - floor, ceiling);
            }
            floor = floor.max(vma.end.saturating_add(DISTANCE));
        }
        let ceiling = limit.saturating_sub(DISTANCE);
        if ceiling > floor && ceiling - floor > best.0 {
            best = (ceiling - floor, ceiling);
        }
        (best.0 > size + DISTANCE).then(|| (best.1 - size) & !0xfff)
    }

    /// Where nothing but zeros ends the code that the kernel gives to every process; or `left`, which a tracer that
    /// was killed has put there.
    pub(crate) fn end_of_vdso(&self, left: &[u8], mem: &fs::File) -> Option<u64> {
        use std::os::unix::fs::FileExt;
        let vdso = self.0.iter().find(|vma| vma.name == "[vdso]")?;
        let at = vdso.end - left.len() as u64;
        let mut bytes = vec![0; left.len()];
        mem.read_exact_at(&mut bytes, at).ok()?;
        (bytes == left || bytes.iter().all(|&byte| byte == 0)).then_some(at)
    }

    /// Room of `size` bytes for signal frames, outside of what the thread with stack pointer `sp`
    /// uses: below it on a stack known to be one. That is the main stack, or one with a guard below
    /// and with what one of `pointers` points to above: C libraries put a thread's own data at the
    /// top of its stack. A guard alone has also the memory of an allocator, which lies beside
    /// memory that is not in use yet.
    pub(crate) fn below_stack(&self, sp: u64, size: u64, pointers: [u64; 2]) -> Option<u64> {
        let (vma, before) = self.at(sp)?;
        let writable = vma.perms[..2] == *b"rw" && vma.perms[3] == b'p' && vma.file.is_none();
        let guarded = before.is_some_and(|b| b.end == vma.start && b.perms[..3] == *b"---");
        let own = pointers.iter().any(|at| (sp..vma.end).contains(at));
        let at = sp.checked_sub(size)? & !63;
        (writable && (vma.name == "[stack]" || guarded && own) && at >= vma.start).then_some(at)
    }

    /// Whether that much is free below a shadow stack pointer.
    pub(crate) fn has_shadow_room(&self, ssp: u64, size: u64) -> bool {
        // It may stand at the very end.
        let found = ssp.checked_sub(1).and_then(|last| self.at(last));
        ssp.is_multiple_of(8) && found.is_some_and(|(vma, _)| ssp - vma.start >= size)
    }

    /// The low end of the main stack, for frames of threads that run on memory of their own making. `sp` is the
    /// stack pointer of the leading thread.
    pub(crate) fn main_stack(&self, sp: u64) -> Option<LowEnd> {
        let i = self
            .0
            .iter()
            .position(|v| v.name == "[stack]" && v.perms[..2] == *b"rw")?;
        let stack = &self.0[i];
        let used = if (stack.start..stack.end).contains(&sp) {
            sp
        } else {
            stack.end
        };
        Some(LowEnd {
            up: stack.start,
            limit: used.saturating_sub(LowEnd::KEPT),
            down: stack.start,
            floor: i.checked_sub(1).map_or(0, |b| self.0[b].end),
        })
    }

    /// Finds code that helps to leave: in the vdso first, then in the executable mappings.
    pub(crate) fn gadgets(&self, tid: i32) -> Gadgets {
        let mut found = Gadgets::default();
        let vdso = |v: &&Vma| v.name == "[vdso]";
        let code = |v: &&Vma| v.executable() && v.name != "[vdso]" && v.name != "[vsyscall]";
        // A C library has all of it, and it is small beside the code of some programs.
        let mut others: Vec<&Vma> = self.0.iter().filter(code).collect();
        let library = |v: &Vma| v.name.contains("/libc") || v.name.contains("/ld-musl");
        others.sort_by_key(|v| (!library(v), v.end - v.start));
        for vma in self.0.iter().filter(vdso).chain(others) {
            if found.complete() {
                break;
            }
            let here = cached(tid, vma);
            found.syscall = found.syscall.or(here.syscall);
            found.syscall_ret = found.syscall_ret.or(here.syscall_ret);
            found.sigreturn = found.sigreturn.or(here.sigreturn);
        }
        #[cfg(test)]
        if crate::tests::no_way_out() {
            (found.syscall_ret, found.sigreturn) = (None, None);
        }
        found
    }
}

/// What is free at the low end of the main stack.
///
/// A thread that runs on memory of its own making may have data below its stack pointer. The main stack has room: its
/// lowest bytes, if they are zeros or earlier frames, since a stack in use has return addresses at its end; else what is below it, into
/// which the kernel lets it grow. That stays when the frames are gone, and is used again the next time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LowEnd {
    /// Free from here up to `limit`, as far as there are zeros.
    up: u64,
    limit: u64,
    /// Free from here down.
    down: u64,
    floor: u64,
}

impl LowEnd {
    /// Left free below a stack pointer: for the frames of that thread.
    const KEPT: u64 = 0x1_0000;
    /// Left free above the mapping below the stack.
    const KEEP_AWAY: u64 = 0x20_0000;

    /// Takes `size` bytes. `free` tells whether there is nothing of the program's between two addresses.
    pub(crate) fn take(&mut self, size: u64, free: impl Fn(u64, u64) -> bool) -> Option<u64> {
        let end = (self.up + size).next_multiple_of(64);
        if end <= self.limit && free(self.up, end) {
            return Some(std::mem::replace(&mut self.up, end));
        }
        self.limit = 0;
        let at = self.down.checked_sub(size)? & !63;
        (at > self.floor + Self::KEEP_AWAY).then(|| {
            self.down = at;
            at
        })
    }
}

type FileRange = (String, u64, u64, u64);
static KNOWN: LazyLock<Mutex<HashMap<FileRange, Gadgets>>> = LazyLock::new(Mutex::default);

/// The gadgets of one mapping; those of a file's are remembered, as offsets, and checked on use.
fn cached(tid: i32, vma: &Vma) -> Gadgets {
    let (device, inode) = match &vma.file {
        Some((device, inode)) => (device.clone(), *inode),
        // The kernel's own code is the same everywhere.
        None if vma.name == "[vdso]" => (vma.name.clone(), 0),
        None => return scan(tid, vma),
    };
    let key = (device, inode, vma.offset, vma.end - vma.start);
    let shift = |g: Gadgets, by: u64| Gadgets {
        syscall: g.syscall.map(|a| a.wrapping_add(by)),
        syscall_ret: g.syscall_ret.map(|a| a.wrapping_add(by)),
        sigreturn: g.sigreturn.map(|a| a.wrapping_add(by)),
    };
    let known = KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
        .copied();
    if let Some(known) = known {
        let here = shift(known, vma.start);
        if still_there(tid, &here) {
            return here;
        }
    }
    let here = scan(tid, vma);
    let offsets = shift(here, vma.start.wrapping_neg());
    KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key, offsets);
    here
}

fn still_there(tid: i32, g: &Gadgets) -> bool {
    let same = |at: Option<u64>, pick: fn(&Gadgets) -> Option<u64>| {
        let Some(at) = at else { return true };
        let mut code = [0; LONGEST_GADGET];
        let mut now = Gadgets::default();
        if sys::read_mem(tid, at, &mut code).is_err() {
            return false;
        }
        now.scan(&code, at);
        pick(&now) == Some(at)
    };
    same(g.syscall, |n| n.syscall)
        && same(g.syscall_ret, |n| n.syscall_ret)
        && same(g.sigreturn, |n| n.sigreturn)
}

fn scan(tid: i32, vma: &Vma) -> Gadgets {
    const STEP: u64 = 0x1_0000;
    let mut found = Gadgets::default();
    let mut at = vma.start;
    while at < vma.end && !found.complete() {
        let end = vma.end.min(at + STEP + LONGEST_GADGET as u64);
        let mut code = vec![0; (end - at) as usize];
        // A mapping may reach beyond its file's end: what cannot be read holds nothing.
        if sys::read_mem(tid, at, &mut code).is_ok() {
            found.scan(&code, at);
        }
        at += STEP;
    }
    found
}
