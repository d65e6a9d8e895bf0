//! The pipes plugin: anonymous pipes and FIFOs, with the data in them.
//!
//! Both share one mechanism ([`save`] and [`refill`]): the contents go into `pipes-data.img` or
//! `fifo-data.img`, once per pipe, and are copied out by tee(2), which takes nothing away.

mod autofs;
pub mod fifo;
mod group;
mod hangups;
mod owners;
mod packets;
pub mod pipe;
mod refill;
mod save;
mod sys;
#[cfg(test)]
mod tests;

criu_plugin_api::register! {
    kind: pipe::Pipe::default(),
    point: FileKind,
    name: "pipe",
    claims: ["link:pipe:[*", "image:2"],
}

criu_plugin_api::register! {
    kind: fifo::Fifo::default(),
    point: FileKind,
    name: "fifo",
    claims: ["file:fifo", "image:3"],
}

criu_plugin_api::export_plugin! {
    name: "pipes",
    description: "Pipes and FIFOs, with their contents, sizes and packet boundaries",
}
