//! The life of a restored process from its fork to the restorer, as a list of steps.

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use criu_blobs::restore::{Move, Range, stage};
use criu_images::{PagemapReader, Run, magic};
use criu_plugin_api::message::Purpose;
use criu_plugin_api::{Progress, TaskPoint};
use nix::errno::Errno;
use nix::unistd::{Pid, getpid, getppid};

use super::args::{self, Arena, Prepared, STACK};
use super::context::Restore;
use super::images::{Live, TaskImages};
use super::memory::{self, MappedFiles, World};
use super::plan::Role;
use super::shared::Failed;
use super::vma::{PAGE, TASK_SIZE, Vma};
use super::{extra, files, pages, sys, vdso};
use crate::error::{Context, Error, Result};

/// Where the parts of the restore are that every process has at the same address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// The entry of the restorer.
    pub(crate) entry: u64,
    /// The entry of a thread that is there before.
    pub(crate) early: u64,
}

/// Forks a process of the plan. Returns in the parent only.
pub(crate) fn fork(
    restore: &Restore,
    node: usize,
    places: Places,
    world: &mut World,
    flags: u64,
) -> Result<()> {
    let planned = &restore.plan.nodes[node];
    let exit_signal = restore.plan.exit_signal(&restore.set, node);
    let parent = getpid();
    let in_parent = sys::fork_with_pid(planned.pid, flags, exit_signal).map_err(|errno| match errno {
        Errno::EEXIST => Error::refused_but(
            format!("pid {}", planned.pid),
            "is in use by a process, a session or a group",
            "end what uses it, or restore in a pid namespace of its own",
        ),
        errno => Error::Io {
            action: format!("creating process {}", planned.pid),
            source: errno.into(),
        },
    })?;
    let slot = restore.shared()?.task(node);
    slot.created.store(1, Ordering::Release);
    if in_parent {
        return Ok(());
    }
    // A log at a number that some task uses would be written into that task's file.
    let silent = (!restore.service_fds.log)
        .then(|| tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default()));
    let lived = catch_unwind(AssertUnwindSafe(|| {
        follow(parent, flags)?;
        live(restore, node, places, world)
    }));
    drop(silent);
    let error = match lived {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => error.to_string(),
        Err(_) => "criu itself panicked; its standard error says where".to_owned(),
    };
    if let Ok(shared) = restore.shared() {
        shared.fail(&format!("process {}: {error}", restore.plan.nodes[node].pid));
    }
    sys::exit(1)
}

/// Has this process end with its parent, at last the coordinator, without whom nothing would become of it.
fn follow(parent: Pid, flags: u64) -> Result<()> {
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).context(|| "setting the parent-death signal")?;
    // The parent may have gone before; a sibling of the coordinator has another one, and looks for it when it waits.
    if flags == 0 && getppid() != parent {
        return Err(files::elsewhere());
    }
    Ok(())
}

/// What never comes back.
enum Never {}

fn live(restore: &Restore, node: usize, places: Places, world: &mut World) -> Result<Never> {
    restore.me.set(Some(node));
    tracing::debug!("process {} is there", restore.plan.nodes[node].pid);
    restore.held.take();
    if restore.plan.nodes[node].creator.is_none() {
        restore.service_fds.close_others();
    }
    match restore.plan.nodes[node].role {
        Role::Task(index) => {
            let task = &restore.set.tasks[index];
            let Some(live) = task.live.as_ref() else {
                return Err(Error::Task("it is not alive in the images".to_owned()));
            };
            live_task(restore, node, places, world, task, live)
        }
        Role::Zombie(index) => {
            be_born(restore, node, places, world)?;
            passed(restore, node, stage::GROUPED)?;
            sys::set_name(&String::from_utf8_lossy(&restore.set.tasks[index].tc.comm));
            die(restore.set.tasks[index].tc.exit_code)
        }
        Role::Helper => {
            be_born(restore, node, places, world)?;
            passed(restore, node, stage::GROUPED)?;
            passed(restore, node, stage::FILES)?;
            sys::exit(0)
        }
    }
}

