//! Pseudo-terminals and the controlling terminal.
criu_tests::guests! { tty { controlling, flags, many, master_only, pair } }
