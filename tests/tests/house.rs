//! Rules about the repository itself: the core knows no kind of resource, dependencies point one way, every kind
//! has its tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test reports by panicking"
)]

mod house {
    mod dependencies;
    mod kinds;
    mod lexer;
    mod sources;
}
