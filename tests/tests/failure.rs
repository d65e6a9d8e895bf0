//! A dump that cannot go on leaves the tree running as before; a restore that cannot leaves nothing.

#![allow(clippy::panic, reason = "a test reports by panicking")]

mod failure {
    mod damage;
    mod dump;
    mod files;
    mod images;
    mod processes;
}
