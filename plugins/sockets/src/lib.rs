//! Sockets: unix, TCP, UDP, raw, netlink, packet.
//!
//! One module a family, each with its dump and its restore. How a TCP connection is taken apart and put
//! together again is known by the crate `criu-tcp-repair`.

mod descriptor;
mod external;
mod extra;
mod families;
mod features;
mod fresh;
mod inet;
mod lock;
mod netlink;
mod netlinksk;
mod netns;
mod packet;
mod sockopt;
mod sys;
#[cfg(test)]
mod testing;
mod undo;
mod unix;

criu_plugin_api::export_plugin! {
    name: "sockets",
    description: "Unix, TCP, UDP, raw, netlink and packet sockets, and the lock of the network",
}
