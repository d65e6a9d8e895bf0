//! The extension points over the wire.

use prost::Message;

use crate::host::Host;
use crate::kinds::{
    FeatureProbe, FileKind, MappingKind, Opened, Outcome, Presence, Progress, Stage, StageHook, TaskKind,
    TaskPoint,
};
use crate::message::{
    FileImage, FilePlan, FileRecord, FileTarget, MappingImage, MappingRecord, MappingTarget, OpenRequest,
    TaskImage, TaskInfo,
};
use crate::wire::{
    AttachRequest, Empty, Number, PrepareReply, PrepareRequest, ProbeReply, ProbeRequest, ProgressReply,
    TaskRestoreRequest, decode, decode_verdict, encode_verdict, feature_op, file_op, mapping_op, stage_op,
    task_op,
};
use crate::{Error, ErrorCode, Result, Verdict};

/// The way to one kind.
pub trait KindChannel {
    /// Runs an operation of the kind; `object` names what it is about, for an error.
    ///
    /// # Errors
    /// The operation's, and those of the way.
    fn call(&self, operation: u32, request: &[u8]) -> Result<Vec<u8>>;
}

/// Answers an operation of `file-kind/1`.
pub(crate) fn serve_file(kind: &dyn FileKind, host: &Host<'_>, op: u32, request: &[u8]) -> Result<Vec<u8>> {
    match op {
        file_op::DUMP => own(kind.dump(host, &decode::<FileTarget>(request)?)).map(verdict),
        file_op::FINISH_DUMP => own(kind.finish_dump(host)).map(nothing),
        file_op::PREPARE => {
            let plans = own(kind.prepare(host, &decode::<PrepareRequest>(request)?.files))?;
            Ok(PrepareReply { plans }.encode_to_vec())
        }
        file_op::OPEN => Ok(match own(kind.open(host, &decode::<OpenRequest>(request)?))? {
            Progress::Done(Opened { fd, also }) => ProgressReply {
                waits_for: None,
                fd,
                also,
            },
            Progress::NotYet(what) => waiting(what),
        }
        .encode_to_vec()),
        file_op::ATTACH => {
            let AttachRequest { file, fd } = decode(request)?;
            own(kind.attach(host, &file, fd)).map(progress)
        }
        file_op::FINISH_RESTORE => {
            let outcome = Outcome::try_from(number(request)?).unwrap_or(Outcome::Failure);
            own(kind.finish_restore(host, outcome)).map(nothing)
        }
        file_op::LEAD_SESSION => own(kind.lead_session(host, &decode::<TaskInfo>(request)?)).map(nothing),
        other => Err(Error::unsupported(format!("operation {other} of file-kind/1"))),
    }
}

/// Answers an operation of `mapping-kind/1`.
pub(crate) fn serve_mapping(
    kind: &dyn MappingKind,
    host: &Host<'_>,
    op: u32,
    request: &[u8],
) -> Result<Vec<u8>> {
    match op {
        mapping_op::DUMP => own(kind.dump(host, &decode::<MappingTarget>(request)?)).map(verdict),
        mapping_op::RESTORE => own(kind.restore(host, &decode::<MappingRecord>(request)?)).map(nothing),
        other => Err(Error::unsupported(format!("operation {other} of mapping-kind/1"))),
    }
}

/// Answers an operation of `task-kind/1`.
pub(crate) fn serve_task(kind: &dyn TaskKind, host: &Host<'_>, op: u32, request: &[u8]) -> Result<Vec<u8>> {
    match op {
        task_op::DUMP => own(kind.dump(host, &decode::<TaskInfo>(request)?)).map(verdict),
        task_op::FINISH_DUMP => own(kind.finish_dump(host)).map(nothing),
        task_op::PREPARE => own(kind.prepare(host)).map(nothing),
        task_op::RESTORE => {
            let TaskRestoreRequest { task, point } = decode(request)?;
            // A newer host may know more points: nothing to do at those.
            let Ok(point) = TaskPoint::try_from(point) else {
                return Ok(progress(Progress::Done(())));
            };
            own(kind.restore(host, &task, point)).map(progress)
        }
        other => Err(Error::unsupported(format!("operation {other} of task-kind/1"))),
    }
}

