//! Where the hierarchies are mounted: `/proc/self/mountinfo`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use criu_plugin_api::{Context, Result};

/// A mount of a whole hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// `MAJOR:MINOR` of its file system.
    device: String,
    point: PathBuf,
    version_2: bool,
    /// Options of the file system, among them the controllers.
    options: Vec<String>,
}

/// The mounts of hierarchies in this mount namespace.
#[derive(Debug, Default)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Those that there are now.
    pub(crate) fn read() -> Result<Self> {
        let path = "/proc/self/mountinfo";
        let text = std::fs::read(path).context(|| format!("reading {path}"))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Self {
        let lines = text.split(|&byte| byte == b'\n');
        Self(lines.filter_map(mount).collect())
    }

    /// Where a hierarchy can be reached, by the name it has in `/proc/PID/cgroup`.
    pub(crate) fn find(&self, hierarchy: &str) -> Option<PathBuf> {
        let names: Vec<&str> = hierarchy.split(',').filter(|name| !name.is_empty()).collect();
        self.0
            .iter()
            .filter(|mount| {
                mount.version_2 == names.is_empty()
                    && names.iter().all(|name| mount.options.iter().any(|o| o == name))
            })
            // Something else may be mounted over it.
            .find(|mount| device(&mount.point).as_deref() == Some(mount.device.as_str()))
            .map(|mount| mount.point.clone())
    }
}

fn device(point: &PathBuf) -> Option<String> {
    let device = std::fs::metadata(point).ok()?.dev();
    Some(format!("{}:{}", libc::major(device), libc::minor(device)))
}

/// A line of mountinfo, see proc_pid_mountinfo(5), if it is such a mount.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = String::from_utf8(fields.nth(2)?.to_vec()).ok()?;
    let root = fields.next()?;
    let point = unescape(fields.next()?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let version_2 = match rest.next()? {
        b"cgroup" => false,
        b"cgroup2" => true,
        _ => return None,
    };
    let options = String::from_utf8(rest.nth(1)?.to_vec()).ok()?;
    // Only a part of the hierarchy, or one that lies outside of this namespace.
    if root != b"/" {
        return None;
    }
    Some(Mount {
        device,
        point: PathBuf::from(OsStr::from_bytes(&point)),
        version_2,
        options: options.split(',').map(str::to_owned).collect(),
    })
}

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(|_| first == b'\\') {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_hierarchies_count() {
        let text = b"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
            33 31 0:30 /part /part rw shared:1 - cgroup cgroup rw,memory\n\
            34 31 0:31 / /a\\040b rw - cgroup2 cgroup2 rw\n35 1 8:1 / / rw - ext4 /dev/sda rw\n";
        let mounts = Mounts::parse(text).0;
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].device, "0:29");
        assert_eq!(mounts[0].options, ["rw", "cpu", "cpuacct"]);
        assert_eq!(mounts[1].point, PathBuf::from("/a b"));
        assert!(mounts[1].version_2);
    }

    #[test]
    fn the_hierarchies_of_this_machine_are_found() {
        let mounts = Mounts::read().unwrap();
        for member in crate::set::Set::of("self").unwrap().0 {
            if let Some(point) = mounts.find(&member.hierarchy) {
                assert!(point.join("cgroup.procs").exists(), "{}", point.display());
            }
        }
        assert_eq!(mounts.find("no-such-controller"), None);
    }
}
