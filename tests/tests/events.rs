//! eventfd, epoll, signalfd, timerfd, pidfd.
criu_tests::guests! { events { epoll, epoll_closed, epoll_modes, epoll_nested, eventfd, eventfd_shared, mixed, pidfd, signalfd, timerfd, timerfd_ticks (.except("ticks")) } }
