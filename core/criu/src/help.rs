//! What the program says of itself, made from the [table](crate::table): help, manual page, completions.

use std::fmt::Write as _;

use crate::table::{Arg, COMMANDS, OPTIONS, Opt, Scope, Status};

/// The version of CRIU whose command line and images these are. Callers compare it.
pub(crate) const CRIU_VERSION: &str = "4.2";

/// What `--version` prints: the first line is the one that callers read.
pub(crate) fn version() -> String {
    format!(
        "Version: {CRIU_VERSION}\nImplementation: criu-rs {}\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// A shell that completions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(crate) fn named(name: &str) -> Option<Shell> {
        match name {
            "bash" => Some(Shell::Bash),
            "zsh" => Some(Shell::Zsh),
            "fish" => Some(Shell::Fish),
            _ => None,
        }
    }
}

/// The option as a user writes it: `-t, --tree PID`.
fn spelled(option: &Opt) -> String {
    let short = option
        .short
        .map_or("    ".to_owned(), |short| format!("-{}, ", char::from(short)));
    let no = if option.negatable { "[no-]" } else { "" };
    let argument = match option.arg {
        Arg::None => String::new(),
        Arg::Required(name) => format!(" {name}"),
        Arg::Optional(name) => format!("[={name}]"),
    };
    format!("{short}--{no}{}{argument}", option.long)
}

fn later(status: Status) -> &'static str {
    if status == Status::Later {
        " (not implemented yet)"
    } else {
        ""
    }
}

/// Writes to a string, which cannot fail.
macro_rules! out {
    ($to:expr, $($arg:tt)*) => { { let _ = writeln!($to, $($arg)*); } };
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text =
        String::from("Checkpoint and restore processes.\n\nUsage: criu COMMAND [OPTION]...\n\nCommands:\n");
    for command in COMMANDS {
        let call = format!("{} {}", command.name, command.operands);
        entry(&mut text, call.trim_end(), command.help, later(command.status));
    }
    for scope in Scope::ALL {
        out!(text, "\n{}:", scope.title());
        for option in OPTIONS.iter().filter(|option| option.scope == scope) {
            entry(&mut text, &spelled(option), option.help, later(option.status));
        }
    }
    text.push_str("\nLong options may be abbreviated. Examples:\n");
    text.push_str("  criu dump -t 1234 -D images -o dump.log --shell-job\n");
    text.push_str("  criu restore -D images -o restore.log --shell-job -d\n");
    text
}

/// One entry: the call, then its help in a column, on a line of its own where the call is long.
fn entry(text: &mut String, call: &str, help: &str, note: &str) {
    const COLUMN: usize = 34;
    if call.len() + 2 < COLUMN - 1 {
        out!(text, "  {call:<width$}{help}{note}", width = COLUMN - 2);
    } else {
        out!(text, "  {call}\n{:COLUMN$}{help}{note}", "");
    }
}

/// Text as roff reads it literally.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// The manual page.
pub(crate) fn man() -> String {
    let mut text = String::new();
    out!(
        text,
        ".TH CRIU 8 \"\" \"criu-rs {}\" \"System administration\"",
        env!("CARGO_PKG_VERSION")
    );
    out!(text, ".SH NAME\ncriu \\- checkpoint and restore processes");
    out!(text, ".SH SYNOPSIS\n.B criu\n.I COMMAND\n.RI [ OPTION ]...");
    out!(text, ".SH COMMANDS");
    for command in COMMANDS {
        let operands = roff(command.operands);
        out!(
            text,
            ".TP\n.BI {} \" {operands}\"\n{}{}.",
            roff(command.name),
            roff(command.help),
            later(command.status)
        );
    }
    out!(
        text,
        ".SH OPTIONS\nLong options may be abbreviated as long as they stay unique."
    );
    for scope in Scope::ALL {
        out!(text, ".SS {}", scope.title());
        for option in OPTIONS.iter().filter(|option| option.scope == scope) {
            let call = roff(spelled(option).trim_start());
            out!(
                text,
                ".TP\n.B {call}\n{}{}.",
                roff(option.help),
                later(option.status)
            );
        }
    }
    out!(text, ".SH FILES");
    out!(
        text,
        "Read in this order, later ones override; the command line overrides all of them."
    );
    for file in [
        "/etc/criu/config.toml",
        "/etc/criu/default.conf",
        "$HOME/.config/criu/config.toml",
        "$HOME/.criu/default.conf",
        "the file named by CRIU_CONFIG_FILE",
        "the file of --config",
    ] {
        out!(text, ".TP\n{}", roff(file));
    }
    out!(
        text,
        ".PP\nA .conf file has one option a line, without dashes: name, name value, or name \"value\"; # begins"
    );
    out!(
        text,
        "a comment. A .toml file has the long names as keys, and a table [plugin.NAME] for each plugin."
    );
    out!(text, ".SH EXIT STATUS\n0 when all went well, 1 otherwise.");
    text
}

/// Every long spelling of an option, negation included.
fn spellings(option: &Opt) -> Vec<String> {
    let mut all = vec![format!("--{}", option.long)];
    if option.negatable {
        all.push(format!("--no-{}", option.long));
    }
    all
}

/// Whether the option's value is a path a shell can complete.
fn takes_path(option: &Opt) -> bool {
    matches!(option.arg, Arg::Required("DIR" | "FILE" | "PATH" | "COMMAND"))
}

/// Completions: commands that are implemented, and options that suit them.
pub(crate) fn completions(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

fn offered() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().filter(|option| option.status == Status::Now)
}

fn commands() -> impl Iterator<Item = &'static crate::table::Command> {
    COMMANDS.iter().filter(|command| command.status == Status::Now)
}

