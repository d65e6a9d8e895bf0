//! The programs that hold the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::error::Error;
use crate::sh;

/// A program with tests, and the folder of its package, in which it runs.
pub(crate) struct Binary {
    pub(crate) folder: PathBuf,
    pub(crate) program: PathBuf,
}

/// Those of `tests/tests` with a test that the arguments let through.
pub(crate) fn chosen(files: &[String], arguments: &[String]) -> Result<Vec<Binary>, Error> {
    let mut list = sh::cargo();
    list.args([
        "test",
        "--release",
        "--workspace",
        "--no-run",
        "--message-format=json",
    ]);
    let mut found = Vec::new();
    for line in sh::output(&mut list)?.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let (name, binary) = match binary(&message) {
            Some(binary) => binary,
            None => continue,
        };
        if (files.is_empty() || files.contains(&name)) && has_tests(&binary.program, arguments)? {
            found.push(binary);
        }
    }
    if found.is_empty() {
        return Err(Error::Wrong("no test has such a name".into()));
    }
    Ok(found)
}

/// The name and the program in one of cargo's messages, if that is what it tells of.
fn binary(message: &Value) -> Option<(String, Binary)> {
    let target = &message["target"];
    let kinds = target["kind"].as_array()?;
    if !kinds.iter().any(|kind| kind == "test") {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let ours = folder == sh::root().join("tests");
    let binary = Binary {
        folder: folder.to_path_buf(),
        program: message["executable"].as_str()?.into(),
    };
    ours.then_some((target["name"].as_str()?.to_owned(), binary))
}

fn has_tests(program: &Path, arguments: &[String]) -> Result<bool, Error> {
    let mut list = Command::new(program);
    list.args(["--list", "--format", "terse"]).args(arguments);
    Ok(sh::output(&mut list)?
        .lines()
        .any(|line| line.ends_with(": test")))
}
