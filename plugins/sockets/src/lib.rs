//! Sockets: unix, TCP and UDP.
//!
//! One module a family, each with its dump and its restore; [`tcp`] knows how to take a connection
//! apart and put it together again, and nothing of images or plugins.

mod descriptor;
mod external;
mod extra;
mod features;
mod inet;
mod lock;
mod netlink;
mod netns;
mod sockopt;
mod sys;
pub mod tcp;
#[cfg(test)]
mod testing;
mod undo;
mod unix;

criu_plugin_api::export_plugin! {
    name: "sockets",
    description: "Unix, TCP and UDP sockets, and the lock of the network",
}
