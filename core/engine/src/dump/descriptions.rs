//! What the kernel says of open file descriptions, by copies of the target's descriptors.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use criu_plugin_api::message::{FileTarget, Purpose};
use criu_proto::images::FownEntry;

use crate::error::{Context, Error, Result};
use crate::kinds::fs_magic;
use crate::parallel;

/// A thread is worth starting for so many descriptors.
const WORTH: usize = 128;
/// Descriptors that are looked at before the next are handed over.
const PART: usize = 64;

/// Bytes that what is said of most of them fits into.
const INFO: usize = 512;

/// An open file description of the tree.
#[derive(Debug)]
pub(crate) struct Description {
    /// A copy of our own.
    pub(crate) local: OwnedFd,
    /// What its kind will be told; without a number, and without what belongs to the descriptor.
    pub(crate) target: FileTarget,
    /// Whom its signals go to.
    pub(crate) owner: FownEntry,
    /// What `fdinfo` says of a file that is nothing but state of the kernel, whose kind will ask for it.
    pub(crate) fdinfo: Option<Vec<u8>>,
    /// `f_type` of the file system of a regular file, by which kinds are told apart.
    pub(crate) fs_magic: Option<u64>,
}

/// The folders of `/proc` that tell of this process's descriptors.
struct Folders {
    links: File,
    infos: File,
}

/// A number of this process at which descriptors are looked at in `/proc`, one after the other: the kernel forms
/// its files for a number once, which takes several times as long as reading them.
struct Stand {
    number: OwnedFd,
    name: String,
    /// Its `fdinfo`: what it tells is asked of the kernel with each reading from its beginning.
    info: File,
}

thread_local! {
    static STAND: RefCell<Option<Stand>> = const { RefCell::new(None) };
}

impl Folders {
    fn open() -> Result<Self> {
        let open = |path: &str| File::open(path).context(|| format!("opening {path}"));
        Ok(Self {
            links: open("/proc/self/fd")?,
            infos: open("/proc/self/fdinfo")?,
        })
    }

    /// What `/proc` says of a descriptor: its link, and its `fdinfo` if it is nothing but state of the kernel.
    fn of(&self, local: BorrowedFd<'_>) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        STAND.with_borrow_mut(|stand| {
            let stand = match stand {
                Some(stand) => {
                    nix::unistd::dup3(local, &mut stand.number, nix::fcntl::OFlag::O_CLOEXEC)
                        .context(|| "copying it")?;
                    stand
                }
                None => {
                    let number = local.try_clone_to_owned().context(|| "copying it")?;
                    let name = number.as_raw_fd().to_string();
                    let info = self.open_info(&name)?;
                    stand.insert(Stand { number, name, info })
                }
            };
            let link = nix::fcntl::readlinkat(&self.links, stand.name.as_str())
                .context(|| format!("reading the link /proc/self/fd/{}", stand.name))?
                .into_vec();
            let info = is_synthetic(&link).then(|| read_info(&stand.info)).transpose();
            let info = info.context(|| format!("reading /proc/self/fdinfo/{}", stand.name))?;
            Ok((link, info))
        })
    }

    fn open_info(&self, name: &str) -> Result<File> {
        use nix::fcntl::{OFlag, openat};
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        openat(&self.infos, name, flags, nix::sys::stat::Mode::empty())
            .map(File::from)
            .context(|| format!("opening /proc/self/fdinfo/{name}"))
    }
}

fn read_info(file: &File) -> std::io::Result<Vec<u8>> {
    let mut text = vec![0; INFO];
    let mut length = 0;
    loop {
        let got = file.read_at(&mut text[length..], length as u64)?;
        length += got;
        // The kernel writes it in one piece: a read that leaves room has seen its end.
        if length < text.len() {
            text.truncate(length);
            return Ok(text);
        }
        text.resize(length * 2, 0);
    }
}

/// Whether a file is nothing but state of the kernel, by its link.
fn is_synthetic(link: &[u8]) -> bool {
    link.starts_with(b"anon_inode:")
}

