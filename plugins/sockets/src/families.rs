//! Sockets of all the families and protocols that no kind serves: refused, by the name of the family.

use criu_plugin_api::message::{FileImage, FileTarget, OpenRequest};
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Progress, Result, Verdict};

use crate::sys;

/// The kind. A kind of another plugin that claims a family comes before it.
struct Families;

impl FileKind for Families {
    fn dump(&self, _host: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let object = format!("pid {} fd {}: socket {}", file.pid, file.fd, file.ino);
        let get = |option, name: &str| {
            sys::get::<i32>(file.local_fd, libc::SOL_SOCKET, option).context(|| format!("{object}: {name}"))
        };
        let family = get(libc::SO_DOMAIN, "SO_DOMAIN")?;
        let kind = get(libc::SO_TYPE, "SO_TYPE")?;
        let protocol = get(libc::SO_PROTOCOL, "SO_PROTOCOL")?;
        let what = format!("{}: not supported", describe(family, kind, protocol));
        let remedy = format!(
            "a plugin that claims socket:{family}:{kind}:{protocol} is needed; or have the program close it before the dump"
        );
        Ok(Verdict::refused_but(object, what, remedy))
    }

    fn open(&self, _host: &Host<'_>, _request: &OpenRequest) -> Result<Progress<Opened>> {
        Err(Error::new("no image has such sockets"))
    }
}

criu_plugin_api::register! {
    kind: Families,
    point: FileKind,
    name: "families",
    claims: ["socket:*:*:*"],
}

/// What a socket is, in words and in the names of socket(2).
fn describe(family: i32, kind: i32, protocol: i32) -> String {
    let kind = match kind {
        libc::SOCK_STREAM => "SOCK_STREAM".to_owned(),
        libc::SOCK_DGRAM => "SOCK_DGRAM".to_owned(),
        libc::SOCK_RAW => "SOCK_RAW".to_owned(),
        libc::SOCK_RDM => "SOCK_RDM".to_owned(),
        libc::SOCK_SEQPACKET => "SOCK_SEQPACKET".to_owned(),
        libc::SOCK_DCCP => "SOCK_DCCP".to_owned(),
        other => format!("type {other}"),
    };
    let known = FAMILIES.iter().find(|(number, ..)| *number == family);
    let internet = [libc::AF_INET, libc::AF_INET6].contains(&family);
    let transport = PROTOCOLS
        .iter()
        .find(|(number, _)| internet && *number == protocol);
    match (transport, known) {
        (Some((_, name)), Some((_, constant, _))) => {
            format!("is a socket of {name} ({constant}, {kind}, protocol {protocol})")
        }
        (None, Some((_, constant, name))) => {
            format!("is a socket of {name} ({constant}, {kind}, protocol {protocol})")
        }
        (_, None) => format!("is a socket of the family {family} ({kind}, protocol {protocol})"),
    }
}

