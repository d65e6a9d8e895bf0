//! A connection that was taken apart.

use crate::{Error, Result, State};

// Bits of `tcpi_options`.
/// Both sides send timestamps.
pub const OPT_TIMESTAMPS: u32 = 1;
/// Both sides may acknowledge selectively.
pub const OPT_SACK: u32 = 2;
/// Windows are scaled.
pub const OPT_WSCALE: u32 = 4;
/// Congestion is notified explicitly. Cannot be restored: the connection goes on without.
pub const OPT_ECN: u32 = 8;

/// The largest shift of a window (RFC 7323).
const MAX_WSCALE: u8 = 14;

/// `struct tcp_repair_window`: sequence numbers and window sizes in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairWindow {
    /// Sequence number of the last segment that updated the send window.
    pub snd_wl1: u32,
    /// What the peer is ready to receive.
    pub snd_wnd: u32,
    /// The most the peer was ever ready to receive.
    pub max_window: u32,
    /// What this side has offered.
    pub rcv_wnd: u32,
    /// The acknowledged sequence number with that offer.
    pub rcv_wup: u32,
}

/// `struct tcp_repair_opt`: an option of the handshake.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RepairOption {
    /// Its kind in a TCP header.
    pub(crate) code: u32,
    /// Its value.
    pub(crate) value: u32,
}

/// A queue of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// The sequence number behind its last byte; that of the FIN if there is one.
    pub end: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Queue {
    /// The sequence number of its first byte. Sequence numbers wrap.
    pub(crate) fn start(&self) -> u32 {
        self.end.wrapping_sub(self.data.len() as u32)
    }
}

/// All that makes a connection, but for its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// Its state; [`State::is_movable`].
    pub state: State,
    /// What has arrived and was not read yet.
    pub receive: Queue,
    /// What was written and is not acknowledged yet. In `SYN_SENT` it ends behind the SYN.
    pub send: Queue,
    /// How many of the last bytes to send have never been sent.
    pub unsent: u32,
    /// `OPT_*` bits.
    pub options: u32,
    /// The shift of the peer's windows.
    pub snd_wscale: u8,
    /// The shift of this side's windows.
    pub rcv_wscale: u8,
    /// The largest segment that the peer takes, in bytes.
    pub mss_clamp: u32,
    /// The clock of the timestamps sent.
    pub timestamp: Option<u32>,
    /// The windows.
    pub window: Option<RepairWindow>,
}

impl Stream {
    /// What is to be sent and has been before, and what has not.
    pub(crate) fn sent_and_unsent(&self) -> (&[u8], &[u8]) {
        let unsent = self.send.data.len().min(self.unsent as usize);
        self.send.data.split_at(self.send.data.len() - unsent)
    }

    /// Finds what can be seen to be wrong without asking the kernel.
    ///
    /// # Errors
    /// Says what.
    pub fn check(&self) -> Result<()> {
        if !self.state.is_movable() {
            return Err(Error::State(self.state));
        }
        if self.unsent as usize > self.send.data.len() {
            return Err(Error::Contradiction(
                "more bytes were never sent than there are to send",
            ));
        }
        if self.snd_wscale.max(self.rcv_wscale) > MAX_WSCALE {
            return Err(Error::Contradiction("a window is scaled by more than 14 bits"));
        }
        if self.state == State::SynSent && !(self.receive.data.is_empty() && self.send.data.is_empty()) {
            return Err(Error::Contradiction("data without a connection"));
        }
        if self.state == State::FinWait2 && !self.send.data.is_empty() {
            return Err(Error::Contradiction("its end is acknowledged, but not its data"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(state: State, send: &[u8]) -> Stream {
        Stream {
            state,
            send: Queue {
                end: 7,
                data: send.to_vec(),
            },
            ..Stream::default()
        }
    }

    #[test]
    fn contradictions_are_found() {
        stream(State::Established, b"data").check().unwrap();
        stream(State::SynSent, b"").check().unwrap();
        for wrong in [
            stream(State::Close, b""),
            stream(State::Listen, b""),
            stream(State::SynSent, b"x"),
            stream(State::FinWait2, b"x"),
            Stream {
                unsent: 2,
                ..stream(State::Established, b"x")
            },
            Stream {
                rcv_wscale: 15,
                ..stream(State::Established, b"x")
            },
        ] {
            wrong.check().unwrap_err();
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(
            stream(State::Established, b"ten bytes!").send.start(),
            u32::MAX - 2
        );
    }
}
