//! Pipes and FIFOs.
criu_tests::guests! {
    pipes {
        blocked,
        data,
        ends,
        fifo,
        fifo_deleted,
        flags,
        full,
        full_fragments,
        many,
        packets,
        processes,
    }
}
