//! Where in the address space the restore itself lives: in one hole that neither this program nor any of
//! the restored processes uses.

use crate::error::{Context, Error, Result};
use crate::restore::images::ImageSet;
use crate::restore::vma::{PAGE, TASK_SIZE};

/// Free space kept on both sides of the hole: room for a stack to grow, and its guard gap.
const MARGIN: u64 = 256 << 20;
/// How far this program's own stack may still grow.
const STACK_ROOM: u64 = 16 << 20;

/// A mapping of the kernel's in this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelPages {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What the restore knows of the address space.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The hole.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Where no mapping may be made while this program runs: its stack will need it.
    pub(crate) keep_out: (u64, u64),
    /// This program's heap.
    pub(crate) heap: (u64, u64),
    /// `[vvar]` with what belongs to it, in the order of addresses.
    pub(crate) vvar: Vec<KernelPages>,
    /// `[vdso]`.
    pub(crate) vdso: Option<KernelPages>,
}

impl Layout {
    /// Finds the hole for a set.
    pub(crate) fn find(set: &ImageSet) -> Result<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps").context(|| "reading /proc/self/maps")?;
        let mut used = Vec::new();
        let mut layout = Self {
            start: 0,
            end: 0,
            keep_out: (0, 0),
            heap: (0, 0),
            vvar: Vec::new(),
            vdso: None,
        };
        for line in maps.lines() {
            let Some((start, end, name)) = parse(line) else {
                return Err(Error::malformed(
                    "/proc/self/maps",
                    format!("has the line {line:?}"),
                ));
            };
            match name {
                "[vdso]" => layout.vdso = Some(KernelPages { start, end }),
                "[heap]" => layout.heap = (start, end),
                _ if name.starts_with("[vvar") => layout.vvar.push(KernelPages { start, end }),
                "[stack]" => layout.keep_out = (start.saturating_sub(STACK_ROOM), end),
                _ => {}
            }
            used.push((start, end));
        }
        for task in &set.tasks {
            used.extend(
                task.live
                    .iter()
                    .flat_map(|live| &live.vmas)
                    .map(|vma| (vma.start, vma.end)),
            );
        }
        (layout.start, layout.end) = largest_hole(used);
        if layout.start >= layout.end {
            return Err(Error::refused(
                "the image set",
                "leaves no free addresses for the restore to work in",
            ));
        }
        Ok(layout)
    }
}

fn parse(line: &str) -> Option<(u64, u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?, words.nth(4).unwrap_or("")))
}

/// The largest range between the ranges, less a margin on both sides.
fn largest_hole(mut used: Vec<(u64, u64)>) -> (u64, u64) {
    used.push((TASK_SIZE, u64::MAX));
    used.sort_unstable();
    let (mut best, mut after) = ((0, 0), PAGE);
    for (start, end) in used {
        if start.saturating_sub(after) > best.1 - best.0 {
            best = (after, start);
        }
        after = after.max(end);
    }
    (
        (best.0 + MARGIN).next_multiple_of(2 << 20),
        best.1.saturating_sub(MARGIN),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_is_the_largest_gap() {
        let gib = 1 << 30;
        let (start, end) = largest_hole(vec![(100 * gib, TASK_SIZE), (gib, 2 * gib)]);
        assert!(
            start >= 2 * gib + MARGIN && end == 100 * gib - MARGIN,
            "{start:#x} {end:#x}"
        );
    }

    #[test]
    fn lines_of_maps_are_read() {
        let line = "7ffd1000-7ffd3000 r-xp 00000000 00:00 0                          [vdso]";
        assert_eq!(parse(line), Some((0x7ffd_1000, 0x7ffd_3000, "[vdso]")));
        assert_eq!(
            parse("1000-2000 rw-p 00000000 00:00 0 "),
            Some((0x1000, 0x2000, ""))
        );
    }
}