/// The steps of a living task.
fn live_task(
    restore: &Restore,
    node: usize,
    places: Places,
    world: &mut World,
    task: &TaskImages,
    live: &Live,
) -> Result<Never> {
    let mut counts = pages::Counts::default();
    at_point(restore, node, TaskPoint::Born)?;
    ignore_ends(restore, node);
    prepare_inheritance(restore, node, world, live, &mut counts)?;
    be_born(restore, node, places, world)?;
    let early = start_early_threads(restore, places, world, live)?;
    passed(restore, node, stage::GROUPED)?;
    at_point(restore, node, TaskPoint::BeforeFiles)?;
    files::restore_all(restore, node)?;
    at_point(restore, node, TaskPoint::AfterFiles)?;
    restore.shared()?.files_finished();
    passed(restore, node, stage::FILES)?;
    files::close_parked(restore);
    wait_for_the_dead(restore, node)?;
    let moves = rebuild_memory(restore, node, world, task, live, &mut counts)?;
    restore.shared()?.count(counts);
    let exe = surroundings(restore, node, task, live)?;
    label(restore, task, live)?;
    let args = arguments(restore, node, world, task, live, (moves, early), exe)?;
    sys::unregister_rseq().context(|| "taking leave of rseq")?;
    passed(restore, node, stage::MEMORY)?;
    sys::block_signals();
    sys::jump(places.entry, args.task, args.stack)
}

/// Arrives at the end of a stage and waits for everyone.
fn passed(restore: &Restore, node: usize, number: u32) -> Result<()> {
    restore
        .shared()?
        .pass(node, number)
        .map_err(|Failed| files::elsewhere())
}

// Birth.

/// Forks children, begins the session or group that this process leads, and joins the group that another leads.
fn be_born(restore: &Restore, node: usize, places: Places, world: &mut World) -> Result<()> {
    let planned = &restore.plan.nodes[node];
    for &child in &planned.early {
        fork(restore, child, places, world, shared_with(restore, child)?)?;
    }
    if planned.leads_session() {
        nix::unistd::setsid().context(|| "beginning a session")?;
        lead_session(restore, node)?;
    } else if planned.leads_group() {
        set_group(0)?;
    }
    for &child in &planned.late {
        fork(restore, child, places, world, shared_with(restore, child)?)?;
    }
    for &sibling in &planned.siblings {
        let parent = u64::from(libc::CLONE_PARENT.unsigned_abs());
        fork(
            restore,
            sibling,
            places,
            world,
            parent | shared_with(restore, sibling)?,
        )?;
    }
    passed(restore, node, stage::FORKED)?;
    if !planned.leads_group() && nix::unistd::getpgrp().as_raw() != planned.pgid {
        set_group(planned.pgid)?;
    }
    Ok(())
}

/// Starts the threads that files refer to; returns where each waits for the restorer.
fn start_early_threads(
    restore: &Restore,
    places: Places,
    world: &mut World,
    live: &Live,
) -> Result<Vec<(i32, u64)>> {
    let wanted = restore.early_threads.borrow();
    let mut early = Vec::new();
    for thread in live.threads.iter().filter(|thread| wanted.contains(&thread.tid)) {
        let doing = || format!("creating thread {}", thread.tid);
        let at = world.take(&restore.layout, STACK)?;
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        sys::map_at(at, STACK, protection, flags, -1, 0).context(doing)?;
        sys::start_thread(thread.tid, places.early, (at, at + STACK), at).context(doing)?;
        early.push((thread.tid, at));
    }
    for &(_, at) in &early {
        sys::await_early(at);
    }
    Ok(early)
}

/// Has the kinds give a new session what its processes will inherit.
fn lead_session(restore: &Restore, node: usize) -> Result<()> {
    let Role::Task(index) = restore.plan.nodes[node].role else {
        return Ok(());
    };
    for (id, _) in restore.kinds.file_kinds() {
        let host = restore.kinds.host(restore, id);
        let done = restore.kinds.file(id)?.lead_session(&host, &restore.infos[index]);
        done.map_err(|error| error.context(restore.kinds.name(id)))?;
    }
    Ok(())
}

