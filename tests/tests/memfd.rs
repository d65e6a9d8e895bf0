//! Memory files.
criu_tests::guests! {
    memfd {
        hugetlb (.need(criu_tests::Need::HugePages)),
        large,
        plain,
        sealed,
        shared,
    }
}