impl Description {
    fn of(pidfd: &OwnedFd, pid: i32, folders: &Folders, fd: i32) -> Result<Self> {
        let local = copy_of(pidfd, fd).context(|| "copying it")?;
        Self::new(local, pid, fd, folders)
    }

    /// What the kernel numbers behind the description, of the kinds of which it tells that (`eventfd-id`,
    /// `drm-client-id`): descriptions that differ in it are different ones.
    pub(crate) fn kernel_id(&self) -> Option<u64> {
        kernel_id(self.fdinfo.as_ref()?)
    }

    /// One that has no number in its process.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn in_flight(pid: i32, local: OwnedFd) -> Result<Self> {
        let description = Self::new(local, pid, -1, &Folders::open()?);
        STAND.take();
        let mut description = description?;
        description.target.purpose = Purpose::InFlight as i32;
        Ok(description)
    }

    fn new(local: OwnedFd, pid: i32, fd: i32, folders: &Folders) -> Result<Self> {
        let mut target = target_of(local.as_fd(), Vec::new())?;
        let fdinfo;
        (target.link, fdinfo) = match internal_link(&target) {
            Some(link) => (link, None),
            None => folders.of(local.as_fd())?,
        };
        target.pid = pid;
        target.fd = fd;
        (target.flags, target.pos) = flags_and_offset(local.as_fd(), target.mode)?;
        let owner = owner_of(local.as_fd())?;
        let regular = target.mode & libc::S_IFMT == libc::S_IFREG;
        let fs_magic = if regular { fs_magic(local.as_fd()) } else { None };
        Ok(Self {
            local,
            target,
            owner,
            fdinfo,
            fs_magic,
        })
    }
}

fn kernel_id(fdinfo: &[u8]) -> Option<u64> {
    fdinfo.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        name.ends_with("-id").then(|| value.trim().parse().ok()).flatten()
    })
}

/// A copy of our own of a descriptor of the process behind a pidfd.
pub(crate) fn copy_of(pidfd: &OwnedFd, fd: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: pidfd_getfd takes plain numbers.
    let got = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    if got < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(got as RawFd) })
}

/// Looks at descriptors of a process and hands each to `take`, in their order; many by other threads, which are ahead.
///
/// # Errors
/// Those of `take`. What a descriptor is may not be told: that is `take`'s to judge.
pub(crate) fn each(
    pidfd: &OwnedFd,
    pid: i32,
    fds: &[i32],
    spent: &Spent,
    mut take: impl FnMut(Result<Description>) -> Result<()>,
) -> Result<()> {
    if fds.is_empty() {
        return Ok(());
    }
    let folders = &Folders::open()?;
    let look = |&fd: &i32| {
        spent.close();
        Description::of(pidfd, pid, folders, fd)
            .context(|| format!("dumping descriptor {fd} of process {pid}"))
    };
    let done = if fds.len() < WORTH {
        fds.iter().try_for_each(|fd| take(look(fd)))
    } else {
        parallel::ahead("descriptors", fds, PART, look, take)
    };
    // What stands there is a file of the tree. Other threads have ended, and theirs with them.
    STAND.take();
    done
}

/// Copies that are of no use any more, to be closed by who looks at the next ones.
#[derive(Debug, Default)]
pub(crate) struct Spent(Mutex<Vec<OwnedFd>>);

impl Spent {
    /// More than these are not kept open.
    const MOST: usize = 128;

    pub(crate) fn put(&self, copy: OwnedFd) {
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.len() < Self::MOST {
            copies.push(copy);
        }
    }

    fn close(&self) {
        // Whoever is at it leaves nothing.
        let Ok(mut copies) = self.0.try_lock() else { return };
        if copies.len() >= PART {
            let many = std::mem::take(&mut *copies);
            drop(copies);
            drop(many);
        }
    }
}

/// What `/proc` says of a pipe or a socket, which the kernel forms of the inode number alone.
fn internal_link(target: &FileTarget) -> Option<Vec<u8>> {
    let (name, device) = match target.mode & libc::S_IFMT {
        libc::S_IFIFO => ("pipe", devices()?.pipes),
        libc::S_IFSOCK => ("socket", devices()?.sockets),
        _ => return None,
    };
    // Others lie in a file system, under a path.
    (target.dev == device).then(|| format!("{name}:[{}]", target.ino).into_bytes())
}

