//! Whether a mapped file of an overlay can be told by its mapping: tried on one that is mounted nowhere.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use criu_plugin_api::{Context, Presence, Result};
use nix::errno::Errno;

/// A folder that goes with its value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Maps a file of an overlay and compares what `/proc/self/map_files` leads to with it.
pub(crate) fn maps_tell() -> Result<Presence> {
    let folder = Folder(std::env::temp_dir().join(format!("criu-check-{}", std::process::id())));
    let lower = ["one", "two"].map(|name| folder.0.join(name));
    for path in &lower {
        fs::create_dir_all(path).context(|| format!("making {}", path.display()))?;
    }
    fs::write(lower[0].join("file"), [0; 4096]).context(|| "making a file to be mapped")?;
    let mount = match mount(&lower) {
        Ok(mount) => mount,
        Err(errno) => return Ok(Presence::Absent(format!("mounting an overlay: {}", errno.desc()))),
    };
    let path = format!("/proc/self/fd/{}/file", mount.as_raw_fd());
    let file = File::open(&path).context(|| "opening a file of an overlay")?;
    let mapping = Mapping::of(&file).context(|| "mapping a file of an overlay")?;
    let link = format!(
        "/proc/self/map_files/{:x}-{:x}",
        mapping.0,
        mapping.0 + Mapping::LENGTH
    );
    let mapped = fs::metadata(&link).context(|| format!("looking at {link}"))?;
    let opened = file.metadata().context(|| "looking at a file of an overlay")?;
    Ok(if (mapped.dev(), mapped.ino()) == (opened.dev(), opened.ino()) {
        Presence::Present
    } else {
        Presence::Absent("a mapped file of an overlay shows as the one below it".to_owned())
    })
}

/// A mapped page.
struct Mapping(usize);

impl Mapping {
    const LENGTH: usize = 4096;

    fn of(file: &File) -> nix::Result<Self> {
        let none = std::ptr::null_mut();
        // SAFETY: a new mapping, which replaces nothing and is not looked at.
        let at = unsafe {
            libc::mmap(
                none,
                Self::LENGTH,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self(at as usize))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `of` has made.
        unsafe { libc::munmap(self.0 as *mut libc::c_void, Self::LENGTH) };
    }
}

/// An overlay of folders, to be read only, attached nowhere (fsopen(2), Linux 5.2).
fn mount(lower: &[PathBuf]) -> nix::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    const FSMOUNT_CLOEXEC: u32 = 1;
    const FSCONFIG_SET_STRING: u32 = 1;
    const FSCONFIG_CMD_CREATE: u32 = 6;
    let folders: Vec<String> = lower.iter().map(|path| shown(path)).collect();
    let folders = CString::new(folders.join(":")).map_err(|_| Errno::EINVAL)?;
    // SAFETY: C strings and plain numbers; the calls that return a descriptor return a new one.
    unsafe {
        let context = owned(libc::syscall(
            libc::SYS_fsopen,
            c"overlay".as_ptr(),
            FSOPEN_CLOEXEC,
        ))?;
        let set = |command: u32, key: Option<&CStr>, value: Option<&CStr>| {
            let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
            let done = libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                command,
                pointer(key),
                pointer(value),
                0,
            );
            Errno::result(done).map(drop)
        };
        set(FSCONFIG_SET_STRING, Some(c"source"), Some(c"criu-check"))?;
        set(FSCONFIG_SET_STRING, Some(c"lowerdir"), Some(&folders))?;
        set(FSCONFIG_CMD_CREATE, None, None)?;
        owned(libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            0,
        ))
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: every caller passes what a call returned that makes a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
