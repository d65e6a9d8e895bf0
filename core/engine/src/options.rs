//! Everything the command line, a configuration file or a service request can ask for.
//!
//! [`Options`] is built once by the program and then passed down by reference: no option is a global. Each field
//! bears the name of its long option (`--ghost-limit` is [`Options::ghost_limit`]); the meaning of the options is
//! that of `criu(8)`, version 4.2. Paths are as given: relative ones are relative to the current directory unless
//! the field says otherwise.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Why the text of an option's value was not accepted. Carries no option name: the caller knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct ValueError {
    /// The text as given.
    pub value: String,
    /// What would have been accepted, as a noun phrase.
    pub expected: String,
}

impl ValueError {
    /// An error about `value` where `expected` was wanted.
    pub fn new(value: &str, expected: impl Into<String>) -> Self {
        ValueError {
            value: value.to_owned(),
            expected: expected.into(),
        }
    }
}

/// Declares an enum whose variants are words on the command line.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal, $( $(#[$vmeta:meta])* $variant:ident = $word:literal $(| $alias:literal)* ),+ $(,)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name { $( $(#[$vmeta])* $variant, )+ }

        impl $name {
            /// The words the option takes, in the order of the variants.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word of this variant.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }
        }

        impl FromStr for $name {
            type Err = ValueError;
            fn from_str(text: &str) -> Result<Self, ValueError> {
                match text {
                    $( $word $(| $alias)* => Ok($name::$variant), )+
                    _ => Err(ValueError::new(text, concat!($what, " (one of: ", words!(@list $($word),+), ")"))),
                }
            }
        }
    };
    (@list $first:literal $(, $rest:literal)*) => { concat!($first $(, ", ", $rest)*) };
}

words! {
    /// `--manage-cgroups[=MODE]`: what restore does with control groups. Without the option [`Self::Ignore`] on the
    /// command line; the option without a mode means [`Self::Soft`].
    ManageCgroups, "a way to manage cgroups",
    /// Leave cgroups alone.
    #[default] Ignore = "ignore",
    /// Expect the cgroups to exist and touch nothing in them.
    None = "none",
    /// Only restore properties of cgroups, which must exist.
    Props = "props",
    /// Restore only what does not exist.
    Soft = "soft",
    /// Restore cgroups and properties always.
    Full = "full",
    /// Restore everything and fail when something is there already.
    Strict = "strict",
}

words! {
    /// `--network-lock METHOD`: how traffic of frozen connections is held back.
    NetworkLock, "a network lock method",
    /// By iptables rules; the default of CRIU 4.2.
    #[default] Iptables = "iptables",
    /// By nftables rules.
    Nftables = "nftables",
    /// Not at all: the caller has seen to it.
    Skip = "skip",
}

words! {
    /// `--file-validation METHOD`: how restore tells that a file is still the one that was dumped.
    FileValidation, "a file validation method",
    /// By its size alone.
    Filesize = "filesize",
    /// By the build-id of ELF files, by the size of all others; the default of CRIU 4.2.
    #[default] BuildId = "buildid",
}

words! {
    /// `--pre-dump-mode MODE`: how a pre-dump takes memory.
    PreDumpMode, "a pre-dump mode",
    /// Through pipes filled by the parasite; the default.
    #[default] Splice = "splice",
    /// By process_vm_readv(2) on the running tasks.
    Read = "read",
}

/// What becomes of the tasks once a dump has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FinalState {
    /// They are killed; the default of a dump.
    #[default]
    Kill,
    /// They stay stopped (`--leave-stopped`).
    Stopped,
    /// They go on (`--leave-running`).
    Running,
}

/// `--cpu-cap[=CAP,...]`: which of the processor's abilities must match between the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuCap(u32);

impl CpuCap {
    /// Nothing is checked.
    pub const NONE: CpuCap = CpuCap(0);
    /// The floating point state: the restoring machine must know every extended state the dumping one knew.
    pub const FPU: CpuCap = CpuCap(1);
    /// The whole CPU: every capability word must be equal.
    pub const CPU: CpuCap = CpuCap(2);
    /// The instructions: the restoring machine must have every instruction set the dumping one had.
    pub const INS: CpuCap = CpuCap(4);
    /// All of it.
    pub const ALL: CpuCap = CpuCap(7);
    /// What a dump or restore takes when the option is absent.
    pub const DEFAULT: CpuCap = Self::FPU;

    const NAMES: [(&'static str, CpuCap); 5] = [
        ("none", Self::NONE),
        ("fpu", Self::FPU),
        ("cpu", Self::CPU),
        ("ins", Self::INS),
        ("all", Self::ALL),
    ];

    /// Whether every bit of `other` is set; for [`Self::NONE`] whether no bit is.
    pub fn contains(self, other: CpuCap) -> bool {
        if other.0 == 0 {
            self.0 == 0
        } else {
            self.0 & other.0 == other.0
        }
    }
}

impl std::ops::BitOr for CpuCap {
    type Output = CpuCap;
    fn bitor(self, other: CpuCap) -> CpuCap {
        CpuCap(self.0 | other.0)
    }
}

impl std::fmt::Display for CpuCap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::NONE || *self == Self::ALL {
            return f.write_str(if *self == Self::ALL { "all" } else { "none" });
        }
        let names = Self::NAMES[1..4]
            .iter()
            .filter(|(_, bit)| self.contains(*bit))
            .map(|(name, _)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(","))
    }
}