/// Answers an operation of `stage-hook/1`.
pub(crate) fn serve_stage(kind: &dyn StageHook, host: &Host<'_>, op: u32, request: &[u8]) -> Result<Vec<u8>> {
    match op {
        stage_op::AT => match Stage::try_from(number(request)?) {
            Ok(stage) => own(kind.at(host, stage)).map(nothing),
            // A newer host may know more stages; it cannot have been asked for one of those.
            Err(_) => Ok(Vec::new()),
        },
        other => Err(Error::unsupported(format!("operation {other} of stage-hook/1"))),
    }
}

/// Answers an operation of `feature-probe/1`.
pub(crate) fn serve_feature(
    kind: &dyn FeatureProbe,
    host: &Host<'_>,
    op: u32,
    request: &[u8],
) -> Result<Vec<u8>> {
    match op {
        feature_op::PROBE => {
            let absent = match own(kind.probe(host, &decode::<ProbeRequest>(request)?.feature))? {
                Presence::Present => None,
                Presence::Absent(why) => Some(why),
            };
            Ok(ProbeReply { absent }.encode_to_vec())
        }
        other => Err(Error::unsupported(format!(
            "operation {other} of feature-probe/1"
        ))),
    }
}

/// Keeps "unsupported" for what the dispatch does not know: from a callback (a service that the host
/// lacks) it is a failure like any other, and must not be taken for a missing callback.
fn own<T>(result: Result<T>) -> Result<T> {
    result.map_err(|mut error| {
        if matches!(error.code, ErrorCode::Unsupported | ErrorCode::Panicked) {
            error.code = ErrorCode::Failed;
        }
        error
    })
}

fn number(request: &[u8]) -> Result<i32> {
    // Out of range is as unknown as any number that is not known.
    Ok(i32::try_from(decode::<Number>(request)?.value).unwrap_or(i32::MIN))
}

fn nothing((): ()) -> Vec<u8> {
    Vec::new()
}

fn verdict<M: Message>(verdict: Verdict<M>) -> Vec<u8> {
    encode_verdict(verdict)
}

fn waiting(what: String) -> ProgressReply {
    ProgressReply {
        waits_for: Some(what),
        fd: -1,
        also: Vec::new(),
    }
}

fn progress(progress: Progress<()>) -> Vec<u8> {
    match progress {
        Progress::Done(()) => ProgressReply {
            waits_for: None,
            fd: -1,
            also: Vec::new(),
        },
        Progress::NotYet(what) => waiting(what),
    }
    .encode_to_vec()
}

fn simple_progress(reply: ProgressReply) -> Progress<()> {
    reply.waits_for.map_or(Progress::Done(()), Progress::NotYet)
}

/// Calls, and takes the default where the other side does not have the operation.
fn call<R: Message + Default>(
    channel: &dyn KindChannel,
    op: u32,
    request: &impl Message,
    default: Option<R>,
) -> Result<R> {
    call_encoded(channel, op, &request.encode_to_vec(), default)
}

fn call_encoded<R: Message + Default>(
    channel: &dyn KindChannel,
    op: u32,
    request: &[u8],
    default: Option<R>,
) -> Result<R> {
    match (channel.call(op, request), default) {
        (Ok(reply), _) => decode(&reply),
        (Err(error), Some(default)) if error.code == ErrorCode::Unsupported => Ok(default),
        (Err(error), _) => Err(error),
    }
}

/// Has a kind dump something.
fn dump<R: Message + Default>(channel: &dyn KindChannel, op: u32, what: &impl Message) -> Result<Verdict<R>> {
    decode_verdict(channel.call(op, &what.encode_to_vec())?)
}

/// The tag of [`PrepareRequest::files`].
const PREPARE_FILES: u32 = 1;

/// A [`PrepareRequest`] of these files, without a copy of them.
fn encode_files(files: &[FileRecord]) -> Vec<u8> {
    let mut request = Vec::with_capacity(prost::encoding::message::encoded_len_repeated(
        PREPARE_FILES,
        files,
    ));
    prost::encoding::message::encode_repeated(PREPARE_FILES, files, &mut request);
    request
}

/// A [`FileKind`] on the other side.
#[derive(Debug)]
pub struct FileClient<C>(pub C);

impl<C: KindChannel> FileKind for FileClient<C> {
    fn dump(&self, _: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        dump(&self.0, file_op::DUMP, file)
    }

    fn finish_dump(&self, _: &Host<'_>) -> Result<()> {
        call::<Empty>(&self.0, file_op::FINISH_DUMP, &Empty {}, Some(Empty {})).map(drop)
    }

