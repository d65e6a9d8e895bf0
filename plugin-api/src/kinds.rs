//! The extension points: one trait each.
//!
//! Every callback is marked with its stage and with what it may do there. No callback starts a thread,
//! keeps a lock across its return, or looks up a symbol of the host. On restore, callbacks marked
//! *task* run in a forked task: what `prepare` stored in the plugin before the forks is there, what a
//! task stores stays in that task.

use crate::host::Host;
use crate::message::{
    AlsoOpened, FileImage, FilePlan, FileRecord, FileTarget, MappingImage, MappingRecord, MappingTarget,
    OpenRequest, TaskImage, TaskInfo,
};
use crate::{Result, Verdict};

/// What came of an attempt that may have to wait for another file or task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<T> {
    /// Done.
    Done(T),
    /// Not possible yet; the text names what is waited for. The core tries again once something else
    /// has made progress, and reports the cycle when nothing does.
    NotYet(String),
}

/// A descriptor that was opened, and those that came with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The descriptor of the file asked for, in this process; the core takes it over.
    pub fd: i32,
    /// Descriptors of other files of the same group that this call produced.
    pub also: Vec<AlsoOpened>,
}

impl Opened {
    /// Just this one.
    pub fn one(fd: std::os::fd::OwnedFd) -> Self {
        use std::os::fd::IntoRawFd;
        Self {
            fd: fd.into_raw_fd(),
            also: Vec::new(),
        }
    }

