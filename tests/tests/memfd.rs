//! Memory files.
criu_tests::guests! {
    memfd {
        attributes (.need(criu_tests::Need::HugePages)),
        hugetlb (.need(criu_tests::Need::HugePages)),
        large,
        plain,
        sealed,
        shared,
    }
}
