//! All that is under way between the two ends of a pair: bytes in both directions, stopped output, the
//! status of packets. It is taken out of a pair and put into one.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use criu_plugin_api::{Context, Result};

use crate::data::{self, Input};
use crate::flow::{self, Flow};
use crate::packets::{self, Packets};
use crate::sys::{self, Termios};

/// What is under way in a pair.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    /// For the reader of the master.
    pub(crate) output: Vec<u8>,
    /// For the reader of the slave.
    pub(crate) input: Input,
    /// Of the master and of the slave.
    pub(crate) flow: [Flow; 2],
    /// Whether the master is in packet mode.
    pub(crate) packets: bool,
    /// The status that the master's next read gives, in packet mode.
    pub(crate) status: u8,
}

impl UnderWay {
    /// Takes it out of a pair, which is left with output that goes and without packet mode. `slave` is a
    /// description of its own, which does not block.
    ///
    /// # Errors
    /// The kernel's; what had been taken is in `self`, to be put back.
    pub(crate) fn take(&mut self, master: BorrowedFd<'_>, slave: &File, termios: &Termios) -> Result<()> {
        self.packets = sys::has_packets(master).context(|| "asking for packet mode")?;
        if self.packets {
            self.status = packets::take(master).context(|| "reading the packet status")?;
            sys::set_packets(master, false).context(|| "leaving packet mode for a moment")?;
        }
        data::take_output(master, &mut self.output)?;
        self.flow[1] = flow::release(slave.as_fd()).context(|| "letting output go on")?;
        // The echo of what was typed waits for room; an empty write has it written.
        sys::write_nothing(slave.as_fd()).context(|| "having echoes written")?;
        data::take_output(master, &mut self.output)?;
        self.input.take(slave, termios)?;
        self.flow[0] = flow::release(master).context(|| "letting output of the master go on")?;
        Ok(())
    }

    /// Puts it into a pair in which nothing is under way.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn put(&self, master: BorrowedFd<'_>, slave: &File, termios: &Termios) -> Result<()> {
        let slave = slave.as_fd();
        data::put_output(slave, master, &self.output, termios)?;
        self.input.put(slave, Some(master), termios)?;
        if self.packets {
            let packets = Packets {
                status: self.status,
                idle: (self.output.is_empty(), self.input.is_empty()),
                flow: self.flow[1],
            };
            packets::set(master, slave, packets, termios).context(|| "setting packet mode")?;
        } else {
            flow::stop(slave, self.flow[1], termios).context(|| "stopping output")?;
        }
        // A master deals in no characters.
        flow::stop(master, self.flow[0], &Termios::default()).context(|| "stopping output of the master")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (std::os::fd::OwnedFd, File) {
        let master = sys::open_with("/dev/ptmx", libc::O_RDWR).unwrap();
        sys::set_lock(master.as_fd(), false).unwrap();
        let peer = crate::exchange::peer(master.as_fd()).unwrap();
        (master, peer)
    }

    fn exchange(master: BorrowedFd<'_>, slave: &File) -> UnderWay {
        let termios = sys::termios(master).unwrap();
        let mut found = UnderWay::default();
        found.take(master, slave, &termios).unwrap();
        found.put(master, slave, &termios).unwrap();
        found
    }

    #[test]
    fn stopped_output_is_stopped_the_same_way_again() {
        let (master, slave) = pair();
        assert_eq!(exchange(master.as_fd(), &slave).flow, [Flow::Goes, Flow::Goes]);
        sys::flow(slave.as_fd(), libc::TCOOFF).unwrap();
        sys::flow(master.as_fd(), libc::TCOOFF).unwrap();
        for _ in 0..2 {
            let found = exchange(master.as_fd(), &slave);
            assert_eq!(found.flow, [Flow::Suspended, Flow::Suspended]);
        }
        sys::flow(slave.as_fd(), libc::TCOON).unwrap();
        sys::type_byte(slave.as_fd(), 0x13).unwrap();
        for _ in 0..2 {
            let found = exchange(master.as_fd(), &slave);
            assert_eq!(found.flow, [Flow::Suspended, Flow::Stopped]);
        }
        sys::type_byte(slave.as_fd(), 0x11).unwrap();
        assert!(sys::has_room(slave.as_fd()).unwrap());
    }

    /// Writes to one end, in pieces of a size, until there is no room; what was written, counted on from `from`.
    fn stuff(end: BorrowedFd<'_>, piece: usize, from: usize) -> Vec<u8> {
        let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
        let mut all = Vec::new();
        loop {
            let bytes: Vec<u8> = (0..piece)
                .map(|i| b'!' + ((from + all.len() + i) % 89) as u8)
                .collect();
            match nix::unistd::write(end, &bytes) {
                Ok(length) => all.extend_from_slice(&bytes[..length]),
                Err(nix::errno::Errno::EAGAIN) => return all,
                Err(errno) => panic!("{errno}"),
            }
        }
    }

    #[test]
    fn a_pair_that_is_full_in_every_way_is_full_again() {
        let (master, slave) = pair();
        let mut raw = sys::termios(slave.as_fd()).unwrap();
        (raw.iflag, raw.oflag, raw.lflag) = (0, 0, 0);
        raw.cc[libc::VMIN] = 1;
        sys::set_termios(slave.as_fd(), raw).unwrap();
        // The kernel keeps buffers of what was there before; then come buffers of other sizes.
        let small = stuff(master.as_fd(), 200, 0);
        let mut gone = UnderWay::default();
        gone.take(master.as_fd(), &slave, &raw).unwrap();
        assert_eq!(gone.input.bytes(&raw).unwrap().len(), small.len());
        for sizes in [[700, 200], [1792, 256], [200, 200], [4000, 1]] {
            let mut wanted = [Vec::new(), Vec::new()];
            for (end, wanted) in [master.as_fd(), slave.as_fd()].into_iter().zip(&mut wanted) {
                for piece in sizes {
                    let more = stuff(end, piece, wanted.len());
                    wanted.extend(more);
                }
            }
            for _ in 0..2 {
                let found = exchange(master.as_fd(), &slave);
                assert_eq!(found.input.bytes(&raw).unwrap(), wanted[0], "{sizes:?}");
                assert_eq!(found.output, wanted[1], "{sizes:?}");
            }
            let mut taken = UnderWay::default();
            taken.take(master.as_fd(), &slave, &raw).unwrap();
        }
    }

    #[test]
    fn a_status_of_packet_mode_is_there_again() {
        let (master, slave) = pair();
        sys::set_packets(master.as_fd(), true).unwrap();
        sys::flush(slave.as_fd(), libc::TCIOFLUSH).unwrap();
        sys::flow(slave.as_fd(), libc::TCOOFF).unwrap();
        for _ in 0..2 {
            // TIOCPKT_FLUSHREAD, TIOCPKT_FLUSHWRITE, TIOCPKT_STOP
            assert_eq!(exchange(master.as_fd(), &slave).status, 7);
        }
        assert_eq!(packets::take(master.as_fd()).unwrap(), 7);
        let found = exchange(master.as_fd(), &slave);
        assert_eq!((found.status, found.flow[1]), (0, Flow::Suspended));
        assert_eq!(packets::take(master.as_fd()).unwrap(), 0);
    }
}
