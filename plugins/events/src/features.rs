//! What the kinds of this plugin need of the kernel, for `criu check`.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use criu_plugin_api::{Context, Error, FeatureProbe, Host, Presence, Result};
use nix::errno::Errno;

struct Features;

criu_plugin_api::register! {
    kind: Features,
    point: FeatureProbe,
    name: "features",
    claims: ["feature:timerfd", "feature:kcmp_epoll"],
}

impl FeatureProbe for Features {
    fn probe(&self, _: &Host<'_>, feature: &str) -> Result<Presence> {
        match feature {
            "timerfd" => timerfd(),
            "kcmp_epoll" => kcmp_epoll(),
            other => Err(Error::new(format!("this plugin does not probe {other}"))),
        }
    }
}

/// Whether fdinfo tells of a timer, and missed ticks can be set.
fn timerfd() -> Result<Presence> {
    const TFD_IOC_SET_TICKS: libc::Ioctl = 0x4008_5400;
    // SAFETY: takes plain numbers and returns a new descriptor.
    let fd = Errno::result(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) });
    let fd = fd.context(|| "making a timer")?;
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = std::fs::read_to_string(&path).context(|| format!("reading {path}"))?;
    if !text.contains("clockid:") {
        return Ok(Presence::Absent("fdinfo does not tell of timers".to_owned()));
    }
    let ticks = 1u64;
    // SAFETY: the request reads a u64, which `ticks` is.
    Ok(
        match Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), TFD_IOC_SET_TICKS, &raw const ticks) }) {
            Ok(_) => Presence::Present,
            Err(errno) => Presence::Absent(format!("TFD_IOC_SET_TICKS: {}", errno.desc())),
        },
    )
}

/// Compares with an epoll set that is none: a kernel that knows the comparison says so.
fn kcmp_epoll() -> Result<Presence> {
    const KCMP_EPOLL_TFD: libc::c_int = 7;
    let me = std::process::id();
    // `struct kcmp_epoll_slot`: the set, the target, and which of its twins.
    let slot = [u32::MAX, 0, 0];
    // SAFETY: the call reads a slot from the address given.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, me, me, KCMP_EPOLL_TFD, 0, &raw const slot) };
    Ok(match Errno::result(order) {
        Ok(_) | Err(Errno::EBADF) => Presence::Present,
        Err(errno) => Presence::Absent(format!("kcmp with KCMP_EPOLL_TFD: {}", errno.desc())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_there_or_say_why_not() {
        for probe in [timerfd(), kcmp_epoll()] {
            if let Presence::Absent(why) = probe.unwrap() {
                assert!(
                    why.contains("TFD_IOC_SET_TICKS: ") || why.contains("KCMP_EPOLL_TFD: "),
                    "{why}"
                );
            }
        }
    }
}
