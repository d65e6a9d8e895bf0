//! Control groups: membership, properties, the ways to manage them, the freezer.

#![allow(clippy::panic, reason = "a test reports by panicking")]

mod cgroup {
    mod freezer;
    mod modes;
    mod support;
}

macro_rules! families {
    ($($name:ident)*) => {
        criu_tests::guests! {
            cgroup { $($name (.option("--manage-cgroups")),)* }
        }
        /// The same, but between dump and restore all groups are removed.
        mod made_anew {
            $(#[test]
            fn $name() {
                criu_tests::Case::new(concat!("cgroup/", stringify!($name)))
                    .option("--manage-cgroups")
                    .between(criu_tests::remove_groups)
                    .thrice();
            })*
        }
    };
}

mod guests {
    families! {
        child_goes_back
        delegated
        hybrid
        tree
        v1_blkio
        v1_cpu
        v1_cpuset
        v1_devices
        v1_devices_open
        v1_freezer
        v1_memory
        v1_memory_tight
        v1_named
        v1_pids
        v1_pids_session
        v1_realtime
        v1_threads
        v2_controllers
        v2_freeze
        v2_plain
        v2_threaded
        v2_threaded_leader
    }
}
