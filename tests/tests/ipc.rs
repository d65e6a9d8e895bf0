//! System V IPC, POSIX message queues, POSIX semaphores and shared memory.
criu_tests::guests! {
    ipc {
        mq,
        mq_epoll,
        mq_unlinked,
        posix_sem (.option("--link-remap")),
        posix_shm,
        sem_undo (.need(criu_tests::Need::SystemV)),
        sem_undo_threads (.need(criu_tests::Need::SystemV)),
        shm (.need(criu_tests::Need::SystemV)),
        shm_beside_memfd (.need(criu_tests::Need::SystemV)),
        shm_forked (.need(criu_tests::Need::SystemV)),
        shm_huge (.need(criu_tests::Need::HugePages).need(criu_tests::Need::SystemV)),
        shm_locked (.need(criu_tests::Need::SystemV)),
        shm_many (.need(criu_tests::Need::SystemV)),
        shm_owner (.need(criu_tests::Need::SystemV)),
        shm_parts (.need(criu_tests::Need::SystemV)),
        shm_readonly (.need(criu_tests::Need::SystemV)),
        shm_removed (.need(criu_tests::Need::SystemV)),
        sysv_kept (.need(criu_tests::Need::SystemV)),
    }
}
