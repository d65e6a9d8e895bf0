//! The process itself: its tree, threads, registers, signals, timers, credentials, limits, flags.
criu_tests::guests! {
    core {
        altstack,
        chroot_task,
        clear_child_tid,
        computing,
        cpuid_faults,
        credentials,
        credentials_threads,
        cwd_root,
        dead_leaders,
        debug_registers,
        exec_state,
        exit_signal,
        group_of_other,
        itimer_ticks,
        itimers,
        leader_gone,
        leader_gone_files (.option("--file-locks")),
        limits,
        limits_tight,
        many_processes,
        membarrier,
        own_stack,
        pdeathsig,
        posix_timers,
        prctl_flags,
        prctl_threads,
        registers,
        reparented,
        restart,
        restart_calls (.option("--file-locks")),
        restart_masks,
        robust_futex,
        rseq,
        rseq_critical,
        sched_deadline,
        sched_slice,
        scheduling,
        seccomp_actions,
        seccomp_filter,
        seccomp_strict,
        seccomp_tsync,
        // Each restored thread has one shadow stack more, of a page.
        shadow_stack (.except("mapping")),
        session_below,
        session_trees,
        shared_fd_table,
        sigchld,
        signal_actions,
        signal_handler,
        signal_kinds,
        signal_pending,
        signal_unqueued,
        sleep_rest,
        sleeper,
        sleeping,
        stopped,
        stopped_by,
        threads,
        threads_1000,
        timers_clocks,
        timers_many,
        tree,
        user_dispatch,
        user_dispatch_blocked,
        zombies,
    }
}

/// Calls that one dump has interrupted, and that the kernel goes on with by a call of its own, go on after the next.
mod after_another {
    use criu_tests::Case;

    #[test]
    fn restart() {
        Case::new("core/restart").after_another();
    }

    #[test]
    fn restart_calls() {
        Case::new("core/restart_calls")
            .option("--file-locks")
            .after_another();
    }

    #[test]
    fn restart_masks() {
        Case::new("core/restart_masks").after_another();
    }

    #[test]
    fn sleeping() {
        Case::new("core/sleeping").after_another();
    }
}
