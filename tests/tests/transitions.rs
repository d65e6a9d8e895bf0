//! Guests in motion: dumped and restored over and over while they work, without the loss of a byte.
//!
//! `CRIU_TEST_ROUNDS` says how often; the usual run has few rounds.

macro_rules! motions {
    ($($name:ident $((.$option:ident($($value:tt)*)))*),* $(,)?) => {
        mod transitions {
            $(mod $name {
                fn case() -> criu_tests::Case {
                    criu_tests::Case::new(concat!("transitions/", stringify!($name)))$(.$option($($value)*))*
                }
                #[test]
                fn native() {
                    case().native_in_motion();
                }
                #[test]
                fn rounds() {
                    case().rounds();
                }
                #[test]
                fn leave_running() {
                    case().rounds_left_running();
                }
            })*
            #[test]
            fn native_every_guest_has_its_tests() {
                criu_tests::Case::assert_all_listed("transitions", &[$(stringify!($name)),*]);
            }
        }
    };
}

motions! {
    altstack,
    compute,
    datagrams,
    descriptors,
    epoll,
    exec_loop,
    file_append,
    fork_storm,
    futex,
    io_uring,
    maps_loop,
    pipes,
    pty (.need(criu_tests::Need::Terminals)),
    sessions,
    signals,
    sleeps,
    spawn_loop,
    stop_cont,
    tcp (.option("--tcp-established")),
    thread_storm,
    timers,
    tracer (.refused_at_times("is already traced by process")),
    unix_rights,
    unix_stream,
}
