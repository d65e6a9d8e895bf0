//! What is under way between the two ends of a pair.
//!
//! The kernel lets nobody look at these bytes without taking them. A dump takes them and puts them back
//! in one go, while everything that could notice is stopped, and in a process of its own
//! ([`sys::apart`]), which ends its work also when criu is killed in just that moment. Only who kills both,
//! or turns the machine off, takes the bytes.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use criu_plugin_api::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::sys::{self, CONTROL_CHARS, Termios};

/// The line buffer of a terminal, less the byte that stays free: more than this waits unprocessed in
/// another buffer.
const LINE_BUFFER: usize = 4095;
/// The kernel keeps what was written in buffers of a multiple of 256 bytes, each with room for twice as much. More of
/// them are allocated until all are larger than 8 KiB (`tty_buffer_set_limit`). Those of 256 bytes are kept when they
/// are empty and used again whatever the limit (`drivers/tty/tty_buffer.c`): at most as many as the limit allows of them.
const SMALL: usize = 256;
const KEPT: usize = 33;
/// Pieces of [`SMALL`] bytes after which a direction is full, two to a buffer: what the kernel moves into the reader's
/// own buffer meanwhile does not stay in those that are to be kept.
const MOST_PIECES: usize = 2 * (KEPT + 1) + (LINE_BUFFER + 1) / SMALL;
/// The room of the largest buffer, which may be the last one that is allocated.
const LAST_PIECE: usize = 3584;
/// Pieces that come after a first one of [`LAST_PIECE`] and fill buffers of which none is kept. Behind them one more of the
/// largest is allowed, also while the kernel has not yet let go of the small one that is left over.
const LARGE: [usize; 5] = [LAST_PIECE, LAST_PIECE, LAST_PIECE, 512, 512];
/// Less than this fits in any case.
const FITS: usize = 8 << 10;
/// How long the kernel may take to move bytes on.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any terminal holds: someone goes on writing.
const LIMIT: usize = 1 << 20;
/// The character that quotes the next one, while input is put back.
const QUOTE: u8 = 0x16;
/// A control character that is switched off (`_POSIX_VDISABLE`).
const OFF: u8 = 0;

/// Input that waits for the reader of a slave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Input {
    /// What was entered as complete lines; none when the terminal does not deal in lines.
    lines: Vec<Line>,
    /// What comes after the last complete line.
    rest: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// With the character that ended it, unless that was the end-of-file character.
    text: Vec<u8>,
    /// Whether it was ended by the end-of-file character.
    eof: bool,
}

/// The characters by which a terminal tells lines.
#[derive(Clone, Copy)]
struct Ends {
    eof: u8,
    eol: [u8; 2],
}

impl Ends {
    fn of(termios: &Termios) -> Self {
        Self {
            eof: termios.cc[libc::VEOF],
            eol: [termios.cc[libc::VEOL], termios.cc[libc::VEOL2]],
        }
    }

    fn ends(self, byte: u8) -> bool {
        byte == b'\n' || byte != OFF && self.eol.contains(&byte)
    }

    fn is_eof(self, byte: u8) -> bool {
        byte != OFF && byte == self.eof
    }

    fn is_special(self, byte: u8) -> bool {
        self.ends(byte) || self.is_eof(byte) || byte == QUOTE
    }
}

fn deals_in_lines(termios: &Termios) -> bool {
    termios.lflag & libc::ICANON != 0
}

