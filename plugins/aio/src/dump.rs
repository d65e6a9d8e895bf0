//! Saves rings: the core saves their pages, this what it takes to make them again.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use criu_plugin_api::message::{MappingImage, MappingTarget};
use criu_plugin_api::{Context, Error, ErrorCode, Host, Result, Verdict};
use criu_proto::images::{AioRingEntry, VmaEntry};
use nix::errno::Errno;
use prost::Message;

use crate::ring::{self, Header};

/// Bits of `vma_entry.status`.
const REGULAR: u32 = 1;
const AIORING: u32 = 1 << 13;
/// The number of the field `aios` in `mm_entry`.
const AIOS: u32 = 16;

/// The rings of a dump.
#[derive(Default)]
pub(crate) struct Dump {
    saved: RefCell<Vec<Saved>>,
    /// The memory of the process whose turn it is.
    memory: RefCell<Option<(i32, Rc<File>)>>,
}

/// A ring as it was when it was saved.
struct Saved {
    pid: i32,
    memory: Rc<File>,
    start: u64,
    length: u64,
    header: Header,
}

impl Dump {
    pub(crate) fn mapping(&self, host: &Host<'_>, mapping: &MappingTarget) -> Result<Verdict<MappingImage>> {
        let mut vma = VmaEntry::decode(mapping.vma.as_slice())
            .map_err(|e| Error::new(format!("decoding a mapping of pid {}: {e}", mapping.pid)))?;
        let object = object(mapping.pid, vma.start);
        let length = vma.end.saturating_sub(vma.start);
        let memory = self.memory(host, mapping.pid).context(|| object.clone())?;
        let header = match ring::header_at(&memory, vma.start, length) {
            Ok(header) => header,
            Err(error) => return Ok(Verdict::refused(object, error.message)),
        };
        if !is_alive(host, mapping.pid, vma.start).context(|| object.clone())? {
            return Ok(Verdict::refused(
                object,
                "it is not a ring of this process: it was inherited by fork(2), or destroyed while mapped",
            ));
        }
        map_all(&memory, vma.start, length).context(|| object.clone())?;
        let Ok(ring_len) = u32::try_from(length) else {
            return Ok(Verdict::refused(object, format!("it is {length} bytes long")));
        };
        let entry = AioRingEntry {
            id: vma.start,
            nr_req: ring::requests_for(header.nr),
            ring_len,
        };
        let mut mm_fields = Vec::new();
        // Only this one field: a whole mm_entry would carry its required fields along.
        prost::encoding::message::encode(AIOS, &entry, &mut mm_fields);
        vma.status = REGULAR | AIORING;
        self.saved.borrow_mut().push(Saved {
            pid: mapping.pid,
            memory,
            start: vma.start,
            length,
            header,
        });
        Ok(Verdict::Entry(MappingImage {
            vma: vma.encode_to_vec(),
            mm_fields,
            dump_pages: true,
        }))
    }

    fn memory(&self, host: &Host<'_>, pid: i32) -> Result<Rc<File>> {
        let mut last = self.memory.borrow_mut();
        if let Some((of, memory)) = &*last
            && *of == pid
        {
            return Ok(Rc::clone(memory));
        }
        let memory = Rc::new(ring::memory(host, pid, false)?);
        *last = Some((pid, Rc::clone(&memory)));
        Ok(memory)
    }

    /// A new dump begins.
    pub(crate) fn forget(&self) {
        self.saved.take();
        self.memory.take();
    }

    /// Looks whether a request has completed since: the tasks stood still, so it was in flight when the
    /// ring was saved, and its effects may be missing from the image. The kernel shows no more than
    /// that: a request that is still in flight now is not seen.
    pub(crate) fn still_idle(&self) -> Result<()> {
        self.memory.take();
        for Saved {
            pid,
            memory,
            start,
            length,
            header,
        } in self.saved.take()
        {
            let object = object(pid, start);
            let now = ring::header_at(&memory, start, length).context(|| object.clone())?;
            if now != header {
                let error = Error::new(format!("{object}: requests were in flight during the dump"));
                return Err(Error {
                    code: ErrorCode::Refused,
                    ..error
                }
                .with_remedy("dump again when the process waits for no I/O"));
            }
        }
        Ok(())
    }
}

/// Has the kernel map every page of a ring: the core finds by the page tables what there is to save,
/// and the kernel puts events into pages that the process has not touched yet.
fn map_all(memory: &File, start: u64, length: u64) -> Result<()> {
    for at in (start..start + length).step_by(4096) {
        memory
            .read_exact_at(&mut [0], at)
            .context(|| format!("reading the page at {at:#x}"))?;
    }
    Ok(())
}

pub(crate) fn object(pid: i32, start: u64) -> String {
    format!("pid {pid}, asynchronous I/O ring at {start:#x}")
}

/// Whether the address is a context to the kernel: io_getevents(2) for no events.
fn is_alive(host: &Host<'_>, pid: i32, start: u64) -> Result<bool> {
    match host.remote_syscall(pid, libc::SYS_io_getevents, &[start, 0, 0, 0, 0])? {
        0 => Ok(true),
        result if result == -i64::from(libc::EINVAL) => Ok(false),
        result => Err(Error::new(errno(result).desc())),
    }
}

/// The errno of a failed call.
pub(crate) fn errno(result: i64) -> Errno {
    i32::try_from(-result).map_or(Errno::UnknownErrno, Errno::from_raw)
}