fn set_group(group: i32) -> Result<()> {
    let zero = nix::unistd::Pid::from_raw(0);
    nix::unistd::setpgid(zero, nix::unistd::Pid::from_raw(group))
        .context(|| format!("joining process group {group}"))
}

/// What a process shares with its creator, as flags of clone3(2).
fn shared_with(restore: &Restore, child: usize) -> Result<u64> {
    let (Some(creator), Ok((_, live))) = (restore.creator_live(child), restore.live(child)) else {
        return Ok(0);
    };
    let mut flags = 0;
    if live.ids.files_id == creator.ids.files_id {
        flags |= libc::CLONE_FILES;
    }
    if live.ids.fs_id == creator.ids.fs_id {
        flags |= libc::CLONE_FS;
    }
    Ok(u64::from(flags.unsigned_abs()))
}

/// Ends this process the way a wait status says.
fn die(status: u32) -> Result<Never> {
    let status = status.cast_signed();
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        // No core file of a process that never was.
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the limit outlives the call.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
        sys::default_signal(signal);
        // SAFETY: plain numbers, this process.
        unsafe { libc::kill(libc::getpid(), signal) };
        return Err(Error::Task(format!(
            "signal {signal}, which it must die of, did not end it"
        )));
    }
    sys::exit(libc::WEXITSTATUS(status))
}

/// Zombies must be dead, and helpers gone, before their parent's signal actions are there.
fn wait_for_the_dead(restore: &Restore, node: usize) -> Result<()> {
    for planned in restore
        .plan
        .nodes
        .iter()
        .filter(|planned| planned.parent == Some(node))
    {
        let reap = match planned.role {
            Role::Task(_) => continue,
            Role::Zombie(_) => false,
            Role::Helper => true,
        };
        sys::wait_for(planned.pid, reap)
            .context(|| format!("waiting for the end of process {}", planned.pid))?;
    }
    Ok(())
}

/// The death of a zombie that is told by another signal than SIGCHLD must not end its parent, which has no
/// actions of its own yet.
fn ignore_ends(restore: &Restore, node: usize) {
    for child in 0..restore.plan.nodes.len() {
        let planned = &restore.plan.nodes[child];
        if planned.parent != Some(node) || !matches!(planned.role, Role::Zombie(_)) {
            continue;
        }
        let signal = restore.plan.exit_signal(&restore.set, child).cast_signed();
        if signal != 0 && signal != libc::SIGCHLD {
            sys::ignore_signal(signal);
        }
    }
}

/// Has the kinds of task state act.
fn at_point(restore: &Restore, node: usize, point: TaskPoint) -> Result<()> {
    let Role::Task(index) = restore.plan.nodes[node].role else {
        return Ok(());
    };
    let info = &restore.infos[index];
    for (id, kind) in restore.kinds.tasks() {
        loop {
            let seen = restore.shared()?.progress();
            let host = restore.kinds.host(restore, id);
            let name = || restore.kinds.name(id);
            match kind
                .restore(&host, info, point)
                .map_err(|error| error.context(name()))?
            {
                Progress::Done(()) => break,
                Progress::NotYet(why) => {
                    let why = format!("process {}: {} waits for {why}", info.pid, name());
                    restore
                        .shared()?
                        .await_progress(node, seen, &why)
                        .map_err(|Failed| files::elsewhere())?;
                }
            }
        }
        if point == TaskPoint::AfterFiles {
            restore.shared()?.made_progress();
        }
    }
    Ok(())
}

// Memory.

/// The pages files of this task by level, open.
pub(crate) struct PageFiles {
    pub(crate) fds: Vec<RawFd>,
    /// Keeps those of other levels open.
    _reader: Option<PagemapReader>,
    own: Option<RawFd>,
}

