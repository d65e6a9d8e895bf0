//! Programs of the x32 ABI, which few kernels run. Restored ones are born of a 64-bit program, whose vsyscall page they
//! keep.
criu_tests::guests! {
    x32 {
        forked (.need(criu_tests::Need::X32).except("mapping")),
        handler (.need(criu_tests::Need::X32).except("mapping")),
        plain (.need(criu_tests::Need::X32).except("mapping")),
        signals (.need(criu_tests::Need::X32).except("mapping")),
        threads (.need(criu_tests::Need::X32).except("mapping")),
        timers (.need(criu_tests::Need::X32).except("mapping")),
        waiting (.need(criu_tests::Need::X32).except("mapping")),
    }
}
