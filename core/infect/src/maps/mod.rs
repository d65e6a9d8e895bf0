//! `/proc/PID/maps`: where there is room, where the stack is, and where code lies that helps to
//! leave the process.

mod query;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::arch::{Gadgets, LONGEST_GADGET};
use crate::error::{Error, Result};
use crate::sys;

use self::query::Asked;

/// What the text of most processes fits into: those with a longer one are asked about what matters.
const ROOM: usize = 16 << 10;
/// So many mappings right below the main stack are looked at.
const NEAR: usize = 64;

/// What is left free between a new mapping and others.
const DISTANCE: u64 = 0x1_0000;

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

    /// What is left free below it: a stack may grow down into a gap.
    fn kept_below(&self) -> u64 {
        if self.name == "[stack]" {
            0x1000_0000
        } else {
            DISTANCE
        }
    }

    fn executable(&self) -> bool {
        self.perms[0] == b'r' && self.perms[2] == b'x'
    }
}

/// The mappings of a process.
#[derive(Debug)]
pub(crate) struct Maps {
    /// All of them, ascending; or those with code, if others can be asked for.
    known: Vec<Vma>,
    asked: Option<Asked>,
}

impl Maps {
    pub(crate) fn read(tid: i32) -> Result<Maps> {
        Self::read_some(tid, ROOM)
    }

    /// Of no more than so many bytes of text, where the kernel can be asked about the rest.
    fn read_some(tid: i32, most: usize) -> Result<Maps> {
        let path = format!("/proc/{tid}/maps");
        let failed = |why: String| Error::Proc {
            path: path.clone(),
            why,
        };
        let mut file = fs::File::open(&path).map_err(|e| failed(e.to_string()))?;
        // With room from the start: the kernel hands out a page at a time, and nothing tells the length.
        let mut text = Vec::with_capacity(ROOM);
        let first = (&file).take(most as u64).read_to_end(&mut text);
        if first.map_err(|e| failed(e.to_string()))? == most {
            file = match Asked::new(file) {
                Ok(asked) => {
                    return Ok(Maps {
                        known: asked.code(),
                        asked: Some(asked),
                    });
                }
                Err(file) => file,
            };
            file.read_to_end(&mut text).map_err(|e| failed(e.to_string()))?;
        }
        let lines = String::from_utf8_lossy(&text);
        let parse = |line| Vma::parse(line).ok_or_else(|| failed(format!("unknown line {line:?}")));
        Ok(Maps {
            known: lines.lines().map(parse).collect::<Result<_>>()?,
            asked: None,
        })
    }

    /// The mapping with `address` and the one that ends where it begins, if one does.
    fn at(&self, address: u64) -> Option<(Vma, Option<Vma>)> {
        if let Some(asked) = &self.asked {
            let vma = asked.at(address)?;
            let before = vma.start.checked_sub(1).and_then(|last| asked.at(last));
            return Some((vma, before));
        }
        let next = self.known.partition_point(|v| v.end <= address);
        let vma = self.known.get(next).filter(|v| v.start <= address)?;
        let before = next.checked_sub(1).map(|i| &self.known[i]);
        Some((
            vma.clone(),
            before.filter(|before| before.end == vma.start).cloned(),
        ))
    }

    /// The address for a mapping of `size` bytes.
    /// `limit` is the end of the addresses.
    ///
    /// # Errors
    /// The mappings cannot be read.
    pub(crate) fn room(&self, tid: i32, size: u64, limit: u64) -> Result<Option<u64>> {
        let Some(asked) = &self.asked else {
            return Ok(self.upper_end_of_largest_gap(size, limit));
        };
        if let Some(at) = wide_gap(asked, size, limit) {
            return Ok(Some(at));
        }
        let all = Self::read_some(tid, usize::MAX)?;
        Ok(all.upper_end_of_largest_gap(size, limit))
    }

