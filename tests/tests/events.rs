//! eventfd, epoll, signalfd, timerfd, pidfd.
criu_tests::guests! {
    events {
        epoll,
        epoll_10000,
        epoll_closed,
        epoll_elsewhere,
        epoll_fork,
        epoll_kinds (.need(criu_tests::Need::Terminals)),
        epoll_modes,
        epoll_nested,
        epoll_params,
        eventfd,
        eventfd_shared,
        eventfd_states,
        many,
        matrix,
        mixed,
        pidfd,
        pidfd_dead,
        pidfd_flags,
        pidfd_thread,
        signalfd,
        signalfd_shared,
        timerfd,
        timerfd_states (.except("ticks")),
        timerfd_ticks (.except("ticks")),
    }
}
