//! `cargo xtask dist`: a tarball with the program and its plugins.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::{At, Error};
use crate::program::target_folder;
use crate::sh;

/// Files of the repository that belong to a release, as far as they are there.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "config.toml",
];

pub(crate) fn run() -> Result<(), Error> {
    sh::quiet("build the release", sh::cargo().args(["build", "--release"]))?;
    let target = target_folder();
    let name = format!("criu-{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let folder = target.join("dist").join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).at("remove", &folder)?;
    }
    let plugins = folder.join("plugins");
    fs::create_dir_all(&plugins).at("create", &plugins)?;
    let built = target.join("release");
    let mut binaries = vec![(built.join("criu"), folder.join("criu"))];
    for entry in fs::read_dir(&built).at("read", &built)? {
        let path = entry.at("read", &built)?.path();
        let Some(file) = path.file_name().and_then(|n| n.to_str()) else {
            continue;
        };
        if file.starts_with("libcriu_plugin_") && file.ends_with(".so") {
            let to = plugins.join(file);
            binaries.push((path, to));
        }
    }
    let count = binaries.len() - 1;
    if count == 0 {
        return Err(Error::Wrong(format!(
            "no plugin was built in {}",
            built.display()
        )));
    }
    for (from, to) in &binaries {
        strip(from, to)?;
    }
    for document in DOCUMENTS {
        let from = sh::root().join(document);
        if from.exists() {
            copy(&from, &folder.join(document))?;
        }
    }
    let tarball = target.join("dist").join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(target.join("dist"))
        .args(["--owner=0", "--group=0", "-czf"])
        .arg(&tarball)
        .arg(&name);
    sh::quiet("pack", &mut tar)?;
    let size = fs::metadata(&tarball).at("read", &tarball)?.len();
    println!(
        "{} ({:.1} MiB, {count} plugins)",
        tarball.display(),
        size as f64 / 1048576.0
    );
    Ok(())
}

/// Copies a binary without what only a debugger reads, four fifths of it; the names of functions stay for backtraces.
fn strip(from: &Path, to: &Path) -> Result<(), Error> {
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").arg(to).arg(from);
    sh::shown(&mut strip)
}

/// Copies a file with its mode.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).at("copy", from)?;
    Ok(())
}
