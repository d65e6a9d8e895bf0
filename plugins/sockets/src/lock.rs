//! Keeps the packets of a connection away while it does not exist, by nf_tables over netlink.
//!
//! A table of our own drops what belongs to the connections in its sets, in both directions. While a
//! dump or a restore works, the table belongs to our netlink socket (`NFT_TABLE_F_OWNER`, Linux 5.12):
//! the kernel removes it when this process ends, however it ends. Only a successful dump leaves a
//! lasting one, `CRIU-PID`, which the restore takes away.
//!
//! Format: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h; numbers in network order.

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::netlink::{self, Builder, Netlink, Next};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NLMSG_ERROR: u16 = 2;

// enum nf_tables_msg_types.
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;

const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NF_INET_LOCAL_IN: u32 = 1;
const NF_INET_LOCAL_OUT: u32 = 3;
/// Before connection tracking, which would forget a connection that it sees no packets of.
const PRIORITY: i32 = -450;
const TABLE_OWNED: u32 = 2;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const REG32_00: u32 = 8;
const META_MARK: u32 = 3;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// Elements of a set in one message, whose attributes must stay under 64 KiB.
const ELEMENTS: usize = 400;

/// A TCP connection, as its packets name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Connection {
    /// The address of this side.
    pub(crate) local: SocketAddr,
    /// The address of the other side.
    pub(crate) remote: SocketAddr,
}

impl Connection {
    /// The same for all the ways to write an address: IPv4 in IPv6, a device beside it.
    pub(crate) fn canonical(self) -> Self {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self {
            local: plain(self.local),
            remote: plain(self.remote),
        }
    }
}

/// The lasting table of the tree with this root.
pub(crate) fn lasting_table(root: i32) -> String {
    format!("CRIU-{root}")
}

/// A table that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Lock {
    netlink: Netlink,
    table: String,
    connections: Vec<Connection>,
}

impl Lock {
    /// Makes the table, in the current network namespace.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or there is such a table already.
    pub(crate) fn new(table: String) -> io::Result<Self> {
        let netlink = Netlink::open(libc::NETLINK_NETFILTER)?;
        let mut batch = Batch::new();
        batch.table(&table, TABLE_OWNED);
        batch.send(&netlink)?;
        Ok(Self {
            netlink,
            table,
            connections: Vec::new(),
        })
    }

    /// Drops the packets of more connections from now on.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn add(&mut self, connections: &[Connection]) -> io::Result<()> {
        let mut batch = Batch::new();
        batch.elements(&self.table, connections);
        batch.send(&self.netlink)?;
        self.connections.extend_from_slice(connections);
        Ok(())
    }

    /// Removes the table.
    ///
    /// # Errors
    /// The kernel's; the table goes at the latest with this process.
    pub(crate) fn release(self) -> io::Result<()> {
        let mut batch = Batch::new();
        batch.message(DELTABLE, 0).text(1, &self.table);
        batch.send(&self.netlink)
    }

    /// Makes a table of another name that stays when this process ends, for the same connections, all
    /// at once.
    ///
    /// # Errors
    /// The kernel's; then there is no such table.
    pub(crate) fn make_lasting(&self, table: &str) -> io::Result<()> {
        // What an earlier dump of a tree with this root has left.
        remove(table)?;
        let mut batch = Batch::new();
        batch.table(table, 0);
        batch.elements(table, &self.connections);
        batch.send(&self.netlink)
    }
}

/// Removes a table of the current network namespace; none of that name is fine, and so is a kernel
/// without nf_tables.
///
/// # Errors
/// The kernel's.
pub(crate) fn remove(table: &str) -> io::Result<()> {
    let result = Netlink::open(libc::NETLINK_NETFILTER).and_then(|netlink| {
        let mut batch = Batch::new();
        batch.message(DELTABLE, 0).text(1, table);
        batch.send(&netlink)
    });
    match result.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::ENOENT | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL) => {
            Ok(())
        }
        _ => result,
    }
}

/// One transaction.
struct Batch {
    builder: Builder,
    messages: u32,
}

impl Batch {
    fn new() -> Self {
        let mut builder = Builder::default();
        builder.message(NFNL_MSG_BATCH_BEGIN, 0, 0, &family(0, NFNL_SUBSYS_NFTABLES));
        Self { builder, messages: 0 }
    }

    fn message(&mut self, kind: u16, flags: i32) -> &mut Builder {
        self.messages += 1;
        let flags = (flags | libc::NLM_F_ACK) as u16;
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        self.builder
            .message(kind, flags, self.messages, &family(NFPROTO_INET, 0))
    }

