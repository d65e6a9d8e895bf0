//! The socket calls of this plugin, with typed arguments. All unsafe code of the plugin is here.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A value of a socket option without padding and without invalid bit patterns.
///
/// # Safety
/// Every bit pattern is a valid value, and the type has no padding.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: plain integers.
unsafe impl Plain for i32 {}
// SAFETY: plain integers.
unsafe impl Plain for u32 {}
// SAFETY: plain integers.
unsafe impl Plain for u64 {}
// SAFETY: two integers of the same size.
unsafe impl Plain for libc::linger {}
// SAFETY: two integers of the same size.
unsafe impl Plain for libc::timeval {}

/// `getsockopt(2)` of a fixed-size value.
pub(crate) fn get<T: Plain>(fd: RawFd, level: i32, name: i32) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the value.
    check(unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &mut length) })?;
    // SAFETY: zeroed, then partly written; every bit pattern is valid by the contract of `Plain`.
    Ok(unsafe { value.assume_init() })
}

/// `getsockopt(2)` of a value of unknown size; what the kernel returned, at most `room` bytes.
pub(crate) fn get_bytes(fd: RawFd, level: i32, name: i32, room: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0u8; room];
    let mut length = room as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the buffer.
    check(unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &mut length) })?;
    value.truncate(length as usize);
    Ok(value)
}

/// `getsockopt(2)` of an option to which the buffer already carries the question.
pub(crate) fn ask(fd: RawFd, level: i32, name: i32, question: &mut [u8]) -> io::Result<()> {
    let mut length = question.len() as libc::socklen_t;
    // SAFETY: the kernel reads and writes at most `length` bytes, the size of the buffer.
    check(unsafe { libc::getsockopt(fd, level, name, question.as_mut_ptr().cast(), &mut length) })?;
    Ok(())
}

/// `getsockopt(SO_GET_FILTER)`: the classic filter as its instructions, eight bytes each; empty when
/// there is none. The length of this option counts instructions.
pub(crate) fn get_filter(fd: RawFd) -> io::Result<Vec<u64>> {
    let mut count: libc::socklen_t = 0;
    // SAFETY: with a length of 0 the kernel writes no data, only the number of instructions.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_GET_FILTER,
            std::ptr::null_mut(),
            &mut count,
        )
    })?;
    let mut filter = vec![0u64; count as usize];
    if count == 0 {
        return Ok(filter);
    }
    // SAFETY: the buffer holds `count` instructions of eight bytes.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_GET_FILTER,
            filter.as_mut_ptr().cast(),
            &mut count,
        )
    })?;
    filter.truncate(count as usize);
    Ok(filter)
}

/// `setsockopt(SO_ATTACH_FILTER)`.
pub(crate) fn attach_filter(fd: RawFd, filter: &[u64]) -> io::Result<()> {
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog {
        len,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the program points to `len` instructions of eight bytes, which the kernel only reads.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// `setsockopt(2)` of a fixed-size value.
pub(crate) fn set<T: Plain>(fd: RawFd, level: i32, name: i32, value: T) -> io::Result<()> {
    set_all(fd, level, name, &[value])
}

/// `setsockopt(2)` of an array.
pub(crate) fn set_all<T: Plain>(fd: RawFd, level: i32, name: i32, values: &[T]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            values.as_ptr().cast(),
            size_of_val(values) as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// `setsockopt(2)` of a string or an opaque value.
pub(crate) fn set_bytes(fd: RawFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn own(fd: libc::c_int) -> OwnedFd {
    // SAFETY: only called with a descriptor that a system call has just returned.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The descriptor behind a number.
pub(crate) fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: only called with the number of a descriptor that the caller holds while it uses the result: that of
    // the file that is being dumped, or one of its own.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// `socket(2)` with `SOCK_CLOEXEC`.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }).map(own)
}

/// `socketpair(2)` with `SOCK_CLOEXEC`.
pub(crate) fn socketpair(family: i32, kind: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: the array has room for the two descriptors.
    check(unsafe { libc::socketpair(family, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) })?;
    Ok((own(fds[0]), own(fds[1])))
}

/// A copy of a descriptor with `FD_CLOEXEC`.
pub(crate) fn dup(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) }).map(own)
}

/// `bind(2)` to an encoded address (family word included).
pub(crate) fn bind(fd: RawFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    check(unsafe { libc::bind(fd, address.as_ptr().cast(), address.len() as libc::socklen_t) })?;
    Ok(())
}

/// `connect(2)` to an encoded address (family word included).
pub(crate) fn connect(fd: RawFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    check(unsafe { libc::connect(fd, address.as_ptr().cast(), address.len() as libc::socklen_t) })?;
    Ok(())
}

/// `listen(2)`.
pub(crate) fn listen(fd: RawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd, backlog) })?;
    Ok(())
}

