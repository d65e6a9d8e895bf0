//! Installs what is missing, and only that.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::{At, Error};
use crate::sh;

/// A program and the Debian package that brings it.
pub(crate) struct Package {
    program: &'static str,
    package: &'static str,
}

pub(crate) const GCC: Package = Package {
    program: "cc",
    package: "gcc libc6-dev",
};
pub(crate) const REDIS: Package = Package {
    program: "redis-server",
    package: "redis-server",
};
/// Its server lies outside of the search path; this program comes with it.
pub(crate) const POSTGRES: Package = Package {
    program: "pg_ctlcluster",
    package: "postgresql",
};
pub(crate) const NGINX: Package = Package {
    program: "nginx",
    package: "nginx-light",
};
/// The package of upstream's program holds the image tool `crit`.
pub(crate) const CRIT: Package = Package {
    program: "crit",
    package: "criu",
};
pub(crate) const QEMU: Package = Package {
    program: "qemu-system-x86_64",
    package: "qemu-system-x86",
};
pub(crate) const KMOD: Package = Package {
    program: "depmod",
    package: "kmod",
};
pub(crate) const BUSYBOX: Package = Package {
    program: "busybox",
    package: "busybox-static",
};
pub(crate) const CPIO: Package = Package {
    program: "cpio",
    package: "cpio",
};
pub(crate) const PYTHON: Package = Package {
    program: "python3",
    package: "python3",
};
pub(crate) const NODE: Package = Package {
    program: "node",
    package: "nodejs",
};
pub(crate) const JAVA: Package = Package {
    program: "java",
    package: "default-jdk-headless",
};

/// What the tests need.
pub(crate) const FOR_TESTS: [Package; 8] = [GCC, POSTGRES, REDIS, NGINX, CRIT, PYTHON, NODE, JAVA];

/// Debian starts a service as soon as its package is installed unless this file says no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs the packages whose programs are not there.
pub(crate) fn ensure(wanted: &[Package]) -> Result<(), Error> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|p| sh::find(p.program).is_none())
        .flat_map(|p| p.package.split_whitespace())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if sh::find("apt-get").is_none() {
        return Err(Error::Wrong(format!(
            "these packages are missing, install them: {}",
            missing.join(" ")
        )));
    }
    sh::quiet(
        "update the list of packages",
        Command::new("apt-get").args(["update", "-q"]),
    )?;
    let _quiet = NoServices::new()?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(&missing);
    sh::quiet(&format!("install {}", missing.join(", ")), &mut install)?;
    Ok(())
}

/// While this lives no installed service is started.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn new() -> Result<Self, Error> {
        use std::os::unix::fs::PermissionsExt;
        if Path::new(POLICY).exists() {
            return Ok(NoServices { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").at("write", POLICY)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).at("make executable", POLICY)?;
        Ok(NoServices { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("remove {POLICY}: {error}");
        }
    }
}
