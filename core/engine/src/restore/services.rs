//! What plugins can ask the host for during a restore.

use std::os::fd::{IntoRawFd, RawFd};

use criu_images::{PagemapReader, Source, magic};
use criu_plugin_api::message::{FileRecord, FileTarget, Purpose, RemoteCall, RemoteResult, Slot, TaskInfo};
use criu_plugin_api::{Error as ApiError, Result, Services};

use super::context::Restore;
use super::{files, sys};
use crate::error::Error;

fn api(error: Error) -> ApiError {
    match error {
        Error::Plugin(error) => error,
        other => ApiError::new(other.to_string()),
    }
}

fn dump_only<T>(service: &str) -> Result<T> {
    Err(ApiError::unsupported(format_args!(
        "service {service} during a restore"
    )))
}

impl Services for Restore {
    fn log(&self, level: u32, target: &str, text: &str) {
        crate::kinds::log(level, target, text);
    }

    fn settings(&self, name: &str) -> Result<Vec<String>> {
        crate::kinds::settings(&self.opts, name)
    }

    fn plugin_option(&self, plugin: &str, name: &str) -> Result<Option<String>> {
        self.kinds.option(plugin, name)
    }

    fn progress(&self, text: &str) {
        tracing::info!("{text}");
    }

    fn image(&self, name: &str, create: bool) -> Result<Option<RawFd>> {
        if create {
            return dump_only("image (to create one)");
        }
        let file = self
            .service_fds
            .dir
            .open_raw_if_exists(name)
            .map_err(|error| api(error.into()))?;
        Ok(file.map(IntoRawFd::into_raw_fd))
    }

    fn tasks(&self) -> Result<Vec<TaskInfo>> {
        Ok(self.infos.clone())
    }

    fn descriptors(&self, pid: i32) -> Result<Vec<Slot>> {
        let task = self.set.tasks.iter().find(|task| task.pid == pid);
        let task =
            task.ok_or_else(|| ApiError::new(format!("there is no process {pid} in the image set")))?;
        let fds = task.live.iter().flat_map(|live| live.fds.iter());
        Ok(fds
            .map(|entry| Slot {
                fd: entry.fd.cast_signed(),
                file_id: entry.id,
                flags: entry.flags,
                fd_type: entry.r#type.cast_unsigned(),
            })
            .collect())
    }

    fn namespace_id(&self, pid: i32, kind: &str) -> Result<u32> {
        let live = self
            .set
            .tasks
            .iter()
            .find(|task| task.pid == pid)
            .and_then(|task| task.live.as_ref());
        let ids = &live
            .ok_or_else(|| ApiError::new(format!("there is no living process {pid}")))?
            .ids;
        let id = match kind {
            "pid" => ids.pid_ns_id,
            "net" => ids.net_ns_id,
            "ipc" => ids.ipc_ns_id,
            "uts" => ids.uts_ns_id,
            "mnt" => ids.mnt_ns_id,
            "user" => ids.user_ns_id,
            "cgroup" => ids.cgroup_ns_id,
            "time" => ids.time_ns_id,
            other => return Err(ApiError::new(format!("there is no kind of namespace {other}"))),
        };
        Ok(id.unwrap_or(0))
    }

    fn target_fd(&self, _pid: i32, _fd: i32) -> Result<RawFd> {
        dump_only("target_fd")
    }

    fn fdinfo(&self, _pid: i32, _fd: i32) -> Result<Vec<u8>> {
        dump_only("fdinfo")
    }

    fn dump_file(&self, _pid: i32, _local_fd: i32) -> Result<u32> {
        dump_only("dump_file")
    }

    fn dump_path(&self, _file: &FileTarget) -> Result<u32> {
        dump_only("dump_path")
    }

    fn file_at(&self, pid: i32, fd: i32) -> Result<Option<u32>> {
        Ok(self
            .descriptors(pid)?
            .into_iter()
            .find(|slot| slot.fd == fd)
            .map(|slot| slot.file_id))
    }

    fn next_id(&self, sequence: &str) -> Result<u32> {
        Ok(self.next(sequence))
    }

