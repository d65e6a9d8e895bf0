//! The boot of the machine that a set is of: within it, an id means one map and never another.

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::{Host, Result};

static BOOT: ImageKind = image::own_kind("BPFMAP_BOOT", "bpfmap-boot.img", 0x4250_424f);

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct BootEntry {
    /// `/proc/sys/kernel/random/boot_id`.
    #[prost(string, tag = "1")]
    id: String,
}

/// The boot now; `None` where it cannot be asked for.
pub(crate) fn now() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// Notes it in the set.
pub(crate) fn write(host: &Host<'_>, id: String) -> Result<()> {
    let mut image = image::create(host, &BOOT)?;
    image.entry(&BootEntry { id })?;
    image.finish()?;
    Ok(())
}

/// Whether the set was made since the machine was started.
pub(crate) fn is_same(host: &Host<'_>) -> Result<bool> {
    let saved: Vec<BootEntry> = image::read_all(host, &BOOT)?;
    Ok(now().is_some_and(|id| saved == [BootEntry { id }]))
}
