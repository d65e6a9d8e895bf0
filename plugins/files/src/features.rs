//! What this plugin needs of the kernel, for `criu check`.

use std::fs::File;
use std::os::fd::AsRawFd;

use criu_plugin_api::{Context, Error, FeatureProbe, Host, Presence, Result};
use nix::fcntl::{Flock, FlockArg};

struct Features;

criu_plugin_api::register! {
    kind: Features,
    point: FeatureProbe,
    name: "features",
    claims: ["feature:fdinfo_lock", "feature:overlayfs_maps", "feature:autofs"],
}

impl FeatureProbe for Features {
    fn probe(&self, _: &Host<'_>, feature: &str) -> Result<Presence> {
        match feature {
            "fdinfo_lock" => fdinfo_lock(),
            "overlayfs_maps" => crate::overlay::maps_tell(),
            "autofs" => Ok(Presence::Absent(
                "programs that serve automatic mounts are refused".to_owned(),
            )),
            other => Err(Error::new(format!("this plugin does not probe {other}"))),
        }
    }
}

/// Whether fdinfo tells of locks: one's own, shared, on this program.
fn fdinfo_lock() -> Result<Presence> {
    let file = File::open("/proc/self/exe").context(|| "opening this program")?;
    let lock = Flock::lock(file, FlockArg::LockSharedNonblock).map_err(|(_, errno)| errno);
    let lock = lock.context(|| "locking this program")?;
    let path = format!("/proc/self/fdinfo/{}", lock.as_raw_fd());
    let text = std::fs::read_to_string(&path).context(|| format!("reading {path}"))?;
    Ok(match text.contains("\nlock:") {
        true => Presence::Present,
        false => Presence::Absent("fdinfo does not tell of locks".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_are_probed_and_leave_nothing() {
        match crate::overlay::maps_tell().unwrap() {
            Presence::Present => {}
            Presence::Absent(why) => assert!(!why.is_empty()),
        }
        let left = std::env::temp_dir().join(format!("criu-check-{}", std::process::id()));
        assert!(!left.exists());
    }

    #[test]
    fn locks_are_told_of() {
        assert_eq!(fdinfo_lock().unwrap(), Presence::Present);
    }
}
