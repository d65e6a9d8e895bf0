//! The options as text, by name: how plugins, which know no field of the core's, read them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// The value of a setting as text: the items of a list one a line, "1" for a set flag.
trait AsSetting {
    fn as_setting(&self) -> Option<String>;
}

impl AsSetting for bool {
    fn as_setting(&self) -> Option<String> {
        self.then(|| "1".to_owned())
    }
}

macro_rules! setting_by_text {
    ($($type:ty => |$v:ident| $text:expr),+ $(,)?) => {
        $( impl AsSetting for $type {
            fn as_setting(&self) -> Option<String> { let $v = self; Some($text) }
        } )+
    };
}

setting_by_text! {
    i32 => |v| v.to_string(),
    u16 => |v| v.to_string(),
    u32 => |v| v.to_string(),
    u64 => |v| v.to_string(),
    String => |v| v.clone(),
    OsString => |v| v.to_string_lossy().into_owned(),
    PathBuf => |v| v.to_string_lossy().into_owned(),
    Duration => |v| v.as_secs().to_string(),
    CpuCap => |v| v.to_string(),
    ManageCgroups => |v| v.word().to_owned(),
    NetworkLock => |v| v.word().to_owned(),
    FileValidation => |v| v.word().to_owned(),
    PreDumpMode => |v| v.word().to_owned(),
    External => |v| v.text.clone(),
    InheritFd => |v| format!("fd[{}]:{}", v.fd, v.key),
    VethPair => |v| format!("{}={}", v.inner, v.outer),
    JoinNs => |v| match &v.extra {
        Some(extra) => format!("{}:{},{extra}", v.ns, v.file),
        None => format!("{}:{}", v.ns, v.file),
    },
    ExtMountMap => |v| match &v.value {
        Some(value) => format!("{}:{value}", v.key),
        None => v.key.clone(),
    },
    CgroupRoot => |v| match &v.controller {
        Some(controller) => format!("{controller}:{}", v.path),
        None => v.path.clone(),
    },
}

impl<T: AsSetting> AsSetting for Option<T> {
    fn as_setting(&self) -> Option<String> {
        self.as_ref().and_then(AsSetting::as_setting)
    }
}

impl<T: AsSetting> AsSetting for Vec<T> {
    fn as_setting(&self) -> Option<String> {
        let texts: Vec<String> = self.iter().filter_map(AsSetting::as_setting).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }
}

/// The names of the settings and where they lie: one list for [`Options::setting`] and its test.
macro_rules! settings {
    ($($name:literal => $($field:ident).+),+ $(,)?) => {
        /// The long names [`Options::setting`] knows.
        pub const SETTING_NAMES: &[&str] = &[$($name),+];

        impl Options {
            /// The value of the option with this long name as text, for plugins, which know options by name only.
            ///
            /// "1" for a flag that is set and nothing for one that is not; nothing for an option without a value;
            /// the items of a list one a line; sizes in bytes, times in seconds.
            pub fn setting(&self, name: &str) -> Option<String> {
                match name {
                    $( $name => self.$($field).+.as_setting(), )+
                    _ => None,
                }
            }
        }
    };
}

settings! {
    "tree" => tree,
    "leave-stopped" => leave_stopped,
    "leave-running" => leave_running,
    "restore-detached" => restore_detached,
    "restore-sibling" => restore_sibling,
    "daemon" => daemon,
    "images-dir" => images_dir,
    "work-dir" => work_dir,
    "log-file" => log_file,
    "verbosity" => log_level,
    "log-pid" => log_pid,
    "join-ns" => join_ns,
    "root" => root,
    "ext-unix-sk" => ext_unix_sk,
    "ext-unix-sk-inodes" => ext_unix_sk_inodes,
    "tcp-established" => tcp_established,
    "tcp-close" => tcp_close,
    "skip-in-flight" => skip_in_flight,
    "close" => close,
    "evasive-devices" => evasive_devices,
    "pidfile" => pidfile,
    "veth-pair" => veth_pair,
    "action-script" => action_script,
    "link-remap" => link_remap,
    "shell-job" => shell_job,
    "file-locks" => file_locks,
    "page-server" => page_server,
    "address" => address,
    "port" => port,
    "ps-socket" => ps_socket,
    "prev-images-dir" => prev_images_dir,
    "ms" => ms,
    "track-mem" => track_mem,
    "auto-dedup" => auto_dedup,
    "plugin-dir" => plugin_dirs,
    "config-plugin-dir" => config_plugin_dirs,
    "cpu-cap" => cpu_cap,
    "force-irmap" => force_irmap,
    "irmap-scan-path" => irmap_scan_path,
    "ext-mount-map" => ext_mount_map,
    "exec-cmd" => exec_cmd,
    "manage-cgroups" => manage_cgroups,
    "cgroup-root" => cgroup_root,
    "cgroup-props" => cgroup_props,
    "cgroup-props-file" => cgroup_props_file,
    "cgroup-dump-controller" => cgroup_dump_controller,
    "cgroup-yard" => cgroup_yard,
    "freeze-cgroup" => freeze_cgroup,
    "inherit-fd" => inherit_fd,
    "feature" => feature,
    "all" => all,
    "extra" => extra,
    "experimental" => experimental,
    "deprecated" => deprecated,
    "skip-mnt" => skip_mnt,
    "enable-fs" => enable_fs,
    "enable-external-sharing" => enable_external_sharing,
    "enable-external-masters" => enable_external_masters,
    "ghost-limit" => ghost_limit,
    "ghost-fiemap" => ghost_fiemap,
    "lsm-profile" => lsm_profile,
    "lsm-mount-context" => lsm_mount_context,
    "timeout" => timeout,
    "external" => external,
    "empty-ns" => empty_ns,
    "lazy-pages" => lazy_pages,
    "display-stats" => display_stats,
    "weak-sysctls" => weak_sysctls,
    "status-fd" => status_fd,
    "stream" => stream,
    "tls" => tls,
    "tls-cacert" => tls_cacert,
    "tls-cacrl" => tls_cacrl,
    "tls-cert" => tls_cert,
    "tls-key" => tls_key,
    "tls-no-cn-verify" => tls_no_cn_verify,
    "pre-dump-mode" => pre_dump_mode,
    "file-validation" => file_validation,
    "skip-file-rwx-check" => skip_file_rwx_check,
    "network-lock" => network_lock,
    "mntns-compat-mode" => mntns_compat_mode,
    "unprivileged" => unprivileged,
    "allow-uprobes" => allow_uprobes,
    "json" => json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_name_and_flags_read_as_one() {
        let mut options = Options {
            shell_job: true,
            tree: Some(7),
            ..Options::default()
        };
        options.close = vec![3, 4];
        assert_eq!(options.setting("shell-job").as_deref(), Some("1"));
        assert_eq!(options.setting("tcp-close"), None);
        assert_eq!(options.setting("tree").as_deref(), Some("7"));
        assert_eq!(options.setting("close").as_deref(), Some("3\n4"));
        assert_eq!(options.setting("ghost-limit").as_deref(), Some("1048576"));
        assert_eq!(options.setting("timeout").as_deref(), Some("10"));
        assert_eq!(options.setting("no-such-thing"), None);
    }
}
