//! The way to a hierarchy: a directory of the user's, a mount that is there, or one that nobody else sees.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use criu_plugin_api::{Context, Error, Host, Result};
use nix::errno::Errno;

use crate::mounts::Mounts;
use crate::set::Set;

/// `FSCONFIG_*` and `FS*_CLOEXEC` of linux/mount.h.
const SET_FLAG: u32 = 0;
const SET_STRING: u32 = 1;
const CMD_CREATE: u32 = 6;
const CLOEXEC: u32 = 1;

/// One hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchy {
    /// As `/proc/PID/cgroup` names it.
    pub(crate) name: String,
    /// The directory of its root group.
    base: PathBuf,
    /// Keeps a mount of our own.
    _mount: Option<Rc<OwnedFd>>,
}

impl Hierarchy {
    /// One with its root group at a directory.
    pub(crate) fn at(name: &str, base: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            base,
            _mount: None,
        }
    }

    /// Whether it is that of version 2.
    pub(crate) fn is_version_2(&self) -> bool {
        self.name.is_empty()
    }

    /// Its name for messages.
    pub(crate) fn title(&self) -> &str {
        if self.is_version_2() {
            "of version 2"
        } else {
            &self.name
        }
    }

    /// The directory of a group; `path` is plain and from the root of the hierarchy.
    pub(crate) fn dir(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        self.base.join(std::ffi::OsStr::from_bytes(relative))
    }
}

/// Finds hierarchies.
pub(crate) struct Finder {
    yard: Option<PathBuf>,
    mounts: Mounts,
    /// The hierarchies that this kernel has, by their names.
    present: Vec<String>,
}

impl Finder {
    /// As the options say.
    pub(crate) fn new(host: &Host<'_>) -> Result<Self> {
        Ok(Self {
            yard: host.setting("cgroup-yard")?.map(PathBuf::from),
            mounts: Mounts::read()?,
            present: Set::of("self")?.0.into_iter().map(|m| m.hierarchy).collect(),
        })
    }

    /// The hierarchy of that name; its controllers may be in another order.
    pub(crate) fn find(&self, name: &str) -> Result<Hierarchy> {
        let name = self
            .present
            .iter()
            .find(|own| same(own, name))
            .map_or(name, |own| own);
        if let Some(yard) = &self.yard {
            return in_yard(yard, name);
        }
        if let Some(point) = self.mounts.find(name) {
            return Ok(Hierarchy::at(name, point));
        }
        let named = name.starts_with("name=") && !name.contains(',');
        if !named && !self.present.iter().any(|own| own == name) {
            // To mount it would take the controllers away from where they are.
            return Err(Error::new(format!(
                "this machine has no control group hierarchy {}",
                if name.is_empty() { "of version 2" } else { name }
            ))
            .with_remedy("mount it, or name those to be saved with --cgroup-dump-controller"));
        }
        let mount = mount(name).context(|| format!("mounting the control group hierarchy {name:?}"))?;
        Ok(Hierarchy {
            name: name.to_owned(),
            base: PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())),
            _mount: Some(Rc::new(mount)),
        })
    }
}

/// Whether two names are those of one hierarchy.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let parts = |name: &str| name.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
    one == other || parts(one) == parts(other)
}

/// `--cgroup-yard`: a directory for each hierarchy, named by its controllers.
fn in_yard(yard: &Path, name: &str) -> Result<Hierarchy> {
    let wanted = match name {
        "" => "unified",
        name => name.strip_prefix("name=").unwrap_or(name),
    };
    let doing = || {
        format!(
            "looking for hierarchy {wanted} in --cgroup-yard {}",
            yard.display()
        )
    };
    for entry in std::fs::read_dir(yard).context(doing)? {
        let entry = entry.context(doing)?;
        if entry.file_name().to_str().is_some_and(|file| same(file, wanted)) {
            return Ok(Hierarchy::at(name, entry.path()));
        }
    }
    Err(Error::new(format!("{}: there is no such directory", doing())))
}

/// A mount of a hierarchy at no place: only the descriptor leads to it. fsopen(2), Linux 5.2
fn mount(name: &str) -> nix::Result<OwnedFd> {
    let fs = if name.is_empty() { c"cgroup2" } else { c"cgroup" };
    // SAFETY: the name is a C string, the rest are numbers.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, fs.as_ptr(), CLOEXEC) })?;
    for part in name.split(',').filter(|part| !part.is_empty()) {
        match part.strip_prefix("name=") {
            Some(value) => {
                configure(&context, SET_FLAG, Some("none"), None)?;
                configure(&context, SET_STRING, Some("name"), Some(value))?;
            }
            None => configure(&context, SET_FLAG, Some(part), None)?,
        }
    }
    configure(&context, CMD_CREATE, None, None)?;
    // SAFETY: plain numbers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) })
}

fn configure(context: &OwnedFd, command: u32, key: Option<&str>, value: Option<&str>) -> nix::Result<()> {
    let text = |text: Option<&str>| text.map(CString::new).transpose().map_err(|_| Errno::EINVAL);
    let (key, value) = (text(key)?, text(value)?);
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: both texts are C strings or absent, and outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            pointer(&key),
            pointer(&value),
            0,
        )
    };
    Errno::result(result).map(drop)
}

fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the calls that end here return a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use criu_plugin_api::testing::MockHost;

    #[test]
    fn controllers_may_stand_in_any_order() {
        assert!(same("cpu,cpuacct", "cpuacct,cpu"));
        assert!(same("", ""));
        assert!(!same("cpu", "cpu,cpuacct"));
        assert!(!same("", "cpu"));
    }

    #[test]
    fn a_yard_has_a_directory_for_each() {
        let yard = tempfile::tempdir().unwrap();
        for name in ["unified", "systemd", "devices,freezer"] {
            std::fs::create_dir(yard.path().join(name)).unwrap();
        }
        let dir = |name: &str| in_yard(yard.path(), name).map(|h| h.dir(b"/x/y"));
        assert_eq!(dir("").unwrap(), yard.path().join("unified/x/y"));
        assert_eq!(dir("name=systemd").unwrap(), yard.path().join("systemd/x/y"));
        assert_eq!(
            dir("freezer,devices").unwrap(),
            yard.path().join("devices,freezer/x/y")
        );
        assert!(dir("cpu").unwrap_err().message.contains("cpu in --cgroup-yard"));
    }

    #[test]
    fn what_this_kernel_lacks_is_named() {
        let mock = MockHost::new();
        let finder = Finder::new(&Host::new(&mock, "cgroup")).unwrap();
        let error = finder.find("no-such-controller").unwrap_err();
        assert!(error.message.contains("no-such-controller"), "{error}");
        assert!(error.remedy.is_some());
    }

    #[test]
    fn an_unmounted_hierarchy_is_reached_by_a_mount_of_its_own() {
        for member in Set::of("self").unwrap().0 {
            let mount = mount(&member.hierarchy).unwrap();
            let procs = format!("/proc/self/fd/{}/cgroup.procs", mount.as_raw_fd());
            assert!(Path::new(&procs).exists(), "{}", member.hierarchy);
        }
    }
}
