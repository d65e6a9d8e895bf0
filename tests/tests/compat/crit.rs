//! Debian's `crit` decodes what this program writes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use criu_proto::magic::{Header, kind_of};
use criu_tests::reaper::{self, End};

use super::cases::Guest;
use super::rules;

/// Dumps the guest of a case and has every image of it read.
pub(crate) fn reads(case: &str) {
    let guest = Guest::start(case);
    let images = guest.dump();
    let mut read = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(&images).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "dump.log" || rules::is_addition(&name) {
            continue;
        }
        let (kind, _) = kind_of(&name).unwrap_or_else(|| panic!("{name}: no image of a known kind"));
        // Pages have no entries, and crit says so.
        if kind.header == Header::Raw {
            continue;
        }
        read += 1;
        if let Err(why) = decode(&path, guest.lab.path()) {
            failures.push(format!("{name}: {why}"));
        }
    }
    assert!(read >= 12, "only {read} images in {}", images.display());
    assert!(
        failures.is_empty(),
        "crit cannot read:\n  {}",
        failures.join("\n  ")
    );
}

/// Has one image decoded; what crit makes of it holds as many entries as the file has.
fn decode(image: &Path, out: &Path) -> Result<(), String> {
    let (json, errors) = (out.join("json"), out.join("errors"));
    let mut crit = Command::new("crit");
    crit.arg("decode").arg("-i").arg(image).arg("-o").arg(&json);
    crit.stdin(Stdio::null()).stdout(Stdio::null());
    crit.stderr(fs::File::create(&errors).unwrap());
    let pid = reaper::spawn(&mut crit).unwrap_or_else(|e| {
        panic!("crit does not start ({e}); `cargo xtask test` installs it, with Debian's package criu")
    });
    let end = reaper::wait(pid, Duration::from_secs(60));
    if end != Some(End::Exit(0)) {
        let text = fs::read_to_string(&errors).unwrap();
        return Err(format!(
            "{end:?}: {}",
            text.lines().last().unwrap_or("no message")
        ));
    }
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(&json).unwrap()).map_err(|e| e.to_string())?;
    let decoded = json["entries"].as_array().map_or(0, Vec::len);
    let expected = super::set::entries_of(image);
    if decoded != expected {
        return Err(format!("{decoded} entries instead of {expected}"));
    }
    Ok(())
}