impl Input {
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.rest.is_empty()
    }

    /// Takes the input out of a terminal. `slave` is a description of its own, which does not block.
    ///
    /// # Errors
    /// The kernel's; what had been taken is there, to be put back.
    pub(crate) fn take(&mut self, slave: &File, termios: &Termios) -> Result<()> {
        if !deals_in_lines(termios) {
            return drain(slave, &mut self.rest);
        }
        let ends = Ends::of(termios);
        let mut buffer = vec![0; LIMIT];
        let mut taken = 0;
        // A read gives one line; nothing, if it is ended by the end-of-file character alone.
        while let Some(length) = read_some(slave, &mut buffer)? {
            let text = buffer[..length].to_vec();
            let eof = text.last().is_none_or(|&last| !ends.ends(last));
            taken += length + 1;
            self.lines.push(Line { text, eof });
            if taken > LIMIT {
                return Err(Error::new(
                    "more input than a terminal holds: someone goes on typing",
                ));
            }
        }
        // Outside of line mode an unfinished line can be read too. Back in it, with nothing left, all is
        // as before.
        let mut plain = *termios;
        plain.lflag &= !libc::ICANON;
        let rest = &mut self.rest;
        with_termios(slave.as_fd(), termios, &plain, || {
            let now = sys::termios(slave.as_fd()).context(|| "asking for the termios")?;
            if deals_in_lines(&now) {
                // The bit is locked, by TIOCSLCKTRMIOS.
                return Err(Error::new(
                    "the terminal does not leave line mode: its termios are locked",
                ));
            }
            drain(slave, rest)
        })
    }

    /// The bytes as the images hold them: as they would be typed.
    ///
    /// # Errors
    /// A line contains a character that ends one, so the image would say something else.
    pub(crate) fn bytes(&self, termios: &Termios) -> Result<Vec<u8>> {
        let ends = Ends::of(termios);
        let mut bytes = Vec::new();
        for line in &self.lines {
            let inner = if line.eof {
                &line.text[..]
            } else {
                &line.text[..line.text.len() - 1]
            };
            let is_lost = line.eof && ends.eof == OFF;
            if is_lost || inner.iter().any(|&byte| ends.ends(byte) || ends.is_eof(byte)) {
                return Err(quoted());
            }
            bytes.extend_from_slice(&line.text);
            if line.eof {
                bytes.push(ends.eof);
            }
        }
        if deals_in_lines(termios) && self.rest.iter().any(|&byte| ends.ends(byte) || ends.is_eof(byte)) {
            return Err(quoted());
        }
        bytes.extend_from_slice(&self.rest);
        Ok(bytes)
    }

    /// The reverse of [`Input::bytes`].
    pub(crate) fn parse(bytes: &[u8], termios: &Termios) -> Self {
        let mut input = Self::default();
        if !deals_in_lines(termios) {
            input.rest = bytes.to_vec();
            return input;
        }
        let ends = Ends::of(termios);
        for &byte in bytes {
            if ends.is_eof(byte) {
                let text = std::mem::take(&mut input.rest);
                input.lines.push(Line { text, eof: true });
                continue;
            }
            input.rest.push(byte);
            if ends.ends(byte) {
                let text = std::mem::take(&mut input.rest);
                input.lines.push(Line { text, eof: false });
            }
        }
        input
    }

    /// Types the input into a terminal as it stands: nothing is echoed or processed. What the line buffer
    /// has no room for goes in by the master, where there is one. Leaves the terminal with `termios`.
    ///
    /// # Errors
    /// The kernel's: without `CAP_SYS_ADMIN` nothing can be typed.
    pub(crate) fn put(
        &self,
        slave: BorrowedFd<'_>,
        master: Option<BorrowedFd<'_>>,
        termios: &Termios,
    ) -> Result<()> {
        let typed = self.keys(termios);
        if let Some(master) = master.filter(|_| typed.len() > LINE_BUFFER + FITS) {
            make_room_for_input(slave, master, termios)?;
        }
        with_termios(slave, termios, &unprocessed(termios), || {
            // Each takes one byte of the buffer, quoted or not.
            for key in typed.iter().take(LINE_BUFFER) {
                for &byte in key {
                    sys::type_byte(slave, byte).context(|| "putting input back")?;
                }
            }
            Ok(())
        })?;
        let late: Vec<u8> = typed
            .iter()
            .skip(LINE_BUFFER)
            .filter_map(|key| key.last().copied())
            .collect();
        match master {
            _ if late.is_empty() => Ok(()),
            Some(master) => write_all(master, slave, &late, 0).context(|| "putting input back"),
            None => Err(Error::new(format!(
                "{} bytes of input do not fit into the terminal",
                late.len()
            ))),
        }
    }

    /// What has to be typed, key by key.
    fn keys(&self, termios: &Termios) -> Vec<Vec<u8>> {
        let ends = Ends::of(&unprocessed(termios));
        let literally = |byte: u8| {
            if deals_in_lines(termios) && ends.is_special(byte) {
                vec![QUOTE, byte]
            } else {
                vec![byte]
            }
        };
        let mut keys = Vec::new();
        for line in &self.lines {
            let (inner, end) = match line.text.split_last() {
                Some((&last, inner)) if !line.eof => (inner, last),
                _ => (&line.text[..], ends.eof),
            };
            keys.extend(inner.iter().map(|&byte| literally(byte)));
            keys.push(vec![end]);
        }
        keys.extend(self.rest.iter().map(|&byte| literally(byte)));
        keys
    }
}

