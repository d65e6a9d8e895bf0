//! What this plugin needs of the kernel, for `criu check`.

use criu_plugin_api::{Error, FeatureProbe, Host, Presence, Result};
use nix::errno::Errno;

use crate::sys;

struct Features;

criu_plugin_api::register! {
    kind: Features,
    point: FeatureProbe,
    name: "features",
    claims: ["feature:memfd_hugetlb"],
}

impl FeatureProbe for Features {
    fn probe(&self, _: &Host<'_>, feature: &str) -> Result<Presence> {
        match feature {
            "memfd_hugetlb" => Ok(presence(sys::memfd_create(b"check", libc::MFD_HUGETLB).map(drop))),
            other => Err(Error::new(format!("this plugin does not probe {other}"))),
        }
    }
}

/// Without a free huge page an object can be made all the same: it is filled later.
fn presence(made: nix::Result<()>) -> Presence {
    match made {
        Ok(()) => Presence::Present,
        Err(Errno::EINVAL) => Presence::Absent("memfd_create knows no MFD_HUGETLB".to_owned()),
        Err(errno) => Presence::Absent(format!("memfd_create with MFD_HUGETLB: {}", errno.desc())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told() {
        assert_eq!(presence(Ok(())), Presence::Present);
        assert!(matches!(presence(Err(Errno::EINVAL)), Presence::Absent(why) if why.contains("MFD_HUGETLB")));
    }
}
