//! Real programs, each asked after the restore for what it had before.

#![allow(clippy::panic, reason = "a test reports by panicking")]

mod programs {
    pub(crate) mod support;

    mod bash;
    mod interpreters;
    mod nginx;
    mod postgres;
    mod redis;
    mod tree;
}
