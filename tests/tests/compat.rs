//! Image sets of the same guest (`golden/guest.c`), written by this program and by CRIU 4.2, hold the same: the
//! same files, as many entries, the same fields in each, and the same values but for those that differ from run
//! to run (`compat/rules.rs` names each, and why). Debian's `crit` reads all of ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test reports by panicking"
)]

mod compat {
    mod cases;
    mod compare;
    mod crit;
    mod other_kernel;
    #[allow(dead_code, reason = "another test uses the rest")]
    #[path = "../golden/payload.rs"]
    mod payload;
    mod restored;
    mod rules;
    mod set;
    mod tree;
}
