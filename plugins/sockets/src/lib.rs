//! The sockets plugin.
