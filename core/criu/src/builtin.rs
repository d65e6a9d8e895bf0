//! The shipped plugins, linked into the program: named here for the linker alone, which would otherwise leave out what
//! nothing calls. They register themselves when the program starts.

use {
    criu_plugin_aio as _, criu_plugin_bpf as _, criu_plugin_cgroup as _, criu_plugin_events as _,
    criu_plugin_files as _, criu_plugin_inotify as _, criu_plugin_io_uring as _, criu_plugin_ipc as _,
    criu_plugin_memfd as _, criu_plugin_pipes as _, criu_plugin_sockets as _, criu_plugin_task as _,
    criu_plugin_tty as _, criu_plugin_tun as _,
};