/// The words that may follow a command.
fn operand_words(operands: &str) -> String {
    operands.split(' ').next().unwrap_or_default().replace('|', " ")
}

fn bash() -> String {
    let mut text = String::from("# bash completion for criu\n_criu() {\n");
    let names: Vec<&str> = commands().map(|command| command.name).collect();
    out!(
        text,
        "    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} word command= options="
    );
    out!(text, "    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do");
    out!(
        text,
        "        case $word in {}) command=$word; break ;; esac\n    done",
        names.join("|")
    );
    let paths: Vec<String> = offered()
        .filter(|option| takes_path(option))
        .flat_map(|option| {
            let short = option.short.map(|short| format!("-{}", char::from(short)));
            short.into_iter().chain([format!("--{}", option.long)])
        })
        .collect();
    out!(
        text,
        "    case $prev in {}) COMPREPLY=($(compgen -f -- \"$cur\")); return ;; esac",
        paths.join("|")
    );
    out!(text, "    case $command in");
    for command in commands() {
        let options: Vec<String> = offered()
            .filter(|option| option.scope.serves(command.name))
            .flat_map(spellings)
            .collect();
        let words = operand_words(command.operands);
        out!(
            text,
            "        {}) options=\"{}\" ;;",
            command.name,
            format!("{words} {}", options.join(" ")).trim_start()
        );
    }
    out!(
        text,
        "        *) options=\"{} --help --version\" ;;\n    esac",
        names.join(" ")
    );
    out!(
        text,
        "    COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n}}\ncomplete -o default -F _criu criu"
    );
    text
}

/// Text inside single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn zsh() -> String {
    let mut text = String::from("#compdef criu\n_criu() {\n    local -a commands\n    commands=(\n");
    for command in commands() {
        out!(
            text,
            "        '{}:{}'",
            command.name,
            quoted(command.help).replace(':', "\\:")
        );
    }
    text.push_str("    )\n    _arguments -s \\\n");
    let escape = |help: &str| {
        quoted(help)
            .replace('[', "\\[")
            .replace(']', "\\]")
            .replace(':', "\\:")
    };
    for option in offered() {
        let help = escape(option.help);
        let action = if takes_path(option) { "_files" } else { " " };
        let (suffix, value) = match option.arg {
            Arg::None => ("", String::new()),
            Arg::Required(name) => ("=", format!(":{}:{action}", escape(name))),
            Arg::Optional(name) => ("=-", format!("::{}:{action}", escape(name))),
        };
        for long in spellings(option) {
            out!(text, "        '*{long}{suffix}[{help}]{value}' \\");
        }
        if let Some(short) = option.short {
            let suffix = if option.arg == Arg::None {
                ""
            } else {
                suffix.trim_start_matches('=')
            };
            let suffix = if matches!(option.arg, Arg::Required(_)) {
                "+"
            } else {
                suffix
            };
            out!(
                text,
                "        '*-{}{suffix}[{help}]{value}' \\",
                char::from(short)
            );
        }
    }
    text.push_str(
        "        '1:command:{_describe command commands}' \\\n        '*::operand:_files'\n}\n_criu \"$@\"\n",
    );
    text
}

fn fish() -> String {
    let mut text = String::from("# fish completion for criu\n");
    let names: Vec<&str> = commands().map(|command| command.name).collect();
    for command in commands() {
        let help = command.help.replace('\'', "\\'");
        out!(
            text,
            "complete -c criu -f -n __fish_use_subcommand -a {} -d '{help}'",
            command.name
        );
        for word in operand_words(command.operands).split_whitespace() {
            out!(
                text,
                "complete -c criu -f -n '__fish_seen_subcommand_from {}' -a {word}",
                command.name
            );
        }
    }
    for option in offered() {
        let serves: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| option.scope.serves(name))
            .collect();
        let condition = match option.scope {
            Scope::Any => String::new(),
            _ => format!(" -n '__fish_seen_subcommand_from {}'", serves.join(" ")),
        };
        let short = option
            .short
            .map_or(String::new(), |short| format!(" -s {}", char::from(short)));
        let value = match option.arg {
            Arg::Required(_) if takes_path(option) => " -r -F",
            Arg::Required(_) => " -x",
            Arg::None | Arg::Optional(_) => "",
        };
        let help = option.help.replace('\'', "\\'");
        out!(
            text,
            "complete -c criu{condition} -l {}{short}{value} -d '{help}'",
            option.long
        );
        if option.negatable {
            out!(
                text,
                "complete -c criu{condition} -l no-{} -d 'Not: {help}'",
                option.long
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_man_name_every_option_and_command() {
        let (help, man) = (help(), man());
        for option in OPTIONS {
            assert!(help.contains(option.help), "{}", option.long);
            assert!(man.contains(&roff(option.long)), "{}", option.long);
        }
        for command in COMMANDS {
            assert!(
                help.contains(&format!("\n  {}", command.name)),
                "{}",
                command.name
            );
        }
        assert!(help.lines().all(|line| line.len() < 180));
    }

    #[test]
    fn completions_are_accepted_by_the_shells_that_are_here() {
        for (name, shell) in [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)] {
            let text = completions(shell);
            assert!(
                text.contains("tcp-established") && !text.contains("mntns-compat-mode"),
                "{name}"
            );
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("completions");
            std::fs::write(&file, &text).unwrap();
            match std::process::Command::new(name).arg("-n").arg(&file).output() {
                Ok(output) => assert!(output.status.success(), "{name}: {output:?}"),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{name}: {error}"),
            }
        }
    }
}