impl PageFiles {
    pub(crate) fn open(restore: &Restore, task: &TaskImages, live: &Live) -> Result<Self> {
        if live.pages.runs.is_empty() {
            return Ok(Self {
                fds: Vec::new(),
                _reader: None,
                own: None,
            });
        }
        let dir = &restore.service_fds.dir;
        if live.pages.own {
            let name = magic::PAGES.file_name(live.pages.pages_id.into());
            let fd = dir.open_raw(&name)?.into_raw_fd();
            return Ok(Self {
                fds: vec![fd],
                _reader: None,
                own: Some(fd),
            });
        }
        let reader = PagemapReader::open(dir, &magic::PAGEMAP, task.pid.unsigned_abs().into())?;
        let levels = live.pages.runs.iter().filter_map(|run| match run.source {
            criu_images::Source::File(extent) => Some(extent.level),
            criu_images::Source::Remote => None,
        });
        let count = levels.max().map_or(0, |level| level + 1);
        let fds = (0..count)
            .map(|level| reader.pages(level).map_or(-1, AsRawFd::as_raw_fd))
            .collect();
        Ok(Self {
            fds,
            _reader: Some(reader),
            own: None,
        })
    }
}

impl Drop for PageFiles {
    fn drop(&mut self) {
        if let Some(fd) = self.own {
            sys::close(fd);
        }
    }
}

/// What the creator had in memory, which this process was forked with.
fn before(restore: &Restore, node: usize) -> &[Run] {
    restore
        .creator_live(node)
        .map_or(&[], |creator| &creator.pages.runs)
}

/// Takes over what the creator passed on, and makes ready what is to be passed on to children: all before
/// they are forked.
fn prepare_inheritance(
    restore: &Restore,
    node: usize,
    world: &mut World,
    live: &Live,
    counts: &mut pages::Counts,
) -> Result<()> {
    world.inherit(&live.vmas)?;
    let planned = &restore.plan.nodes[node];
    let children = planned.early.iter().chain(&planned.late).chain(&planned.siblings);
    let mut passed_on = std::collections::HashSet::new();
    for child in children.filter_map(|&child| restore.live(child).ok().map(|(_, live)| live)) {
        let mut theirs = child.vmas.iter().peekable();
        for mine in live.vmas.iter().filter(|vma| vma.private()) {
            while theirs.next_if(|vma| vma.start < mine.start).is_some() {}
            if theirs.peek().is_some_and(|vma| vma.same_origin(mine)) {
                passed_on.insert(mine.start);
            }
        }
    }
    passed_on.retain(|start| {
        let found = live.vmas.binary_search_by_key(start, |vma| vma.start).ok();
        let is_grouped = |id: u32| files::is_grouped(restore, id).unwrap_or(true);
        found.is_some_and(|i| live.vmas[i].file_id().is_none_or(|id| !is_grouped(id)))
    });
    if passed_on.is_empty() {
        return Ok(());
    }
    let (task, _) = restore.live(node)?;
    let mut opened = MappedFiles::default();
    let there = world.starts();
    for vma in live
        .vmas
        .iter()
        .filter(|vma| passed_on.contains(&vma.start) && !there.contains(&vma.start))
    {
        let file = opened.get(vma, |id, flags| mapping_file(restore, node, id, flags))?;
        world.place(&restore.layout, vma, file)?;
    }
    opened.close();
    let files = PageFiles::open(restore, task, live)?;
    let wanted = |placed: &memory::Placed| passed_on.contains(&placed.vma.start);
    counts.add(pages::fill(
        world,
        wanted,
        &live.pages.runs,
        &files.fds,
        before(restore, node),
        false,
    )?);
    Ok(())
}

