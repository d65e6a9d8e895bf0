//! System V IPC, POSIX message queues, POSIX semaphores and shared memory.
criu_tests::guests! {
    ipc {
        mq,
        mq_epoll,
        mq_unlinked,
        posix_sem (.option("--link-remap")),
        posix_shm,
        sem_undo,
        sem_undo_threads,
        shm,
        shm_beside_memfd,
        shm_forked,
        shm_huge (.need(criu_tests::Need::HugePages)),
        shm_locked,
        shm_many,
        shm_owner,
        shm_parts,
        shm_readonly,
        shm_removed,
        sysv_kept,
    }
}
