//! Network devices of user space.
criu_tests::guests! {
    tun {
        persistent,
        queues,
        tap,
        // The kernel counts what was read of a device that has no positions, and nobody can set that.
        tun (.except("pos")),
        unread,
    }
}
