//! Rings of asynchronous I\/O.
criu_tests::guests! {
    aio {
        completed,
        empty,
        forked,
    }
}
