//! `/proc/PID/stat`.

use super::{parse, read_piece};
use crate::error::{Error, Result};

/// What the engine needs of proc_pid_stat(5). Addresses are 0 where the kernel hides them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stat {
    /// The state letter: `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I`.
    pub state: u8,
    /// The parent.
    pub ppid: i32,
    /// The process group.
    pub pgid: i32,
    /// The session.
    pub sid: i32,
    /// The `PF_*` flags of the kernel.
    pub flags: u32,
    /// When it began, in clock ticks after the boot.
    pub start_time: u64,
    /// Start of the text.
    pub start_code: u64,
    /// End of the text.
    pub end_code: u64,
    /// Where the stack began.
    pub start_stack: u64,
    /// Start of initialised data.
    pub start_data: u64,
    /// End of initialised data.
    pub end_data: u64,
    /// Start of the heap.
    pub start_brk: u64,
    /// Start of the arguments.
    pub arg_start: u64,
    /// End of the arguments.
    pub arg_end: u64,
    /// Start of the environment.
    pub env_start: u64,
    /// End of the environment.
    pub env_end: u64,
    /// The signal that its parent is told of its end by: 0 for none, -1 for a thread.
    pub exit_signal: i32,
    /// The wait status of a zombie.
    pub exit_code: u32,
}

impl Stat {
    /// Whether the thread is one that the kernel has made in the process for its own work, as io_uring and
    /// vhost do: it never runs in user space. `PF_IO_WORKER` and, since Linux 6.4, `PF_USER_WORKER`.
    pub fn is_worker(&self) -> bool {
        self.flags & (0x10 | 0x4000) != 0
    }

    /// Reads it of a process.
    ///
    /// # Errors
    /// The process is gone, or the line does not parse.
    pub fn read(pid: i32) -> Result<Self> {
        Self::read_file(format!("/proc/{pid}/stat"))
    }

    /// Reads it of a thread.
    ///
    /// # Errors
    /// The thread is gone, or the line does not parse.
    pub fn read_thread(pid: i32, tid: i32) -> Result<Self> {
        Self::read_file(format!("/proc/{pid}/task/{tid}/stat"))
    }

    fn read_file(path: String) -> Result<Self> {
        let mut line = Vec::new();
        read_piece(&path, &mut line)?;
        Self::parse(&line).ok_or_else(|| Error::malformed(path, "does not parse"))
    }

    fn parse(line: &[u8]) -> Option<Self> {
        // The name is in parentheses and may hold any byte, a parenthesis too: the last one ends it.
        let end = line.iter().rposition(|&b| b == b')')?;
        let fields: Vec<&[u8]> = line
            .get(end + 1..)?
            .split(u8::is_ascii_whitespace)
            .filter(|w| !w.is_empty())
            .collect();
        // Field numbers are those of the man page, where the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let address = |number: usize| parse::<u64>(field(number)?);
        Some(Self {
            state: *field(3)?.first()?,
            ppid: parse(field(4)?)?,
            pgid: parse(field(5)?)?,
            sid: parse(field(6)?)?,
            flags: parse(field(9)?)?,
            start_time: parse(field(22)?)?,
            start_code: address(26)?,
            end_code: address(27)?,
            start_stack: address(28)?,
            start_data: address(45)?,
            end_data: address(46)?,
            start_brk: address(47)?,
            arg_start: address(48)?,
            arg_end: address(49)?,
            env_start: address(50)?,
            env_end: address(51)?,
            exit_signal: parse(field(38)?)?,
            exit_code: parse(field(52)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let mut line = b"12 (a) R (b\n) S 1 2 3 0 -1 4194304".to_vec();
        for number in 10..=52 {
            line.extend_from_slice(format!(" {number}").as_bytes());
        }
        let stat = Stat::parse(&line).unwrap();
        assert_eq!((stat.state, stat.ppid, stat.pgid, stat.sid), (b'S', 1, 2, 3));
        assert_eq!((stat.flags, stat.start_code, stat.exit_code), (0x40_0000, 26, 52));
        assert_eq!(stat.exit_signal, 38);
    }

    #[test]
    fn a_short_line_is_no_stat() {
        assert_eq!(Stat::parse(b"12 (a) S 1 2 3"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn reads_its_own() {
        let pid = std::process::id() as i32;
        assert_eq!(Stat::read(pid).unwrap().ppid, nix::unistd::getppid().as_raw());
    }
}
