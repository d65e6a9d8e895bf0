//! The core knows no kind of resource; each kind stands in a plugin, with its tests.

use super::lexer::code_of;
use super::sources::{LIBRARIES, crates, rust};

/// Words of kinds: anywhere in a word of the core's code or in a string there.
///
/// `pidfd` is not among them: the core itself holds processes by such descriptors.
const KINDS: &[&str] = &[
    "af_unix",
    "af_inet",
    "af_netlink",
    "af_packet",
    "amdgpu",
    "epoll",
    "eventfd",
    "eventpoll",
    "fanotify",
    "inetsk",
    "inotify",
    "io_uring",
    "ioring",
    "kfd_",
    "dev_kfd",
    "memfd",
    "netlink",
    "packetsk",
    "ptmx",
    "signalfd",
    "sock_diag",
    "tcp_repair",
    "tiocg",
    "tiocp",
    "tiocs",
    "timerfd",
    "tunfile",
    "unixsk",
    "winsize",
    "termios",
];

/// Words that count only where they are a whole part between underscores.
const PARTS: &[&str] = &["tty", "pty", "fifo", "inet", "kfd"];

/// Where the core may say them, and why.
const ALLOWED: &[(&str, &str)] = &[
    (
        "core/loader/src/shipped.rs",
        "the list of what the shipped plugins serve, to name the one that is missing",
    ),
    (
        "core/criu/src/builtin.rs",
        "the list of the plugins that the self-contained program links",
    ),
    ("core/blobs/rt/nr.rs", "the table of all system calls' numbers"),
];

/// The code of the core, without that of its tests.
fn core() -> Vec<(String, String)> {
    let mut sources = rust("core");
    sources.retain(|(path, _)| !path.contains("/tests/") && !path.ends_with("tests.rs"));
    assert!(sources.len() > 50, "{} sources in core", sources.len());
    sources
}

/// The words of a text: letters, digits and underscores, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The kind that a word speaks of.
fn kind_in(word: &str) -> Option<&'static str> {
    let inside = KINDS.iter().find(|kind| word.contains(**kind));
    let part = || {
        PARTS
            .iter()
            .find(|kind| word.split('_').any(|part| part == **kind))
    };
    inside.or_else(part).copied()
}

#[test]
fn the_core_knows_no_kind() {
    let mut found = Vec::new();
    for (path, text) in core() {
        if ALLOWED.iter().any(|(allowed, _)| path.starts_with(allowed)) {
            continue;
        }
        for (number, line) in code_of(&text).lines().enumerate() {
            if let Some(kind) = words(line).find_map(|word| kind_in(&word)) {
                found.push(format!("{path}:{}: {kind}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "kinds in the core's code:\n  {}",
        found.join("\n  ")
    );
}

#[test]
fn words_of_kinds_are_found() {
    for word in [
        "AF_UNIX",
        "inotify_init1",
        "tty_nr",
        "EVENTPOLL_FILE",
        "libc::TIOCGWINSZ",
        "FIFO",
    ] {
        assert!(words(word).any(|word| kind_in(&word).is_some()), "{word}");
    }
    for word in ["pidfd_open", "pretty", "fifolike", "unix", "task"] {
        assert!(words(word).all(|word| kind_in(&word).is_none()), "{word}");
    }
}

#[test]
fn exceptions_are_needed() {
    let sources = core();
    for (allowed, _) in ALLOWED {
        let needed = sources
            .iter()
            .filter(|(path, _)| path.starts_with(allowed))
            .any(|(_, text)| words(&code_of(text)).any(|word| kind_in(&word).is_some()));
        assert!(needed, "{allowed} names no kind: take it off the list");
    }
}

/// Where the tests of the kinds that a source registers may stand: a list of modules for each `register!`. A
/// kind's module is named as it is, or in the path of its value; or it is the module that registers it.
fn registered(code: &str) -> Vec<Vec<String>> {
    let blocks = code.split("register!").skip(1);
    let field = |block: &str, name: &str| {
        let (_, rest) = block.split_once(name)?;
        rest.trim_start().split([',', '(', '{']).next().map(str::to_owned)
    };
    let modules = |block: &str| {
        let value = field(block, "kind:")?;
        let named = field(block, "name:")?.trim_matches('"').replace('-', "_");
        let path = value.split_once("::").map(|(module, _)| module.to_owned());
        Some(path.into_iter().chain([named]).collect())
    };
    blocks.filter_map(modules).collect()
}

#[test]
fn every_kind_has_tests_beside_it() {
    let mut missing = Vec::new();
    let mut plugins = crates("plugins");
    plugins.retain(|p| !LIBRARIES.contains(&p.as_str()));
    assert!(plugins.len() >= 7, "{plugins:?}");
    for plugin in plugins {
        let sources = rust(&format!("{plugin}/src"));
        let tested = |path: &str| {
            let source = sources.iter().find(|(p, _)| p == path);
            source.is_some_and(|(_, text)| has_tests(&code_of(text)))
        };
        let library = format!("{plugin}/src/lib.rs");
        let exported = sources
            .iter()
            .any(|(p, text)| *p == library && code_of(text).contains("export_plugin!"));
        assert!(exported, "{plugin} exports no plugin");
        let mut kinds = 0;
        for (path, text) in &sources {
            for modules in registered(&code_of(text)) {
                kinds += 1;
                let module = |file: &str| {
                    let ends = |m: &String| {
                        file.ends_with(&format!("/{m}.rs")) || file.ends_with(&format!("/{m}/mod.rs"))
                    };
                    modules.iter().any(ends)
                };
                // Modules of one folder may have their tests together.
                let folder = |file: &str| {
                    file.rsplit_once('/')
                        .map(|(folder, _)| format!("{folder}/mod.rs"))
                };
                let places = sources.iter().map(|(p, _)| p).filter(|p| module(p));
                if !tested(path)
                    && !places
                        .into_iter()
                        .any(|p| tested(p) || folder(p).is_some_and(|p| tested(&p)))
                {
                    missing.push(format!("{path}: {}", modules.join(", ")));
                }
            }
        }
        assert!(kinds > 0, "{plugin} registers no kind");
    }
    assert!(
        missing.is_empty(),
        "kinds without tests:\n  {}",
        missing.join("\n  ")
    );
}

fn has_tests(code: &str) -> bool {
    code.split_once("#[cfg(test)]")
        .is_some_and(|(_, rest)| rest.contains("mod tests"))
}

/// Prints the long files of the core; how long is too long is for a reader to say.
#[test]
fn long_files_are_shown() {
    for (path, text) in core() {
        let lines = text.lines().count();
        if lines > 600 {
            println!("{path} has {lines} lines");
        }
    }
}