impl FromStr for CpuCap {
    type Err = ValueError;
    /// A comma-separated list; each word adds to the set, `^word` takes away, `none` empties it.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut set = CpuCap::NONE;
        for word in text.split(',') {
            let (take_away, name) = match word.strip_prefix('^') {
                Some(name) => (true, name),
                None => (false, word),
            };
            let Some((_, bits)) = Self::NAMES.iter().find(|(known, _)| *known == name) else {
                return Err(ValueError::new(
                    word,
                    "a CPU capability (none, fpu, cpu, ins, all; ^NAME takes away)",
                ));
            };
            set = match (name, take_away) {
                ("none", false) => CpuCap::NONE,
                (_, true) => CpuCap(set.0 & !bits.0),
                (_, false) => CpuCap(set.0 | bits.0),
            };
        }
        Ok(set)
    }
}

/// `--inherit-fd fd[N]:KEY`: restore takes the program's own descriptor `fd` wherever an object named `key` stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritFd {
    /// A descriptor open in the program when it was started; never negative.
    pub fd: i32,
    /// The name the dump gave the object: `kind[id]`, or a path.
    pub key: String,
}

impl FromStr for InheritFd {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parsed = text
            .strip_prefix("fd[")
            .and_then(|rest| rest.split_once("]:"))
            .and_then(|(number, key)| {
                let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
                let fd = digits.then(|| number.parse::<i32>().ok()).flatten()?;
                (!key.is_empty()).then(|| InheritFd {
                    fd,
                    key: key.to_owned(),
                })
            });
        parsed.ok_or_else(|| ValueError::new(text, "of the form fd[NUMBER]:KEY"))
    }
}

/// `--external KIND[KEY]:VALUE`: an object that belongs to the outside and is not to be saved.
///
/// What the parts mean is for the plugin that serves the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The text as given; what images and plugins compare with.
    pub text: String,
    /// The word before the bracket.
    pub kind: String,
    /// What stands inside the brackets; may be empty.
    pub key: String,
    /// What follows `]:`, if anything does.
    pub value: Option<String>,
}

impl FromStr for External {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::new(text, "of the form KIND[KEY] or KIND[KEY]:VALUE");
        let (kind, rest) = text.split_once('[').ok_or_else(wrong)?;
        if kind.is_empty()
            || !kind
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return Err(wrong());
        }
        let (key, value) = match rest.split_once("]:") {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (rest.strip_suffix(']').ok_or_else(wrong)?, None),
        };
        Ok(External {
            text: text.to_owned(),
            kind: kind.to_owned(),
            key: key.to_owned(),
            value,
        })
    }
}

/// `--join-ns NS:WHERE[,EXTRA]`: a namespace that exists already and is entered on restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinNs {
    /// The namespace's type as /proc/PID/ns spells it.
    pub ns: String,
    /// A pid whose namespace is meant, or a path of a namespace file.
    pub file: String,
    /// For a user namespace `UID,GID`; for others what follows the first comma.
    pub extra: Option<String>,
}

impl FromStr for JoinNs {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once(':') {
            Some((ns, rest)) if !ns.is_empty() && !rest.is_empty() => {
                let (file, extra) = match rest.split_once(',') {
                    Some((file, extra)) => (file, Some(extra.to_owned())),
                    None => (rest, None),
                };
                Ok(JoinNs {
                    ns: ns.to_owned(),
                    file: file.to_owned(),
                    extra,
                })
            }
            _ => Err(ValueError::new(
                text,
                "of the form NS:PID or NS:PATH, then ,EXTRA if needed",
            )),
        }
    }
}

/// `--veth-pair INNER=OUTER`: the name of the outer end of a restored pair of network devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethPair {
    /// The end inside the network namespace.
    pub inner: String,
    /// The end outside of it.
    pub outer: String,
}

impl FromStr for VethPair {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once('=') {
            Some((inner, outer)) if !inner.is_empty() && !outer.is_empty() => Ok(VethPair {
                inner: inner.to_owned(),
                outer: outer.to_owned(),
            }),
            _ => Err(ValueError::new(text, "of the form INNER=OUTER")),
        }
    }
}

/// `-M/--ext-mount-map KEY:VALUE` or `auto[:FLAGS]`: a mount that belongs to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtMountMap {
    /// On dump the mount point, on restore the name the dump gave it; `auto` finds all of them by itself.
    pub key: String,
    /// On dump the name to save, on restore the path to mount; absent for a bare `auto`.
    pub value: Option<String>,
}

impl FromStr for ExtMountMap {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once(':') {
            Some((key, value)) if !key.is_empty() => Ok(ExtMountMap {
                key: key.to_owned(),
                value: Some(value.to_owned()),
            }),
            None if text == "auto" => Ok(ExtMountMap {
                key: text.to_owned(),
                value: None,
            }),
            _ => Err(ValueError::new(text, "of the form KEY:VALUE, or auto")),
        }
    }
}

