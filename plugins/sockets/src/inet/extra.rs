//! What a TCP or UDP socket has and its entry has no field for (`sk-extra-inet.img`).

use std::collections::HashMap;

use criu_plugin_api::image;
use criu_plugin_api::{Context, Host, Result};

use crate::descriptor::Owner;
use crate::extra::{INET, OptionValue};

/// All of one socket.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Extra {
    /// The id of its file.
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    /// Options that differ from those of a fresh socket.
    #[prost(message, repeated, tag = "2")]
    pub(crate) options: Vec<OptionValue>,
    /// What is left of a TCP connection that has ended.
    #[prost(message, optional, tag = "5")]
    pub(crate) remains: Option<Remains>,
    /// Multicast groups that it has joined.
    #[prost(message, repeated, tag = "6")]
    pub(crate) memberships: Vec<Membership>,
    /// Datagrams that were not read yet, oldest first.
    #[prost(message, repeated, tag = "7")]
    pub(crate) datagrams: Vec<Datagram>,
    /// Keys of TCP MD5 signatures.
    #[prost(message, repeated, tag = "8")]
    pub(crate) signature_keys: Vec<SignatureKey>,
    /// Whose it is, unless root's.
    #[prost(message, optional, tag = "9")]
    pub(crate) owner: Option<Owner>,
    /// An error of a datagram socket that it has not told yet.
    #[prost(int32, optional, tag = "10")]
    pub(crate) error: Option<i32>,
}

/// A key of TCP MD5 signatures.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SignatureKey {
    /// The address of the peers: 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) address: Vec<u8>,
    /// How many bits of it count.
    #[prost(uint32, tag = "2")]
    pub(crate) prefix: u32,
    /// The key.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) key: Vec<u8>,
}

/// A multicast group that a socket has joined.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Membership {
    /// The device at which.
    #[prost(string, tag = "1")]
    pub(crate) device: String,
    /// Its address: 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) group: Vec<u8>,
    /// `MCAST_EXCLUDE` (0) or `MCAST_INCLUDE` (1).
    #[prost(uint32, tag = "3")]
    pub(crate) mode: u32,
    /// The sources that are excluded or included.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(crate) sources: Vec<Vec<u8>>,
}

/// A datagram in a receive queue.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Datagram {
    /// Its sender (`sockaddr_in`, `sockaddr_in6`).
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) from: Vec<u8>,
    /// Its content.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
    /// Where it was sent to, of a socket bound to no address: 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) to: Vec<u8>,
}

/// What a TCP socket in state `CLOSE` still holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Remains {
    /// Bytes that were not read.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
    /// The error that the next call reports; 0 for none.
    #[prost(int32, tag = "2")]
    pub(crate) error: i32,
}

impl Extra {
    /// There is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { id, .. } = *self;
        *self
            == Self {
                id,
                ..Self::default()
            }
    }
}

/// Writes the image, if there is anything to write.
///
/// # Errors
/// The file system's.
pub(crate) fn write(host: &Host<'_>, extras: &[Extra]) -> Result<()> {
    if extras.is_empty() {
        return Ok(());
    }
    let mut image = image::create(host, &INET)?;
    for extra in extras {
        image.entry(extra)?;
    }
    image.finish()?;
    Ok(())
}

/// Reads the image, by the ids of the files.
///
/// # Errors
/// It is damaged.
pub(crate) fn read(host: &Host<'_>) -> Result<HashMap<u32, Extra>> {
    let all: Vec<Extra> = image::read_all(host, &INET)?;
    for extra in &all {
        let checked = extra.owner.map_or(Ok(()), Owner::check);
        checked.context(|| format!("{}: file {:#x}", INET.file_name(0), extra.id))?;
    }
    Ok(all.into_iter().map(|extra| (extra.id, extra)).collect())
}
