//! The kernel of the distribution, and the file system that it starts with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{At, Error};
use crate::sh;

/// The package that depends on the newest kernel.
const NEWEST: &str = "linux-image-amd64";
/// What is loaded to reach the root of this machine.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// A kernel, unpacked.
pub(crate) struct Kernel {
    /// As `uname -r` gives it.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// The root of its files.
    root: PathBuf,
}

impl Kernel {
    /// Downloads and unpacks a package, unless that was done before.
    pub(crate) fn get(folder: &Path, package: Option<&str>) -> Result<Kernel, Error> {
        let package = package.map_or_else(newest, |name| Ok(name.to_owned()))?;
        let root = folder.join(&package);
        if !root.is_dir() {
            unpack(folder, &package, &root)?;
        }
        let modules = root.join("lib/modules");
        let release = only_entry(&modules)?;
        Ok(Kernel {
            image: root.join(format!("boot/vmlinuz-{release}")),
            release,
            root,
        })
    }

    /// Makes an initramfs of busybox, the script `init.sh` and the modules that this needs.
    pub(crate) fn initramfs(&self, folder: &Path) -> Result<PathBuf, Error> {
        let root = folder.join("initramfs");
        if root.exists() {
            fs::remove_dir_all(&root).at("remove", &root)?;
        }
        for name in ["bin", "modules", "proc", "lower", "upper", "new"] {
            let folder = root.join(name);
            fs::create_dir_all(&folder).at("create", folder)?;
        }
        let busybox = sh::find("busybox").ok_or_else(|| Error::Wrong("busybox is not installed".into()))?;
        let copy = root.join("bin/busybox");
        fs::copy(&busybox, &copy).at("copy", &busybox)?;
        let mut order = Vec::new();
        for file in self.modules()? {
            let Some(name) = file.file_name().and_then(|n| n.to_str()).map(str::to_owned) else {
                continue;
            };
            if !order.contains(&name) {
                fs::copy(&file, root.join("modules").join(&name)).at("copy", &file)?;
                order.push(name);
            }
        }
        let modules = self.root.join("lib/modules").display().to_string();
        for (name, text) in [
            ("modules/order", order.join("\n").as_str()),
            ("modules/folder", &modules),
            ("init", include_str!("init.sh")),
        ] {
            let file = root.join(name);
            fs::write(&file, text).at("write", file)?;
        }
        let init = root.join("init");
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).at("make executable", &init)?;
        let archive = folder.join("initramfs.cpio");
        let file = fs::File::create(&archive).at("create", &archive)?;
        let pack = "set -o pipefail; find . | cpio --quiet -o -H newc";
        sh::shown(
            Command::new("bash")
                .args(["-c", pack])
                .current_dir(&root)
                .stdout(file),
        )?;
        Ok(archive)
    }

    /// The files to load, each after what it needs.
    fn modules(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        for module in MODULES {
            let mut command = Command::new("modprobe");
            command.arg("-d").arg(&self.root).args(["-S", &self.release]);
            let text = sh::output(command.args(["--show-depends", module]))?;
            let paths = text.lines().filter_map(|line| line.strip_prefix("insmod "));
            files.extend(paths.map(|path| PathBuf::from(path.trim())));
        }
        Ok(files)
    }
}

fn newest() -> Result<String, Error> {
    let text = sh::output(Command::new("apt-cache").args(["depends", NEWEST]))?;
    let mut names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    let name = names.find(|name| name.starts_with("linux-image-"));
    name.map(str::to_owned).ok_or_else(|| {
        Error::Wrong(format!(
            "the package {NEWEST} names no kernel: `apt-get update` may help, or name a package with --kernel"
        ))
    })
}

fn unpack(folder: &Path, package: &str, root: &Path) -> Result<(), Error> {
    let new = folder.join("new");
    if new.exists() {
        fs::remove_dir_all(&new).at("remove", &new)?;
    }
    let files = new.join("root");
    fs::create_dir_all(&files).at("create", &files)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "-q", package]).current_dir(&new);
    sh::quiet(&format!("download {package}"), &mut download)?;
    let mut extract = Command::new("bash");
    extract
        .args([
            "-c",
            "dpkg-deb -x ./*.deb root && depmod -b root $(ls root/lib/modules)",
        ])
        .current_dir(&new);
    sh::quiet(&format!("unpack {package}"), &mut extract)?;
    fs::rename(&files, root).at("put in place", root)?;
    fs::remove_dir_all(&new).at("remove", &new)
}

fn only_entry(folder: &Path) -> Result<String, Error> {
    let mut entries = fs::read_dir(folder).at("read", folder)?;
    let name = entries
        .next()
        .and_then(|entry| entry.ok()?.file_name().into_string().ok());
    name.ok_or_else(|| Error::Wrong(format!("{} holds no kernel's modules", folder.display())))
}
