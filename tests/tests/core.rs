//! The process itself.
criu_tests::guests! { core { sleeper, exec_state } }
