//! The services of the host over the wire.

use std::os::fd::RawFd;

use prost::Message;

use crate::abi::HostCall;
use crate::host::Services;
use crate::message::{FileRecord, FileTarget, RemoteCall, RemoteResult, Slot, TaskInfo};
use crate::wire::{
    Bytes, CallsReply, CallsRequest, Empty, FdRequest, IdsReply, ImageRequest, LogRequest, Maybe, MaybeText,
    MemoryRequest, NamespaceRequest, Number, OpenPathRequest, OptionRequest, SlotsReply, TasksReply, Text,
    Texts, WorkersRequest, decode, service,
};
use crate::{Error, Result};

/// The services, as code in a shared object calls them.
pub struct ServicesClient(Box<dyn HostCall>);

impl std::fmt::Debug for ServicesClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServicesClient")
    }
}

impl ServicesClient {
    /// A client of this host.
    pub fn new(host: Box<dyn HostCall>) -> Self {
        Self(host)
    }

    fn call<R: Message + Default>(&self, service: u32, request: &impl Message) -> Result<R> {
        decode(&self.0.call(service, &request.encode_to_vec())?)
    }

    fn number<N: TryFrom<i64>>(&self, service: u32, request: &impl Message) -> Result<N> {
        narrow(self.call::<Number>(service, request)?.value)
    }

    fn maybe<N: TryFrom<i64>>(&self, service: u32, request: &impl Message) -> Result<Option<N>> {
        self.call::<Maybe>(service, request)?
            .value
            .map(narrow)
            .transpose()
    }
}

fn narrow<N: TryFrom<i64>>(value: i64) -> Result<N> {
    N::try_from(value).map_err(|_| Error::new(format!("{value} is out of range")))
}

fn number(value: i64) -> Number {
    Number { value }
}

impl Services for ServicesClient {
    fn log(&self, level: u32, target: &str, text: &str) {
        let line = LogRequest {
            level,
            target: target.to_owned(),
            text: text.to_owned(),
        };
        // A line that cannot be logged has nowhere else to go.
        let _ = self.0.call(service::LOG, &line.encode_to_vec());
    }

    fn settings(&self, name: &str) -> Result<Vec<String>> {
        Ok(self
            .call::<Texts>(
                service::SETTINGS,
                &Text {
                    text: name.to_owned(),
                },
            )?
            .texts)
    }

    fn plugin_option(&self, plugin: &str, name: &str) -> Result<Option<String>> {
        let request = OptionRequest {
            plugin: plugin.to_owned(),
            name: name.to_owned(),
        };
        Ok(self.call::<MaybeText>(service::PLUGIN_OPTION, &request)?.text)
    }

    fn progress(&self, text: &str) {
        // As for a log line.
        let _ = self.0.call(
            service::PROGRESS,
            &Text {
                text: text.to_owned(),
            }
            .encode_to_vec(),
        );
    }

    fn image(&self, name: &str, create: bool) -> Result<Option<RawFd>> {
        self.maybe(
            service::IMAGE,
            &ImageRequest {
                name: name.to_owned(),
                create,
            },
        )
    }

    fn tasks(&self) -> Result<Vec<TaskInfo>> {
        Ok(self.call::<TasksReply>(service::TASKS, &Empty {})?.tasks)
    }

    fn descriptors(&self, pid: i32) -> Result<Vec<Slot>> {
        Ok(self
            .call::<SlotsReply>(service::DESCRIPTORS, &number(pid.into()))?
            .slots)
    }

    fn namespace_id(&self, pid: i32, kind: &str) -> Result<u32> {
        self.number(
            service::NAMESPACE_ID,
            &NamespaceRequest {
                pid,
                kind: kind.to_owned(),
            },
        )
    }

    fn target_fd(&self, pid: i32, fd: i32) -> Result<RawFd> {
        self.number(service::TARGET_FD, &FdRequest { pid, fd })
    }

    fn fdinfo(&self, pid: i32, fd: i32) -> Result<Vec<u8>> {
        Ok(self.call::<Bytes>(service::FDINFO, &FdRequest { pid, fd })?.bytes)
    }

