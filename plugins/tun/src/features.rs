//! What this plugin needs of the kernel, for `criu check`.

use std::fs::File;

use criu_plugin_api::{Error, FeatureProbe, Host, Presence, Result};

use crate::sys;

struct Features;

criu_plugin_api::register! {
    kind: Features,
    point: FeatureProbe,
    name: "features",
    claims: ["feature:tun"],
}

impl FeatureProbe for Features {
    fn probe(&self, _: &Host<'_>, feature: &str) -> Result<Presence> {
        match feature {
            "tun" => Ok(tun().map_or_else(Presence::Absent, |()| Presence::Present)),
            other => Err(Error::new(format!("this plugin does not probe {other}"))),
        }
    }
}

/// A device of a number of one's choice (Linux 3.8) needs descriptors that can be asked for one; nothing is made.
fn tun() -> std::result::Result<(), String> {
    let file = File::options().read(true).write(true).open("/dev/net/tun");
    let file = file.map_err(|error| format!("opening /dev/net/tun: {error}"))?;
    sys::set(&file, sys::TUNSETIFINDEX, 0).map_err(|errno| format!("TUNSETIFINDEX: {}", errno.desc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given() {
        match tun() {
            Ok(()) => assert!(std::path::Path::new("/dev/net/tun").exists()),
            Err(why) => assert!(why.contains("tun") || why.contains("TUN"), "{why}"),
        }
    }
}
