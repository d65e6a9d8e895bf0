//! What differs between two runs of one guest, and why. Everything else must be equal.

use criu_proto::Described;
use criu_proto::images::*;
use criu_proto::schema::{FieldKind, MessageSchema};

use super::tree::Value;

/// What a number refers to: it is compared by what it means in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// A process or a thread.
    Process,
    /// An entry of files.img.
    File,
    /// What a mapping shows: shared memory, or a file by its path. One file may have an entry for each of its
    /// descriptors and one more; CRIU names the one made last, and a restore takes nothing but the path of it.
    Mapped,
    /// The path of a file.
    Path,
    /// Shared memory.
    Shared,
    /// The inode of a pipe or a socket.
    Inode,
    /// A memory file.
    Memory,
    /// A terminal.
    Terminal,
    /// A deleted file.
    Ghost,
    /// A port that the kernel chose.
    Port,
}

/// Numbers that refer to something: kind of image, field, what it means.
const REFERENCES: &[(&str, &str, Class)] = &[
    ("PSTREE", "pid", Class::Process),
    ("PSTREE", "ppid", Class::Process),
    ("PSTREE", "pgid", Class::Process),
    ("PSTREE", "sid", Class::Process),
    ("PSTREE", "threads", Class::Process),
    ("FDINFO", "id", Class::File),
    ("FS", "cwd_id", Class::File),
    ("FS", "root_id", Class::File),
    ("MM", "exe_file_id", Class::File),
    ("MM", "vmas.shmid", Class::Mapped),
    ("FILES", "id", Class::File),
    ("FILES", "reg.id", Class::File),
    ("FILES", "pipe.id", Class::File),
    ("FILES", "pipe.pipe_id", Class::Inode),
    ("FILES", "fifo.id", Class::File),
    ("FILES", "fifo.pipe_id", Class::Inode),
    ("FILES", "fifo.regf_id", Class::File),
    ("FILES", "usk.id", Class::File),
    ("FILES", "usk.ino", Class::Inode),
    ("FILES", "usk.peer", Class::Inode),
    ("FILES", "isk.id", Class::File),
    ("FILES", "isk.ino", Class::Inode),
    ("FILES", "isk.src_port", Class::Port),
    ("FILES", "isk.dst_port", Class::Port),
    ("FILES", "efd.id", Class::File),
    ("FILES", "sgfd.id", Class::File),
    ("FILES", "tfd.id", Class::File),
    ("FILES", "epfd.id", Class::File),
    ("FILES", "pidfd.id", Class::File),
    ("FILES", "pidfd.nspid", Class::Process),
    ("FILES", "ify.id", Class::File),
    ("FILES", "ffy.id", Class::File),
    ("FILES", "memfd.id", Class::File),
    ("FILES", "memfd.inode_id", Class::Memory),
    ("FILES", "tty.id", Class::File),
    ("FILES", "tty.tty_info_id", Class::Terminal),
    ("FILES", "tty.regf_id", Class::File),
    ("MEMFD_INODE", "inode_id", Class::Memory),
    ("MEMFD_INODE", "shmid", Class::Shared),
    ("PIPES_DATA", "pipe_id", Class::Inode),
    ("FIFO_DATA", "pipe_id", Class::Inode),
    ("SK_QUEUES", "id_for", Class::File),
    ("REMAP_FPATH", "orig_id", Class::File),
    ("REMAP_FPATH", "remap_id", Class::Ghost),
    ("FILE_LOCKS", "pid", Class::Process),
    ("TTY_INFO", "id", Class::Terminal),
    ("TTY_INFO", "sid", Class::Process),
    ("TTY_INFO", "pgrp", Class::Process),
    ("TTY_DATA", "tty_id", Class::Terminal),
];

/// What the number in the name of an image refers to.
const FILE_NAMES: &[(&str, Class)] = &[
    ("CORE", Class::Process),
    ("IDS", Class::Process),
    ("MM", Class::Process),
    ("FS", Class::Process),
    ("PAGEMAP", Class::Process),
    ("SHMEM_PAGEMAP", Class::Shared),
    ("TCP_STREAM", Class::Inode),
    ("GHOST_FILE", Class::Ghost),
];

/// Images that CRIU does not have and does not miss, with what they add.
const ADDITIONS: &[(&str, &str)] = &[
    (
        "eventfd-semaphore.img",
        "which event counters are semaphores; CRIU restores them as plain counters",
    ),
    (
        "memfd-attrs.img",
        "times and attributes of memory files; CRIU gives them the times of its restore",
    ),
];