/// `accept4(2)` with `SOCK_CLOEXEC`, the address left out.
pub(crate) fn accept(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: null pointers are allowed for the address.
    check(unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) })
        .map(own)
}

/// `shutdown(2)`.
pub(crate) fn shutdown(fd: RawFd, how: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::shutdown(fd, how) })?;
    Ok(())
}

fn name_of(
    fd: RawFd,
    call: unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int,
) -> io::Result<Vec<u8>> {
    let mut address = vec![0u8; size_of::<libc::sockaddr_storage>()];
    let mut length = address.len() as libc::socklen_t;
    // SAFETY: both calls write at most `length` bytes, the size of the buffer.
    check(unsafe { call(fd, address.as_mut_ptr().cast(), &mut length) })?;
    address.truncate(length as usize);
    Ok(address)
}

/// `getsockname(2)`: the encoded address.
pub(crate) fn local_name(fd: RawFd) -> io::Result<Vec<u8>> {
    name_of(fd, libc::getsockname)
}

/// `getpeername(2)`: the encoded address; `None` without a peer.
pub(crate) fn peer_name(fd: RawFd) -> io::Result<Option<Vec<u8>>> {
    match name_of(fd, libc::getpeername) {
        Ok(name) => Ok(Some(name)),
        Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => Ok(None),
        Err(e) => Err(e),
    }
}

/// An `int` that an ioctl(2) writes, e.g. `SIOCINQ`.
pub(crate) fn ioctl_int(fd: RawFd, request: libc::Ioctl) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the requests used here write one int.
    check(unsafe { libc::ioctl(fd, request, &mut value) })?;
    Ok(value)
}

/// Descriptor of the file that a path-bound unix socket is bound to, `O_PATH` (`SIOCUNIXFILE`,
/// Linux 4.13, unix(7)).
pub(crate) fn bound_file(fd: RawFd) -> io::Result<OwnedFd> {
    const SIOCUNIXFILE: libc::Ioctl = 0x89e0;
    // SAFETY: the request takes no argument and returns a new descriptor.
    check(unsafe { libc::ioctl(fd, SIOCUNIXFILE) }).map(own)
}

/// Descriptor of the network namespace of a socket (`SIOCGSKNS`, Linux 4.9).
pub(crate) fn namespace_of(fd: RawFd) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the request takes no argument and returns a new descriptor.
    check(unsafe { libc::ioctl(fd, SIOCGSKNS) }).map(own)
}

/// Enters a network namespace with the calling thread.
pub(crate) fn enter_net(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}

/// A descriptor for a process (`pidfd_open(2)`).
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    check(fd as libc::c_int).map(own)
}

/// A copy of a descriptor of another process (`pidfd_getfd(2)`).
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    check(fd as libc::c_int).map(own)
}

/// What `recvmsg(2)` said beside the data.
#[derive(Default)]
pub(crate) struct Received {
    /// Bytes put into the buffer; with `MSG_TRUNC` among the flags of a datagram its full length.
    pub(crate) length: usize,
    /// `msg_flags`.
    pub(crate) flags: i32,
    /// Descriptors that came along (`SCM_RIGHTS`).
    pub(crate) rights: Vec<OwnedFd>,
    /// Who sent it (`SCM_CREDENTIALS`), for a receiver that wants to know.
    pub(crate) credentials: Option<libc::ucred>,
    /// The address of the sender; empty for none.
    pub(crate) from: Vec<u8>,
    /// The address that it was sent to, for a receiver that wants to know (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
    pub(crate) to: Option<IpAddr>,
    /// The length of each datagram but the last, where several that came together are read as one (`UDP_GRO`).
    pub(crate) segment: Option<usize>,
}

