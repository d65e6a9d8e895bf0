//! The benchmark runs to its end, each family of resources included; how fast is not this test's business.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::process::Command;

use serde_json::Value;

fn rows(only: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([
            "bench", "--debug", "--runs", "1", "--scale", "100", "--json", "--only", only,
        ])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench --only {only:?}:\n{errors}");
    // The table is the last line; before it stands what is being built.
    let text = String::from_utf8(output.stdout).unwrap();
    match serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap() {
        Value::Array(rows) => rows,
        other => panic!("no table: {other}"),
    }
}

#[test]
fn every_family_has_its_cost_and_growth() {
    let families = [
        "pipes",
        "eventfds",
        "epolls with a target",
        "timerfds",
        "unix pairs",
        "TCP listeners",
        "TCP pairs",
        "ptys",
        "memfds",
        "regular files",
        "ghost files",
        "inotify watches",
        "locks",
    ];
    for family in families {
        let rows = rows(family);
        let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        let wanted = ["dump, each", "dump, growth", "restore, each", "restore, growth"];
        assert_eq!(names.len(), wanted.len(), "{names:?}");
        for (name, wanted) in names.iter().zip(wanted) {
            assert!(name.starts_with(&format!("{family}: {wanted}")), "{names:?}");
        }
        for row in rows {
            assert!(row["ours"].is_number(), "{row}");
        }
    }
}
