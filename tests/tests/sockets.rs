//! Sockets: unix, TCP, UDP, raw, netlink, packet.
criu_tests::guests! {
    sockets {
        bind_options,
        error_queue (.option("--tcp-established")),
        netlink_bound,
        netlink_connected,
        netlink_groups,
        netlink_options,
        netlink_shared,
        netlink_unbound,
        owner (.option("--tcp-established")),
        packet_bound,
        packet_fanout,
        packet_members,
        packet_old,
        packet_options,
        packet_ring,
        packet_ring_blocks,
        packet_ring_both,
        packet_ring_shared,
        ping (.need(criu_tests::Need::Network)),
        raw_connected (.need(criu_tests::Need::Network)),
        raw_options,
        reuse_groups,
        sock_device (.option("--tcp-established")),
        sock_filter (.option("--tcp-established")),
        sock_options (.option("--tcp-established")),
        sock_timestamps (.option("--tcp-established")),
        tcp_bound (.option("--tcp-established")),
        tcp_client_options,
        tcp_close (.option("--tcp-close")),
        tcp_close_wait (.option("--tcp-established")),
        tcp_closing (.option("--tcp-established")),
        tcp_connection_options (.option("--tcp-established")),
        tcp_conntrack (.option("--tcp-established").need(criu_tests::Need::Network)),
        tcp_ended (.option("--tcp-established")),
        tcp_ended_unread (.option("--tcp-established")),
        tcp_established (.option("--tcp-established")),
        tcp_fin_wait1 (.option("--tcp-established")),
        tcp_fin_wait2 (.option("--tcp-established")),
        tcp_half_closed (.option("--tcp-established")),
        tcp_in_flight_rights (.option("--tcp-established")),
        tcp_large (.option("--tcp-established")),
        tcp_last_ack (.option("--tcp-established")),
        tcp_listen (.option("--tcp-established")),
        tcp_listen_options,
        tcp_md5 (.option("--tcp-established")),
        tcp_mapped (.option("--tcp-established")),
        tcp_options (.option("--tcp-established")),
        tcp_outside (.option("--tcp-established")),
        tcp_processes (.option("--tcp-established")),
        tcp_refused (.option("--tcp-established")),
        tcp_reset (.option("--tcp-established")),
        tcp_self (.option("--tcp-established")),
        tcp_shutdown_read (.option("--tcp-established")),
        tcp_skip_in_flight (.option("--tcp-established").dump_option("--skip-in-flight")),
        tcp_syn_recv (.option("--tcp-established")),
        tcp_syn_sent (.option("--tcp-established")),
        tcp_syn_sent_blocked (.option("--tcp-established")),
        tcp_unsent (.option("--tcp-established")),
        udp,
        unix_acl,
        unix_chroot,
        unix_circle,
        unix_credentials,
        udp_corked,
        udp_destination,
        udp_error,
        udp_gro,
        udp_ip_options,
        udp_ipv6_options,
        udp_members,
        udp_shutdown,
        udp_unread,
        udp_unread_any,
        udplite,
        unix_dgram,
        unix_elsewhere,
        unix_folder,
        unix_forsaken,
        unix_linked,
        unix_listen,
        unix_long,
        unix_oneway,
        unix_options,
        unix_pairs,
        unix_passing,
        unix_peercred,
        unix_peergroups,
        unix_pending,
        unix_pending_order,
        unix_processes,
        unix_records,
        unix_renamed,
        unix_reset,
        unix_rights,
        unix_self,
        unix_senders,
        unix_shutdown,
        unix_urgent,
    }
}

/// What only a dump that ends the process can save.
mod killed {
    use criu_tests::{Case, Criu, Lab};

    fn case() -> Case {
        Case::new("killed/unix_early")
    }

    #[test]
    fn native() {
        case().native();
    }

    #[test]
    fn checkpoint() {
        case().checkpoint();
    }

    #[test]
    fn thrice() {
        case().thrice();
    }

    /// What was sent before accept(2) stays with a process that goes on, and the dump says why.
    #[test]
    fn leave_running() {
        let mut lab = Lab::new();
        let pid = lab.start_guest("killed/unix_early");
        assert_eq!(lab.wait_ready(pid), None);
        let dump = Criu::dump(&lab, "images", pid);
        let outcome = dump.args(["--leave-running"]).run();
        outcome.expect_error();
        for word in [
            "unix socket",
            "which only a dump that ends the process can save",
            "--skip-in-flight",
        ] {
            assert!(
                outcome.output.contains(word),
                "no '{word}' in:\n{}",
                outcome.output
            );
        }
        lab.go();
        assert_eq!(lab.conclude(pid), criu_tests::Verdict::Pass);
        lab.assert_clean(&[pid]);
    }
}

/// What is lost of a process is said, with its place.
#[test]
fn queues_of_errors_are_named() {
    use criu_tests::{Criu, Lab, Verdict};

    let mut lab = Lab::new();
    let pid = lab.start_guest("sockets/error_queue");
    assert_eq!(lab.wait_ready(pid), None);
    let dump = Criu::dump(&lab, "images", pid);
    let outcome = dump.args(["--tcp-established", "--leave-running"]).run();
    outcome.expect_ok();
    for socket in ["TCP socket", "UDP socket"] {
        let told = |line: &str| {
            let words = ["Warn", &format!("pid {pid} fd "), socket, "queue of errors"];
            words.iter().all(|word| line.contains(word))
        };
        assert!(outcome.log.lines().any(told), "{socket}: {outcome}");
    }
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}
