//! The set of groups that a task is in, one of each hierarchy: `/proc/PID/cgroup`.

use std::path::{Component, Path};

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::{CgMemberEntry, CgSetEntry};

/// A task's group in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The hierarchy, as the kernel names it: `cpu,cpuacct`, `name=systemd`, nothing for that of version 2.
    pub(crate) hierarchy: String,
    /// The group, from the root of the hierarchy as this process sees it.
    pub(crate) path: Vec<u8>,
}

/// A task's groups, by hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Set(pub(crate) Vec<Member>);

impl Set {
    /// That of a task or thread, `/proc/WHO/cgroup`.
    pub(crate) fn of(who: &str) -> Result<Self> {
        let path = format!("/proc/{who}/cgroup");
        let text = std::fs::read(&path).context(|| format!("reading {path}"))?;
        Self::parse(&text).ok_or_else(|| Error::new(format!("{path} does not parse")))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut members = Vec::new();
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let mut fields = line.splitn(3, |&byte| byte == b':');
            let _number = fields.next()?;
            let hierarchy = String::from_utf8(fields.next()?.to_vec()).ok()?;
            let path = fields.next()?.to_vec();
            if !path.starts_with(b"/") {
                return None;
            }
            members.push(Member { hierarchy, path });
        }
        members.sort_unstable();
        Some(Self(members))
    }

    /// The group in a hierarchy.
    pub(crate) fn path(&self, hierarchy: &str) -> Option<&[u8]> {
        let member = self.0.iter().find(|member| member.hierarchy == hierarchy)?;
        Some(&member.path)
    }

    pub(crate) fn to_entry(&self, id: u32) -> CgSetEntry {
        let ctls = self.0.iter().map(|member| CgMemberEntry {
            name: member.hierarchy.clone(),
            path: member.path.clone(),
            cgns_prefix: None,
        });
        CgSetEntry {
            id,
            ctls: ctls.collect(),
        }
    }

    /// From an image; paths are checked.
    pub(crate) fn from_entry(entry: &CgSetEntry) -> Result<Self> {
        let object = || format!("set {} of cgroup.img", entry.id);
        let mut members = Vec::with_capacity(entry.ctls.len());
        for ctl in &entry.ctls {
            if !is_plain(&ctl.path) || !ctl.path.starts_with(b"/") {
                let text = String::from_utf8_lossy(&ctl.path).into_owned();
                return Err(Error::new(format!(
                    "{}: {text:?} is not the path of a group",
                    object()
                )));
            }
            let prefix = ctl.cgns_prefix.unwrap_or(0) as usize;
            if prefix > ctl.path.len() {
                return Err(Error::new(format!(
                    "{}: its namespace ends behind its path",
                    object()
                )));
            }
            if prefix > 1 {
                return Err(Error::from(criu_plugin_api::Refusal {
                    object: object(),
                    what: "lives in a cgroup namespace of its own, which is not supported".to_owned(),
                    remedy: None,
                }));
            }
            members.push(Member {
                hierarchy: ctl.name.clone(),
                path: ctl.path.clone(),
            });
        }
        members.sort_unstable();
        if members
            .windows(2)
            .any(|pair| pair[0].hierarchy == pair[1].hierarchy)
        {
            return Err(Error::new(format!("{} has a hierarchy twice", object())));
        }
        Ok(Self(members))
    }
}

/// Whether a path leads nowhere but down.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    !path.as_os_str().as_bytes().contains(&0)
        && path.as_os_str().len() < 4096
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// Whether `path` is `above` or a group below it.
pub(crate) fn is_within(path: &[u8], above: &[u8]) -> bool {
    let above = above.strip_suffix(b"/").unwrap_or(above);
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_parse() {
        let set = Set::parse(b"9:name=systemd:/a:b\n4:cpu,cpuacct:/\n0::/x y\n").unwrap();
        assert_eq!(set.path("name=systemd"), Some(b"/a:b".as_slice()));
        assert_eq!(set.path("cpu,cpuacct"), Some(b"/".as_slice()));
        assert_eq!(set.path(""), Some(b"/x y".as_slice()));
        assert_eq!(set.path("memory"), None);
        assert_eq!(Set::from_entry(&set.to_entry(3)).unwrap(), set);
        assert!(Set::parse(b"4:cpu\n").is_none());
        assert!(Set::parse(b"4:cpu:x\n").is_none());
    }

    #[test]
    fn paths_of_images_lead_down_only() {
        for (path, good) in [
            ("/a/b", true),
            ("/", true),
            ("", true),
            ("/a/../b", false),
            ("..", false),
            ("/a\0b", false),
        ] {
            assert_eq!(is_plain(path.as_bytes()), good, "{path:?}");
        }
        let entry = |path: &str, prefix| CgSetEntry {
            id: 1,
            ctls: vec![CgMemberEntry {
                name: String::new(),
                path: path.as_bytes().to_vec(),
                cgns_prefix: prefix,
            }],
        };
        assert!(Set::from_entry(&entry("a", None)).is_err());
        assert!(Set::from_entry(&entry("/a", Some(9))).is_err());
        assert!(
            Set::from_entry(&entry("/a", Some(2)))
                .unwrap_err()
                .message
                .contains("namespace")
        );
        assert!(Set::from_entry(&entry("/a", Some(0))).is_ok());
    }

    #[test]
    fn within_is_by_whole_names() {
        assert!(is_within(b"/a/b", b"/a"));
        assert!(is_within(b"/a", b"/a"));
        assert!(is_within(b"/a", b"/"));
        assert!(!is_within(b"/ab", b"/a"));
        assert!(!is_within(b"/", b"/a"));
    }
}
