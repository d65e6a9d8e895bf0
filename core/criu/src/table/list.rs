//! Every option, one entry each. To add one: a field in the engine's options, an entry here.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

use criu_engine::options::{CpuCap, ManageCgroups, ValueError};

use super::{Arg, Given, Opt, Scope, Settings};

/// The value as text.
fn text<'a>(given: Given<'a>) -> Result<&'a str, ValueError> {
    match given {
        Given::With(value) => value
            .to_str()
            .ok_or_else(|| ValueError::new(&value.to_string_lossy(), "valid UTF-8")),
        Given::On | Given::Off => Err(ValueError::new("", "a value")),
    }
}

fn read<T: FromStr<Err = ValueError>>(given: Given<'_>) -> Result<T, ValueError> {
    text(given)?.parse()
}

/// Plain decimal digits within the type's bounds.
fn number<T: FromStr>(value: &str, expected: &str) -> Result<T, ValueError> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let parsed = if digits { value.parse().ok() } else { None };
    parsed.ok_or_else(|| ValueError::new(value, expected))
}

fn path(given: Given<'_>) -> Result<PathBuf, ValueError> {
    match given {
        Given::With(value) if value.is_empty() => Err(ValueError::new("", "a path")),
        Given::With(value) => Ok(PathBuf::from(value)),
        Given::On | Given::Off => Err(ValueError::new("", "a path")),
    }
}

const FD: &str = "a file descriptor's number";

fn tree(s: &mut Settings, given: Given<'_>) -> Result<(), ValueError> {
    let pid: i32 = number(text(given)?, "a process's number")?;
    if pid == 0 {
        return Err(ValueError::new("0", "a process's number"));
    }
    s.options.tree = Some(pid);
    Ok(())
}

/// `-v` raises by one, `-vvv` by three, `-v4` sets; what does not begin with a digit or a `v` reads as 0, so that
/// `-verbosity=0`, which some callers write, is silent.
fn verbosity(s: &mut Settings, given: Given<'_>) -> Result<(), ValueError> {
    let level = match given {
        Given::Off => 0,
        Given::On => s.options.log_level.saturating_add(1),
        Given::With(value) => {
            let bytes = value.as_encoded_bytes();
            if bytes.first() == Some(&b'v') {
                s.options
                    .log_level
                    .saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
                    .saturating_add(1)
            } else {
                let digits = bytes.iter().take_while(|b| b.is_ascii_digit());
                digits.fold(0u32, |n, b| {
                    n.saturating_mul(10).saturating_add(u32::from(b - b'0'))
                })
            }
        }
    };
    s.options.log_level = level;
    Ok(())
}

fn ext_unix_sk(s: &mut Settings, given: Given<'_>) -> Result<(), ValueError> {
    s.options.ext_unix_sk = given != Given::Off;
    if let Given::With(_) = given {
        for inode in text(given)?.split(',') {
            s.options
                .ext_unix_sk_inodes
                .push(number(inode, "a socket's inode number")?);
        }
    }
    Ok(())
}

fn cpu_cap(s: &mut Settings, given: Given<'_>) -> Result<(), ValueError> {
    s.options.cpu_cap = Some(match given {
        Given::On => CpuCap::ALL,
        Given::Off => CpuCap::NONE,
        Given::With(_) => read(given)?,
    });
    Ok(())
}

fn manage_cgroups(s: &mut Settings, given: Given<'_>) -> Result<(), ValueError> {
    s.options.manage_cgroups = match given {
        Given::On => ManageCgroups::Soft,
        Given::Off => ManageCgroups::Ignore,
        Given::With(_) => read(given)?,
    };
    Ok(())
}

fn timeout(s: &mut Settings, given: Given<'_>) -> Result<(), ValueError> {
    s.options.timeout =
        std::time::Duration::from_secs(number::<u32>(text(given)?, "a number of seconds")?.into());
    Ok(())
}

/// The same list as `--plugin-dir`; an empty name, which some callers write, names none.
fn libdir(s: &mut Settings, given: Given<'_>) -> Result<(), ValueError> {
    if given != Given::With(OsStr::new("")) {
        s.options.plugin_dirs.push(path(given)?);
    }
    Ok(())
}

fn enable_fs(s: &mut Settings, given: Given<'_>) -> Result<(), ValueError> {
    s.options
        .enable_fs
        .extend(text(given)?.split(',').map(str::to_owned));
    Ok(())
}

