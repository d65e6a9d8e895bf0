//! Action scripts: commands of the user told of the stages of the work (`--action-script`).

use std::path::PathBuf;
use std::process::{Command, Stdio};

use criu_engine::options::{Notify, Options};

/// The scripts of a run, in the order given.
#[derive(Debug, Clone)]
pub(crate) struct ActionScripts {
    scripts: Vec<String>,
    images_dir: PathBuf,
}

impl ActionScripts {
    /// The scripts that `options` name. The images directory is made absolute, since a script may go elsewhere.
    pub(crate) fn new(options: &Options) -> ActionScripts {
        let given = &options.images_dir;
        let images_dir = std::path::absolute(given).unwrap_or_else(|_| given.clone());
        ActionScripts {
            scripts: options.action_script.clone(),
            images_dir,
        }
    }
}

impl Notify for ActionScripts {
    /// Runs each script by `sh -c`, and stops at the first that fails. The environment tells it of the stage
    /// (`CRTOOLS_SCRIPT_ACTION`), the images (`CRTOOLS_IMAGE_DIR`) and, where there is one, the root task
    /// (`CRTOOLS_INIT_PID`).
    fn notify(&self, action: &str, pid: Option<i32>) -> Result<(), String> {
        for script in &self.scripts {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script).stdin(Stdio::null());
            command
                .env("CRTOOLS_SCRIPT_ACTION", action)
                .env("CRTOOLS_IMAGE_DIR", &self.images_dir);
            match pid {
                Some(pid) => command.env("CRTOOLS_INIT_PID", pid.to_string()),
                None => command.env_remove("CRTOOLS_INIT_PID"),
            };
            let status = command.status().map_err(|error| {
                format!("running the action script {script:?} at stage {action}: {error}")
            })?;
            if !status.success() {
                return Err(format!(
                    "the action script {script:?} failed at stage {action}: {status}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts(dir: &std::path::Path, scripts: &[&str]) -> ActionScripts {
        let mut options = Options {
            images_dir: dir.to_owned(),
            ..Options::default()
        };
        options.action_script = scripts.iter().map(|s| (*s).to_owned()).collect();
        ActionScripts::new(&options)
    }

    #[test]
    fn a_script_hears_of_stage_pid_and_images() {
        let dir = tempfile::tempdir().unwrap();
        let line = "echo \"$CRTOOLS_SCRIPT_ACTION $CRTOOLS_INIT_PID\" >> \"$CRTOOLS_IMAGE_DIR/heard\"";
        let scripts = scripts(dir.path(), &[line, line]);
        scripts.notify("pre-dump", Some(42)).unwrap();
        scripts.notify("post-dump", None).unwrap();
        let heard = std::fs::read_to_string(dir.path().join("heard")).unwrap();
        assert_eq!(heard, "pre-dump 42\npre-dump 42\npost-dump \npost-dump \n");
    }

    #[test]
    fn a_failing_script_ends_the_work_and_the_rest_is_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let scripts = scripts(dir.path(), &["exit 3", "touch \"$CRTOOLS_IMAGE_DIR/second\""]);
        let error = scripts.notify("network-lock", Some(1)).unwrap_err();
        assert!(
            error.contains("network-lock") && error.contains("exit 3") && error.contains("status: 3"),
            "{error}"
        );
        assert!(!dir.path().join("second").exists());
    }
}