/// The devices of the file systems that pipes and sockets lie in.
struct Devices {
    pipes: u64,
    sockets: u64,
}

fn devices() -> Option<&'static Devices> {
    static DEVICES: OnceLock<Option<Devices>> = OnceLock::new();
    let find = || {
        let device = |fd: &OwnedFd| nix::sys::stat::fstat(fd).ok().map(|stat| stat.st_dev);
        let (pipe, _) = nix::unistd::pipe().ok()?;
        let (socket, _) = std::os::unix::net::UnixStream::pair().ok()?;
        Some(Devices {
            pipes: device(&pipe)?,
            sockets: device(&socket.into())?,
        })
    };
    DEVICES.get_or_init(find).as_ref()
}

/// The status flags and the offset of a description whose file has this mode; 0 for one that has none.
fn flags_and_offset(local: BorrowedFd<'_>, mode: u32) -> Result<(u32, u64)> {
    let fd = local.as_raw_fd();
    // SAFETY: F_GETFL takes no argument.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(Error::last_os("asking for its flags"));
    }
    if matches!(mode & libc::S_IFMT, libc::S_IFIFO | libc::S_IFSOCK) {
        return Ok((flags.cast_unsigned(), 0));
    }
    // SAFETY: lseek takes plain numbers; an offset of 0 from where it is moves nothing.
    let pos = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    // Some files have offsets of the upper half; only -1 means that there is none.
    let pos = if pos == -1 { 0 } else { pos.cast_unsigned() };
    Ok((flags.cast_unsigned(), pos))
}

/// What fstat(2) says of a descriptor of ours.
pub(crate) fn target_of(local: BorrowedFd<'_>, link: Vec<u8>) -> Result<FileTarget> {
    let stat = nix::sys::stat::fstat(local).context(|| "asking for its status")?;
    Ok(FileTarget {
        link,
        dev: stat.st_dev,
        ino: stat.st_ino,
        mode: stat.st_mode,
        nlink: stat.st_nlink,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev,
        size: stat.st_size.cast_unsigned(),
        mnt_id: -1,
        ..FileTarget::default()
    })
}

const F_GETSIG: libc::c_int = 11;
const F_GETOWN_EX: libc::c_int = 16;
const F_GETOWNER_UIDS: libc::c_int = 17;

/// `struct f_owner_ex` of `<fcntl.h>`.
#[repr(C)]
#[derive(Default)]
struct OwnerEx {
    kind: libc::c_int,
    pid: libc::pid_t,
}

