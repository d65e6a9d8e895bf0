//! Pipes by which the kernel asks a program for automatic mounts. The kernel holds the other end, which no restore can
//! give it: the mount would have to be made anew, with all that is mounted on it.

use std::cell::OnceCell;
use std::collections::HashMap;

/// The mount points of automatic mounts, by the inode number of their pipe.
#[derive(Default)]
pub(crate) struct Autofs(OnceCell<HashMap<u64, String>>);

impl Autofs {
    /// Where the kernel asks for mounts by this pipe.
    pub(crate) fn mount_of(&self, pipe: u64) -> Option<&str> {
        let read = || std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = self.0.get_or_init(|| parse(&read()));
        mounts.get(&pipe).map(String::as_str)
    }
}

/// See proc_pid_mountinfo(5); the pipe stands among the options of the file system (Linux 4.6).
fn parse(mountinfo: &str) -> HashMap<u64, String> {
    let of_line = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut words = file_system.split(' ');
        let options = words.next().filter(|&kind| kind == "autofs").and(words.nth(1))?;
        let pipe = options
            .split(',')
            .find_map(|option| option.strip_prefix("pipe_ino="))?;
        Some((pipe.parse().ok()?, mount.split(' ').nth(4)?.to_owned()))
    };
    mountinfo.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipe_of_an_automatic_mount_is_known() {
        let text = "\
25 30 0:23 / /sys rw,relatime shared:7 - sysfs sysfs rw\n\
49 25 0:33 / /net rw,relatime - autofs systemd-1 rw,fd=55,pgrp=1,timeout=0,minproto=5,maxproto=5,direct,pipe_ino=1589\n\
50 25 0:34 / /old rw,relatime - autofs x rw,fd=-1,pgrp=1,indirect,pipe_ino=-1\n\
51 25 0:35 / /b rw - ext4 /dev/b rw,pipe_ino=7\n";
        let found = parse(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&1589], "/net");
    }
}
