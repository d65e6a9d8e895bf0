//! Guests and the harness that checkpoints them.
//!
//! A guest is a small C program under `guests/FAMILY/NAME.c` that sets up one kind of kernel state, waits, and
//! then verifies that the state is as it was. Every guest also runs without a checkpoint: one that fails there is
//! a broken test. [`Case`] is a guest and how to checkpoint it, [`Lab`] the folder and the processes of one run.

#![allow(clippy::panic, reason = "a test helper reports by panicking")]

mod case;
mod cgroups;
mod criu;
mod killing;
mod lab;
mod leftovers;
mod motion;
mod netlink;
mod patience;
mod peer;
pub mod reaper;
mod requirements;
mod snapshot;
mod stepping;

pub use case::Case;
pub use cgroups::{groups, remove_groups};
pub use criu::{Criu, Outcome, build_folder};
pub use killing::{
    dump_after_dumps_killed_at_ptrace_calls, kill_dumps, kill_dumps_at_calls, kill_restores,
    kill_restores_at_ptrace_calls,
};
pub use lab::{Lab, Verdict, until};
pub use leftovers::{firewall_tables, kill_all, processes_of};
pub use requirements::Need;
pub use snapshot::Snapshot;

/// Defines the tests of a family: `guests! { events { eventfd, timerfd (.dump_option("--x")) } }`.
///
/// Each guest becomes a module with one test for each way to run it, and one test checks that no guest of the
/// folder is forgotten.
#[macro_export]
macro_rules! guests {
    ($family:ident { $($name:ident $(($($build:tt)*))?),* $(,)? }) => {
        mod $family {
            $(mod $name {
                fn case() -> $crate::Case {
                    $crate::Case::new(concat!(stringify!($family), "/", stringify!($name))) $($($build)*)?
                }
                #[test]
                fn native() {
                    case().native();
                }
                #[test]
                fn checkpoint() {
                    case().checkpoint();
                }
                #[test]
                fn thrice() {
                    case().thrice();
                }
                #[test]
                fn leave_running() {
                    case().leave_running();
                }
                #[test]
                #[ignore = "exchanges image sets with the program that CRIU_TEST_PEER names"]
                fn peer() {
                    case().peer();
                }
            })*
            #[test]
            fn native_every_guest_has_its_tests() {
                $crate::Case::assert_all_listed(stringify!($family), &[$(stringify!($name)),*]);
            }
        }
    };
}