/// A descriptor of the sender, for receivers with `SO_PASSPIDFD` (Linux 6.5).
const SCM_PIDFD: i32 = 4;

/// `recvmsg(2)` with room for the most descriptors that one message may carry (`SCM_MAX_FD`, 253).
pub(crate) fn receive(fd: RawFd, buffer: &mut [u8], flags: i32) -> io::Result<Received> {
    let mut control = [0u64; 256];
    let mut from = vec![0u8; size_of::<libc::sockaddr_un>()];
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is plain data; zeroes are valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = from.as_mut_ptr().cast();
    header.msg_namelen = from.len() as libc::socklen_t;
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: all pointers of the header are to live buffers of the lengths given.
    let length = check_size(unsafe { libc::recvmsg(fd, &mut header, flags | libc::MSG_CMSG_CLOEXEC) })?;
    from.truncate(header.msg_namelen as usize);
    let (mut rights, mut credentials, mut to, mut segment) = (Vec::new(), None, None, None);
    // SAFETY: the header is as the kernel left it, the control buffer is aligned and alive.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&header) };
    while !message.is_null() {
        // SAFETY: a non-null result of CMSG_FIRSTHDR or CMSG_NXTHDR is within the control buffer.
        let entry = unsafe { &*message };
        if entry.cmsg_level == libc::SOL_SOCKET && entry.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: the data of the entry follows its header, within the control buffer.
            let data = unsafe { libc::CMSG_DATA(message) };
            let head = data as usize - message as usize;
            let count = (entry.cmsg_len - head) / size_of::<RawFd>();
            for i in 0..count {
                // SAFETY: the kernel wrote `count` descriptors there, which are new and ours.
                rights.push(own(unsafe { data.cast::<RawFd>().add(i).read_unaligned() }));
            }
        }
        if entry.cmsg_level == libc::SOL_SOCKET && entry.cmsg_type == SCM_PIDFD {
            // SAFETY: the kernel wrote a new descriptor behind the header, which is ours.
            drop(own(unsafe {
                libc::CMSG_DATA(message).cast::<RawFd>().read_unaligned()
            }));
        }
        if entry.cmsg_level == libc::SOL_SOCKET && entry.cmsg_type == libc::SCM_CREDENTIALS {
            // SAFETY: the kernel wrote a ucred behind the header, within the control buffer.
            credentials = Some(unsafe { libc::CMSG_DATA(message).cast::<libc::ucred>().read_unaligned() });
        }
        if (entry.cmsg_level, entry.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
            // SAFETY: the kernel wrote an int behind the header, within the control buffer.
            let length = unsafe { libc::CMSG_DATA(message).cast::<libc::c_int>().read_unaligned() };
            segment = usize::try_from(length).ok().filter(|&length| length > 0);
        }
        if (entry.cmsg_level, entry.cmsg_type) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
            // SAFETY: the kernel wrote an in_pktinfo behind the header, within the control buffer.
            let info = unsafe {
                libc::CMSG_DATA(message)
                    .cast::<libc::in_pktinfo>()
                    .read_unaligned()
            };
            to = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
        }
        if (entry.cmsg_level, entry.cmsg_type) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
            // SAFETY: the kernel wrote an in6_pktinfo behind the header, within the control buffer.
            let info = unsafe {
                libc::CMSG_DATA(message)
                    .cast::<libc::in6_pktinfo>()
                    .read_unaligned()
            };
            to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        message = unsafe { libc::CMSG_NXTHDR(&header, message) };
    }
    Ok(Received {
        length,
        flags: header.msg_flags,
        rights,
        credentials,
        from,
        to,
        segment,
    })
}

/// `sendmsg(2)` to an optional address, with descriptors.
pub(crate) fn send(
    fd: RawFd,
    data: &[u8],
    to: Option<&[u8]>,
    rights: &[RawFd],
    flags: i32,
) -> io::Result<usize> {
    send_as(fd, data, to, rights, None, flags)
}