    /// The same, with another file that this call produced.
    #[must_use]
    pub fn with(mut self, id: u32, fd: std::os::fd::OwnedFd) -> Self {
        use std::os::fd::IntoRawFd;
        self.also.push(AlsoOpened {
            id,
            fd: fd.into_raw_fd(),
        });
        self
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Outcome {
    /// Everything was done.
    Success = 0,
    /// Something failed: what was done must be undone.
    Failure = 1,
}

/// Something behind a file descriptor, or a path that a task holds on to.
pub trait FileKind {
    /// Saves one file. `[dump: target frozen, parasite inside; no fork]`
    ///
    /// Called once per open file description, and once per distinct file for the other purposes.
    ///
    /// # Errors
    /// Anything that stops the dump. A state that is known but not supported is a
    /// [`Verdict::Refused`], not an error.
    fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>>;

    /// All files of all tasks have been seen: write what needed the whole picture (peers outside the
    /// tree, contents of shared inodes). `[dump: target frozen, parasite inside; no fork]`
    ///
    /// # Errors
    /// Anything that stops the dump.
    fn finish_dump(&self, _host: &Host<'_>) -> Result<()> {
        Ok(())
    }

    /// Reads and checks everything of this kind before anything is created: its entries and its own
    /// images. `[restore: the coordinator, before the forks]`
    ///
    /// Returns a plan for each file that needs one; the others are opened by whichever task uses
    /// them first, without an `attach`.
    ///
    /// # Errors
    /// Anything that makes a restore impossible, found as early as it can be.
    fn prepare(&self, _host: &Host<'_>, _files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        Ok(Vec::new())
    }

    /// A task has just begun a session of its own, and the processes that belong to it are not born yet:
    /// the time for what they inherit from it, a controlling terminal.
    /// `[restore: a task that leads a session, before any descriptor of it exists]`
    ///
    /// # Errors
    /// Anything that makes it impossible.
    fn lead_session(&self, _host: &Host<'_>, _task: &TaskInfo) -> Result<()> {
        Ok(())
    }

    /// Opens a file. `[restore: task, before its memory is replaced]`
    ///
    /// Flags such as `O_APPEND`, the offset and the owner are set here, with the helpers of
    /// [`restore`](crate::restore).
    ///
    /// # Errors
    /// Anything that makes it impossible.
    fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>>;

    /// Completes a file once all descriptors of this task stand at their numbers: an epoll set's
    /// targets, a socket's queue. `[restore: task, before its memory is replaced]`
    ///
    /// Called in the task that opened the file, for plans that asked for it.
    ///
    /// # Errors
    /// Anything that makes it impossible.
    fn attach(&self, _host: &Host<'_>, _file: &FileRecord, _fd: i32) -> Result<Progress<()>> {
        Ok(Progress::Done(()))
    }

    /// The end of a restore: removes what was only needed on the way (temporary names), or, after a
    /// failure, everything that was created. `[restore: the coordinator, tasks stopped or gone]`
    ///
    /// # Errors
    /// Reported, but the other kinds are cleaned up all the same.
    fn finish_restore(&self, _host: &Host<'_>, _outcome: Outcome) -> Result<()> {
        Ok(())
    }
}

/// A mapping that the core cannot copy.
pub trait MappingKind {
    /// Saves one mapping. `[dump: target frozen, parasite inside; no fork]`
    ///
    /// A mapping that is claimed for a flag (`vma-flag:XX`, see [`MappingTarget::flags`]) is saved by the core or by
    /// the kind of its name as if it had no such flag. The kind of the flag is asked before that, once for all of its
    /// flags; it sees to what they stand for, and answers with [`Verdict::Entry`], of which only `mm_fields` is used.
    ///
    /// # Errors
    /// Anything that stops the dump.
    fn dump(&self, host: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>>;

    /// Puts one mapping back. `[restore: the coordinator; the target is caught at the end of its
    /// restorer, all its other memory is in place; remote system calls are allowed]`
    ///
    /// # Errors
    /// Anything that makes it impossible.
    fn restore(&self, host: &Host<'_>, mapping: &MappingRecord) -> Result<()>;
}

/// When a [`TaskKind`] is called on restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum TaskPoint {
    /// In the task, before its files are opened; sessions and groups are in place.
    BeforeFiles = 0,
    /// In the task, all its descriptors at their numbers and attached.
    AfterFiles = 1,
    /// In the coordinator, the task caught at the end of its restorer, credentials already its own. All its
    /// threads are there, at their ids.
    Caught = 2,
    /// In the task, before it has children and before any of its memory is there. What it inherited from the
    /// task that made it, which came by this point before, is there too.
    Born = 3,
}

/// State that hangs on a task itself.
pub trait TaskKind {
    /// Saves it. `[dump: target frozen, parasite inside; no fork]`
    ///
    /// # Errors
    /// Anything that stops the dump.
    fn dump(&self, host: &Host<'_>, task: &TaskInfo) -> Result<Verdict<TaskImage>>;

    /// All tasks have been seen. `[dump: target frozen, parasite inside; no fork]`
    ///
    /// # Errors
    /// Anything that stops the dump.
    fn finish_dump(&self, _host: &Host<'_>) -> Result<()> {
        Ok(())
    }

    /// Reads and checks before anything is created. `[restore: the coordinator, before the forks]`
    ///
    /// # Errors
    /// Anything that makes a restore impossible.
    fn prepare(&self, _host: &Host<'_>) -> Result<()> {
        Ok(())
    }

    /// Puts it back. `[restore: see TaskPoint]`
    ///
    /// # Errors
    /// Anything that makes it impossible.
    fn restore(&self, host: &Host<'_>, task: &TaskInfo, point: TaskPoint) -> Result<Progress<()>>;
}

/// The points in time of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Stage {
    /// Dump: nothing has been stopped yet.
    BeforeFreeze = 0,
    /// Dump: all tasks are stopped.
    Frozen = 1,
    /// Dump: the image set is complete; the tasks are about to be killed.
    Dumped = 2,
    /// Dump: the tasks are about to go on or to be left stopped, or the dump failed.
    BeforeThaw = 3,
    /// Restore: nothing has been created yet.
    BeforeRestore = 4,
    /// Restore: all tasks are complete and stopped at their first instruction.
    BeforeResume = 5,
    /// Restore: the tasks run.
    Resumed = 6,
    /// Restore: it failed, and no task is left.
    RestoreFailed = 7,
    /// Dump, only where [`Services::tasks_are_held`](crate::Services::tasks_are_held) was called: every task has
    /// been told to stop, and none can run code of its own any more. What holds them is to let go, so that
    /// they can come to their stop; the core waits for that next. Called after a failure, too.
    Interrupted = 8,
    /// Dump: nothing of it is left in the tasks, and they have yet to go on, except after a failure before
    /// all were stopped; or they are gone.
    Cured = 9,
    /// Restore: every task stands at its first instruction, with nothing of the restore left in it; calls inside of
    /// it are not possible any more. The kinds have finished, and all that is left is to let the tasks go.
    Complete = 10,
}

/// Work that belongs to a point in time and not to an object.
pub trait StageHook {
    /// Called once at each stage. `[see Stage]`
    ///
    /// # Errors
    /// A failure stops the run, except at `BeforeThaw` after another failure, `Cured`, `Resumed` and
    /// `RestoreFailed`, where it is reported.
    fn at(&self, host: &Host<'_>, stage: Stage) -> Result<()>;
}

/// Whether this machine has a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It has.
    Present,
    /// It has not; the text says what was tried and what came of it.
    Absent(String),
}

/// Features of the kernel that a plugin needs, for `criu check`.
pub trait FeatureProbe {
    /// Tries a feature: one of those that the claims `feature:NAME` name. Leaves nothing behind.
    /// `[check: nothing else goes on]`
    ///
    /// # Errors
    /// It could not be tried. That the feature is absent is no error.
    fn probe(&self, host: &Host<'_>, feature: &str) -> Result<Presence>;
}

macro_rules! for_pointers {
    ($($pointer:ty),*) => {$(
        impl<T: FileKind + ?Sized> FileKind for $pointer {
            fn dump(&self, host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
                (**self).dump(host, file)
            }
            fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
                (**self).finish_dump(host)
            }
            fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
                (**self).prepare(host, files)
            }
            fn lead_session(&self, host: &Host<'_>, task: &TaskInfo) -> Result<()> {
                (**self).lead_session(host, task)
            }
            fn open(&self, host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
                (**self).open(host, request)
            }
            fn attach(&self, host: &Host<'_>, file: &FileRecord, fd: i32) -> Result<Progress<()>> {
                (**self).attach(host, file, fd)
            }
            fn finish_restore(&self, host: &Host<'_>, outcome: Outcome) -> Result<()> {
                (**self).finish_restore(host, outcome)
            }
        }

        impl<T: MappingKind + ?Sized> MappingKind for $pointer {
            fn dump(&self, host: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
                (**self).dump(host, mapping)
            }
            fn restore(&self, host: &Host<'_>, mapping: &MappingRecord) -> Result<()> {
                (**self).restore(host, mapping)
            }
        }

        impl<T: TaskKind + ?Sized> TaskKind for $pointer {
            fn dump(&self, host: &Host<'_>, task: &TaskInfo) -> Result<Verdict<TaskImage>> {
                (**self).dump(host, task)
            }
            fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
                (**self).finish_dump(host)
            }
            fn prepare(&self, host: &Host<'_>) -> Result<()> {
                (**self).prepare(host)
            }
            fn restore(&self, host: &Host<'_>, task: &TaskInfo, point: TaskPoint) -> Result<Progress<()>> {
                (**self).restore(host, task, point)
            }
        }

        impl<T: FeatureProbe + ?Sized> FeatureProbe for $pointer {
            fn probe(&self, host: &Host<'_>, feature: &str) -> Result<Presence> {
                (**self).probe(host, feature)
            }
        }

        impl<T: StageHook + ?Sized> StageHook for $pointer {
            fn at(&self, host: &Host<'_>, stage: Stage) -> Result<()> {
                (**self).at(host, stage)
            }
        }
    )*};
}

for_pointers!(std::rc::Rc<T>, &T);
