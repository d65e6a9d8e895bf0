//! System calls inside a target, on behalf of a kind.

use std::ops::Range;

use criu_infect::{Call, Infected, Tracee};
use criu_plugin_api::message::{RemoteCall, RemoteResult};

use crate::error::{Error, Result};

/// Has the target make a call by itself should criu die, see [`Infected::push_undo`].
///
/// # Errors
/// There are more than six arguments or more than one with data, the data is too long, or the table is
/// full.
pub(crate) fn push_undo(target: &mut Infected, call: &RemoteCall) -> Result<()> {
    let object = || format!("a call of {} in process {}", call.nr, call.pid);
    if call.args.len() > 6 {
        return Err(Error::malformed(object(), "has more than six arguments"));
    }
    let mut args = [0; 6];
    let mut data = None;
    for (index, arg) in call.args.iter().enumerate() {
        args[index] = arg.value;
        if arg.room > 0 {
            return Err(Error::malformed(
                object(),
                "wants an answer, which nobody would read",
            ));
        }
        if let Some(bytes) = &arg.data
            && data.replace((index, bytes.as_slice())).is_some()
        {
            return Err(Error::malformed(object(), "has more than one argument with data"));
        }
    }
    target.push_undo(call.nr, args, data)?;
    Ok(())
}

/// Whether a call may change the mappings of its process, if only for a moment.
pub(crate) fn may_map(call: &RemoteCall) -> bool {
    /// Those that are known not to: what the shipped kinds ask for most. Any other may.
    const DO_NOT: [i64; 12] = [
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_fcntl,
        libc::SYS_futex,
        libc::SYS_get_mempolicy,
        libc::SYS_getsockopt,
        libc::SYS_lseek,
        libc::SYS_openat,
        libc::SYS_read,
        libc::SYS_recvmsg,
        libc::SYS_semop,
        libc::SYS_write,
    ];
    !DO_NOT.contains(&call.nr)
}

/// Runs calls in the target, in order, their buffers laid out in the parasite's scratch area: in the leading thread,
/// or in another one, given with its id as the process itself sees it.
///
/// # Errors
/// The buffers of one do not fit, or the target cannot be controlled any more.
pub(crate) fn calls(
    target: &mut Infected,
    mut thread: Option<(&mut Tracee, i32)>,
    calls: &[RemoteCall],
) -> Result<Vec<RemoteResult>> {
    let mut results = Vec::with_capacity(calls.len());
    let mut left = calls;
    while !left.is_empty() {
        let mut batch = Batch::new(target);
        let fit = left.iter().take_while(|call| batch.add(call)).count();
        if fit == 0 || left[..fit].iter().any(|call| call.args.len() > 6) {
            let what = "has more than six arguments, or buffers that are too large";
            return Err(Error::malformed(
                format!("a call of {} in process {}", left[0].nr, left[0].pid),
                what,
            ));
        }
        results.extend(batch.run(target, &mut thread)?);
        left = &left[fit..];
    }
    Ok(results)
}

/// Calls that are made at once, and their buffers.
struct Batch {
    scratch: Range<u64>,
    memory: Vec<u8>,
    calls: Vec<Call>,
    /// For each call, where in the memory its answers are.
    answers: Vec<Vec<Range<usize>>>,
}

impl Batch {
    fn new(target: &Infected) -> Self {
        Self {
            scratch: target.scratch(),
            memory: Vec::new(),
            calls: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Adds a call; false if its buffers do not fit beside those of the others.
    fn add(&mut self, call: &RemoteCall) -> bool {
        let room = (self.scratch.end - self.scratch.start) as usize;
        let before = self.memory.len();
        let (mut args, mut answers) = ([0; 6], Vec::new());
        for (slot, arg) in args.iter_mut().zip(&call.args) {
            if arg.data.is_none() && arg.room == 0 {
                *slot = arg.value;
                continue;
            }
            let data = arg.data.as_deref().unwrap_or_default();
            let begin = self.memory.len().next_multiple_of(16);
            let end = begin.saturating_add(data.len().max(arg.room as usize));
            if end > room {
                self.memory.truncate(before);
                return false;
            }
            self.memory.resize(begin, 0);
            self.memory.extend_from_slice(data);
            self.memory.resize(end, 0);
            *slot = self.scratch.start + begin as u64;
            if arg.room > 0 {
                answers.push(begin..begin + arg.room as usize);
            }
        }
        self.calls.push(Call {
            nr: call.nr.cast_unsigned(),
            args,
            result: 0,
        });
        self.answers.push(answers);
        true
    }

    fn run(
        mut self,
        target: &mut Infected,
        thread: &mut Option<(&mut Tracee, i32)>,
    ) -> Result<Vec<RemoteResult>> {
        if !self.memory.is_empty() {
            target.write_mem(self.scratch.start, &self.memory)?;
        }
        match thread {
            Some((thread, inside)) => target.thread_syscalls(thread, *inside, &mut self.calls)?,
            None => target.syscalls(&mut self.calls)?,
        }
        if self.answers.iter().any(|answers| !answers.is_empty()) {
            target.read_mem(self.scratch.start, &mut self.memory)?;
        }
        let results = self
            .calls
            .iter()
            .zip(&self.answers)
            .map(|(call, answers)| RemoteResult {
                value: call.result,
                data: answers
                    .iter()
                    .map(|at| self.memory[at.clone()].to_vec())
                    .collect(),
            });
        Ok(results.collect())
    }
}
