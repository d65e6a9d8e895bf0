//! inotify and fanotify.
criu_tests::guests! {
    inotify {
        deleted,
        fan_decides,
        fan_flags,
        fan_ids,
        fan_marks,
        fan_unprivileged,
        fan_wide,
        flags,
        many,
        masks,
        mixed,
        nameless,
        numbers,
        queued,
        renamed,
        shared,
        special,
        watches,
    }
}
