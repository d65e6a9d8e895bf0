//! The fixture plugins, and directories to put them in.
#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "a failure of a helper is one of the test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use criu_loader::{LoadError, Loader, SearchPath, Trust};
use tempfile::TempDir;

/// The shared object of a fixture. `cargo test` builds them; `cargo test --test NAME` does not.
pub(crate) fn fixture(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let examples = profile.join("examples");
        if !examples.join("libfixture_fuse.so").exists() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--offline", "-p", "criu-loader", "--examples"]);
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().unwrap().success(), "building the fixtures");
        }
        examples
    });
    directory.join(format!("libfixture_{name}.so"))
}

/// A directory with these fixtures.
pub(crate) fn directory(names: &[&str]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for name in names {
        put(directory.path(), name);
    }
    directory
}

pub(crate) fn put(directory: &Path, name: &str) {
    std::fs::copy(fixture(name), directory.join(format!("libfixture_{name}.so"))).unwrap();
}

pub(crate) fn find(directories: &[&Path]) -> Result<Loader, LoadError> {
    Loader::find(&SearchPath::only(
        directories
            .iter()
            .map(|&directory| directory.to_owned())
            .collect(),
        Trust::Anyone,
    ))
}

/// A copy of a fixture with some text in it replaced by another of the same length.
pub(crate) fn patched(directory: &Path, name: &str, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(fixture(name)).unwrap();
    let mut count = 0;
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        count += 1;
    }
    assert!(count > 0, "{from:?} is not in the file");
    std::fs::write(directory.join("libpatched.so"), bytes).unwrap();
}
