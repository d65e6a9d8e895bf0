//! What the kernel keeps of tasks beside what the image format has fields for.
criu_tests::guests! {
    task {
        affinity,
        affinity_tree,
        autogroup,
        coredump_filter,
        ioprio,
        loginuid,
        mbind,
        mempolicy,
        slice,
        timer_slack,
    }
}
