//! Sockets: unix, TCP, UDP, netlink, packet.
//!
//! One module a family, each with its dump and its restore; [`tcp`] knows how to take a connection
//! apart and put it together again, and nothing of images or plugins.

mod descriptor;
mod external;
mod extra;
mod families;
mod features;
mod inet;
mod lock;
mod netlink;
mod netlinksk;
mod netns;
mod packet;
mod sockopt;
mod sys;
pub mod tcp;
#[cfg(test)]
mod testing;
mod undo;
mod unix;

criu_plugin_api::export_plugin! {
    name: "sockets",
    description: "Unix, TCP, UDP, netlink and packet sockets, and the lock of the network",
}