/// Whether CRIU knows no such image.
pub(crate) fn is_addition(name: &str) -> bool {
    ADDITIONS.iter().any(|(known, _)| *known == name)
}

/// How values may differ from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Varies {
    /// In any way.
    Freely,
    /// Both are addresses; 0 and small numbers have a meaning of their own and are compared.
    Address,
    /// Those at an odd place of the list; the others are compared.
    OddPlaces,
    /// Those after so many.
    After(usize),
}
use Varies::{Address, After, Freely, OddPlaces};

/// Values (of the named field and all below it) that differ from run to run: kind of image, field, how and why.
/// Whether the field is there, and how many values it has, is compared all the same.
const VARYING: &[(&str, &str, Varies, &str)] = &[
    (
        "CORE",
        "thread_info.clear_tid_addr",
        Address,
        "address space randomization",
    ),
    ("CORE", "thread_info.gpregs.r8", Freely, "register"),
    ("CORE", "thread_info.gpregs.r9", Freely, "register"),
    ("CORE", "thread_info.gpregs.r10", Freely, "register"),
    ("CORE", "thread_info.gpregs.r12", Freely, "register"),
    ("CORE", "thread_info.gpregs.r13", Freely, "register"),
    ("CORE", "thread_info.gpregs.r14", Freely, "register"),
    ("CORE", "thread_info.gpregs.r15", Freely, "register"),
    ("CORE", "thread_info.gpregs.bp", Freely, "register"),
    ("CORE", "thread_info.gpregs.bx", Freely, "register"),
    ("CORE", "thread_info.gpregs.cx", Freely, "register"),
    ("CORE", "thread_info.gpregs.dx", Freely, "register"),
    ("CORE", "thread_info.gpregs.si", Freely, "register"),
    ("CORE", "thread_info.gpregs.di", Freely, "register"),
    (
        "CORE",
        "thread_info.gpregs.ip",
        Address,
        "address space randomization",
    ),
    (
        "CORE",
        "thread_info.gpregs.sp",
        Address,
        "address space randomization",
    ),
    (
        "CORE",
        "thread_info.gpregs.fs_base",
        Address,
        "address space randomization",
    ),
    ("CORE", "thread_info.fpregs.st_space", Freely, "register"),
    ("CORE", "thread_info.fpregs.xmm_space", Freely, "register"),
    (
        "CORE",
        "thread_info.fpregs.xsave.xstate_bv",
        Freely,
        "which registers are in use is the processor's to say",
    ),
    ("CORE", "thread_info.fpregs.xsave.ymmh_space", Freely, "register"),
    ("CORE", "thread_info.fpregs.xsave.opmask_reg", Freely, "register"),
    ("CORE", "thread_info.fpregs.xsave.zmm_upper", Freely, "register"),
    ("CORE", "thread_info.fpregs.xsave.hi16_zmm", Freely, "register"),
    (
        "CORE",
        "tc.rlimits.rlimits",
        Freely,
        "limits of whoever starts the guest",
    ),
    ("CORE", "tc.loginuid", Freely, "the login that started the guest"),
    (
        "CORE",
        "tc.oom_score_adj",
        Freely,
        "inherited of whoever starts the guest",
    ),
    (
        "CORE",
        "tc.sigactions.sigaction",
        Address,
        "address space randomization",
    ),
    (
        "CORE",
        "tc.sigactions.restorer",
        Address,
        "address space randomization",
    ),
    ("CORE", "tc.timers.real.vsec", Freely, "the time that is left"),
    ("CORE", "tc.timers.real.vusec", Freely, "the time that is left"),
    ("CORE", "tc.timers.posix.vsec", Freely, "the time that is left"),
    ("CORE", "tc.timers.posix.vnsec", Freely, "the time that is left"),
    (
        "CORE",
        "thread_core.futex_rla",
        Address,
        "address space randomization",
    ),
    (
        "CORE",
        "thread_core.rseq_entry.rseq_abi_pointer",
        Address,
        "address space randomization",
    ),
    (
        "CORE",
        "thread_core.sas.ss_sp",
        Address,
        "address space randomization",
    ),
    (
        "CORE",
        "thread_core.creds.cap_prm",
        Freely,
        "what the machine grants to root",
    ),
    (
        "CORE",
        "thread_core.creds.cap_eff",
        Freely,
        "what the machine grants to root",
    ),
    (
        "CORE",
        "thread_core.creds.cap_bnd",
        Freely,
        "what the machine grants to root",
    ),
    ("INVENTORY", "dump_criu_run_id", Freely, "random"),
    ("INVENTORY", "lsmtype", Freely, "the machine's security module"),
    ("MM", "mm_start_code", Address, "address space randomization"),
    ("MM", "mm_end_code", Address, "address space randomization"),
    ("MM", "mm_start_data", Address, "address space randomization"),
    ("MM", "mm_end_data", Address, "address space randomization"),
    ("MM", "mm_start_stack", Address, "address space randomization"),
    ("MM", "mm_start_brk", Address, "address space randomization"),
    ("MM", "mm_brk", Address, "address space randomization"),
    ("MM", "mm_arg_start", Address, "address space randomization"),
    ("MM", "mm_arg_end", Address, "address space randomization"),
    ("MM", "mm_env_start", Address, "address space randomization"),
    ("MM", "mm_env_end", Address, "address space randomization"),
    (
        "MM",
        "mm_saved_auxv",
        OddPlaces,
        "addresses, and what the processor can; the types alternate with the values",
    ),
    ("MM", "vmas.start", Address, "address space randomization"),
    (
        "FILES",
        "reg.size",
        Freely,
        "the C compiler's and library's release",
    ),
    (
        "FILES",
        "reg.build_id",
        Freely,
        "the C compiler's and library's release",
    ),
    ("FILES", "epfd.tfd.inode", Freely, "inode"),
    (
        "FILES",
        "epfd.tfd.dev",
        Freely,
        "anonymous device, numbered when the machine starts",
    ),
    ("FILES", "ify.wd.i_ino", Freely, "inode"),
    (
        "FILES",
        "ify.wd.s_dev",
        Freely,
        "the disk of the temporary folder",
    ),
    (
        "FILES",
        "ify.wd.f_handle.bytes",
        Freely,
        "handles are the file system's own",
    ),
    ("FILES", "ify.wd.f_handle.type", Freely, "as above"),
    ("FILES", "ify.wd.f_handle.handle", Freely, "as above"),
    (
        "FILES",
        "ffy.mark.s_dev",
        Freely,
        "the disk of the temporary folder",
    ),
    ("FILES", "ffy.mark.ie.i_ino", Freely, "inode"),
    (
        "FILES",
        "ffy.mark.ie.f_handle.bytes",
        Freely,
        "handles are the file system's own",
    ),
    ("FILES", "ffy.mark.ie.f_handle.type", Freely, "as above"),
    ("FILES", "ffy.mark.ie.f_handle.handle", Freely, "as above"),
    ("FILES", "pidfd.ino", Freely, "inode"),
    ("FILES", "tfd.vsec", Freely, "the time that is left"),
    ("FILES", "tfd.vnsec", Freely, "the time that is left"),
    (
        "FILES",
        "isk.opts.so_sndbuf",
        Freely,
        "grows with what the kernel remembers of the way, see ip-tcp_metrics(8)",
    ),
    ("TCP_STREAM", "inq_seq", Freely, "random initial sequence number"),
    ("TCP_STREAM", "outq_seq", Freely, "random initial sequence number"),
    ("TCP_STREAM", "snd_wl1", Freely, "random initial sequence number"),
    ("TCP_STREAM", "rcv_wup", Freely, "random initial sequence number"),
    (
        "TCP_STREAM",
        "timestamp",
        Freely,
        "time since the machine started",
    ),
    ("GHOST_FILE", "dev", Freely, "the disk of the temporary folder"),
    ("GHOST_FILE", "ino", Freely, "inode"),
    ("GHOST_FILE", "atim", Freely, "time"),
    ("GHOST_FILE", "mtim", Freely, "time"),
    ("TTY_INFO", "rdev", Freely, "the next free number of a terminal"),
    (
        "TTY_INFO",
        "pty.index",
        Freely,
        "the next free number of a terminal",
    ),
    (
        "TTY_INFO",
        "dev",
        Freely,
        "anonymous device, numbered when the machine starts",
    ),
    (
        "TTY_INFO",
        "termios.c_cc",
        After(5),
        "CRIU packs 19 bytes into five words and leaves the others as they are",
    ),
    ("TTY_INFO", "termios_locked.c_cc", After(5), "as above"),
    ("TIMENS", "monotonic", Freely, "time since the machine started"),
    ("TIMENS", "boottime", Freely, "time since the machine started"),
    (
        "STATS",
        "dump",
        Freely,
        "times and counts of this program's own work",
    ),
];