/// A flag that is a field of the engine's options.
macro_rules! flag {
    ($long:literal, $scope:ident, $field:ident, $help:literal) => {
        Opt::new($long, Arg::None, Scope::$scope, $help, |s, given| {
            s.options.$field = given != Given::Off;
            Ok(())
        })
    };
}

/// An option whose value replaces the field (`set`, read by `$read`; `word`, read as the field's own type) or is
/// appended to it (`add`).
macro_rules! value {
    (set $long:literal, $arg:literal, $scope:ident, $field:ident, $read:expr, $help:literal) => {
        Opt::new($long, Arg::Required($arg), Scope::$scope, $help, |s, given| {
            s.options.$field = $read(given)?.into();
            Ok(())
        })
    };
    (word $long:literal, $arg:literal, $scope:ident, $field:ident, $help:literal) => {
        Opt::new($long, Arg::Required($arg), Scope::$scope, $help, |s, given| {
            s.options.$field = read(given)?;
            Ok(())
        })
    };
    (add $long:literal, $arg:literal, $scope:ident, $field:ident, $read:expr, $help:literal) => {
        Opt::new($long, Arg::Required($arg), Scope::$scope, $help, |s, given| {
            s.options.$field.push($read(given)?);
            Ok(())
        })
    };
}

fn string(given: Given<'_>) -> Result<String, ValueError> {
    text(given).map(str::to_owned)
}

fn fd(given: Given<'_>) -> Result<i32, ValueError> {
    number(text(given)?, FD)
}

fn port(given: Given<'_>) -> Result<u16, ValueError> {
    number(text(given)?, "a port number")
}

fn size(given: Given<'_>) -> Result<u64, ValueError> {
    criu_engine::options::parse_size(text(given)?)
}

