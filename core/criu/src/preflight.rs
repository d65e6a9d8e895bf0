//! `criu check --tree PID`: what stands in the way of a dump.

use std::fmt::Write as _;

use criu_engine::Blocker;
use criu_engine::options::Options;
use serde_json::json;

use crate::commands::{CommandError, print};

/// Looks for everything that a dump of the tree would refuse, and prints it.
///
/// # Errors
/// It could not be found out, or something is in the way.
pub(crate) fn run(options: &Options) -> Result<(), CommandError> {
    let blockers = criu_engine::preflight(options).map_err(Box::new)?;
    let root = options.tree.unwrap_or_default();
    print(&if options.json {
        as_json(root, &blockers)
    } else {
        as_text(root, &blockers)
    })?;
    match blockers.len() {
        0 => Ok(()),
        1 => Err(CommandError::Blocked(format!(
            "the tree of process {root} cannot be dumped: one thing is in the way"
        ))),
        many => Err(CommandError::Blocked(format!(
            "the tree of process {root} cannot be dumped: {many} things are in the way"
        ))),
    }
}

fn as_json(root: i32, blockers: &[Blocker]) -> String {
    let blockers: Vec<_> = blockers
        .iter()
        .map(|b| json!({ "object": b.object, "reason": b.reason, "remedy": b.remedy }))
        .collect();
    let value = json!({ "tree": root, "ok": blockers.is_empty(), "blockers": blockers });
    format!("{value:#}\n")
}

fn as_text(root: i32, blockers: &[Blocker]) -> String {
    if blockers.is_empty() {
        return format!("The tree of process {root} can be dumped.\n");
    }
    let mut text = String::new();
    for blocker in blockers {
        let _ = write!(text, "{}\n    {}\n", blocker.object, blocker.reason);
        if let Some(remedy) = &blocker.remedy {
            let _ = writeln!(text, "    {remedy}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocker() -> Blocker {
        Blocker {
            object: "descriptor 3 of process 7".into(),
            reason: "is \"odd\"".into(),
            remedy: Some("use --odd".into()),
        }
    }

    #[test]
    fn a_program_reads_what_it_is_told() {
        let value: serde_json::Value = serde_json::from_str(&as_json(7, &[blocker()])).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["blockers"][0]["reason"], "is \"odd\"");
        let value: serde_json::Value = serde_json::from_str(&as_json(7, &[])).unwrap();
        assert_eq!((&value["ok"], &value["tree"]), (&true.into(), &7.into()));
    }

    #[test]
    fn a_person_reads_object_reason_and_remedy() {
        let text = as_text(7, &[blocker()]);
        assert_eq!(text, "descriptor 3 of process 7\n    is \"odd\"\n    use --odd\n");
        assert!(as_text(7, &[]).contains("can be dumped"));
    }
}