/// What depends on which of two processes of a guest is faster: case, image, field.
///
/// The parent in `tree` stops its last child at once, be it on its way out of fork() or in pause() already.
const RACES: &[(&str, &str, &str)] = &[
    ("tree", "CORE of process 4", "thread_core.futex_rla"),
    ("tree", "CORE of process 4", "thread_info.gpregs.ax"),
    ("tree", "CORE of process 4", "thread_info.gpregs.orig_ax"),
    ("tree", "CORE of process 4", "thread_info.gpregs.flags"),
    ("tree", "CORE of process 4", "thread_info.gpregs.r11"),
];

/// Whether a value of this case depends on which of its processes is faster.
pub(crate) fn races(case: &str, image: &str, path: &str) -> bool {
    RACES.contains(&(case, image, path))
}

/// What a number of this field refers to.
pub(crate) fn class(kind: &str, path: &str) -> Option<Class> {
    REFERENCES
        .iter()
        .find(|(k, p, _)| *k == kind && *p == path)
        .map(|(_, _, class)| *class)
}

/// What the number in the name of an image of this kind refers to.
pub(crate) fn file_class(kind: &str) -> Option<Class> {
    FILE_NAMES
        .iter()
        .find(|(k, _)| *k == kind)
        .map(|(_, class)| *class)
}

