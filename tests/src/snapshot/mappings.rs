//! The mappings of the processes, and what the kernel itself may change about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::plain;
use crate::reaper::Pid;

/// How far the low end of a stack may move. A task that runs on a stack of its own is stopped on that one; the
/// kernel grows the `[stack]` mapping when a signal's frame or an argument is put there.
const STACK_GROWTH: u64 = 4 * 4096;

/// One mapping: where it ends, `PERMISSIONS OFFSET PATH`, and its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    end: u64,
    is: String,
    flags: String,
}

/// The mappings of all processes, by process and first address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mappings(BTreeMap<Pid, BTreeMap<u64, Mapping>>);

impl Mappings {
    /// Reads those of a process. smaps gives both the line of maps and VmFlags.
    pub(super) fn read(&mut self, pid: Pid) {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
        let all = self.0.entry(pid).or_default();
        let mut place = 0;
        for line in smaps.lines() {
            if let Some(flags) = line.strip_prefix("VmFlags:") {
                // sd: soft-dirty tracking; ac: accounting depends on how the mapping came about.
                let kept: Vec<_> = flags
                    .split_whitespace()
                    .filter(|f| !["sd", "ac"].contains(f))
                    .collect();
                if let Some(mapping) = all.get_mut(&place) {
                    mapping.flags = kept.join(" ");
                }
            } else if let Some((start, mapping)) = head(line) {
                place = start;
                all.insert(start, mapping);
            }
        }
    }

    /// What differs, one text each.
    pub(super) fn differences(&self, after: &Mappings) -> Vec<String> {
        let none = BTreeMap::new();
        let pids: BTreeSet<_> = self.0.keys().chain(after.0.keys()).collect();
        pids.into_iter()
            .flat_map(|pid| {
                let of = |all: &Mappings| all.0.get(pid).unwrap_or(&none).clone();
                differences(*pid, of(self), of(after))
            })
            .collect()
    }
}

/// The first line of a mapping in smaps.
fn head(line: &str) -> Option<(u64, Mapping)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let [start, end] = [start, end].map(|n| u64::from_str_radix(n, 16).ok());
    let (perms, offset) = (words.next()?, words.next()?);
    let path: Vec<_> = words.skip(2).collect();
    let mapping = Mapping {
        end: end?,
        is: format!("{perms} {offset} {}", plain(&path.join(" "))),
        flags: String::new(),
    };
    Some((start?, mapping))
}

fn differences(
    pid: Pid,
    mut before: BTreeMap<u64, Mapping>,
    mut after: BTreeMap<u64, Mapping>,
) -> Vec<String> {
    after.retain(|&start, new| {
        let old = before.get(&start) == Some(new);
        let covered = if old {
            vec![start]
        } else {
            grown_stack(&before, start, new).unwrap_or_else(|| joined(&before, start, new))
        };
        covered.iter().for_each(|at| drop(before.remove(at)));
        covered.is_empty()
    });
    let show = |when: &str, (start, m): (&u64, &Mapping)| {
        let end = m.end;
        format!("{pid} mapping {start:x}-{end:x} {when}\n    {} {}", m.is, m.flags)
    };
    let gone = before.iter().map(|entry| show("is gone", entry));
    gone.chain(after.iter().map(|entry| show("is new", entry)))
        .collect()
}

/// The old mapping of which the new one is the same stack, a little larger.
fn grown_stack(before: &BTreeMap<u64, Mapping>, start: u64, new: &Mapping) -> Option<Vec<u64>> {
    let (&old_start, old) = before.range(start..).next()?;
    let grown = new.is.ends_with("[stack]") && old == new && old_start - start <= STACK_GROWTH;
    grown.then(|| vec![old_start])
}

/// The old neighbours that the new mapping covers exactly. The kernel makes one mapping of neighbours that are
/// alike, unless their pages had different histories; such a history ends with a restore. The reverse, one mapping
/// that has become several, is a difference: mremap(2) does not work across them.
fn joined(before: &BTreeMap<u64, Mapping>, start: u64, new: &Mapping) -> Vec<u64> {
    let nameless = new.is.starts_with(|c| "r-".contains(c)) && new.is.get(3..) == Some("p 00000000 ");
    let mut covered = Vec::new();
    let mut reached = start;
    for (&at, old) in before.range(start..new.end) {
        if !nameless || at != reached || old.is != new.is || old.flags != new.flags {
            return Vec::new();
        }
        covered.push(at);
        reached = old.end;
    }
    if reached == new.end { covered } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::{Mapping, differences};
    use std::collections::BTreeMap;

    fn map(all: &[(u64, u64, &str)]) -> BTreeMap<u64, Mapping> {
        let mapping = |end, is: &str| Mapping {
            end,
            is: is.to_owned(),
            flags: "rd".to_owned(),
        };
        all.iter()
            .map(|&(start, end, is)| (start, mapping(end, is)))
            .collect()
    }

    const ANON: &str = "rw-p 00000000 ";
    const STACK: &str = "rw-p 00000000 [stack]";

    #[test]
    fn neighbours_may_be_joined_but_not_split() {
        let (two, one) = (
            map(&[(0x1000, 0x2000, ANON), (0x2000, 0x4000, ANON)]),
            map(&[(0x1000, 0x4000, ANON)]),
        );
        assert!(differences(1, two.clone(), one.clone()).is_empty());
        assert_eq!(differences(1, one.clone(), two).len(), 3);
        let gap = map(&[(0x1000, 0x2000, ANON), (0x3000, 0x4000, ANON)]);
        assert_eq!(differences(1, gap, one.clone()).len(), 3);
        let unlike = map(&[(0x1000, 0x2000, ANON), (0x2000, 0x4000, "r--p 00000000 ")]);
        assert_eq!(differences(1, unlike, one).len(), 3);
    }

    #[test]
    fn a_stack_may_grow_by_four_pages() {
        let before = map(&[(0x10000, 0x20000, STACK)]);
        assert!(differences(1, before.clone(), map(&[(0xc000, 0x20000, STACK)])).is_empty());
        assert_eq!(
            differences(1, before.clone(), map(&[(0xb000, 0x20000, STACK)])).len(),
            2
        );
        assert_eq!(
            differences(1, before.clone(), map(&[(0x11000, 0x20000, STACK)])).len(),
            2
        );
        assert_eq!(differences(1, before, map(&[(0xc000, 0x21000, STACK)])).len(), 2);
        let heap = map(&[(0x10000, 0x20000, ANON)]);
        assert_eq!(differences(1, heap, map(&[(0xc000, 0x20000, ANON)])).len(), 2);
    }
}
