//! The options that all sockets share (`sk_opts_entry`, socket(7)).

use std::io;
use std::os::fd::RawFd;

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::SkOptsEntry;
use libc::SOL_SOCKET;

use crate::sys;

fn number(fd: RawFd, option: i32) -> io::Result<u32> {
    sys::get::<i32>(fd, SOL_SOCKET, option).map(i32::cast_unsigned)
}

fn flag(fd: RawFd, option: i32) -> io::Result<bool> {
    number(fd, option).map(|v| v != 0)
}

/// Reads the options of a socket. Those of unix sockets alone (`so_passcred`, `so_passsec`) are left
/// out: see [`pass_options`].
///
/// # Errors
/// An option could not be read. A filter that the image format cannot hold is refused.
pub(crate) fn dump(fd: RawFd) -> Result<SkOptsEntry> {
    let mut opts = read(fd).context(|| "reading the socket's options")?;
    opts.so_filter = match sys::get_filter(fd) {
        Ok(filter) => filter,
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
            let what = "an eBPF program is attached to it (SO_ATTACH_BPF): not supported";
            return Err(
                Error::refused(what).with_remedy("detach it for the time of the dump (SO_DETACH_BPF)")
            );
        }
        Err(e) => return Err(e).context(|| "reading the socket's filter"),
    };
    Ok(opts)
}

fn read(fd: RawFd) -> io::Result<SkOptsEntry> {
    let send_timeout: libc::timeval = sys::get(fd, SOL_SOCKET, libc::SO_SNDTIMEO)?;
    let receive_timeout: libc::timeval = sys::get(fd, SOL_SOCKET, libc::SO_RCVTIMEO)?;
    let linger: libc::linger = sys::get(fd, SOL_SOCKET, libc::SO_LINGER)?;
    let mark = number(fd, libc::SO_MARK)?;
    Ok(SkOptsEntry {
        so_sndbuf: number(fd, libc::SO_SNDBUF)?,
        so_rcvbuf: number(fd, libc::SO_RCVBUF)?,
        so_snd_tmo_sec: send_timeout.tv_sec.cast_unsigned(),
        so_snd_tmo_usec: send_timeout.tv_usec.cast_unsigned(),
        so_rcv_tmo_sec: receive_timeout.tv_sec.cast_unsigned(),
        so_rcv_tmo_usec: receive_timeout.tv_usec.cast_unsigned(),
        reuseaddr: Some(flag(fd, libc::SO_REUSEADDR)?),
        so_priority: Some(number(fd, libc::SO_PRIORITY)?),
        so_rcvlowat: Some(number(fd, libc::SO_RCVLOWAT)?),
        so_mark: (mark != 0).then_some(mark),
        so_dontroute: Some(flag(fd, libc::SO_DONTROUTE)?),
        so_no_check: Some(flag(fd, libc::SO_NO_CHECK)?),
        so_reuseport: Some(flag(fd, libc::SO_REUSEPORT)?),
        so_broadcast: Some(flag(fd, libc::SO_BROADCAST)?),
        so_keepalive: Some(flag(fd, libc::SO_KEEPALIVE)?),
        so_oobinline: Some(number(fd, libc::SO_OOBINLINE)?),
        so_linger: (linger.l_onoff != 0).then_some(linger.l_linger.cast_unsigned()),
        so_buf_lock: buffer_lock(fd)?,
        ..SkOptsEntry::default()
    })
}