    fn dump_file(&self, pid: i32, local_fd: i32) -> Result<u32> {
        self.number(service::DUMP_FILE, &FdRequest { pid, fd: local_fd })
    }

    fn dump_path(&self, file: &FileTarget) -> Result<u32> {
        self.number(service::DUMP_PATH, file)
    }

    fn file_at(&self, pid: i32, fd: i32) -> Result<Option<u32>> {
        self.maybe(service::FILE_AT, &FdRequest { pid, fd })
    }

    fn next_id(&self, sequence: &str) -> Result<u32> {
        self.number(
            service::NEXT_ID,
            &Text {
                text: sequence.to_owned(),
            },
        )
    }

    fn dump_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> Result<()> {
        self.call::<Empty>(service::DUMP_SHARED_MEMORY, &MemoryRequest { id, local_fd, size })
            .map(drop)
    }

    fn restore_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> Result<()> {
        self.call::<Empty>(
            service::RESTORE_SHARED_MEMORY,
            &MemoryRequest { id, local_fd, size },
        )
        .map(drop)
    }

    fn remote_call(&self, call: &RemoteCall) -> Result<RemoteResult> {
        self.call(service::REMOTE_CALL, call)
    }

    fn undo_on_death(&self, call: &RemoteCall) -> Result<()> {
        self.call::<Empty>(service::UNDO_ON_DEATH, call).map(drop)
    }

    fn file(&self, id: u32) -> Result<FileRecord> {
        self.call(service::FILE, &number(id.into()))
    }

    fn opened(&self, id: u32) -> Result<Option<RawFd>> {
        self.maybe(service::OPENED, &number(id.into()))
    }

    fn open_path(&self, id: u32, flags: Option<u32>) -> Result<RawFd> {
        self.number(service::OPEN_PATH, &OpenPathRequest { id, flags })
    }

    fn inherited(&self, key: &str) -> Result<Option<RawFd>> {
        self.maybe(service::INHERITED, &Text { text: key.to_owned() })
    }

    fn tasks_are_held(&self) -> Result<()> {
        self.call::<Empty>(service::TASKS_ARE_HELD, &Empty {}).map(drop)
    }

    fn files(&self) -> Result<Vec<u32>> {
        Ok(self.call::<IdsReply>(service::FILES, &Empty {})?.ids)
    }

    fn early_thread(&self, tid: i32) -> Result<()> {
        self.call::<Empty>(service::EARLY_THREAD, &number(tid.into()))
            .map(drop)
    }

    fn remote_calls(&self, calls: &[RemoteCall]) -> Result<Vec<RemoteResult>> {
        let request = CallsRequest {
            calls: calls.to_vec(),
        };
        Ok(self.call::<CallsReply>(service::REMOTE_CALLS, &request)?.results)
    }

    fn let_workers(&self, pid: i32, go: bool) -> Result<()> {
        self.call::<Empty>(service::LET_WORKERS, &WorkersRequest { pid, go })
            .map(drop)
    }
}

/// Answers a call of a plugin with the services of the host.
///
/// # Errors
/// The service's; [`Unsupported`](crate::ErrorCode::Unsupported) for one that this host does not have.
pub fn serve_service(services: &dyn Services, number: u32, request: &[u8]) -> Result<Vec<u8>> {
    match number {
        service::LOG | service::PROGRESS | service::SETTINGS | service::PLUGIN_OPTION | service::IMAGE => {
            serve_surroundings(services, number, request)
        }
        service::TASKS..=service::FDINFO | service::FILE_AT..=service::NEXT_ID => {
            serve_queries(services, number, request)
        }
        service::DUMP_FILE..=service::DUMP_PATH | service::DUMP_SHARED_MEMORY..=service::INHERITED => {
            serve_work(services, number, request)
        }
        service::TASKS_ARE_HELD => services.tasks_are_held().map(|()| Vec::new()),
        service::FILES => Ok(IdsReply {
            ids: services.files()?,
        }
        .encode_to_vec()),
        service::EARLY_THREAD => services.early_thread(asked_number(request)?).map(|()| Vec::new()),
        service::REMOTE_CALLS => Ok(CallsReply {
            results: services.remote_calls(&decode::<CallsRequest>(request)?.calls)?,
        }
        .encode_to_vec()),
        service::LET_WORKERS => {
            let asked: WorkersRequest = decode(request)?;
            services.let_workers(asked.pid, asked.go).map(|()| Vec::new())
        }
        other => Err(Error::unsupported(format!("service {other} of the host"))),
    }
}