/// Every option, in the order of the help.
pub(crate) static OPTIONS: &[Opt] = &[
    // With any command.
    Opt::new("help", Arg::None, Scope::Any, "Print this help and end", |s, _| {
        s.help = true;
        Ok(())
    })
    .short(b'h'),
    Opt::new("version", Arg::None, Scope::Any, "Print the version and end", |s, _| {
        s.version = true;
        Ok(())
    })
    .short(b'V'),
    value!(set "images-dir", "DIR", Any, images_dir, path, "Where the images lie (default: here)").short(b'D'),
    value!(set "work-dir", "DIR", Any, work_dir, path, "Where logs, pid files and statistics go (default: the images directory)")
        .short(b'W'),
    value!(set "log-file", "FILE", Any, log_file, path, "Write the log to FILE in the work directory (default: standard error)")
        .short(b'o'),
    Opt::new(
        "verbosity",
        Arg::Optional("NUM"),
        Scope::Any,
        "Log nothing (0), errors (1), warnings (2, the default), information (3), all (4); each bare -v raises by one",
        verbosity,
    )
    .short(b'v'),
    flag!("log-pid", Any, log_pid, "Write one log per process, named by its pid").negatable(),
    value!(set "pidfile", "FILE", Any, pidfile, path, "Write the pid of the root task, or of the server, into FILE"),
    value!(add "close", "FD", Any, close, fd, "Close descriptor FD before anything else"),
    value!(set "status-fd", "FD", Any, status_fd, fd, "Write a zero byte to FD once ready to serve").later(),
    Opt::new("config", Arg::Required("FILE"), Scope::Any, "Read FILE after the default configuration files", |s, given| {
        s.config = Some(path(given)?);
        Ok(())
    }),
    Opt::new("no-default-config", Arg::None, Scope::Any, "Read no default configuration file", |s, given| {
        s.no_default_config = given != Given::Off;
        Ok(())
    }),
    value!(add "plugin-dir", "DIR", Any, plugin_dirs, path, "Take plugins from DIR too; later directories win").ours(),
    Opt::new("libdir", Arg::Required("DIR"), Scope::Any, "The same as --plugin-dir", libdir).short(b'L'),
    value!(add "plugin-option", "PLUGIN.NAME=VALUE", Any, plugin_options, read, "Set an option that a plugin declares").ours(),
    flag!("json", Any, json, "Print results as JSON where a command has a JSON form").ours(),
    flag!("display-stats", Any, display_stats, "Print the statistics of a dump or restore at its end").negatable(),
    value!(add "action-script", "COMMAND", Any, action_script, string, "Run COMMAND at each stage, named by CRTOOLS_SCRIPT_ACTION"),
    flag!("daemon", Any, daemon, "Serve in the background").negatable().later(),
    flag!("unprivileged", Any, unprivileged, "Work with little privilege").negatable().later(),
    // Dump.
    Opt::new("tree", Arg::Required("PID"), Scope::Dump, "Dump the process PID and its descendants", tree).short(b't'),
    flag!("leave-running", Dump, leave_running, "Let the processes go on after the dump").short(b'R'),
    Opt::new("timeout", Arg::Required("SECONDS"), Scope::Dump, "Give up freezing after SECONDS (default: 10)", timeout),
    value!(set "ghost-limit", "SIZE", Dump, ghost_limit, size, "Carry deleted files of up to SIZE (K, M, G) in the images (default: 1M)"),
    flag!("ghost-fiemap", Dump, ghost_fiemap, "Find the holes of deleted files by their extents").negatable(),
    flag!("link-remap", Dump, link_remap, "Give deleted files that have other names a temporary name").negatable(),
    flag!("skip-in-flight", Dump, skip_in_flight, "Leave out connections that are not yet established").negatable(),
    value!(word "network-lock", "METHOD", Dump, network_lock, "Hold traffic back by iptables (default), nftables or skip"),
    flag!("force-irmap", Dump, force_irmap, "Search for the names of watched files").negatable(),
    value!(add "irmap-scan-path", "DIR", Dump, irmap_scan_path, path, "Search for the names of watched files in DIR"),
    value!(set "freeze-cgroup", "DIR", Dump, freeze_cgroup, path, "Stop the processes by freezing their control group DIR"),
    value!(set "cgroup-props", "TEXT", Dump, cgroup_props, string, "Which properties of cgroups to save"),
    value!(set "cgroup-props-file", "FILE", Dump, cgroup_props_file, path, "The same from FILE"),
    value!(add "cgroup-dump-controller", "NAME", Dump, cgroup_dump_controller, string, "Save only the cgroup controller NAME"),
    // Dump and restore.
    flag!("allow-uprobes", DumpRestore, allow_uprobes, "Leave out the mappings of user probes").negatable(),
    flag!("leave-stopped", DumpRestore, leave_stopped, "Leave the processes stopped").short(b's'),
    flag!("shell-job", DumpRestore, shell_job, "Accept a session, process group or terminal of the outside")
        .short(b'j')
        .negatable(),
    flag!("file-locks", DumpRestore, file_locks, "Save and restore file locks").short(b'l').negatable(),
    flag!("tcp-established", DumpRestore, tcp_established, "Save and restore established connections").negatable(),
    flag!("tcp-close", DumpRestore, tcp_close, "Restore connections closed").negatable(),
    Opt::new(
        "ext-unix-sk",
        Arg::Optional("INODE,..."),
        Scope::DumpRestore,
        "Accept sockets whose other end is outside (any, or those listed)",
        ext_unix_sk,
    )
    .short(b'x'),
    value!(add "external", "KIND[KEY]:VALUE", DumpRestore, external, read, "An object of the outside, not to be saved"),
    flag!("evasive-devices", DumpRestore, evasive_devices, "Take a device by any path that leads to it").negatable(),
    Opt::new(
        "cpu-cap",
        Arg::Optional("CAP,..."),
        Scope::DumpRestore,
        "What must match between the processors: none, fpu (default), ins, cpu, all; ^CAP takes away",
        cpu_cap,
    ),
    value!(word "file-validation", "METHOD", DumpRestore, file_validation, "Know files again by filesize or buildid (default)"),
    Opt::new(
        "manage-cgroups",
        Arg::Optional("MODE"),
        Scope::DumpRestore,
        "Save and restore control groups: none, props, soft (default), full, strict, ignore",
        manage_cgroups,
    ),
    value!(add "cgroup-root", "[CONTROLLER:]/PATH", DumpRestore, cgroup_root, read, "The root of the cgroups"),
    value!(set "cgroup-yard", "DIR", DumpRestore, cgroup_yard, path, "Where cgroup hierarchies are mounted already"),
    value!(add "ext-mount-map", "KEY:VALUE", DumpRestore, ext_mount_map, read, "A mount of the outside").short(b'M').later(),
    value!(add "skip-mnt", "PATH", DumpRestore, skip_mnt, path, "Leave the mount at PATH out").later(),
    Opt::new("enable-fs", Arg::Required("FS,..."), Scope::DumpRestore, "File systems that may be mounted anew, or all", enable_fs),
    flag!("enable-external-sharing", DumpRestore, enable_external_sharing, "Accept mounts shared with the outside").later(),
    flag!("enable-external-masters", DumpRestore, enable_external_masters, "Accept mounts that follow the outside").later(),
    value!(add "empty-ns", "NS", DumpRestore, empty_ns, string, "Restore the namespace NS empty").later(),
    flag!("stream", DumpRestore, stream, "Pass the images through an image streamer").negatable().later(),
    // Restore.
    flag!("restore-detached", Restore, restore_detached, "End once the processes run").short(b'd').negatable(),
    flag!("restore-sibling", Restore, restore_sibling, "Make the root task a child of the caller").short(b'S').negatable(),
    Opt::new("exec-cmd", Arg::None, Scope::Restore, "Become the command given after -- once the processes run", |s, given| {
        s.exec_cmd = given != Given::Off;
        Ok(())
    }),
    value!(add "inherit-fd", "fd[N]:KEY", Restore, inherit_fd, read, "Use the open descriptor N in place of the object KEY"),
    flag!("skip-file-rwx-check", Restore, skip_file_rwx_check, "Accept files whose permission bits have changed").negatable(),
    value!(set "root", "DIR", Restore, root, path, "The root of the restored mounts").short(b'r').later(),
    value!(add "join-ns", "NS:PID|FILE[,EXTRA]", Restore, join_ns, read, "Restore inside an existing namespace").short(b'J').later(),
    value!(add "veth-pair", "INNER=OUTER", Restore, veth_pair, read, "Name the outer end of a pair of network devices").later(),
    value!(set "lsm-profile", "TYPE:NAME", Restore, lsm_profile, string, "The security profile of the restored processes"),
    value!(set "lsm-mount-context", "CONTEXT", Restore, lsm_mount_context, string, "The security context of restored mounts"),
    flag!("weak-sysctls", Restore, weak_sysctls, "Only warn of settings that cannot be set back").negatable().later(),
    flag!("mntns-compat-mode", Restore, mntns_compat_mode, "Restore mounts in the older way").negatable().later(),
    // Check.
    value!(add "feature", "NAME", Check, feature, string, "Check for the feature NAME alone; list prints the names"),
    flag!("extra", Check, extra, "Check also what only some dumps need").negatable(),
    flag!("experimental", Check, experimental, "Check also what is not settled").negatable(),
    flag!("all", Check, all, "Check everything"),
    flag!("deprecated", Check, deprecated, "Allow what has been given up").negatable(),
    flag!("ms", Check, ms, "Leave out what the kernel's main line does not have"),
    // Memory on the way.
    flag!("track-mem", Transfer, track_mem, "Track changes of memory for the next dump").negatable().later(),
    value!(set "prev-images-dir", "DIR", Transfer, prev_images_dir, path, "The images before these, relative to the images directory")
        .later(),
    value!(word "pre-dump-mode", "MODE", Transfer, pre_dump_mode, "Take memory by splice (default) or read").later(),
    flag!("auto-dedup", Transfer, auto_dedup, "Drop from older images what newer ones hold").negatable().later(),
    flag!("page-server", Transfer, page_server, "Send pages to a page server").negatable().later(),
    flag!("lazy-pages", Transfer, lazy_pages, "Bring memory after the processes run").later(),
    value!(set "address", "ADDR", Transfer, address, string, "The address of the page server, or the one to listen on").later(),
    value!(set "port", "PORT", Transfer, port, port, "The port of the page server").later(),
    value!(set "ps-socket", "FD", Transfer, ps_socket, fd, "Serve pages on the open socket FD").later(),
    flag!("tls", Transfer, tls, "Encrypt the page server's connection").negatable().later(),
    value!(set "tls-cacert", "FILE", Transfer, tls_cacert, path, "Trust the certificate authority in FILE").later(),
    value!(set "tls-cacrl", "FILE", Transfer, tls_cacrl, path, "Trust nothing revoked in FILE").later(),
    value!(set "tls-cert", "FILE", Transfer, tls_cert, path, "Show the certificate in FILE").later(),
    value!(set "tls-key", "FILE", Transfer, tls_key, path, "Its private key").later(),
    flag!("tls-no-cn-verify", Transfer, tls_no_cn_verify, "Do not compare the server's name with its certificate").later(),
];