/// Which buffer sizes the program has set itself; Linux 5.14.
fn buffer_lock(fd: RawFd) -> io::Result<Option<u32>> {
    match number(fd, libc::SO_BUF_LOCK) {
        Ok(lock) => Ok(Some(lock)),
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// `SO_PASSCRED` and `SO_PASSSEC`.
///
/// # Errors
/// An option could not be read.
pub(crate) fn pass_options(fd: RawFd) -> Result<(bool, bool)> {
    let read = || Ok::<_, io::Error>((flag(fd, libc::SO_PASSCRED)?, flag(fd, libc::SO_PASSSEC)?));
    read().context(|| "reading SO_PASSCRED and SO_PASSSEC")
}

/// The device that a socket of the network layers is bound to.
///
/// # Errors
/// It could not be read.
pub(crate) fn device(fd: RawFd) -> Result<Option<String>> {
    let name = sys::get_bytes(fd, SOL_SOCKET, libc::SO_BINDTODEVICE, libc::IFNAMSIZ)
        .context(|| "reading SO_BINDTODEVICE")?;
    let name: Vec<u8> = name.into_iter().take_while(|&b| b != 0).collect();
    Ok((!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned()))
}

/// Puts the options back, but for what bind(2) and full queues need otherwise: see [`restore_reuse`] and
/// [`buffers`].
///
/// # Errors
/// An option could not be set.
pub(crate) fn restore(fd: RawFd, opts: &SkOptsEntry) -> Result<()> {
    restore_plain(fd, opts)?;
    restore_filter(fd, opts)
}

/// Attaches the filter.
///
/// # Errors
/// The kernel's.
pub(crate) fn restore_filter(fd: RawFd, opts: &SkOptsEntry) -> Result<()> {
    if opts.so_filter.is_empty() {
        return Ok(());
    }
    sys::attach_filter(fd, &opts.so_filter)
        .context(|| format!("attaching a filter of {} instructions", opts.so_filter.len()))
}

/// The same as [`restore`] without the filter.
///
/// # Errors
/// An option could not be set.
pub(crate) fn restore_plain(fd: RawFd, opts: &SkOptsEntry) -> Result<()> {
    let set = |option: i32, name: &str, value: u32| {
        sys::set(fd, SOL_SOCKET, option, value).context(|| format!("setting {name} to {value}"))
    };
    let priority = number(fd, libc::SO_PRIORITY).context(|| "reading SO_PRIORITY")?;
    if let Some(priority) = opts.so_priority.filter(|&p| p != priority) {
        set(libc::SO_PRIORITY, "SO_PRIORITY", priority)?;
    }
    if let Some(low) = opts.so_rcvlowat.filter(|&l| l != 1) {
        set(libc::SO_RCVLOWAT, "SO_RCVLOWAT", low)?;
    }
    if let Some(mark) = opts.so_mark {
        set(libc::SO_MARK, "SO_MARK", mark)?;
    }
    for (option, name, value) in [
        (libc::SO_PASSCRED, "SO_PASSCRED", opts.so_passcred),
        (libc::SO_PASSSEC, "SO_PASSSEC", opts.so_passsec),
        (libc::SO_DONTROUTE, "SO_DONTROUTE", opts.so_dontroute),
        (libc::SO_NO_CHECK, "SO_NO_CHECK", opts.so_no_check),
        (libc::SO_BROADCAST, "SO_BROADCAST", opts.so_broadcast),
        (libc::SO_KEEPALIVE, "SO_KEEPALIVE", opts.so_keepalive),
        (
            libc::SO_OOBINLINE,
            "SO_OOBINLINE",
            opts.so_oobinline.map(|v| v != 0),
        ),
    ] {
        if value == Some(true) {
            set(option, name, 1)?;
        }
    }
    if let Some(seconds) = opts.so_linger {
        let value = libc::linger {
            l_onoff: 1,
            l_linger: seconds.cast_signed(),
        };
        sys::set(fd, SOL_SOCKET, libc::SO_LINGER, value)
            .context(|| format!("setting SO_LINGER to {seconds}"))?;
    }
    for (option, name, seconds, micros) in [
        (
            libc::SO_SNDTIMEO,
            "SO_SNDTIMEO",
            opts.so_snd_tmo_sec,
            opts.so_snd_tmo_usec,
        ),
        (
            libc::SO_RCVTIMEO,
            "SO_RCVTIMEO",
            opts.so_rcv_tmo_sec,
            opts.so_rcv_tmo_usec,
        ),
    ] {
        if (seconds, micros) != (0, 0) {
            let value = libc::timeval {
                tv_sec: seconds.cast_signed(),
                tv_usec: micros.cast_signed(),
            };
            sys::set(fd, SOL_SOCKET, option, value)
                .context(|| format!("setting {name} to {seconds}.{micros:06} s"))?;
        }
    }
    Ok(())
}

/// Binds to a device; before bind(2), for the port may be taken on another one.
///
/// # Errors
/// The device does not exist.
pub(crate) fn restore_device(fd: RawFd, opts: &SkOptsEntry) -> Result<()> {
    let Some(device) = &opts.so_bound_dev else {
        return Ok(());
    };
    let name: &[u8] = device.as_ref();
    sys::set_bytes(fd, SOL_SOCKET, libc::SO_BINDTODEVICE, name)
        .context(|| format!("binding to the device {}", String::from_utf8_lossy(name)))
}

/// Makes the buffers large enough for whatever is to be put into the queues.
///
/// # Errors
/// The sizes could not be set.
pub(crate) fn widen_buffers(fd: RawFd, bytes: usize) -> Result<()> {
    // The kernel counts its own overhead for each packet, and doubles what it is given.
    let bytes = i32::try_from(bytes.saturating_mul(4).saturating_add(1 << 20)).unwrap_or(i32::MAX / 2);
    sys::set(fd, SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).context(|| "setting SO_SNDBUFFORCE")?;
    sys::set(fd, SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).context(|| "setting SO_RCVBUFFORCE")
}

/// The sizes as they were, and whether the program or the kernel had chosen them.
///
/// # Errors
/// They could not be set.
pub(crate) fn buffers(fd: RawFd, opts: &SkOptsEntry) -> Result<()> {
    let now = |option| sys::get::<u32>(fd, SOL_SOCKET, option).context(|| "reading a buffer size");
    if now(libc::SO_SNDBUF)? != opts.so_sndbuf {
        sys::set(fd, SOL_SOCKET, libc::SO_SNDBUFFORCE, opts.so_sndbuf / 2)
            .context(|| format!("setting SO_SNDBUFFORCE to {}", opts.so_sndbuf / 2))?;
    }
    if now(libc::SO_RCVBUF)? != opts.so_rcvbuf {
        sys::set(fd, SOL_SOCKET, libc::SO_RCVBUFFORCE, opts.so_rcvbuf / 2)
            .context(|| format!("setting SO_RCVBUFFORCE to {}", opts.so_rcvbuf / 2))?;
    }
    if let Some(lock) = opts.so_buf_lock
        && buffer_lock(fd)
            .context(|| "reading SO_BUF_LOCK")?
            .is_some_and(|now| now != lock)
    {
        sys::set(fd, SOL_SOCKET, libc::SO_BUF_LOCK, lock)
            .context(|| format!("setting SO_BUF_LOCK to {lock}"))?;
    }
    Ok(())
}

/// What lets a socket of the set bind where it was bound. A connection may hold the port of the
/// listening TCP socket (`tcp`) that it came from.
///
/// # Errors
/// The option could not be set.
pub(crate) fn before_bind(fd: RawFd, opts: &SkOptsEntry, tcp: bool) -> Result<()> {
    let reuse = tcp || opts.reuseaddr == Some(true);
    sys::set(fd, SOL_SOCKET, libc::SO_REUSEADDR, i32::from(reuse)).context(|| "setting SO_REUSEADDR")?;
    let port = opts.so_reuseport == Some(true);
    sys::set(fd, SOL_SOCKET, libc::SO_REUSEPORT, i32::from(port)).context(|| "setting SO_REUSEPORT")
}

/// `SO_REUSEADDR` and `SO_REUSEPORT` as they were.
///
/// # Errors
/// An option could not be set.
pub(crate) fn restore_reuse(fd: RawFd, opts: &SkOptsEntry) -> Result<()> {
    for (option, name, value) in [
        (libc::SO_REUSEADDR, "SO_REUSEADDR", opts.reuseaddr),
        (libc::SO_REUSEPORT, "SO_REUSEPORT", opts.so_reuseport),
    ] {
        let value = i32::from(value.unwrap_or(false));
        sys::set(fd, SOL_SOCKET, option, value).context(|| format!("setting {name} to {value}"))?;
    }
    Ok(())
}
