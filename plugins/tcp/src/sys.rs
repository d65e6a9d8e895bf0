//! The socket calls of this crate. All of its unsafe code is here.

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

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

/// A value of a socket option.
///
/// # Safety
/// Every bit pattern is a valid value, and the type has no padding.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: plain integers.
unsafe impl Plain for i32 {}
// SAFETY: plain integers.
unsafe impl Plain for u32 {}
// SAFETY: two integers of the same size.
unsafe impl Plain for libc::linger {}
// SAFETY: five integers of the same size.
unsafe impl Plain for crate::RepairWindow {}
// SAFETY: two integers of the same size.
unsafe impl Plain for crate::stream::RepairOption {}

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

/// `setsockopt(2)` of a fixed-size value.
pub(crate) fn set<T: Plain>(fd: RawFd, level: i32, name: i32, value: T) -> io::Result<()> {
    set_all(fd, level, name, &[value])
}

/// `setsockopt(2)` of an array.
pub(crate) fn set_all<T: Plain>(fd: RawFd, level: i32, name: i32, values: &[T]) -> io::Result<()> {
    let length = size_of_val(values) as libc::socklen_t;
    // SAFETY: the kernel reads as many bytes as the slice has.
    check(unsafe { libc::setsockopt(fd, level, name, values.as_ptr().cast(), length) })?;
    Ok(())
}

fn own(fd: libc::c_int) -> OwnedFd {
    // SAFETY: only called with a descriptor that a system call has just returned.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `socket(2)` with `SOCK_CLOEXEC`.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }).map(own)
}

/// `bind(2)` to an encoded address.
pub(crate) fn bind(fd: RawFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    check(unsafe { libc::bind(fd, address.as_ptr().cast(), address.len() as libc::socklen_t) })?;
    Ok(())
}

/// `connect(2)` to an encoded address.
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

/// `accept4(2)` with `SOCK_CLOEXEC` and `SOCK_NONBLOCK`, the address left out.
pub(crate) fn accept(fd: RawFd) -> io::Result<OwnedFd> {
    let none = std::ptr::null_mut();
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: null pointers are allowed for the address.
    check(unsafe { libc::accept4(fd, none, std::ptr::null_mut(), flags) }).map(own)
}

/// `shutdown(2)`.
pub(crate) fn shutdown(fd: RawFd, how: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::shutdown(fd, how) })?;
    Ok(())
}

/// `getsockname(2)`: the encoded address.
pub(crate) fn local_name(fd: RawFd) -> io::Result<Vec<u8>> {
    name_of(fd, libc::getsockname)
}

/// `getpeername(2)`: the encoded address.
pub(crate) fn peer_name(fd: RawFd) -> io::Result<Vec<u8>> {
    name_of(fd, libc::getpeername)
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

/// An `int` that an ioctl(2) writes, e.g. `SIOCINQ`.
pub(crate) fn ioctl_int(fd: RawFd, request: libc::Ioctl) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the requests used here write one int.
    check(unsafe { libc::ioctl(fd, request, &mut value) })?;
    Ok(value)
}

/// `F_GETFL`.
pub(crate) fn status_flags(fd: RawFd) -> io::Result<i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) })
}

/// `F_SETFL`.
pub(crate) fn set_status_flags(fd: RawFd, flags: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) })?;
    Ok(())
}

/// `recv(2)` that takes nothing away and does not wait.
pub(crate) fn peek(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes at most as many bytes as the slice has.
    check_size(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// `send(2)` that does not wait.
pub(crate) fn send(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the kernel reads as many bytes as the slice has.
    check_size(unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags) })
}

/// `sendto(2)`.
pub(crate) fn send_to(fd: RawFd, data: &[u8], to: &[u8]) -> io::Result<()> {
    let (name, length) = (to.as_ptr().cast(), to.len() as libc::socklen_t);
    // SAFETY: the kernel reads as many bytes as the slices have.
    check_size(unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), 0, name, length) })?;
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
