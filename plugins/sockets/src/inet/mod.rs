//! TCP and UDP sockets (tcp(7), udp(7)).
pub(crate) mod address;