/// Whether the value at this place of the field may differ from run to run as these two do.
pub(crate) fn varies(kind: &str, path: &str, place: usize, theirs: &Value, ours: &Value) -> bool {
    let under = |p: &str| {
        path.strip_prefix(p)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let rules = VARYING.iter().filter(|(k, p, ..)| *k == kind && under(p));
    rules.into_iter().any(|(_, _, how, _)| match how {
        Freely => true,
        Address => [theirs, ours]
            .iter()
            .all(|v| v.number().is_some_and(|n| n >= 0x1_0000)),
        OddPlaces => place % 2 == 1,
        After(first) => place >= *first,
    })
}

#[test]
fn every_rule_names_a_field() {
    let fields = REFERENCES.iter().map(|(kind, path, _)| (kind, path));
    let races = RACES.iter().map(|(_, _, path)| (&"CORE", path));
    for (kind, path) in fields
        .chain(races)
        .chain(VARYING.iter().map(|(kind, path, ..)| (kind, path)))
    {
        let mut schema = Some(message(kind));
        for part in path.split('.') {
            let within = schema.unwrap_or_else(|| panic!("{kind} {path}: {part} is in no message"));
            let field = within.fields.iter().find(|f| f.name == part);
            let field = field.unwrap_or_else(|| panic!("{kind} {path}: {} has no {part}", within.name));
            schema = match field.kind {
                FieldKind::Message(nested) => Some(nested),
                _ => None,
            };
        }
    }
}

/// The message of a kind that the rules name.
fn message(kind: &str) -> &'static MessageSchema {
    match kind {
        "PSTREE" => PstreeEntry::schema(),
        "INVENTORY" => InventoryEntry::schema(),
        "FDINFO" => FdinfoEntry::schema(),
        "FS" => FsEntry::schema(),
        "MM" => MmEntry::schema(),
        "CORE" => CoreEntry::schema(),
        "IDS" => TaskKobjIdsEntry::schema(),
        "FILES" => FileEntry::schema(),
        "MEMFD_INODE" => MemfdInodeEntry::schema(),
        "PIPES_DATA" | "FIFO_DATA" => PipeDataEntry::schema(),
        "SK_QUEUES" => SkPacketEntry::schema(),
        "REMAP_FPATH" => RemapFilePathEntry::schema(),
        "FILE_LOCKS" => FileLockEntry::schema(),
        "TTY_INFO" => TtyInfoEntry::schema(),
        "TTY_DATA" => TtyDataEntry::schema(),
        "TCP_STREAM" => TcpStreamEntry::schema(),
        "GHOST_FILE" => GhostFileEntry::schema(),
        "TIMENS" => TimensEntry::schema(),
        "STATS" => StatsEntry::schema(),
        "PAGEMAP" | "SHMEM_PAGEMAP" => PagemapEntry::schema(),
        other => panic!("no message known for {other}"),
    }
}
