//! Dependencies point one way.

use std::collections::BTreeSet;
use std::fs;

use super::lexer::code_of;
use super::sources::{LIBRARIES, crates, root, rust};

/// Which crates of the project each may use. `plugins` stands for all plugins.
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("plugin-api", &["criu-proto"]),
    ("plugins", &["criu-plugin-api", "criu-proto", "criu-tcp-repair"]),
    ("plugins/tcp", &[]),
    ("core/blobs", &[]),
    ("core/infect", &["criu-blobs"]),
    ("core/images", &["criu-proto"]),
    ("core/loader", &["criu-plugin-api"]),
    (
        "core/engine",
        &[
            "criu-blobs",
            "criu-images",
            "criu-infect",
            "criu-loader",
            "criu-plugin-api",
            "criu-proto",
        ],
    ),
    (
        "core/criu",
        &[
            "criu-engine",
            "criu-images",
            "criu-loader",
            "criu-plugin-api",
            "criu-proto",
            "criu-plugin-*",
        ],
    ),
];

/// External crates that stand in one place, so that they can be replaced there.
const ONE_PLACE: &[(&str, &str)] = &[("abi_stable", "plugin-api"), ("libloading", "core/loader")];

/// The names in the tables of dependencies of a manifest, all three kinds and those of targets.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            // `[dependencies.NAME]` is a dependency itself.
            let (table, name) = match header.rsplit_once("dependencies.") {
                Some((table, name)) => (format!("{table}dependencies"), Some(name)),
                None => (header.to_owned(), None),
            };
            inside = table.ends_with("dependencies");
            found.extend(name.filter(|_| inside).map(str::to_owned));
            inside &= name.is_none();
        } else if inside && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() && line.contains('=') {
                found.insert(name.trim_matches('"').to_owned());
            }
        }
    }
    found
}

fn manifest(folder: &str) -> String {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}

/// All crates that are shipped.
fn shipped() -> Vec<String> {
    let mut all = vec!["proto".to_owned(), "plugin-api".to_owned()];
    all.extend(crates("core"));
    all.extend(crates("plugins"));
    all
}

#[test]
fn dependencies_point_one_way() {
    let mut wrong = Vec::new();
    for folder in shipped() {
        let key = if folder.starts_with("plugins/") && !LIBRARIES.contains(&folder.as_str()) {
            "plugins"
        } else {
            &folder
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == key) else {
            panic!("{folder} has no place in the order of the crates");
        };
        for name in dependencies(&manifest(&folder)) {
            let known = |allowed: &&&str| match allowed.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == **allowed,
            };
            if name.starts_with("criu") && !allowed.iter().any(|a| known(&a)) {
                wrong.push(format!("{folder} uses {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_program_links_plugins_only_when_asked() {
    let text = manifest("core/criu");
    let linked: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("criu-plugin-") && !line.starts_with("criu-plugin-api"))
        .collect();
    assert!(!linked.is_empty());
    for line in linked {
        assert!(line.contains("optional = true"), "{line}");
    }
}

#[test]
fn some_crates_stand_in_one_place() {
    for (name, place) in ONE_PLACE {
        for folder in shipped() {
            let uses = dependencies(&manifest(&folder)).contains(*name);
            assert_eq!(uses, folder == *place, "{folder} and {name}");
            if folder != *place {
                for (path, text) in rust(&folder) {
                    assert!(!code_of(&text).contains(name), "{path} names {name}");
                }
            }
        }
    }
}

#[test]
fn lints_are_the_workspaces() {
    for folder in shipped() {
        let text = manifest(&folder);
        let lints = text.split_once("[lints]").map(|(_, rest)| rest.trim_start());
        assert!(
            lints.is_some_and(|rest| rest.starts_with("workspace = true")),
            "{folder} does not take the lints of the workspace"
        );
    }
}

#[test]
fn manifests_are_read() {
    let text = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = { path = \"../b\" }\n# c = \"1\"\n\
                [target.'cfg(unix)'.dev-dependencies]\nd = \"1\"\n[build-dependencies.e]\nversion = \"1\"\n[lints]\nf = 1\n";
    let names: Vec<_> = dependencies(text).into_iter().collect();
    assert_eq!(names, ["a", "b", "d", "e"]);
}