    /// Where the kernel would place a mapping too.
    fn upper_end_of_largest_gap(&self, size: u64, limit: u64) -> Option<u64> {
        let mut floor = 0x1_0000;
        let mut best = (0, 0);
        for vma in &self.known {
            let ceiling = vma.start.min(limit).saturating_sub(vma.kept_below());
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
        let vdso = self.known.iter().find(|vma| vma.name == "[vdso]")?;
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
        let guarded = before.is_some_and(|b| b.perms[..3] == *b"---");
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
    pub(crate) fn main_stack(&self, tid: i32, sp: u64) -> Option<LowEnd> {
        let is_stack = |v: &Vma| v.name == "[stack]" && v.perms[..2] == *b"rw";
        let (stack, floor) = if let Some(asked) = &self.asked {
            let stack = asked.at(sp).filter(is_stack);
            let stack = stack.or_else(|| asked.at(start_of_stack(tid)?).filter(is_stack))?;
            let floor = below(asked, &stack)?;
            (stack, floor)
        } else {
            let i = self.known.iter().position(is_stack)?;
            let floor = i.checked_sub(1).map_or(0, |b| self.known[b].end);
            (self.known[i].clone(), floor)
        };
        let used = if (stack.start..stack.end).contains(&sp) {
            sp
        } else {
            stack.end
        };
        Some(LowEnd {
            up: stack.start,
            limit: used.saturating_sub(LowEnd::KEPT),
            down: stack.start,
            floor,
        })
    }

    /// Finds code that helps to leave: in the vdso first, then in the executable mappings.
    pub(crate) fn gadgets(&self, tid: i32) -> Gadgets {
        let mut found = Gadgets::default();
        let vdso = |v: &&Vma| v.name == "[vdso]";
        let code = |v: &&Vma| v.executable() && v.name != "[vdso]" && v.name != "[vsyscall]";
        // A C library has all of it, and it is small beside the code of some programs.
        let mut others: Vec<&Vma> = self.known.iter().filter(code).collect();
        let library = |v: &Vma| v.name.contains("/libc") || v.name.contains("/ld-musl");
        others.sort_by_key(|v| (!library(v), v.end - v.start));
        for vma in self.known.iter().filter(vdso).chain(others) {
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

/// A gap between what programs map low and what the kernel maps high, found without a look at everything.
fn wide_gap(asked: &Asked, size: u64, limit: u64) -> Option<u64> {
    /// Between an executable, with what is allocated behind it, and libraries; or below both.
    const PLACES: [u64; 3] = [0x6000_0000_0000, 0x7000_0000_0000, 0x1000_0000_0000];
    const WIDE: u64 = 1 << 30;
    PLACES
        .into_iter()
        .filter(|&place| place < limit)
        .find_map(|place| {
            let next = asked.from(place);
            let ceiling = next.map_or(limit - DISTANCE, |vma| {
                vma.start.min(limit).saturating_sub(vma.kept_below())
            });
            (ceiling.saturating_sub(place) > size + WIDE).then(|| (ceiling - size) & !0xfff)
        })
}

/// An address that nothing lies above but the stack that begins higher.
fn below(asked: &Asked, stack: &Vma) -> Option<u64> {
    /// Further down than that nobody looks for room.
    const REACH: u64 = 64 << 20;
    let mut floor = stack.start.saturating_sub(REACH);
    for _ in 0..NEAR {
        let next = asked.from(floor)?;
        if next.start >= stack.start {
            return Some(floor);
        }
        floor = next.end;
    }
    None
}

/// `startstack` of proc_pid_stat(5).
fn start_of_stack(tid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state behind it is field 3.
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split(' ').nth(28 - 3)?.parse().ok()
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

/// Forks, or the like, while no other thread has the lock: nobody would let it go in the child.
#[cfg(test)]
pub(crate) fn with_lock<T>(fork: impl FnOnce() -> T) -> T {
    let held = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let forked = fork();
    drop(held);
    forked
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> (Maps, Maps) {
        let me = std::process::id().cast_signed();
        let all = Maps::read_some(me, usize::MAX).unwrap();
        (all, Maps::read_some(me, 64).unwrap())
    }

    fn plain(vma: &Vma) -> (u64, u64, [u8; 4], u64, &str) {
        (vma.start, vma.end, vma.perms, vma.offset, vma.name.as_str())
    }

    #[test]
    fn asking_tells_what_the_text_does() {
        let (all, some) = both();
        if some.asked.is_none() {
            return println!("skipped: the kernel has no PROCMAP_QUERY");
        }
        let code = all
            .known
            .iter()
            .filter(|v| v.executable() && v.name != "[vsyscall]");
        let code: Vec<_> = code.collect();
        let asked: Vec<_> = some.known.iter().filter(|v| v.name != "[vsyscall]").collect();
        assert_eq!(
            asked.iter().map(|v| plain(v)).collect::<Vec<_>>(),
            code.iter().map(|v| plain(v)).collect::<Vec<_>>()
        );
        assert!(asked.iter().map(|v| &v.file).eq(code.iter().map(|v| &v.file)));
        let here = 0;
        for address in [
            &raw const here as u64,
            asking_tells_what_the_text_does as *const () as u64,
        ] {
            let (one, other) = (all.at(address).unwrap(), some.at(address).unwrap());
            assert_eq!(plain(&one.0), plain(&other.0));
            assert_eq!(one.1.as_ref().map(plain), other.1.as_ref().map(plain));
        }
    }

    #[test]
    fn the_stack_and_room_are_found_by_asking() {
        let me = std::process::id().cast_signed();
        let (all, some) = both();
        let (one, other) = (all.main_stack(me, 0).unwrap(), some.main_stack(me, 0).unwrap());
        assert_eq!((one.up, one.limit, one.down), (other.up, other.limit, other.down));
        assert!(other.floor >= one.floor && other.floor < other.up);
        let at = some.room(me, 1 << 20, 0x7fff_ffff_f000).unwrap().unwrap();
        let taken = |vma: &Vma| vma.start < at + (1 << 20) && at < vma.end;
        assert!(!Maps::read_some(me, usize::MAX).unwrap().known.iter().any(taken));
    }
}