    fn prepare(&self, _: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let request = encode_files(files);
        Ok(call_encoded(&self.0, file_op::PREPARE, &request, Some(PrepareReply::default()))?.plans)
    }

    fn open(&self, _: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let ProgressReply { waits_for, fd, also } = call(&self.0, file_op::OPEN, request, None)?;
        match waits_for {
            Some(what) => Ok(Progress::NotYet(what)),
            None if fd < 0 => Err(Error::new(format!(
                "opening file {} gave no descriptor",
                request.file.id
            ))),
            None => Ok(Progress::Done(Opened { fd, also })),
        }
    }

    fn attach(&self, _: &Host<'_>, file: &FileRecord, fd: i32) -> Result<Progress<()>> {
        let request = AttachRequest {
            file: file.clone(),
            fd,
        };
        let done = ProgressReply::default();
        call(&self.0, file_op::ATTACH, &request, Some(done)).map(simple_progress)
    }

    fn lead_session(&self, _: &Host<'_>, task: &TaskInfo) -> Result<()> {
        call::<Empty>(&self.0, file_op::LEAD_SESSION, task, Some(Empty {})).map(drop)
    }

    fn finish_restore(&self, _: &Host<'_>, outcome: Outcome) -> Result<()> {
        let request = Number {
            value: outcome as i64,
        };
        call::<Empty>(&self.0, file_op::FINISH_RESTORE, &request, Some(Empty {})).map(drop)
    }
}

/// A [`MappingKind`] on the other side.
#[derive(Debug)]
pub struct MappingClient<C>(pub C);

impl<C: KindChannel> MappingKind for MappingClient<C> {
    fn dump(&self, _: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
        dump(&self.0, mapping_op::DUMP, mapping)
    }

    fn restore(&self, _: &Host<'_>, mapping: &MappingRecord) -> Result<()> {
        call::<Empty>(&self.0, mapping_op::RESTORE, mapping, None).map(drop)
    }
}

/// A [`TaskKind`] on the other side.
#[derive(Debug)]
pub struct TaskClient<C>(pub C);

impl<C: KindChannel> TaskKind for TaskClient<C> {
    fn dump(&self, _: &Host<'_>, task: &TaskInfo) -> Result<Verdict<TaskImage>> {
        dump(&self.0, task_op::DUMP, task)
    }

    fn finish_dump(&self, _: &Host<'_>) -> Result<()> {
        call::<Empty>(&self.0, task_op::FINISH_DUMP, &Empty {}, Some(Empty {})).map(drop)
    }

    fn prepare(&self, _: &Host<'_>) -> Result<()> {
        call::<Empty>(&self.0, task_op::PREPARE, &Empty {}, Some(Empty {})).map(drop)
    }

    fn restore(&self, _: &Host<'_>, task: &TaskInfo, point: TaskPoint) -> Result<Progress<()>> {
        let request = TaskRestoreRequest {
            task: task.clone(),
            point: point as i32,
        };
        call(&self.0, task_op::RESTORE, &request, None).map(simple_progress)
    }
}

/// A [`StageHook`] on the other side.
#[derive(Debug)]
pub struct StageClient<C>(pub C);

impl<C: KindChannel> StageHook for StageClient<C> {
    fn at(&self, _: &Host<'_>, stage: Stage) -> Result<()> {
        call::<Empty>(&self.0, stage_op::AT, &Number { value: stage as i64 }, None).map(drop)
    }
}

/// A [`FeatureProbe`] on the other side.
#[derive(Debug)]
pub struct FeatureClient<C>(pub C);

impl<C: KindChannel> FeatureProbe for FeatureClient<C> {
    fn probe(&self, _: &Host<'_>, feature: &str) -> Result<Presence> {
        let request = ProbeRequest {
            feature: feature.to_owned(),
        };
        let reply = call::<ProbeReply>(&self.0, feature_op::PROBE, &request, None)?;
        Ok(reply.absent.map_or(Presence::Present, Presence::Absent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_encoded_as_the_request_that_holds_them() {
        let file = |id| FileRecord {
            id,
            fd_type: 1,
            entry: vec![id as u8; id as usize],
        };
        for files in [vec![], vec![file(3)], vec![file(0), file(200), file(7)]] {
            let encoded = encode_files(&files);
            assert_eq!(encoded, PrepareRequest { files }.encode_to_vec());
        }
    }
}