/// The same, with the credentials of the sender (`SCM_CREDENTIALS`).
pub(crate) fn send_as(
    fd: RawFd,
    data: &[u8],
    to: Option<&[u8]>,
    rights: &[RawFd],
    credentials: Option<(i32, u32, u32)>,
    flags: i32,
) -> io::Result<usize> {
    let mut control = Vec::new();
    if !rights.is_empty() {
        let fds: Vec<u8> = rights.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        control_message(&mut control, libc::SCM_RIGHTS, &fds);
    }
    if let Some((pid, uid, gid)) = credentials {
        let words = [pid.to_ne_bytes(), uid.to_ne_bytes(), gid.to_ne_bytes()].concat();
        control_message(&mut control, libc::SCM_CREDENTIALS, &words);
    }
    let vector = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: msghdr is plain data; zeroes are valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    if let Some(address) = to {
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len() as libc::socklen_t;
    }
    header.msg_iov = (&raw const vector).cast_mut();
    header.msg_iovlen = 1;
    if !control.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len();
    }
    // SAFETY: all pointers of the header are to live buffers of the lengths given; they are only read.
    check_size(unsafe { libc::sendmsg(fd, &header, flags | libc::MSG_NOSIGNAL) })
}

/// A `struct cmsghdr` of `SOL_SOCKET` with its data, padded as cmsg(3) wants it.
fn control_message(control: &mut Vec<u8>, kind: i32, data: &[u8]) {
    let length = size_of::<libc::cmsghdr>() + data.len();
    control.extend_from_slice(&length.to_ne_bytes());
    control.extend_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control.extend_from_slice(&kind.to_ne_bytes());
    control.extend_from_slice(data);
    control.resize(control.len().next_multiple_of(size_of::<usize>()), 0);
}

/// Who is at the other end (`SO_PEERCRED`): pid, uid, gid. For a listening socket: who listens.
pub(crate) fn peer_credentials(fd: RawFd) -> io::Result<(i32, u32, u32)> {
    let bytes = get_bytes(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, 12)?;
    let word = |i: usize| {
        let word = bytes.get(i * 4..i * 4 + 4).and_then(|b| b.try_into().ok());
        word.map(u32::from_ne_bytes)
            .ok_or_else(|| io::Error::other("SO_PEERCRED cut short"))
    };
    Ok((word(0)?.cast_signed(), word(1)?, word(2)?))
}

/// The groups of who is at the other end (`SO_PEERGROUPS`, Linux 4.13).
pub(crate) fn peer_groups(fd: RawFd) -> io::Result<Vec<u32>> {
    const SO_PEERGROUPS: i32 = 59;
    let bytes = grown(|buffer| {
        let mut length = buffer.len() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes into the buffer, and how many there are.
        let done = check(unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
                buffer.as_mut_ptr().cast(),
                &raw mut length,
            )
        });
        match done {
            // Too little room, as it always is for the first call: the length is known now.
            Err(e) if e.raw_os_error() == Some(libc::ERANGE) && buffer.is_empty() => length as isize,
            Err(_) => -1,
            Ok(_) => length as isize,
        }
    })?;
    let word = |group: &[u8]| group.try_into().map(u32::from_ne_bytes).unwrap_or_default();
    Ok(bytes.chunks_exact(4).map(word).collect())
}

/// The supplementary groups of this thread.
pub(crate) fn own_groups() -> io::Result<Vec<u32>> {
    // SAFETY: without room nothing is written.
    let count = check(unsafe { libc::getgroups(0, std::ptr::null_mut()) })?;
    let mut groups = vec![0u32; count.unsigned_abs() as usize];
    // SAFETY: there is room for as many as are asked for.
    let count = check(unsafe { libc::getgroups(count, groups.as_mut_ptr()) })?;
    groups.truncate(count.unsigned_abs() as usize);
    Ok(groups)
}

/// Only of this thread, unlike the function of libc.
fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads as many groups as there are.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } as libc::c_int)?;
    Ok(())
}

/// Runs a call with other supplementary groups of this thread, if any are given; needs `CAP_SETGID`.
pub(crate) fn with_groups<T>(groups: Option<&[u32]>, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(groups) = groups else { return call() };
    let own = own_groups()?;
    if own == groups {
        return call();
    }
    set_groups(groups)?;
    let result = call();
    set_groups(&own)?;
    result
}

