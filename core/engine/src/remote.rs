//! System calls inside a target, on behalf of a kind.

use criu_infect::Infected;
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

/// Runs a call in the target, its buffers laid out in the parasite's scratch area.
///
/// # Errors
/// The buffers do not fit, or the target cannot be controlled any more.
pub(crate) fn call(target: &mut Infected, call: &RemoteCall) -> Result<RemoteResult> {
    let object = || format!("a call of {} in process {}", call.nr, call.pid);
    if call.args.len() > 6 {
        return Err(Error::malformed(object(), "has more than six arguments"));
    }
    let scratch = target.scratch();
    let mut next = scratch.start;
    let mut args = [0; 6];
    let mut buffers = Vec::new();
    for (slot, arg) in args.iter_mut().zip(&call.args) {
        let data = arg.data.as_deref().unwrap_or_default();
        let len = data.len().max(arg.room as usize);
        if arg.data.is_none() && arg.room == 0 {
            *slot = arg.value;
            continue;
        }
        let end = next.checked_add(len as u64).filter(|&end| end <= scratch.end);
        let Some(end) = end else {
            return Err(Error::malformed(object(), "has buffers that are too large"));
        };
        let mut bytes = vec![0; len];
        bytes[..data.len()].copy_from_slice(data);
        target.write_mem(next, &bytes)?;
        if arg.room > 0 {
            buffers.push((next, arg.room as usize));
        }
        *slot = next;
        next = end.next_multiple_of(16);
    }
    let value = target.syscall(call.nr, args)?;
    let data = buffers
        .into_iter()
        .map(|(address, len)| {
            let mut bytes = vec![0; len];
            target.read_mem(address, &mut bytes)?;
            Ok(bytes)
        })
        .collect::<Result<_>>()?;
    Ok(RemoteResult { value, data })
}
