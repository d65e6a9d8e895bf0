//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates beside the plugins that are none: what a plugin is built on, usable alone.
pub(super) const LIBRARIES: &[&str] = &["plugins/tcp"];

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Every `.rs` file below a folder of the repository: its path from the root, and its text.
pub(super) fn rust(folder: &str) -> Vec<(String, String)> {
    let root = root();
    let (mut todo, mut found) = (vec![root.join(folder)], Vec::new());
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("read {}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap();
                found.push((path.to_str().unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The crates in a folder of the repository: the folder of each.
pub(super) fn crates(folder: &str) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap()))
        .collect();
    found.sort();
    found
}