    /// A table with its chains, sets and rules.
    fn table(&mut self, table: &str, flags: u32) {
        self.message(NEWTABLE, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
            .text(1, table)
            .number(2, flags);
        for (i, version) in VERSIONS.iter().enumerate() {
            self.message(NEWSET, libc::NLM_F_CREATE)
                .text(1, table)
                .text(2, version.set)
                .number(3, 0)
                .number(5, version.key_length())
                .number(10, i as u32 + 1);
        }
        for (chain, hook) in [("input", NF_INET_LOCAL_IN), ("output", NF_INET_LOCAL_OUT)] {
            self.message(NEWCHAIN, libc::NLM_F_CREATE)
                .text(1, table)
                .text(3, chain)
                .nest(4, |b| {
                    b.number(1, hook).number(2, PRIORITY.cast_unsigned());
                })
                .text(7, "filter");
            self.pass(table, chain);
            for version in &VERSIONS {
                self.rule(table, chain, version, hook == NF_INET_LOCAL_IN);
            }
        }
    }

    /// What the restore itself sends, in the name of peers: let it through.
    fn pass(&mut self, table: &str, chain: &str) {
        let append = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.message(NEWRULE, append)
            .text(1, table)
            .text(2, chain)
            .nest(4, |rule| {
                meta_is(rule, META_MARK, &criu_tcp_repair::MARK.to_ne_bytes());
                verdict(rule, NF_ACCEPT);
            });
    }

    /// TCP of this version whose addresses and ports are in the set: drop.
    fn rule(&mut self, table: &str, chain: &str, version: &Version, incoming: bool) {
        let append = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.message(NEWRULE, append)
            .text(1, table)
            .text(2, chain)
            .nest(4, |rule| {
                meta_is(rule, META_NFPROTO, &[version.protocol]);
                meta_is(rule, META_L4PROTO, &[libc::IPPROTO_TCP as u8]);
                // The set has the other side first.
                let (source, destination) = ((version.source, 0), (version.destination, 2));
                let order = if incoming {
                    [source, destination]
                } else {
                    [destination, source]
                };
                let mut register = REG32_00;
                for (address, port) in order {
                    load(rule, register, NETWORK_HEADER, address, version.length);
                    register += version.length / 4;
                    load(rule, register, TRANSPORT_HEADER, port, 2);
                    register += 1;
                }
                expression(rule, "lookup", |b| {
                    b.text(1, version.set).number(2, REG32_00);
                });
                verdict(rule, NF_DROP);
            });
    }

    fn elements(&mut self, table: &str, connections: &[Connection]) {
        for version in &VERSIONS {
            let keys: Vec<Vec<u8>> = connections.iter().filter_map(|c| version.key(c)).collect();
            for keys in keys.chunks(ELEMENTS) {
                self.message(NEWSETELEM, libc::NLM_F_CREATE)
                    .text(1, table)
                    .text(2, version.set)
                    .nest(3, |list| {
                        for key in keys {
                            list.nest(1, |b| {
                                b.nest(1, |b| {
                                    b.attribute(1, key);
                                });
                            });
                        }
                    });
            }
        }
    }

    /// Sends it, and reads the answer to each message.
    fn send(mut self, netlink: &Netlink) -> io::Result<()> {
        self.builder
            .message(NFNL_MSG_BATCH_END, 0, 0, &family(0, NFNL_SUBSYS_NFTABLES));
        netlink.send(&self.builder.finish())?;
        let (mut failed, mut answers) = (None, 0);
        let result = netlink.receive(|message| {
            if message.kind == NLMSG_ERROR {
                answers += 1;
                if let Err(e) = netlink::outcome(message.body) {
                    failed.get_or_insert(e);
                }
            }
            Ok(if answers == self.messages && failed.is_none() {
                Next::Stop
            } else {
                Next::Continue
            })
        });
        match (failed, result) {
            (Some(e), _) => Err(e),
            // All that there is has been read.
            (None, Err(e)) if e.kind() == io::ErrorKind::WouldBlock => Err(io::Error::other(format!(
                "nf_tables answered {answers} of {} messages",
                self.messages
            ))),
            (None, result) => result,
        }
    }
}

/// `struct nfgenmsg`.
fn family(family: u8, resource: u16) -> [u8; 4] {
    let resource = resource.to_be_bytes();
    [family, 0, resource[0], resource[1]]
}

/// What differs between IPv4 and IPv6.
struct Version {
    protocol: u8,
    set: &'static str,
    /// Of an address, in bytes.
    length: u32,
    /// Where the addresses stand in the header.
    source: u32,
    destination: u32,
}

static VERSIONS: [Version; 2] = [
    Version {
        protocol: NFPROTO_IPV4,
        set: "connections4",
        length: 4,
        source: 12,
        destination: 16,
    },
    Version {
        protocol: NFPROTO_IPV6,
        set: "connections6",
        length: 16,
        source: 8,
        destination: 24,
    },
];

impl Version {
    /// Two addresses and two ports, each padded to a register.
    fn key_length(&self) -> u32 {
        2 * (self.length + 4)
    }

    fn key(&self, connection: &Connection) -> Option<Vec<u8>> {
        let mut key = Vec::with_capacity(40);
        for side in [connection.remote, connection.local] {
            match side.ip().to_canonical() {
                IpAddr::V4(ip) if self.length == 4 => key.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) if self.length == 16 => key.extend_from_slice(&ip.octets()),
                _ => return None,
            }
            key.extend_from_slice(&side.port().to_be_bytes());
            key.extend_from_slice(&[0, 0]);
        }
        Some(key)
    }
}

fn expression(rule: &mut Builder, name: &str, fill: impl FnOnce(&mut Builder)) {
    rule.nest(1, |b| {
        b.text(1, name).nest(2, fill);
    });
}

fn verdict(rule: &mut Builder, code: u32) {
    expression(rule, "immediate", |b| {
        b.number(1, REG_VERDICT).nest(2, |b| {
            b.nest(2, |b| {
                b.number(1, code);
            });
        });
    });
}

fn load(rule: &mut Builder, register: u32, header: u32, offset: u32, length: u32) {
    expression(rule, "payload", |b| {
        b.number(1, register)
            .number(2, header)
            .number(3, offset)
            .number(4, length);
    });
}

fn meta_is(rule: &mut Builder, key: u32, value: &[u8]) {
    expression(rule, "meta", |b| {
        b.number(1, REG_1).number(2, key);
    });
    expression(rule, "cmp", |b| {
        b.number(1, REG_1).number(2, 0).nest(3, |b| {
            b.attribute(1, value);
        });
    });
}