    fn dump_shared_memory(&self, _id: u64, _local_fd: i32, _size: u64) -> Result<()> {
        dump_only("dump_shared_memory")
    }

    fn restore_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> Result<()> {
        restore_shared(self, id, local_fd, size)
            .map_err(|error| api(error).context(format!("restoring shared memory {id}")))
    }

    fn remote_call(&self, call: &RemoteCall) -> Result<RemoteResult> {
        let mut caught = self.caught.borrow_mut();
        // The leader, which has the number of the process, is found at once.
        let process = match caught.contains_key(&call.pid) {
            true => Some(call.pid),
            false => caught
                .iter()
                .find_map(|(&pid, target)| target.has_thread(call.pid).then_some(pid)),
        };
        let target = process.and_then(|pid| caught.get_mut(&pid));
        let target = target.ok_or_else(|| {
            ApiError::new(format!(
                "process {} cannot run calls now: it is not caught",
                call.pid
            ))
        })?;
        target.remote_call(call).map_err(api)
    }

    fn undo_on_death(&self, _call: &RemoteCall) -> Result<()> {
        dump_only("undo_on_death")
    }

    fn file(&self, id: u32) -> Result<FileRecord> {
        self.record(id).cloned().map_err(api)
    }

    fn opened(&self, id: u32) -> Result<Option<RawFd>> {
        files::fetch(self, id).map_err(api)
    }

    fn open_path(&self, id: u32, flags: Option<u32>) -> Result<RawFd> {
        let node = self.me.get().unwrap_or(0);
        files::open_for(self, node, id, Purpose::Path, flags).map_err(api)
    }

    fn inherited(&self, key: &str) -> Result<Option<RawFd>> {
        let found = self.service_fds.inherited.iter().find(|(name, _)| name == key);
        let copy = found.map(|(_, fd)| sys::duplicate(*fd, 0, true)).transpose();
        copy.map_err(|errno| ApiError::new(format!("duplicating the descriptor for {key}: {}", errno.desc())))
    }

    fn files(&self) -> Result<Vec<u32>> {
        Ok(self.set.files.all().iter().map(|record| record.id).collect())
    }

    fn early_thread(&self, tid: i32) -> Result<()> {
        if self.shared.get().is_some() {
            return Err(ApiError::unsupported(
                "service early_thread after the plans are made",
            ));
        }
        let process = self.infos.iter().find(|info| info.threads.contains(&tid));
        match process {
            Some(process) if process.pid == tid => {}
            Some(_) => _ = self.early_threads.borrow_mut().insert(tid),
            None => {
                let what = format!("thread {tid} is not in the image set");
                return Err(ApiError::new(what));
            }
        }
        Ok(())
    }
}

/// Writes the pages of a shared object into it: holes stay holes.
fn restore_shared(restore: &Restore, id: u64, local_fd: RawFd, size: u64) -> crate::Result<()> {
    use crate::error::Context;
    let pagemap = PagemapReader::open(&restore.service_fds.dir, &magic::SHMEM_PAGEMAP, id)?;
    let mut buffer = vec![0u8; 1 << 20];
    for run in pagemap.runs() {
        let Source::File(extent) = run.source else {
            return Err(Error::refused(
                format!("shared memory {id}"),
                "has pages in no file",
            ));
        };
        if run.end() > size.next_multiple_of(criu_images::page_size()) {
            let what = format!("has pages up to {:#x} of an object of {size:#x} bytes", run.end());
            return Err(Error::malformed(magic::SHMEM_PAGEMAP.file_name(id), what));
        }
        let mut done = 0;
        while done < run.bytes() {
            let length = (run.bytes() - done).min(buffer.len() as u64) as usize;
            let from = criu_images::Extent {
                offset: extent.offset + done,
                ..extent
            };
            pagemap.read(from, &mut buffer[..length])?;
            let room = size.saturating_sub(run.vaddr + done).min(length as u64) as usize;
            sys::write_all_at(local_fd, &buffer[..room], run.vaddr + done)
                .context(|| format!("writing shared memory {id} at {:#x}", run.vaddr + done))?;
            done += length as u64;
        }
    }
    Ok(())
}
