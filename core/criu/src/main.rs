//! The program: reads the command line and the configuration, opens the log, and hands the work to the engine. It
//! decides nothing about a process.

#[cfg(feature = "static-plugins")]
mod builtin;
mod commands;
mod config;
mod cpuinfo;
mod help;
mod logging;
mod parser;
mod plugin_cmd;
mod preflight;
mod progress;
mod scripts;
mod table;

use std::error::Error;
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Instant;

use commands::CommandError;
use criu_engine::options::Options;
use table::{Settings, Status};

fn main() -> ExitCode {
    let started = Instant::now();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match invoke(&args, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(1)
        }
    }
}

/// The end of a run that failed, and what is needed to tell of it.
struct Failure {
    chain: String,
    remedy: Option<&'static str>,
    /// Whether a log file is open that should hear of it too.
    logged: bool,
    /// `-v0`.
    silent: bool,
}

impl Failure {
    fn early(error: &dyn Error, remedy: Option<&'static str>) -> Failure {
        Failure {
            chain: chain(error),
            remedy,
            logged: false,
            silent: false,
        }
    }

    fn usage(what: impl Into<String>) -> Failure {
        let error = CommandError::usage(what);
        Failure::early(&error, error.remedy())
    }

    /// Told once: in the log file, where there is one, and on standard error.
    fn report(&self) {
        if self.logged {
            tracing::error!(file_only = true, "{}", self.chain);
        }
        progress::clear();
        if !self.silent {
            use std::io::Write;
            let remedy = self
                .remedy
                .map(|remedy| format!("\n  Try: {remedy}"))
                .unwrap_or_default();
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "Error: {}{remedy}", self.chain);
        }
    }
}

/// An error and its causes, outermost first. A cause that its effect's text tells already is not repeated.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn invoke(args: &[OsString], started: Instant) -> Result<(), Failure> {
    let posixly_correct = std::env::var_os("POSIXLY_CORRECT").is_some();
    let args = plugin_cmd::words_last(args);
    let parsed = parser::parse(&args, posixly_correct)
        .map_err(|error| Failure::early(&error, Some("see `criu --help`")))?;
    if let Some(text) = asked_about(&parsed.uses) {
        return commands::print(&text).map_err(|error| Failure::early(&error, None));
    }
    let (command, operands) = split_operands(&parsed.operands)?;
    let mut settings = settings(&parsed.uses)?;
    hand_over_exec_cmd(&mut settings, command, operands)?;
    refuse_later(command, &settings)?;
    refuse_waiting_for_sibling(command, &settings.options)?;
    let mut options = settings.options;
    close_descriptors(&options.close);
    let silent = options.log_level == 0;
    logging::start(&mut options, started).map_err(|error| Failure::early(&error, None))?;
    let operands = if settings.exec_cmd { &[] } else { operands };
    let result = commands::run(command.name, operands, &options);
    progress::clear();
    result.map_err(|error| Failure {
        chain: chain(&error),
        remedy: error.remedy(),
        logged: options.log_fd.is_some(),
        silent,
    })
}

/// The text of `--help` or `--version`, whichever comes first.
fn asked_about(uses: &[parser::Use]) -> Option<String> {
    uses.iter().find_map(|given| match given.option.long {
        "help" => Some(help::help()),
        "version" => Some(help::version()),
        _ => None,
    })
}

fn split_operands(operands: &[OsString]) -> Result<(&'static table::Command, &[OsString]), Failure> {
    let Some((name, rest)) = operands.split_first() else {
        return Err(Failure::usage("no command was given"));
    };
    let command = table::find_command(name)
        .ok_or_else(|| Failure::usage(format!("unknown command '{}'", name.to_string_lossy())))?;
    Ok((command, rest))
}

/// All options: those of the configuration files, then those of the command line.
fn settings(uses: &[parser::Use]) -> Result<Settings, Failure> {
    // What is wrong on the command line is told before what is wrong in a file.
    let mut line = Settings::default();
    let wrong = |error| Failure::early(&error, Some("see `criu --help`"));
    uses.iter()
        .try_for_each(|given| given.apply(&mut line))
        .map_err(wrong)?;
    let mut all = Settings {
        config: line.config,
        no_default_config: line.no_default_config,
        ..Settings::default()
    };
    config::load(&config::Places::from_environment(), &mut all)
        .map_err(|error| Failure::early(&error, None))?;
    all.options.config_plugin_dirs = std::mem::take(&mut all.options.plugin_dirs);
    uses.iter()
        .try_for_each(|given| given.apply(&mut all))
        .map_err(wrong)?;
    Ok(all)
}

/// With `--exec-cmd` the operands are a program to become; without it there may be as many as the command takes.
fn hand_over_exec_cmd(
    settings: &mut Settings,
    command: &table::Command,
    operands: &[OsString],
) -> Result<(), Failure> {
    if settings.exec_cmd {
        if command.name != "restore" {
            return Err(Failure::usage(format!(
                "--exec-cmd belongs to restore, not to {}",
                command.name
            )));
        }
        if operands.is_empty() {
            return Err(Failure::usage("--exec-cmd needs a program after --"));
        }
        settings.options.exec_cmd = operands.to_vec();
        return Ok(());
    }
    match operands.get(command.max_operands) {
        Some(extra) => Err(Failure::usage(format!(
            "{} takes no '{}'",
            command.name,
            extra.to_string_lossy()
        ))),
        None => Ok(()),
    }
}

/// Only a child can be waited for: a sibling needs a restore that does not wait, or that becomes another program.
fn refuse_waiting_for_sibling(command: &table::Command, options: &Options) -> Result<(), Failure> {
    let waits = !options.restore_detached && options.exec_cmd.is_empty();
    if command.name == "restore" && options.restore_sibling && waits {
        return Err(Failure::usage(
            "--restore-sibling only makes sense with --restore-detached, since criu cannot wait for a sibling",
        ));
    }
    Ok(())
}

/// Refuses by name what this version does not do.
fn refuse_later(command: &table::Command, settings: &Settings) -> Result<(), Failure> {
    let mut names: Vec<String> = Vec::new();
    if command.status == Status::Later {
        names.push(command.name.to_owned());
    }
    names.extend(table::used_but_later(&settings.options));
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::early(
        &CommandError::Later {
            name: names.join(", "),
        },
        None,
    ))
}

/// Closes what `--close` names; what is not open is closed already. The standard three are given to /dev/null instead,
/// since what is opened next would take their place and get what is printed.
fn close_descriptors(descriptors: &[i32]) {
    for fd in descriptors {
        if (0..=2).contains(fd)
            && let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null")
        {
            // SAFETY: dup2 takes two numbers and touches no memory; std never closes the standard descriptors, and
            // does not care what they lead to.
            let _ = unsafe { libc::dup2(null.as_raw_fd(), *fd) };
            continue;
        }
        // SAFETY: nothing in this program owns a descriptor yet but the standard three; the caller asked for it.
        let _ = unsafe { libc::close(*fd) };
    }
}
