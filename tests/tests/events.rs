//! eventfd, epoll, signalfd, timerfd, pidfd.
criu_tests::guests! {
    events {
        epoll,
        epoll_closed,
        epoll_elsewhere,
        epoll_modes,
        epoll_nested,
        eventfd,
        eventfd_shared,
        many,
        mixed,
        pidfd,
        pidfd_dead,
        signalfd,
        timerfd,
        timerfd_ticks (.except("ticks")),
    }
}
