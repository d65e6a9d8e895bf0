//! Everything the command line, a configuration file or a service request can ask for.
//!
//! [`Options`] is built once by the program and then passed down by reference: no option is a global. Each field
//! bears the name of its long option (`--ghost-limit` is [`Options::ghost_limit`]); the meaning of the options is
//! that of `criu(8)`, version 4.2. Paths are as given: relative ones are relative to the current directory unless
//! the field says otherwise.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

mod settings;
mod values;

pub use settings::SETTING_NAMES;
pub use values::*;

/// Told of the stages of the work; what it does with them (a script, a service client) is its own matter.
pub trait Notify {
    /// `action` is the stage's name as CRIU 4.2 spells it (`pre-dump`, `post-dump`, `network-lock`, ...), `pid` the
    /// root task's pid in the program's pid namespace where there is one yet. An error ends the work and says what
    /// failed.
    fn notify(&self, action: &str, pid: Option<i32>) -> Result<(), String>;
}

/// Nobody is told anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Notify for Silent {
    fn notify(&self, _action: &str, _pid: Option<i32>) -> Result<(), String> {
        Ok(())
    }
}

/// Everything a run was asked to do. Made by the program; read by the engine and, by name, by plugins.
#[derive(Debug, Clone)]
pub struct Options {
    /// `-t/--tree PID`: the root of the tree to dump, always positive.
    pub tree: Option<i32>,
    /// `-s/--leave-stopped`: see [`Options::final_state`].
    pub leave_stopped: bool,
    /// `-R/--leave-running`: see [`Options::final_state`].
    pub leave_running: bool,
    /// `-d/--restore-detached`: the program ends once the tree runs.
    pub restore_detached: bool,
    /// `-S/--restore-sibling`: the root task becomes a child of the program's parent.
    pub restore_sibling: bool,
    /// `--daemon`: a server goes to the background once it listens.
    pub daemon: bool,
    /// `-D/--images-dir DIR`: where the images lie; the current directory by default.
    pub images_dir: PathBuf,
    /// `-W/--work-dir DIR`: where logs, pid files and statistics go; the images directory when absent.
    pub work_dir: Option<PathBuf>,
    /// `-o/--log-file FILE`: relative to the work directory; standard error when absent.
    pub log_file: Option<PathBuf>,
    /// `-v/--verbosity`: 0 nothing, 1 errors, 2 warnings (default), 3 information, 4 and more debugging.
    pub log_level: u32,
    /// The descriptor the program opened for the log, when it goes to a file. Marked close-on-exec and placed high;
    /// forked children write to it too, so nothing may be put in its place while they still log.
    pub log_fd: Option<i32>,
    /// `--log-pid`: each process writes its own log, named by the log file and its pid.
    pub log_pid: bool,
    /// `-J/--join-ns`: namespaces to enter on restore.
    pub join_ns: Vec<JoinNs>,
    /// `-r/--root DIR`: the root of the restored mount namespace.
    pub root: Option<PathBuf>,
    /// `-x/--ext-unix-sk`: sockets whose peer is outside the tree are accepted.
    pub ext_unix_sk: bool,
    /// The inodes of `-xINODE[,INODE...]`; empty for a bare `-x`, which means any.
    pub ext_unix_sk_inodes: Vec<u32>,
    /// `--tcp-established`: established connections are saved and brought back.
    pub tcp_established: bool,
    /// `--tcp-close`: connections are restored closed.
    pub tcp_close: bool,
    /// `--skip-in-flight`: connections not yet established are left out.
    pub skip_in_flight: bool,
    /// `--close FD`: descriptors the program closes before all else.
    pub close: Vec<i32>,
    /// `--evasive-devices`: another path to the same device is good enough.
    pub evasive_devices: bool,
    /// `--pidfile FILE`: relative to the work directory; gets the root task's (or server's) pid.
    pub pidfile: Option<PathBuf>,
    /// `--veth-pair`: outer names of restored network devices.
    pub veth_pair: Vec<VethPair>,
    /// `--action-script CMD`: shell commands told of each stage.
    pub action_script: Vec<String>,
    /// `--link-remap`: a deleted file with other names left is linked under a temporary one.
    pub link_remap: bool,
    /// `-j/--shell-job`: the session, the process group and the terminal may belong to the outside.
    pub shell_job: bool,
    /// `-l/--file-locks`: file locks are saved.
    pub file_locks: bool,
    /// `--page-server`: pages go to a page server.
    pub page_server: bool,
    /// `--address ADDR` of the page server or to listen on.
    pub address: Option<String>,
    /// `--port PORT`; 0 lets the kernel choose.
    pub port: Option<u16>,
    /// `--ps-socket FD`: a connected socket to use instead of address and port.
    pub ps_socket: Option<i32>,
    /// `--prev-images-dir DIR`: the earlier set of an incremental dump, relative to the images directory.
    pub prev_images_dir: Option<PathBuf>,
    /// `--ms`: `check` leaves out what is not in the kernel's main line.
    pub ms: bool,
    /// `--track-mem`: changes of memory are tracked from now on.
    pub track_mem: bool,
    /// `--auto-dedup`: pages that a newer set holds are punched out of the older one.
    pub auto_dedup: bool,
    /// `--plugin-dir DIR` and `-L/--libdir DIR` of the command line, in order; of two plugins of one name the one in
    /// the later directory is taken.
    pub plugin_dirs: Vec<PathBuf>,
    /// The same from configuration files; weaker than [`Options::plugin_dirs`].
    pub config_plugin_dirs: Vec<PathBuf>,
    /// `--plugin-option PLUGIN.NAME=VALUE`, in order; the last of a name counts.
    pub plugin_options: Vec<PluginOption>,
    /// The same from `[plugin.NAME]` tables of the configuration; weaker than [`Options::plugin_options`].
    pub config_plugin_options: Vec<PluginOption>,
    /// `--cpu-cap[=CAP,...]`: what must match between the machines; [`CpuCap::ALL`] for the bare option. See
    /// [`Options::cpu_cap`] for its absence.
    pub cpu_cap: Option<CpuCap>,
    /// `--force-irmap`: names of watched inodes are searched for even where handles would do.
    pub force_irmap: bool,
    /// `--irmap-scan-path DIR`: where to search for them.
    pub irmap_scan_path: Vec<PathBuf>,
    /// `-M/--ext-mount-map`: mounts that belong to the outside.
    pub ext_mount_map: Vec<ExtMountMap>,
    /// `--exec-cmd -- CMD ...`: what the program becomes once the tree is restored; empty without the option.
    pub exec_cmd: Vec<OsString>,
    /// `--manage-cgroups[=MODE]`.
    pub manage_cgroups: ManageCgroups,
    /// `--cgroup-root [CONTROLLER:]PATH`.
    pub cgroup_root: Vec<CgroupRoot>,
    /// `--cgroup-props TEXT`: which properties of cgroups are saved.
    pub cgroup_props: Option<String>,
    /// `--cgroup-props-file FILE`: the same from a file.
    pub cgroup_props_file: Option<PathBuf>,
    /// `--cgroup-dump-controller NAME`: only these are saved.
    pub cgroup_dump_controller: Vec<String>,
    /// `--cgroup-yard DIR`: where cgroup hierarchies are mounted already.
    pub cgroup_yard: Option<PathBuf>,
    /// `--freeze-cgroup DIR`: the cgroup that is frozen instead of its tasks one by one.
    pub freeze_cgroup: Option<PathBuf>,
    /// `--inherit-fd fd[N]:KEY`.
    pub inherit_fd: Vec<InheritFd>,
    /// `--feature NAME,...`: what `check` is asked about.
    pub feature: Vec<String>,
    /// `--all` of `check`: everything.
    pub all: bool,
    /// `--extra` of `check`: also what only some dumps need.
    pub extra: bool,
    /// `--experimental` of `check`: also what is not settled.
    pub experimental: bool,
    /// `--deprecated`: what is given up may still be used.
    pub deprecated: bool,
    /// `--skip-mnt PATH`: mounts left out.
    pub skip_mnt: Vec<PathBuf>,
    /// `--enable-fs FS,...`: file systems whose mounts may be mounted anew; `all` for any.
    pub enable_fs: Vec<String>,
    /// `--enable-external-sharing`: mounts may share with the outside.
    pub enable_external_sharing: bool,
    /// `--enable-external-masters`: mounts may be slaves of the outside.
    pub enable_external_masters: bool,
    /// `--ghost-limit SIZE`: the largest deleted file carried in the images, in bytes; 1 MiB by default.
    pub ghost_limit: u64,
    /// `--ghost-fiemap`: holes of deleted files are found by extent maps.
    pub ghost_fiemap: bool,
    /// `--lsm-profile TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// `--lsm-mount-context CONTEXT`.
    pub lsm_mount_context: Option<String>,
    /// `--timeout SECONDS` for freezing the tree; 10 s by default, zero for no limit.
    pub timeout: Duration,
    /// `--external KIND[KEY]:VALUE`.
    pub external: Vec<External>,
    /// `--empty-ns NS`: namespaces restored empty, by their names in /proc/PID/ns.
    pub empty_ns: Vec<String>,
    /// `--lazy-pages`: memory comes after the tree runs.
    pub lazy_pages: bool,
    /// `--display-stats`: statistics are printed at the end.
    pub display_stats: bool,
    /// `--weak-sysctls`: settings that cannot be set back are warned of only.
    pub weak_sysctls: bool,
    /// `--status-fd FD`: gets one zero byte when the program is ready.
    pub status_fd: Option<i32>,
    /// `--stream`: images go through an image streamer.
    pub stream: bool,
    /// `--tls`: the page server's connection is encrypted.
    pub tls: bool,
    /// `--tls-cacert FILE`.
    pub tls_cacert: Option<PathBuf>,
    /// `--tls-cacrl FILE`.
    pub tls_cacrl: Option<PathBuf>,
    /// `--tls-cert FILE`.
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key FILE`.
    pub tls_key: Option<PathBuf>,
    /// `--tls-no-cn-verify`: the server's name is not compared with its certificate.
    pub tls_no_cn_verify: bool,
    /// `--pre-dump-mode MODE`.
    pub pre_dump_mode: PreDumpMode,
    /// `--file-validation METHOD`.
    pub file_validation: FileValidation,
    /// `--skip-file-rwx-check`: a file's permission bits may have changed.
    pub skip_file_rwx_check: bool,
    /// `--network-lock METHOD`.
    pub network_lock: NetworkLock,
    /// `--mntns-compat-mode`: the older way of restoring mounts.
    pub mntns_compat_mode: bool,
    /// `--unprivileged`: the program runs with little privilege.
    pub unprivileged: bool,
    /// `--allow-uprobes`: mappings of user probes are left out.
    pub allow_uprobes: bool,
    /// `--json`: what is printed on standard output is JSON, where a command has a JSON form.
    pub json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            tree: None,
            leave_stopped: false,
            leave_running: false,
            restore_detached: false,
            restore_sibling: false,
            daemon: false,
            images_dir: PathBuf::from("."),
            work_dir: None,
            log_file: None,
            log_level: 2,
            log_fd: None,
            log_pid: false,
            join_ns: Vec::new(),
            root: None,
            ext_unix_sk: false,
            ext_unix_sk_inodes: Vec::new(),
            tcp_established: false,
            tcp_close: false,
            skip_in_flight: false,
            close: Vec::new(),
            evasive_devices: false,
            pidfile: None,
            veth_pair: Vec::new(),
            action_script: Vec::new(),
            link_remap: false,
            shell_job: false,
            file_locks: false,
            page_server: false,
            address: None,
            port: None,
            ps_socket: None,
            prev_images_dir: None,
            ms: false,
            track_mem: false,
            auto_dedup: false,
            plugin_dirs: Vec::new(),
            config_plugin_dirs: Vec::new(),
            plugin_options: Vec::new(),
            config_plugin_options: Vec::new(),
            cpu_cap: None,
            force_irmap: false,
            irmap_scan_path: Vec::new(),
            ext_mount_map: Vec::new(),
            exec_cmd: Vec::new(),
            manage_cgroups: ManageCgroups::Ignore,
            cgroup_root: Vec::new(),
            cgroup_props: None,
            cgroup_props_file: None,
            cgroup_dump_controller: Vec::new(),
            cgroup_yard: None,
            freeze_cgroup: None,
            inherit_fd: Vec::new(),
            feature: Vec::new(),
            all: false,
            extra: false,
            experimental: false,
            deprecated: false,
            skip_mnt: Vec::new(),
            enable_fs: Vec::new(),
            enable_external_sharing: false,
            enable_external_masters: false,
            ghost_limit: 1 << 20,
            ghost_fiemap: false,
            lsm_profile: None,
            lsm_mount_context: None,
            timeout: Duration::from_secs(10),
            external: Vec::new(),
            empty_ns: Vec::new(),
            lazy_pages: false,
            display_stats: false,
            weak_sysctls: false,
            status_fd: None,
            stream: false,
            tls: false,
            tls_cacert: None,
            tls_cacrl: None,
            tls_cert: None,
            tls_key: None,
            tls_no_cn_verify: false,
            pre_dump_mode: PreDumpMode::Splice,
            file_validation: FileValidation::BuildId,
            skip_file_rwx_check: false,
            network_lock: NetworkLock::Iptables,
            mntns_compat_mode: false,
            unprivileged: false,
            allow_uprobes: false,
            json: false,
        }
    }
}

impl Options {
    /// What becomes of the tasks of a successful dump; `--leave-running` wins over `--leave-stopped`.
    pub fn final_state(&self) -> FinalState {
        match (self.leave_running, self.leave_stopped) {
            (true, _) => FinalState::Running,
            (false, true) => FinalState::Stopped,
            (false, false) => FinalState::Kill,
        }
    }

    /// What must match between the processors of a dump and its restore.
    pub fn cpu_cap(&self) -> CpuCap {
        self.cpu_cap.unwrap_or(CpuCap::DEFAULT)
    }

    /// The directory of logs, pid files and statistics.
    pub fn work_dir(&self) -> &std::path::Path {
        self.work_dir.as_deref().unwrap_or(&self.images_dir)
    }

    /// The options of one plugin by name: the configuration's, overridden by those of the command line.
    pub fn plugin_settings(&self, plugin: &str) -> BTreeMap<&str, &str> {
        let all = self.config_plugin_options.iter().chain(&self.plugin_options);
        all.filter(|o| o.plugin == plugin)
            .map(|o| (o.name.as_str(), o.value.as_str()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_configuration_for_plugins() {
        let read = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap()).to_vec();
        let options = Options {
            config_plugin_options: read(["p.a=1", "p.b=2"]),
            plugin_options: read(["p.b=3", "q.b=4"]),
            ..Options::default()
        };
        let settings = options.plugin_settings("p");
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
    }
}
