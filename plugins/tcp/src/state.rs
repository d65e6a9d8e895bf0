//! The states of a TCP socket.

use std::fmt;

use crate::Error;

/// The states as the kernel numbers them (`tcp_states.h`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names of RFC 9293")]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    #[default]
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// The state is between the handshake and the end of both directions.
    pub fn is_connected(self) -> bool {
        use State::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck};
        matches!(
            self,
            Established | FinWait1 | FinWait2 | CloseWait | LastAck | Closing
        )
    }

    /// A connection in this state can be saved and restored: it is connected, or asks to be (`SYN_SENT`).
    pub fn is_movable(self) -> bool {
        self.is_connected() || self == Self::SynSent
    }

    /// This side has ended its direction.
    pub fn has_ended(self) -> bool {
        matches!(
            self,
            Self::FinWait1 | Self::FinWait2 | Self::LastAck | Self::Closing
        )
    }

    /// The peer has not acknowledged the end of this side's direction yet.
    pub fn end_is_pending(self) -> bool {
        self.has_ended() && self != Self::FinWait2
    }

    /// The peer has ended its direction.
    pub fn peer_has_ended(self) -> bool {
        matches!(self, Self::CloseWait | Self::LastAck | Self::Closing)
    }

    /// The name, as RFC 9293 and ss(8) have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

impl TryFrom<u8> for State {
    type Error = Error;

    fn try_from(number: u8) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|&s| s as u8 == number);
        found.ok_or(Error::UnknownState(number))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        for (number, name) in [(1, "ESTABLISHED"), (6, "TIME_WAIT"), (11, "CLOSING")] {
            assert_eq!(State::try_from(number).unwrap().name(), name);
        }
        for number in [0, 12, 255] {
            assert!(State::try_from(number).is_err());
        }
    }
}