fn serve_surroundings(services: &dyn Services, number: u32, request: &[u8]) -> Result<Vec<u8>> {
    Ok(match number {
        service::LOG => {
            let line: LogRequest = decode(request)?;
            services.log(line.level, &line.target, &line.text);
            Vec::new()
        }
        service::PROGRESS => {
            services.progress(&decode::<Text>(request)?.text);
            Vec::new()
        }
        service::SETTINGS => Texts {
            texts: services.settings(&decode::<Text>(request)?.text)?,
        }
        .encode_to_vec(),
        service::PLUGIN_OPTION => {
            let asked: OptionRequest = decode(request)?;
            MaybeText {
                text: services.plugin_option(&asked.plugin, &asked.name)?,
            }
            .encode_to_vec()
        }
        _ => {
            let asked: ImageRequest = decode(request)?;
            maybe(services.image(&asked.name, asked.create)?)
        }
    })
}

fn serve_queries(services: &dyn Services, number: u32, request: &[u8]) -> Result<Vec<u8>> {
    Ok(match number {
        service::TASKS => TasksReply {
            tasks: services.tasks()?,
        }
        .encode_to_vec(),
        service::DESCRIPTORS => SlotsReply {
            slots: services.descriptors(asked_number(request)?)?,
        }
        .encode_to_vec(),
        service::NAMESPACE_ID => {
            let asked: NamespaceRequest = decode(request)?;
            one(services.namespace_id(asked.pid, &asked.kind)?)
        }
        service::TARGET_FD => {
            let asked: FdRequest = decode(request)?;
            one(services.target_fd(asked.pid, asked.fd)?)
        }
        service::FDINFO => {
            let asked: FdRequest = decode(request)?;
            Bytes {
                bytes: services.fdinfo(asked.pid, asked.fd)?,
            }
            .encode_to_vec()
        }
        service::FILE_AT => {
            let asked: FdRequest = decode(request)?;
            maybe(services.file_at(asked.pid, asked.fd)?)
        }
        _ => one(services.next_id(&decode::<Text>(request)?.text)?),
    })
}

fn serve_work(services: &dyn Services, number: u32, request: &[u8]) -> Result<Vec<u8>> {
    Ok(match number {
        service::DUMP_FILE => {
            let asked: FdRequest = decode(request)?;
            one(services.dump_file(asked.pid, asked.fd)?)
        }
        service::DUMP_PATH => one(services.dump_path(&decode(request)?)?),
        service::DUMP_SHARED_MEMORY => {
            let asked: MemoryRequest = decode(request)?;
            services.dump_shared_memory(asked.id, asked.local_fd, asked.size)?;
            Vec::new()
        }
        service::RESTORE_SHARED_MEMORY => {
            let asked: MemoryRequest = decode(request)?;
            services.restore_shared_memory(asked.id, asked.local_fd, asked.size)?;
            Vec::new()
        }
        service::REMOTE_CALL => services.remote_call(&decode(request)?)?.encode_to_vec(),
        service::UNDO_ON_DEATH => {
            services.undo_on_death(&decode(request)?)?;
            Vec::new()
        }
        service::FILE => services.file(asked_number(request)?)?.encode_to_vec(),
        service::OPENED => maybe(services.opened(asked_number(request)?)?),
        service::OPEN_PATH => {
            let asked: OpenPathRequest = decode(request)?;
            one(services.open_path(asked.id, asked.flags)?)
        }
        _ => maybe(services.inherited(&decode::<Text>(request)?.text)?),
    })
}

fn asked_number<N: TryFrom<i64>>(request: &[u8]) -> Result<N> {
    narrow(decode::<Number>(request)?.value)
}

fn one(value: impl Into<i64>) -> Vec<u8> {
    Number { value: value.into() }.encode_to_vec()
}

fn maybe(value: Option<impl Into<i64>>) -> Vec<u8> {
    Maybe {
        value: value.map(Into::into),
    }
    .encode_to_vec()
}