fn quoted() -> Error {
    Error::refused("a line of input contains a quoted end of line, which the image format cannot express")
        .with_remedy("dump when the program has read its input")
}

/// Termios under which bytes pass as they are. The bits that would reset the terminal's state when they
/// change stay: `ICANON` and `EXTPROC` (the buffer), `IXON` (suspended output).
fn unprocessed(termios: &Termios) -> Termios {
    let mut plain = *termios;
    plain.iflag &= libc::IXON;
    plain.oflag &= !libc::OPOST;
    plain.lflag &= libc::ICANON | libc::EXTPROC;
    plain.cc = [OFF; CONTROL_CHARS];
    plain.cc[libc::VMIN] = 1;
    if deals_in_lines(termios) {
        plain.lflag |= libc::IEXTEN;
        for kept in [libc::VEOL, libc::VEOL2] {
            plain.cc[kept] = termios.cc[kept];
        }
        plain.cc[libc::VEOF] = match termios.cc[libc::VEOF] {
            OFF | QUOTE => 4,
            eof => eof,
        };
        plain.cc[libc::VLNEXT] = QUOTE;
    }
    plain
}

/// Does `work` under other termios; the old ones come back in any case.
fn with_termios(
    slave: BorrowedFd<'_>,
    before: &Termios,
    during: &Termios,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    sys::set_termios(slave, *during).context(|| "changing the termios for a moment")?;
    let done = work();
    let back = sys::set_termios(slave, *before).context(|| "setting the termios back");
    done.and(back)
}

/// What the slave has written and the master has not read yet, taken by the master's description, which
/// is not in packet mode.
///
/// # Errors
/// The kernel's; `output` holds what was taken.
pub(crate) fn take_output(master: BorrowedFd<'_>, output: &mut Vec<u8>) -> Result<()> {
    let file = File::from(master.try_clone_to_owned().context(|| "copying the master")?);
    let mut buffer = vec![0; 1 << 16];
    // The description may block: it is read only while there is something.
    while sys::poll(master).context(|| "looking for output")?.0 {
        let length = match read_some(&file, &mut buffer)? {
            None | Some(0) => break,
            Some(length) => length,
        };
        output.extend_from_slice(&buffer[..length]);
        if output.len() > LIMIT {
            return Err(Error::new(
                "more output than a terminal holds: someone goes on writing",
            ));
        }
    }
    Ok(())
}

/// Writes output, which goes, for the master to read, as it stands. `slave` does not block.
///
/// # Errors
/// The kernel's.
pub(crate) fn put_output(
    slave: BorrowedFd<'_>,
    master: BorrowedFd<'_>,
    output: &[u8],
    termios: &Termios,
) -> Result<()> {
    if output.is_empty() {
        return Ok(());
    }
    let mut plain = *termios;
    plain.oflag &= !libc::OPOST;
    with_termios(slave, termios, &plain, || {
        if output.len() > LINE_BUFFER + FITS {
            make_room(slave, || {
                let mut through = Vec::new();
                take_output(master, &mut through).map(|()| through.len())
            })?;
        }
        write_all(slave, master, output, LINE_BUFFER)
    })
}

