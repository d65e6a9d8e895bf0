//! The one table of options and commands: the parser, the configuration files, the help text, the man page and the
//! shell completions are all made from it.

use std::ffi::OsStr;
use std::path::PathBuf;

use criu_engine::options::{Options, ValueError};

mod list;

pub(crate) use list::OPTIONS;

/// What the options of one invocation add up to: those for the engine, and those for the program alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) options: Options,
    /// `-h/--help`.
    pub(crate) help: bool,
    /// `-V/--version`.
    pub(crate) version: bool,
    /// `--config FILE`.
    pub(crate) config: Option<PathBuf>,
    /// `--no-default-config`.
    pub(crate) no_default_config: bool,
    /// `--exec-cmd`: the operands after the command are a program to become.
    pub(crate) exec_cmd: bool,
}

/// Whether an option takes a value, and what the help calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arg {
    None,
    Required(&'static str),
    /// Only attached: `--name=VALUE`, `-xVALUE`.
    Optional(&'static str),
}

/// How an option was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given<'a> {
    On,
    /// `--no-NAME`, or `false` in a TOML file.
    Off,
    With(&'a OsStr),
}

/// Whether this version does what the option asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Now,
    /// Read, and refused when it asks for anything but the default.
    Later,
}

/// The commands an option is for. Any option is accepted with any command, as callers expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Any,
    Dump,
    DumpRestore,
    Restore,
    Check,
    Transfer,
}

impl Scope {
    pub(crate) const ALL: [Scope; 6] = [
        Scope::Any,
        Scope::Dump,
        Scope::DumpRestore,
        Scope::Restore,
        Scope::Check,
        Scope::Transfer,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Scope::Any => "With any command",
            Scope::Dump => "Dump",
            Scope::DumpRestore => "Dump and restore",
            Scope::Restore => "Restore",
            Scope::Check => "Check",
            Scope::Transfer => "Memory on the way: incremental dumps, page server, lazy pages",
        }
    }

    /// Whether the option is worth offering with `command`.
    pub(crate) fn serves(self, command: &str) -> bool {
        // With --tree a check walks like a dump.
        let dump = matches!(command, "dump" | "pre-dump" | "check");
        match self {
            Scope::Any => true,
            Scope::Dump => dump,
            Scope::DumpRestore => dump || matches!(command, "restore" | "cpuinfo"),
            Scope::Restore => command == "restore",
            Scope::Check => command == "check",
            Scope::Transfer => {
                dump || matches!(command, "restore" | "page-server" | "lazy-pages" | "service")
            }
        }
    }
}

type Apply = fn(&mut Settings, Given<'_>) -> Result<(), ValueError>;

/// One option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// The long name without the dashes.
    pub(crate) long: &'static str,
    pub(crate) short: Option<u8>,
    pub(crate) arg: Arg,
    /// Whether `--no-NAME` exists.
    pub(crate) negatable: bool,
    pub(crate) scope: Scope,
    pub(crate) status: Status,
    /// Not an option of CRIU 4.2: gives way to those when a name is abbreviated.
    pub(crate) ours: bool,
    /// One line for the user.
    pub(crate) help: &'static str,
    pub(crate) apply: Apply,
}

impl Opt {
    const fn new(long: &'static str, arg: Arg, scope: Scope, help: &'static str, apply: Apply) -> Opt {
        let (short, negatable, status, ours) = (None, false, Status::Now, false);
        Opt {
            long,
            short,
            arg,
            negatable,
            scope,
            status,
            ours,
            help,
            apply,
        }
    }

    const fn short(mut self, short: u8) -> Opt {
        self.short = Some(short);
        self
    }

    const fn negatable(mut self) -> Opt {
        self.negatable = true;
        self
    }

    const fn later(mut self) -> Opt {
        self.status = Status::Later;
        self
    }

    const fn ours(mut self) -> Opt {
        self.ours = true;
        self
    }
}

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// What follows the name, for the help.
    pub(crate) operands: &'static str,
    /// How many operands may follow.
    pub(crate) max_operands: usize,
    pub(crate) status: Status,
    pub(crate) help: &'static str,
}

