//! Sockets: unix, TCP, UDP.
criu_tests::guests! {
    sockets {
        tcp_bound (.option("--tcp-established")),
        tcp_close (.option("--tcp-close")),
        tcp_ended (.option("--tcp-established")),
        tcp_established (.option("--tcp-established")),
        tcp_half_closed (.option("--tcp-established")),
        tcp_listen (.option("--tcp-established")),
        tcp_options (.option("--tcp-established")),
        tcp_processes (.option("--tcp-established")),
        tcp_unsent (.option("--tcp-established")),
        udp,
        unix_dgram,
        unix_folder,
        unix_listen,
        unix_options,
        unix_pairs,
        unix_pending,
        unix_processes,
        unix_reset,
        unix_rights,
        unix_self,
        unix_shutdown,
    }
}
