//! The command line, option by option: each has the effect that its description promises, or is refused by name.

#![allow(clippy::panic, reason = "a test reports by panicking")]

mod cli {
    pub(crate) mod support;

    mod check;
    mod configuration;
    mod cpu;
    mod ends;
    mod files;
    mod labels;
    mod machine;
    mod network;
    mod outside;
    mod places;
    mod refusals;
    mod scripts;
    mod terminal;
    mod watched;
}
