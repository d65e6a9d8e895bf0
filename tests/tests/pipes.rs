//! Pipes and FIFOs.
criu_tests::guests! {
    pipes {
        blocked,
        data,
        ends,
        fifo,
        fifo_deleted,
        fifo_modes,
        fifo_names (.dump_option("--link-remap")),
        fifo_waiting,
        flags,
        full,
        full_fragments,
        many,
        owner,
        owners,
        packets,
        processes,
        sizes,
    }
}