/// Runs a call with other effective ids of this thread, which sockets remember; needs `CAP_SETUID` and
/// `CAP_SETGID`. The capabilities that go with the user id come back with it.
pub(crate) fn as_user<T>(uid: u32, gid: u32, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let (own_uid, own_gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    set_effective(libc::SYS_setresgid, gid)?;
    let result = set_effective(libc::SYS_setresuid, uid).and_then(|()| call());
    set_effective(libc::SYS_setresuid, own_uid)?;
    set_effective(libc::SYS_setresgid, own_gid)?;
    result
}

/// Only of this thread, unlike the function of libc.
fn set_effective(call: libc::c_long, id: u32) -> io::Result<()> {
    const SAME: u32 = u32::MAX;
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(call, SAME, id, SAME) } as libc::c_int)?;
    Ok(())
}

/// Runs a call in a child with this pid, which is gone afterwards: for what the kernel notes of the process
/// that makes a call. Descriptors are shared with the child. Needs `CAP_CHECKPOINT_RESTORE` or
/// `CAP_SYS_ADMIN`, a free pid (clone3(2), `set_tid`; Linux 5.5), and a process with one thread. The inner
/// result is that of the call.
pub(crate) fn as_process(pid: i32, call: impl FnOnce() -> io::Result<()>) -> io::Result<io::Result<()>> {
    let child = clone_as(pid)?;
    if child == 0 {
        let code = match call() {
            Ok(()) => 0,
            Err(e) => e.raw_os_error().unwrap_or(libc::EIO),
        };
        // SAFETY: ends this child alone, without running what the parent's exit would.
        unsafe { libc::_exit(code) }
    }
    Ok(match reap(child)? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    })
}

/// Runs a call while there is a process with this pid, as [`as_process`].
pub(crate) fn beside_process<T>(pid: i32, call: impl FnOnce() -> io::Result<T>) -> io::Result<io::Result<T>> {
    let child = clone_as(pid)?;
    if child == 0 {
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    let result = call();
    // SAFETY: the pid is that of a child which was not waited for.
    check(unsafe { libc::kill(child, libc::SIGKILL) })?;
    reap(child)?;
    Ok(result)
}

/// A child with this pid that shares the descriptors: its pid, or 0 in the child. It sends no signal when it
/// ends, and ends with this process.
fn clone_as(pid: i32) -> io::Result<i32> {
    let set_tid = pid;
    // SAFETY: clone_args is plain data; zeroes are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_FILES as u64;
    args.set_tid = (&raw const set_tid) as u64;
    args.set_tid_size = 1;
    // SAFETY: without CLONE_VM the child has memory of its own, as after fork(2); the arguments are alive.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    let child = check(child as libc::c_int)?;
    if child == 0 {
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    }
    Ok(child)
}

/// Waits for a child that sends no signal; its exit code.
fn reap(child: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status is valid for writing.
        match check(unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => {
                result?;
                break;
            }
        }
    }
    Ok(if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        libc::EIO
    })
}

/// Calls with a buffer that is as large as the call with an empty one says.
fn grown(mut call: impl FnMut(&mut [u8]) -> isize) -> io::Result<Vec<u8>> {
    loop {
        let mut buffer = vec![0; check_size(call(&mut []))?];
        if buffer.is_empty() {
            return Ok(buffer);
        }
        match check_size(call(&mut buffer)) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // It has grown meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::ERANGE) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Takes the peer of a datagram socket away (connect(2) to `AF_UNSPEC`).
pub(crate) fn disconnect(fd: RawFd) -> io::Result<()> {
    connect(fd, &[0; size_of::<libc::sockaddr>()])
}

/// Makes a descriptor another name of what stands behind `fd` (dup3(2), `O_CLOEXEC`).
pub(crate) fn duplicate_to(fd: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: no pointers; what `to` was is closed, which its owner has asked for.
    check(unsafe { libc::dup3(fd, to, libc::O_CLOEXEC) })?;
    Ok(())
}

/// Waits until a descriptor has one of `events`, at most `timeout_ms`; what it has.
pub(crate) fn poll(fd: RawFd, events: i16, timeout_ms: i32) -> io::Result<i16> {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one entry, alive.
    check(unsafe { libc::poll(&mut entry, 1, timeout_ms) })?;
    Ok(entry.revents)
}

/// Switches a network device on (`SIOCSIFFLAGS`, netdevice(7)).
#[cfg(test)]
pub(crate) fn device_up(fd: RawFd, name: &str) -> io::Result<()> {
    // SAFETY: ifreq is plain data; zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request reads a whole ifreq.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &request) })?;
    Ok(())
}
