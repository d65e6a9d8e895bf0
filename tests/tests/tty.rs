//! Pseudo-terminals and the controlling terminal.
criu_tests::guests! {
    tty {
        console (.need(criu_tests::Need::Consoles)),
        console_session (.need(criu_tests::Need::Consoles)),
        controlling (.need(criu_tests::Need::Terminals)),
        exclusive (.need(criu_tests::Need::Terminals)),
        flags (.need(criu_tests::Need::Terminals)),
        full (.need(criu_tests::Need::Terminals)),
        hung_up (.need(criu_tests::Need::Terminals)),
        inherited (.need(criu_tests::Need::Terminals)),
        instance (.need(criu_tests::Need::Terminals)),
        leader (.need(criu_tests::Need::Terminals)),
        leader_gone (.need(criu_tests::Need::Terminals)),
        lines (.need(criu_tests::Need::Terminals)),
        many (.need(criu_tests::Need::Terminals)),
        master_only (.need(criu_tests::Need::Terminals)),
        owner (.need(criu_tests::Need::Terminals)),
        packet (.need(criu_tests::Need::Terminals)),
        pair (.need(criu_tests::Need::Terminals)),
        queued (.need(criu_tests::Need::Terminals)),
        serial (.need(criu_tests::Need::Consoles)),
        sessions (.need(criu_tests::Need::Terminals)),
        stopped (.need(criu_tests::Need::Terminals)),
        termios (.need(criu_tests::Need::Terminals)),
        vhangup (.need(criu_tests::Need::Terminals)),
    }
}
