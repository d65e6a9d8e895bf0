//! A small process that puts a file right should criu be killed before it has done so itself.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, Pid};

/// The process, until it is dismissed or dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    child: Pid,
    /// It waits for a byte or the end of this.
    line: Option<OwnedFd>,
}

impl Watcher {
    /// From now on `text` is written to the file when this process ends without [`Self::dismiss`].
    pub(crate) fn start(path: &Path, text: &'static str) -> std::io::Result<Self> {
        let target = std::fs::OpenOptions::new().write(true).open(path)?;
        let (ours, line) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the child makes system calls alone, on memory that is there already, and leaves by _exit.
        match unsafe { nix::unistd::fork() }? {
            ForkResult::Parent { child } => Ok(Self {
                child,
                line: Some(line),
            }),
            ForkResult::Child => watch(ours, target, text),
        }
    }

    /// The file is right: it has nothing to do any more.
    pub(crate) fn dismiss(mut self) {
        if let Some(line) = self.line.take() {
            // Should it be gone, nobody writes to the file either.
            let _ = File::from(line).write_all(b".");
        }
        self.reap();
    }

    fn reap(&self) {
        while nix::sys::wait::waitpid(self.child, None) == Err(Errno::EINTR) {}
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.line.take().is_some() {
            self.reap();
        }
    }
}

/// The life of the child.
fn watch(line: OwnedFd, target: File, text: &str) -> ! {
    // Signals for criu's group, and an interrupt from its terminal, are not for this process.
    let _ = nix::unistd::setsid();
    // Nothing else of criu's is to stay open because of it, not even the other end of the line.
    let mut keep = [line.as_raw_fd(), target.as_raw_fd()];
    keep.sort_unstable();
    let ranges = [
        (0, keep[0].saturating_sub(1)),
        (keep[0] + 1, keep[1] - 1),
        (keep[1] + 1, RawFd::MAX),
    ];
    for (first, last) in ranges {
        if first <= last && first >= 0 {
            // SAFETY: closes descriptors of this process that nothing of it uses any more.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
    let (mut line, mut target) = (File::from(line), target);
    let mut byte = [0];
    let heard = loop {
        match line.read(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    if !matches!(heard, Ok(1)) {
        let _ = target.write_all(text.as_bytes());
    }
    // SAFETY: ends the process at once; nothing of the parent's is run or flushed.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_only_if_nobody_dismisses_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let written = |end: fn(Watcher)| {
            std::fs::write(&file, "").unwrap();
            end(Watcher::start(&file, "text").unwrap());
            std::fs::read_to_string(&file).unwrap()
        };
        assert_eq!(written(Watcher::dismiss), "");
        assert_eq!(written(drop), "text");
    }
}
