//! Masks of processors.

use std::path::Path;

use criu_plugin_api::{Context, Result};

/// The processors that are there, as a list such as `0-3,7`.
const ONLINE: &str = "/sys/devices/system/cpu/online";
/// Processors beyond this are none that Linux has.
const MOST: usize = 8192;

/// The mask of a thread that nobody has restricted: all processors that are there.
pub(crate) fn unrestricted() -> Result<Vec<u8>> {
    let text = std::fs::read_to_string(ONLINE).context(|| format!("reading {ONLINE}"))?;
    Ok(parse(&text))
}

/// What the control group of a thread allows it, if a cpuset restricts it: this binds it anew wherever it is.
pub(crate) fn of_group(tid: i32) -> Option<Vec<u8>> {
    let groups = std::fs::read_to_string(format!("/proc/{tid}/cgroup")).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let (kind, file) = match names.split(',').any(|name| name == "cpuset") {
            true => ("cgroup", "cpuset.effective_cpus"),
            false if names.is_empty() => ("cgroup2", "cpuset.cpus.effective"),
            false => return None,
        };
        let mount = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let fits = fields.get(2) == Some(&kind)
                && (kind == "cgroup2" || fields.get(3)?.split(',').any(|option| option == "cpuset"));
            fits.then(|| Path::new(fields[1]).join(path.trim_start_matches('/')))
        })?;
        // In version 2 the nearest group for which the controller is enabled counts.
        let text = mount
            .ancestors()
            .find_map(|group| std::fs::read_to_string(group.join(file)).ok())?;
        Some(parse(&text))
    })
}

/// From a list such as `0-3,7`, see cpuset(7).
fn parse(text: &str) -> Vec<u8> {
    let mut mask = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else {
            continue;
        };
        for number in first..=last.min(MOST) {
            if mask.len() <= number / 8 {
                mask.resize(number / 8 + 1, 0);
            }
            mask[number / 8] |= 1 << (number % 8);
        }
    }
    mask
}

/// Whether two masks are alike; they may differ in length.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    let trimmed = |mask: &[u8]| {
        let end = mask
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        mask[..end].to_vec()
    };
    trimmed(one) == trimmed(other)
}

/// Whether they have a processor in common.
pub(crate) fn meet(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).any(|(one, other)| one & other != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_masks() {
        assert_eq!(parse("0-3,9\n"), [0b1111, 0b10]);
        assert_eq!(parse(""), []);
        assert!(same(&[3, 0, 0], &[3]));
        assert!(!same(&[3, 1], &[3]));
        assert!(meet(&[2, 1], &[3]) && !meet(&[2, 1], &[4]));
    }
}