const fn command(
    name: &'static str,
    operands: &'static str,
    max_operands: usize,
    help: &'static str,
) -> Command {
    Command {
        name,
        operands,
        max_operands,
        status: Status::Now,
        help,
    }
}

const fn later(
    name: &'static str,
    operands: &'static str,
    max_operands: usize,
    help: &'static str,
) -> Command {
    Command {
        name,
        operands,
        max_operands,
        status: Status::Later,
        help,
    }
}

/// Every command, in the order of the help.
pub(crate) static COMMANDS: &[Command] = &[
    command(
        "dump",
        "",
        0,
        "Save a tree of processes (-t PID) as images (-D DIR)",
    ),
    command("restore", "", 0, "Bring a saved tree back to life"),
    command("check", "", 0, "Tell whether this kernel has what is needed"),
    command(
        "cpuinfo",
        "dump|check",
        1,
        "Save what this processor can, or compare it with what was saved",
    ),
    command(
        "plugin",
        "list|info|check [FILE|DIR]",
        usize::MAX,
        "Tell about plugins",
    ),
    command("completions", "bash|zsh|fish", 1, "Print completions for a shell"),
    command("man", "", 0, "Print the manual page (roff)"),
    later(
        "pre-dump",
        "",
        0,
        "Save the memory of a running tree, for a shorter dump later",
    ),
    later("page-server", "", 0, "Receive pages from a dump"),
    later(
        "lazy-pages",
        "",
        0,
        "Serve memory to processes restored without it",
    ),
    later("dedup", "", 0, "Drop from older images what newer ones hold"),
    later("service", "", 0, "Serve requests on a socket"),
    later("swrk", "FD", 1, "Serve requests on the open socket FD"),
    later(
        "exec",
        "-- CALL [ARG]...",
        usize::MAX,
        "Run a system call in a process",
    ),
];

/// The option with this exact long name, without dashes and without `no-`.
pub(crate) fn find(long: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.long == long)
}

/// The command of this name.
pub(crate) fn find_command(name: &OsStr) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| name == command.name)
}

/// Kinds of `--external` that belong to mounts, namespaces, network devices and cgroups, which are not served yet. Of
/// other words the plugins decide.
const LATER_EXTERNALS: [&str; 9] = [
    "mnt", "dev", "net", "pid", "veth", "macvlan", "netdev", "cgroup", "ipc",
];

/// What of later versions `options` make use of, as the user writes it.
pub(crate) fn used_but_later(options: &Options) -> Vec<String> {
    let plain = Options::default();
    let later = OPTIONS
        .iter()
        .filter(|option| option.status == Status::Later)
        .map(|option| option.long);
    let used = later.filter(|name| options.setting(name) != plain.setting(name));
    let mut names: Vec<String> = used.map(|name| format!("--{name}")).collect();
    let kinds = options.external.iter().map(|external| external.kind.as_str());
    names.extend(
        kinds
            .filter(|kind| LATER_EXTERNALS.contains(kind))
            .map(|kind| format!("--external {kind}[]")),
    );
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        let mut shorts = HashSet::new();
        for option in OPTIONS {
            assert!(seen.insert(option.long.to_owned()), "{}", option.long);
            assert!(
                !option.negatable || seen.insert(format!("no-{}", option.long)),
                "{}",
                option.long
            );
            assert!(option.long.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(
                option.short.is_none_or(|short| shorts.insert(short)),
                "{}",
                option.long
            );
            assert!(!option.help.is_empty() && option.help.len() <= 120 && !option.help.ends_with('.'));
        }
    }

    #[test]
    fn every_engine_option_can_be_asked_for_by_name() {
        let program_alone = [
            "help",
            "version",
            "config",
            "no-default-config",
            "libdir",
            "plugin-option",
        ];
        for option in OPTIONS
            .iter()
            .filter(|option| !program_alone.contains(&option.long))
        {
            assert!(
                criu_engine::options::SETTING_NAMES.contains(&option.long),
                "{}",
                option.long
            );
        }
    }
}
