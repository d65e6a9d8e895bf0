//! Policies of NUMA memory as `/proc/PID/task/TID/numa_maps` shows them, see numa(7).

use crate::entry::Policy;

/// `MPOL_*` of linux/mempolicy.h.
pub(crate) const DEFAULT: u32 = 0;
const PREFERRED: u32 = 1;
const BIND: u32 = 2;
const INTERLEAVE: u32 = 3;
const LOCAL: u32 = 4;
const PREFERRED_MANY: u32 = 5;
const WEIGHTED_INTERLEAVE: u32 = 6;
const STATIC_NODES: u32 = 1 << 15;
const RELATIVE_NODES: u32 = 1 << 14;
/// Nodes beyond this are none that Linux has (MAX_NUMNODES is at most 1024).
const MOST: usize = 1024;

/// The words of the kernel; a longer one before those that it begins with.
const WORDS: &[(&str, u32)] = &[
    ("default", DEFAULT),
    ("prefer (many)", PREFERRED_MANY),
    ("prefer", PREFERRED),
    ("bind", BIND),
    ("weighted interleave", WEIGHTED_INTERLEAVE),
    ("interleave", INTERLEAVE),
    ("local", LOCAL),
];

/// A mapping's line: where it begins, and its policy, which is that of the thread unless it has its own.
pub(crate) fn line(line: &str) -> Option<(u64, Policy)> {
    let (start, rest) = line.split_once(' ')?;
    Some((u64::from_str_radix(start, 16).ok()?, policy(rest)?))
}

/// `WORD[=FLAG[|FLAG]][:NODES]`, and what follows.
fn policy(text: &str) -> Option<Policy> {
    let (word, mode) = WORDS.iter().find(|(word, _)| text.starts_with(word))?;
    let mut rest = &text[word.len()..];
    let mut flags = 0;
    if let Some(after) = rest.strip_prefix('=') {
        let end = after.find([':', ' ']).unwrap_or(after.len());
        for flag in after[..end].split('|') {
            flags |= match flag {
                "static" => STATIC_NODES,
                "relative" => RELATIVE_NODES,
                _ => return None,
            };
        }
        rest = &after[end..];
    }
    let mut nodes = Vec::new();
    if let Some(after) = rest.strip_prefix(':') {
        let end = after.find(' ').unwrap_or(after.len());
        for part in after[..end].split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            if last >= MOST {
                return None;
            }
            for node in first..=last {
                if nodes.len() <= node / 64 {
                    nodes.resize(node / 64 + 1, 0);
                }
                nodes[node / 64] |= 1u64 << (node % 64);
            }
        }
        rest = &after[end..];
    }
    (rest.is_empty() || rest.starts_with(' ')).then_some(Policy {
        mode: *mode,
        flags,
        nodes,
    })
}

impl Policy {
    /// The arguments of set_mempolicy(2) and mbind(2): mode, nodes, and how many bits these have.
    pub(crate) fn arguments(&self) -> (u64, Vec<u8>, u64) {
        let bytes: Vec<u8> = self.nodes.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // One more than there are: the kernel takes the last off.
        let bits = match bytes.len() {
            0 => 0,
            length => length as u64 * 8 + 1,
        };
        (u64::from(self.mode | self.flags), bytes, bits)
    }

    /// Whether it is one that the kernel may have shown.
    pub(crate) fn is_sound(&self) -> bool {
        self.mode <= WEIGHTED_INTERLEAVE
            && self.flags & !(STATIC_NODES | RELATIVE_NODES) == 0
            && self.nodes.len() <= MOST / 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(u32, u32, Vec<u64>)> {
        line(&format!("7f00000000 {text}")).map(|(start, policy)| {
            assert_eq!(start, 0x7f_0000_0000);
            (policy.mode, policy.flags, policy.nodes)
        })
    }

    #[test]
    fn the_words_of_the_kernel() {
        assert_eq!(parsed("default file=/a:b mapped=2"), Some((DEFAULT, 0, vec![])));
        assert_eq!(parsed("bind:0 anon=1"), Some((BIND, 0, vec![1])));
        assert_eq!(
            parsed("interleave=relative:0-2,65"),
            Some((INTERLEAVE, RELATIVE_NODES, vec![7, 2]))
        );
        assert_eq!(
            parsed("prefer=static:1"),
            Some((PREFERRED, STATIC_NODES, vec![2]))
        );
        assert_eq!(parsed("prefer (many):0-1"), Some((PREFERRED_MANY, 0, vec![3])));
        assert_eq!(
            parsed("weighted interleave:0"),
            Some((WEIGHTED_INTERLEAVE, 0, vec![1]))
        );
        assert_eq!(parsed("local heap"), Some((LOCAL, 0, vec![])));
        for wrong in ["", "binding:0", "bind=x:0", "bind:9999", "bind:x", "unknown"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn arguments_name_their_length() {
        let policy = parsed("bind=static:1").unwrap();
        let policy = Policy {
            mode: policy.0,
            flags: policy.1,
            nodes: policy.2,
        };
        assert_eq!(
            policy.arguments(),
            (u64::from(BIND | STATIC_NODES), 2u64.to_ne_bytes().to_vec(), 65)
        );
        assert!(policy.is_sound());
        assert!(!Policy { mode: 99, ..policy }.is_sound());
    }
}
