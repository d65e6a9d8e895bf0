//! Sockets: unix, TCP and UDP.
//!
//! One module a family, each with its dump and its restore; [`tcp`] knows how to take a connection
//! apart and put it together again, and nothing of images or plugins.

mod descriptor;
mod external;
mod lock;
mod netlink;
mod inet;
mod netns;
mod sockopt;
mod sys;
#[cfg(test)]
mod testing;
pub mod tcp;
mod undo;
pub mod unix;

criu_plugin_api::export_plugin! {
    name: "sockets",
    description: "Unix, TCP and UDP sockets, and the lock of the network",
}
