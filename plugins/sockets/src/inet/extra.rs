//! What a TCP or UDP socket has and its entry has no field for (`sk-extra-inet.img`).

use std::collections::HashMap;

use criu_plugin_api::image;
use criu_plugin_api::{Host, Result};

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
    Ok(all.into_iter().map(|extra| (extra.id, extra)).collect())
}