/// Makes and fills everything that is not there yet; returns what the restorer has to move.
fn rebuild_memory(
    restore: &Restore,
    node: usize,
    world: &mut World,
    task: &TaskImages,
    live: &Live,
    counts: &mut pages::Counts,
) -> Result<vdso::Moves> {
    let mut opened = MappedFiles::default();
    let there = world.starts();
    let missing = |vma: &&Vma| memory::is_mapped_here(vma) && !there.contains(&vma.start);
    for vma in live.vmas.iter().filter(missing) {
        let file = opened.get(vma, |id, flags| mapping_file(restore, node, id, flags))?;
        world.place(&restore.layout, vma, file)?;
    }
    opened.close();
    let files = PageFiles::open(restore, task, live)?;
    counts.add(pages::fill(
        world,
        |_| true,
        &live.pages.runs,
        &files.fds,
        before(restore, node),
        true,
    )?);
    world.finish(&live.guards, &live.pages.runs)?;
    extra::memory(world, &live.extra)?;
    let reader = vdso::reader(&files.fds);
    vdso::plan(task.pid, live, &restore.layout, world, reader)
}

/// The descriptor of a mapping's file with the access the mapping needs.
fn mapping_file(restore: &Restore, node: usize, id: u32, flags: u32) -> Result<RawFd> {
    if !files::is_grouped(restore, id)? || !files::has_descriptor(restore, id)? {
        return files::open_for(restore, node, id, Purpose::Mapping, Some(flags));
    }
    // The description that descriptors share, opened anew with another access.
    let shared = files::fetch(restore, id)?
        .ok_or_else(|| Error::Task(format!("file {id} is not open yet, and a mapping needs it")))?;
    let path = format!("/proc/self/fd/{shared}");
    let opened = nix::fcntl::open(
        path.as_str(),
        nix::fcntl::OFlag::from_bits_retain(flags.cast_signed()) | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    );
    sys::close(shared);
    opened
        .map(IntoRawFd::into_raw_fd)
        .context(|| format!("opening file {id} anew for a mapping"))
}

// Surroundings.

/// Directories and what a process has beside memory and files; returns the executable's descriptor.
fn surroundings(restore: &Restore, node: usize, task: &TaskImages, live: &Live) -> Result<RawFd> {
    use nix::unistd::{chroot, fchdir};
    use std::os::fd::BorrowedFd;
    let exe = files::open_for(restore, node, live.mm.exe_file_id, Purpose::Exe, None)
        .context(|| "opening the executable")?;
    let shares_fs = restore
        .creator_live(node)
        .is_some_and(|creator| creator.ids.fs_id == live.ids.fs_id);
    if !shares_fs {
        let root = files::open_for(restore, node, live.fs.root_id, Purpose::Root, None)
            .context(|| "opening the root directory")?;
        let cwd = files::open_for(restore, node, live.fs.cwd_id, Purpose::Cwd, None)
            .context(|| "opening the working directory")?;
        // SAFETY: both descriptors were opened just now and are closed below.
        let (root_fd, cwd_fd) = unsafe { (BorrowedFd::borrow_raw(root), BorrowedFd::borrow_raw(cwd)) };
        let stat = nix::sys::stat::fstat(root_fd).context(|| "inspecting the root directory")?;
        if (stat.st_dev, stat.st_ino) != restore.own.root {
            fchdir(root_fd).context(|| "entering the root directory")?;
            chroot(".").context(|| "changing the root directory")?;
        }
        fchdir(cwd_fd).context(|| "entering the working directory")?;
        sys::close(root);
        sys::close(cwd);
        if let Some(umask) = live.fs.umask {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
        }
    }
    let write = |path: &str, value: &str| {
        std::fs::write(path, value).context(|| format!("writing {value} to {path}"))
    };
    if let Some(adj) = task
        .tc
        .oom_score_adj
        .filter(|&adj| adj != restore.own.oom_score_adj)
    {
        write("/proc/self/oom_score_adj", &adj.to_string())?;
    }
    if let Some(uid) = task.tc.loginuid.filter(|&uid| uid != restore.own.loginuid) {
        // May be set only once in the life of a tree, where the kernel is so configured.
        if let Err(error) = write("/proc/self/loginuid", &uid.to_string()) {
            tracing::warn!("process {}: {error}", task.pid);
        }
    }
    if task.tc.child_subreaper.unwrap_or(false) {
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).context(|| "becoming a child subreaper")?;
    }
    if live.mm.thp_disabled.unwrap_or(false) {
        let flags = live.extra.thp_flags.unwrap_or(0);
        sys::prctl2(libc::PR_SET_THP_DISABLE, 1, flags.into()).context(|| "disabling huge pages")?;
    }
    Ok(exe)
}