/// The owner for SIGIO and SIGURG, see fcntl(2). An `O_PATH` descriptor has none.
fn owner_of(local: BorrowedFd<'_>) -> Result<FownEntry> {
    let mut entry = FownEntry::default();
    let mut owner = OwnerEx::default();
    // SAFETY: F_GETOWN_EX writes one f_owner_ex to the address given, which is one.
    if unsafe { libc::fcntl(local.as_raw_fd(), F_GETOWN_EX, &raw mut owner) } < 0 {
        return Ok(entry);
    }
    // SAFETY: F_GETSIG takes no argument.
    let signal = unsafe { libc::fcntl(local.as_raw_fd(), F_GETSIG) };
    entry.signum = u32::try_from(signal).unwrap_or(0);
    if owner.pid != 0 {
        let mut uids = [0u32; 2];
        // SAFETY: F_GETOWNER_UIDS writes two uid_t to the address given, which holds two.
        if unsafe { libc::fcntl(local.as_raw_fd(), F_GETOWNER_UIDS, uids.as_mut_ptr()) } < 0 {
            return Err(Error::last_os("asking for the user ids of a descriptor's owner"));
        }
        entry.uid = uids[0];
        entry.euid = uids[1];
        entry.pid_type = owner.kind.cast_unsigned();
        entry.pid = owner.pid.cast_unsigned();
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn names_of_pipes_and_sockets_are_those_of_proc() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        for local in [read, write, one.into()] {
            let link = crate::proc::read_link(&format!("/proc/self/fd/{}", local.as_raw_fd())).unwrap();
            let target = target_of(local.as_fd(), Vec::new()).unwrap();
            assert_eq!(internal_link(&target), Some(link));
        }
        let file = File::open("/dev/null").unwrap();
        assert_eq!(internal_link(&target_of(file.as_fd(), Vec::new()).unwrap()), None);
    }

    #[test]
    fn many_descriptors_come_in_their_order() {
        let files: Vec<File> = (0..1000).map(|_| File::open("/dev/null").unwrap()).collect();
        let mut fds: Vec<i32> = files.iter().map(|file| file.as_raw_fd()).collect();
        // One that is not open is told of in its place.
        fds.insert(500, 1 << 20);
        let pid = std::process::id().cast_signed();
        // SAFETY: pidfd_open takes plain numbers and returns a new descriptor.
        let pidfd = unsafe { OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, pid, 0) as RawFd) };
        let mut seen = Vec::new();
        each(&pidfd, pid, &fds, &Spent::default(), |description| {
            seen.push(description.map_or(1 << 20, |description| description.target.fd));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, fds);
        let mut count = 0;
        let stopped = each(&pidfd, pid, &fds, &Spent::default(), |_| {
            count += 1;
            Err(Error::malformed("it", "is enough"))
        });
        assert!(stopped.is_err() && count == 1);
    }

    #[test]
    fn what_proc_says_is_that_of_the_descriptor_whose_turn_it_is() {
        let folders = Folders::open().unwrap();
        let paths = ["/dev/null", "/dev/zero", "/proc/self/maps", "/dev/null"];
        let files = paths.map(|path| File::open(path).unwrap());
        for (file, path) in files.iter().zip(paths) {
            let (link, info) = folders.of(file.as_fd()).unwrap();
            let name = format!("/proc/self/fd/{}", file.as_raw_fd());
            assert_eq!(link, crate::proc::read_link(&name).unwrap());
            assert_eq!(info, None, "{path} is more than state of the kernel");
            let inode = |text: &[u8]| {
                let text = String::from_utf8_lossy(text).into_owned();
                text.lines()
                    .find(|line| line.starts_with("ino:"))
                    .map(str::to_owned)
            };
            let told = STAND.with_borrow(|stand| read_info(&stand.as_ref().unwrap().info).unwrap());
            let expected = crate::proc::read(&format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
            assert_eq!(inode(&told), inode(&expected));
        }
        STAND.take();
    }

    #[test]
    fn a_text_of_any_length_is_read_whole() {
        for length in [0, 1, INFO - 1, INFO, INFO + 1, 10 * INFO] {
            let file = File::options()
                .read(true)
                .write(true)
                .custom_flags(libc::O_TMPFILE)
                .open(std::env::temp_dir());
            let (file, text) = (file.unwrap(), vec![b'x'; length]);
            file.write_all_at(&text, 0).unwrap();
            assert_eq!(read_info(&file).unwrap(), text);
        }
    }

    #[test]
    fn what_the_kernel_numbers_is_told_apart() {
        assert_eq!(kernel_id(b"pos:\t0\nsome-count: 3\nsome-id: 17\n"), Some(17));
        for none in [&b"pos:\t0\nmnt_id:\t15\n"[..], b"other-id:\tx\n", b"-id", b""] {
            assert_eq!(kernel_id(none), None);
        }
    }

    #[test]
    fn an_owner_is_read_back() {
        let (read, _write) = nix::unistd::pipe().unwrap();
        assert_eq!(owner_of(read.as_fd()).unwrap(), FownEntry::default());
        let me = std::process::id();
        // SAFETY: F_SETOWN and F_SETSIG take plain numbers.
        unsafe {
            libc::fcntl(read.as_raw_fd(), libc::F_SETOWN, me as libc::c_int);
            libc::fcntl(read.as_raw_fd(), 10, libc::SIGUSR1);
        }
        let owner = owner_of(read.as_fd()).unwrap();
        assert_eq!(
            (owner.pid, owner.pid_type, owner.signum),
            (me, 1, libc::SIGUSR1 as u32)
        );
    }
}