/// Number, constant, name in words.
static FAMILIES: &[(i32, &str, &str)] = &[
    (libc::AF_UNIX, "AF_UNIX", "unix"),
    (libc::AF_INET, "AF_INET", "IPv4"),
    (libc::AF_AX25, "AF_AX25", "amateur radio AX.25"),
    (libc::AF_IPX, "AF_IPX", "Novell IPX"),
    (libc::AF_APPLETALK, "AF_APPLETALK", "AppleTalk"),
    (libc::AF_NETROM, "AF_NETROM", "amateur radio NET/ROM"),
    (libc::AF_ATMPVC, "AF_ATMPVC", "ATM permanent circuits"),
    (libc::AF_X25, "AF_X25", "X.25"),
    (libc::AF_INET6, "AF_INET6", "IPv6"),
    (libc::AF_ROSE, "AF_ROSE", "amateur radio ROSE"),
    (libc::AF_KEY, "AF_KEY", "IPsec key management (PF_KEY)"),
    (libc::AF_NETLINK, "AF_NETLINK", "netlink"),
    (libc::AF_PACKET, "AF_PACKET", "network packets"),
    (libc::AF_ATMSVC, "AF_ATMSVC", "ATM switched circuits"),
    (libc::AF_RDS, "AF_RDS", "reliable datagrams (RDS)"),
    (
        libc::AF_PPPOX,
        "AF_PPPOX",
        "PPP over Ethernet and its like (PPPoX)",
    ),
    (libc::AF_LLC, "AF_LLC", "logical link control (LLC)"),
    (libc::AF_IB, "AF_IB", "InfiniBand"),
    (libc::AF_MPLS, "AF_MPLS", "label switching (MPLS)"),
    (libc::AF_CAN, "AF_CAN", "the controller area network (CAN)"),
    (libc::AF_TIPC, "AF_TIPC", "cluster communication (TIPC)"),
    (libc::AF_BLUETOOTH, "AF_BLUETOOTH", "Bluetooth"),
    (libc::AF_IUCV, "AF_IUCV", "z/VM communication (IUCV)"),
    (libc::AF_RXRPC, "AF_RXRPC", "remote calls of AFS (RxRPC)"),
    (libc::AF_ISDN, "AF_ISDN", "ISDN"),
    (libc::AF_PHONET, "AF_PHONET", "Phonet modems"),
    (libc::AF_IEEE802154, "AF_IEEE802154", "IEEE 802.15.4 radio"),
    (libc::AF_CAIF, "AF_CAIF", "CAIF modems"),
    (libc::AF_ALG, "AF_ALG", "the kernel's cryptography (AF_ALG)"),
    (libc::AF_NFC, "AF_NFC", "near field communication (NFC)"),
    (libc::AF_VSOCK, "AF_VSOCK", "virtual machines (vsock)"),
    (41, "AF_KCM", "the kernel connection multiplexor (KCM)"),
    (42, "AF_QIPCRTR", "the Qualcomm IPC router"),
    (43, "AF_SMC", "shared memory communication (SMC)"),
    (libc::AF_XDP, "AF_XDP", "express data paths (XDP)"),
    (45, "AF_MCTP", "the management component transport (MCTP)"),
];

/// Protocols of IPv4 and IPv6.
static PROTOCOLS: &[(i32, &str)] = &[
    (libc::IPPROTO_DCCP, "datagrams with congestion control (DCCP)"),
    (libc::IPPROTO_SCTP, "stream control transmission (SCTP)"),
    (115, "layer 2 tunnels (L2TP)"),
    (256, "shared memory communication (SMC)"),
    (262, "multipath TCP (MPTCP)"),
];

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use criu_plugin_api::testing::{MockHost, file_target};

    use super::*;

    #[test]
    fn sockets_are_named_in_words() {
        for (socket, words) in [
            (
                (libc::AF_VSOCK, libc::SOCK_STREAM, 0),
                "virtual machines (vsock) (AF_VSOCK, SOCK_STREAM",
            ),
            (
                (libc::AF_INET, libc::SOCK_STREAM, 262),
                "multipath TCP (MPTCP) (AF_INET",
            ),
            (
                (libc::AF_INET6, libc::SOCK_SEQPACKET, 132),
                "(SCTP) (AF_INET6, SOCK_SEQPACKET",
            ),
            (
                (libc::AF_KEY, libc::SOCK_RAW, 2),
                "(PF_KEY) (AF_KEY, SOCK_RAW, protocol 2)",
            ),
            ((77, 9, 3), "the family 77 (type 9, protocol 3)"),
        ] {
            let (family, kind, protocol) = socket;
            let text = describe(family, kind, protocol);
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_socket_is_refused_with_its_descriptor() {
        let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        let target = file_target(&fd).unwrap();
        let mock = MockHost::new();
        let Verdict::Refused(refusal) = Families.dump(&Host::new(&mock, "sockets"), &target).unwrap() else {
            panic!("not refused")
        };
        assert!(refusal.object.contains(&format!("fd {}", fd.as_raw_fd())));
        assert!(refusal.what.contains("AF_INET"));
        assert!(refusal.remedy.unwrap().contains("socket:2:1:"));
    }
}
