//! Hands a command over to whoever does it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use criu_engine::options::Options;

use crate::cpuinfo::{self, CpuinfoError};
use crate::help;
use crate::plugin_cmd::{self, PluginError};
use crate::preflight;
use crate::scripts::ActionScripts;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("{what}")]
    Usage { what: String },
    #[error("not implemented yet: {name}")]
    Later { name: String },
    #[error(transparent)]
    Engine(#[from] Box<criu_engine::Error>),
    #[error("--exec-cmd: there is no program {program}")]
    NoProgram { program: String },
    #[error("comparing processors")]
    Cpuinfo(#[from] CpuinfoError),
    #[error("{0}")]
    Blocked(String),
    #[error(transparent)]
    Plugin(#[from] Box<PluginError>),
    #[error("printing")]
    Print(#[from] std::io::Error),
}

impl CommandError {
    pub(crate) fn usage(what: impl Into<String>) -> CommandError {
        CommandError::Usage { what: what.into() }
    }

    /// What the user can do, where the error itself does not say so.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        match self {
            CommandError::Usage { .. } => Some("see `criu --help`"),
            CommandError::Cpuinfo(error) => error.remedy(),
            CommandError::NoProgram { .. } => Some("name a program in $PATH, or by its path, after --"),
            CommandError::Engine(_)
            | CommandError::Plugin(_)
            | CommandError::Later { .. }
            | CommandError::Blocked(_)
            | CommandError::Print(_) => None,
        }
    }
}

/// Runs `command` with `operands`, which have been counted already.
pub(crate) fn run(command: &str, operands: &[OsString], options: &Options) -> Result<(), CommandError> {
    let word = operands
        .first()
        .map(|operand| operand.to_string_lossy().into_owned());
    match command {
        "dump" => dump(options),
        "restore" => restore(options),
        "check" if options.tree.is_some() => preflight::run(options),
        "check" => Ok(criu_engine::check(options).map_err(Box::new)?),
        "cpuinfo" => match word.as_deref() {
            Some("dump") => Ok(cpuinfo::dump(options)?),
            Some("check") => Ok(cpuinfo::check(options)?),
            _ => Err(CommandError::usage("cpuinfo is followed by dump or check")),
        },
        "plugin" => {
            let (text, result) = plugin_cmd::run(operands, options);
            print(&text)?;
            Ok(result.map_err(Box::new)?)
        }
        "completions" => {
            let shell = word.as_deref().and_then(help::Shell::named);
            let shell =
                shell.ok_or_else(|| CommandError::usage("completions is followed by bash, zsh or fish"))?;
            print(&help::completions(shell))
        }
        "man" => print(&help::man()),
        other => Err(CommandError::Later {
            name: other.to_owned(),
        }),
    }
}

/// With `--cpu-cap` a dump saves also what the processor can. It does so first: once the tree is gone, it must not
/// fail any more.
fn dump(options: &Options) -> Result<(), CommandError> {
    if options.cpu_cap.is_some() {
        cpuinfo::dump(options)?;
    }
    Ok(criu_engine::dump(options, &ActionScripts::new(options)).map_err(Box::new)?)
}

/// What can be found wrong before anything exists is found before.
fn restore(options: &Options) -> Result<(), CommandError> {
    if let Some(program) = options.exec_cmd.first()
        && !is_program(program)
    {
        return Err(CommandError::NoProgram {
            program: program.to_string_lossy().into_owned(),
        });
    }
    cpuinfo::check_before_restore(options)?;
    Ok(criu_engine::restore(options, &ActionScripts::new(options)).map_err(Box::new)?)
}

/// Whether execvp(3) would find it.
fn is_program(name: &OsStr) -> bool {
    let executable =
        |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file();
    if name.as_encoded_bytes().contains(&b'/') {
        return executable(Path::new(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).any(|dir| executable(&dir.join(name)))
}

/// Prints on standard output; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}