/// `--cgroup-root [CONTROLLER:]PATH`: where restore puts the cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRoot {
    /// The controller meant; all of them when absent.
    pub controller: Option<String>,
    /// The directory inside the hierarchy, beginning with a slash.
    pub path: String,
}

impl FromStr for CgroupRoot {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (controller, path) = match text.split_once(':') {
            Some((controller, path)) if !text.starts_with('/') => (Some(controller.to_owned()), path),
            _ => (None, text),
        };
        if !path.starts_with('/') {
            return Err(ValueError::new(text, "of the form [CONTROLLER:]/PATH"));
        }
        Ok(CgroupRoot {
            controller,
            path: path.to_owned(),
        })
    }
}

/// Reads a size in bytes: digits with an optional suffix K, M or G (powers of 1024), in either case.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let wrong = || ValueError::new(text, "a size (digits, then K, M or G if wanted)");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// One `--plugin-option PLUGIN.NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginOption {
    /// The plugin's name.
    pub plugin: String,
    /// The option's name as the plugin declares it.
    pub name: String,
    /// The value as text; "1" when `=VALUE` is left out.
    pub value: String,
}

impl FromStr for PluginOption {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (left, value) = text.split_once('=').unwrap_or((text, "1"));
        match left.split_once('.') {
            Some((plugin, name)) if !plugin.is_empty() && !name.is_empty() => Ok(PluginOption {
                plugin: plugin.to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(ValueError::new(text, "of the form PLUGIN.NAME=VALUE")),
        }
    }
}

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
    /// `--plugin-dir DIR`, `-L/--libdir DIR` and the configuration's list, in order; later directories win.
    pub plugin_dirs: Vec<PathBuf>,
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

/// The value of a setting as text: lists joined by commas, "1" for a set flag.
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
    fn cpu_capabilities_add_and_take_away() {
        let read = |text: &str| text.parse::<CpuCap>().unwrap().to_string();
        assert_eq!(CpuCap::DEFAULT.to_string(), "fpu");
        assert_eq!((CpuCap::FPU | CpuCap::INS).to_string(), "fpu,ins");
        assert_eq!(read("all"), "all");
        assert_eq!(read("none"), "none");
        assert_eq!(read("fpu,none"), "none");
        assert_eq!(read("cpu,fpu"), "fpu,cpu");
        assert_eq!(read("all,^ins"), "fpu,cpu");
        assert!("".parse::<CpuCap>().is_err());
        assert!("fpu,,ins".parse::<CpuCap>().is_err());
    }

    #[test]
    fn externals_fall_into_their_parts() {
        let parts = |text: &str| {
            let e: External = text.parse().unwrap();
            assert_eq!(e.text, text);
            (e.kind, e.key, e.value)
        };
        assert_eq!(parts("file[1a:2]"), ("file".into(), "1a:2".into(), None));
        assert_eq!(parts("mnt[]"), ("mnt".into(), "".into(), None));
        assert_eq!(
            parts("mnt[/a]:b]:c"),
            ("mnt".into(), "/a".into(), Some("b]:c".into()))
        );
        for wrong in ["", "file", "[x]", "file[x", "file]x[", "a b[x]", "file[x]y"] {
            assert!(wrong.parse::<External>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_know_suffixes_and_bounds() {
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("4k"), Ok(4096));
        assert_eq!(parse_size("1M"), Ok(1 << 20));
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        for wrong in [
            "",
            "K",
            "-1",
            "+1",
            "1T",
            "1 M",
            "99999999999999999999",
            "18446744073709551615K",
            "µ",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

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

    #[test]
    fn the_command_line_wins_over_the_configuration_for_plugins() {
        let mut options = Options::default();
        options.config_plugin_options = vec!["p.a=1".parse().unwrap(), "p.b=2".parse().unwrap()];
        options.plugin_options = vec!["p.b=3".parse().unwrap(), "q.b=4".parse().unwrap()];
        let settings = options.plugin_settings("p");
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
    }

    #[test]
    fn composed_values_are_checked() {
        assert_eq!(
            "fd[5]:pipe[7]".parse(),
            Ok(InheritFd {
                fd: 5,
                key: "pipe[7]".into()
            })
        );
        for wrong in [
            "5:x",
            "fd[]:x",
            "fd[-1]:x",
            "fd[+1]:x",
            "fd[99999999999]:x",
            "fd[1]:",
            "fd[1]",
        ] {
            assert!(wrong.parse::<InheritFd>().is_err(), "{wrong}");
        }
        assert!("net".parse::<JoinNs>().is_err());
        let join: JoinNs = "user:12,0,0".parse().unwrap();
        assert_eq!((join.file.as_str(), join.extra.as_deref()), ("12", Some("0,0")));
        assert!("name:relative".parse::<CgroupRoot>().is_err());
        assert_eq!(
            "cpu:/a".parse::<CgroupRoot>().unwrap().controller.as_deref(),
            Some("cpu")
        );
        assert_eq!("/a:b".parse::<CgroupRoot>().unwrap().controller, None);
    }
}