/// Gives the process the label that its threads will inherit.
fn label(restore: &Restore, task: &TaskImages, live: &Live) -> Result<()> {
    let leader = live.threads.iter().find(|thread| thread.tid == task.pid);
    let Some(creds) = leader.and_then(|leader| leader.core.thread_core.as_ref()?.creds.as_ref()) else {
        return Ok(());
    };
    for change in restore.labels.before_threads("it", creds)? {
        std::fs::write(&change.path, &change.text)
            .context(|| format!("setting the security label {} by {}", change.text, change.path))?;
    }
    Ok(())
}

/// Where the restorer finds what it needs.
struct Arguments {
    task: u64,
    stack: u64,
}

/// Lays out the restorer's arguments and stacks in the hole.
fn arguments(
    restore: &Restore,
    node: usize,
    world: &mut World,
    task: &TaskImages,
    live: &Live,
    (moves, early): (vdso::Moves, Vec<(i32, u64)>),
    exe: RawFd,
) -> Result<Arguments> {
    let private = |world: &mut World, length: u64| -> Result<u64> {
        let at = world.take(&restore.layout, length)?;
        let length = length.next_multiple_of(PAGE);
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        sys::map_at(at, length, protection, flags, -1, 0).context(|| "mapping the restorer's arguments")
    };
    let stacks = private(world, live.threads.len() as u64 * STACK)?;
    let aside = world.placed.iter().filter(|placed| !placed.in_place());
    let mut all_moves: Vec<Move> = aside
        .map(|placed| Move {
            from: placed.at,
            to: placed.vma.start,
            length: placed.vma.length(),
        })
        .collect();
    all_moves.extend(&moves.place);
    let mut prepared = Prepared {
        shared: restore.shared()?.address(),
        park: moves.park,
        unmap: Vec::new(),
        moves: all_moves,
        close: if files::owns_table(restore, node)? {
            to_close(live)
        } else {
            Vec::new()
        },
        exe_fd: exe.cast_unsigned(),
        stacks,
        early,
    };
    // The hole is kept whole: the coordinator unmaps it at the end.
    prepared.unmap = to_unmap(world, (restore.layout.start, restore.layout.end));
    let at = world.next_free();
    let mut arena = Arena::new(at);
    let wire = args::build(
        &mut arena,
        task,
        live,
        &restore.set.filters,
        &restore.own,
        &prepared,
    )?;
    let mapped = private(world, arena.bytes().len() as u64)?;
    if mapped != at {
        return Err(Error::Task(
            "the restorer's arguments are not where they were laid out for".to_owned(),
        ));
    }
    sys::write_at(at, arena.bytes());
    Ok(Arguments {
        task: wire,
        stack: stacks + STACK,
    })
}

/// Everything but the mappings that stand at their places, and the hole.
fn to_unmap(world: &World, hole: (u64, u64)) -> Vec<Range> {
    let mut keep: Vec<(u64, u64)> = world
        .placed
        .iter()
        .filter(|placed| placed.in_place())
        .map(|placed| (placed.vma.start, placed.vma.end))
        .collect();
    keep.push(hole);
    keep.sort_unstable();
    let mut ranges = Vec::new();
    let mut after = 0;
    for (start, end) in keep {
        if start > after {
            ranges.push(Range {
                start: after,
                end: start,
            });
        }
        after = end;
    }
    if after < TASK_SIZE {
        ranges.push(Range {
            start: after,
            end: TASK_SIZE,
        });
    }
    ranges
}

/// All descriptor numbers that are not the task's.
fn to_close(live: &Live) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut after = 0;
    for entry in live.fds.iter() {
        let fd = u64::from(entry.fd);
        if fd > after {
            ranges.push(Range {
                start: after,
                end: fd - 1,
            });
        }
        after = fd + 1;
    }
    ranges.push(Range {
        start: after,
        end: u64::from(u32::MAX),
    });
    ranges
}