/// Has the kernel keep as many buffers for the input of a pair without any as it may have had of what was taken.
fn make_room_for_input(slave: BorrowedFd<'_>, master: BorrowedFd<'_>, termios: &Termios) -> Result<()> {
    let mut plain = unprocessed(termios);
    plain.lflag &= !(libc::ICANON | libc::IEXTEN);
    with_termios(slave, termios, &plain, || {
        let now = sys::termios(slave).context(|| "asking for the termios")?;
        if deals_in_lines(&now) {
            // The bit is locked: what goes in could not be taken out again.
            return Ok(());
        }
        let reader = File::from(slave.try_clone_to_owned().context(|| "copying the slave")?);
        make_room(master, || {
            let mut through = Vec::new();
            drain(&reader, &mut through).map(|()| through.len())
        })
    })
}

/// Sends bytes through an empty direction of a pair, in small pieces until it is full, and takes them out again by
/// `drain`, which tells how many have come. Buffers are kept then, and the one that is left over is a small one.
fn make_room(end: BorrowedFd<'_>, mut drain: impl FnMut() -> Result<usize>) -> Result<()> {
    let doing = || "making room for what was under way";
    let sent = without_waiting(end, || {
        let mut sent = 0;
        for _ in 0..MOST_PIECES {
            match nix::unistd::write(end, &[b'.'; SMALL]) {
                Ok(length) => sent += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno).context(doing),
            }
        }
        Ok(sent)
    })?;
    let deadline = Instant::now() + PATIENCE;
    let mut come = 0;
    while come < sent {
        come += drain()?;
        if Instant::now() > deadline {
            let missing = sent - come;
            return Err(Error::new(format!(
                "{}: {missing} bytes have not come through",
                doing()
            )));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Writes to one end of a pair, whose description does not wait for room meanwhile. `free` bytes fit into the reader's
/// own buffer.
fn write_all(end: BorrowedFd<'_>, other: BorrowedFd<'_>, bytes: &[u8], free: usize) -> Result<()> {
    without_waiting(end, || write_pieces(end, other, bytes, free))
}

/// Does `work` while the description does not wait for room.
fn without_waiting<T>(end: BorrowedFd<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL).context(|| "asking for its flags")?);
    let set = |flags| fcntl(end, FcntlArg::F_SETFL(flags)).context(|| "setting its flags");
    set(flags | OFlag::O_NONBLOCK)?;
    let done = work();
    set(flags)?;
    done
}

fn write_pieces(end: BorrowedFd<'_>, other: BorrowedFd<'_>, bytes: &[u8], free: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut written = 0;
    let mut sizes = LARGE.iter().copied().chain(std::iter::repeat(LAST_PIECE));
    let (mut settled, mut small) = (false, false);
    let mut next = LAST_PIECE;
    while written < bytes.len() {
        let left = bytes.len() - written;
        match nix::unistd::write(end, &bytes[written..written + next.min(left)]) {
            Ok(length) => {
                written += length;
                next = if small {
                    SMALL
                } else {
                    sizes.next().unwrap_or(LAST_PIECE)
                };
            }
            Err(Errno::EINTR) => {}
            // The kernel moves the first bytes into the reader's own buffer, by itself, when it gets to it.
            Err(Errno::EAGAIN) if Instant::now() < deadline => {
                let moved = sys::waiting(other).context(|| "putting bytes back")?;
                // It may have let go of a buffer after the write that found no room: that is tried once more.
                if settled && !small {
                    (small, next) = (true, SMALL);
                }
                settled = moved >= written.min(free);
                std::thread::yield_now();
            }
            Err(errno) => {
                return Err(errno).context(|| format!("putting bytes back, of which {left} are left"));
            }
        }
    }
    Ok(())
}

/// One read; `None` when there is nothing, or nobody at the other end.
fn read_some(mut file: &File, buffer: &mut [u8]) -> Result<Option<usize>> {
    loop {
        match file.read(buffer) {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(None),
            Err(error) => return Err(error).context(|| "reading from a terminal"),
        }
    }
}

fn drain(file: &File, into: &mut Vec<u8>) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    while let Some(length) = read_some(file, &mut buffer)? {
        if length == 0 {
            return Ok(());
        }
        into.extend_from_slice(&buffer[..length]);
        if into.len() > LIMIT {
            return Err(Error::new(
                "more input than a terminal holds: someone goes on typing",
            ));
        }
    }
    Ok(())
}
