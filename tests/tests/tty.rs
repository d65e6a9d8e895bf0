//! Pseudo-terminals and the controlling terminal.
criu_tests::guests! {
    tty {
        controlling (.need(criu_tests::Need::Terminals)),
        flags (.need(criu_tests::Need::Terminals)),
        leader (.need(criu_tests::Need::Terminals)),
        many (.need(criu_tests::Need::Terminals)),
        master_only (.need(criu_tests::Need::Terminals)),
        pair (.need(criu_tests::Need::Terminals)),
        queued (.need(criu_tests::Need::Terminals)),
    }
}
