//! What this plugin needs of the kernel, for `criu check`.

use std::ptr::null_mut;

use criu_plugin_api::{Error, FeatureProbe, Host, Presence, Result};

struct Features;

criu_plugin_api::register! {
    kind: Features,
    point: FeatureProbe,
    name: "features",
    claims: ["feature:aio_remap"],
}

impl FeatureProbe for Features {
    fn probe(&self, _: &Host<'_>, feature: &str) -> Result<Presence> {
        match feature {
            "aio_remap" => Ok(aio_remap().map_or_else(Presence::Absent, |()| Presence::Present)),
            other => Err(Error::new(format!("this plugin does not probe {other}"))),
        }
    }
}

fn failed(what: &str) -> String {
    format!("{what}: {}", std::io::Error::last_os_error())
}

/// Moves a ring; it must be known by its new address.
fn aio_remap() -> std::result::Result<(), String> {
    let mut ring: libc::c_ulong = 0;
    // SAFETY: the call writes the address of the ring into `ring`.
    if unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut ring) } < 0 {
        return Err(failed("io_setup"));
    }
    let moved = move_ring(ring);
    let at = moved.as_ref().copied().unwrap_or(ring);
    // SAFETY: takes a plain number; the ring is this function's.
    if unsafe { libc::syscall(libc::SYS_io_destroy, at) } < 0 {
        return Err(failed("io_destroy after the move"));
    }
    moved.map(drop)
}

fn move_ring(ring: u64) -> std::result::Result<u64, String> {
    let length = ring_length(ring)?;
    // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
    let place = unsafe {
        libc::mmap(
            null_mut(),
            length,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return Err(failed("mmap"));
    }
    let old = std::ptr::with_exposed_provenance_mut::<libc::c_void>(usize::try_from(ring).unwrap_or(0));
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: both ranges are whole mappings of this function's making, into which nothing refers.
    let moved = unsafe { libc::mremap(old, length, length, flags, place) };
    if moved == libc::MAP_FAILED {
        let why = failed("mremap of a ring");
        // SAFETY: the mapping was made above, and nothing refers into it.
        unsafe { libc::munmap(place, length) };
        return Err(why);
    }
    Ok(moved.addr() as u64)
}

/// The length of the mapping that begins here.
fn ring_length(ring: u64) -> std::result::Result<usize, String> {
    let maps =
        std::fs::read_to_string("/proc/self/maps").map_err(|error| format!("/proc/self/maps: {error}"))?;
    let start = format!("{ring:08x}-");
    let line = maps.lines().find_map(|line| line.strip_prefix(&start));
    let end = line.and_then(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok());
    let length = end
        .and_then(|end| end.checked_sub(ring))
        .and_then(|length| usize::try_from(length).ok());
    length.ok_or_else(|| "a ring is no mapping of this process".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_can_be_moved() {
        assert_eq!(aio_remap(), Ok(()));
    }
}
