//! The settings of a device as a network interface.

use std::net::UdpSocket;

use criu_plugin_api::{Context, Result};
use nix::errno::Errno;

use crate::sys::Request;
use crate::{DeviceState, rtnetlink};

const IFF_UP: u32 = 1;
/// Flags of an interface that a user sets: up, debug, no trailers, no ARP, promiscuous, all multicast, multicast.
const SETTABLE: u32 = 0x1 | 0x4 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000;

/// Any socket answers for interfaces.
fn socket() -> Result<UdpSocket> {
    UdpSocket::bind(("127.0.0.1", 0)).context(|| "making a socket to ask about interfaces")
}

/// Reads what belongs to the interface.
pub(crate) fn read(device: &mut DeviceState) -> Result<()> {
    let socket = socket()?;
    let name = device.name.clone();
    let ask = |command: libc::c_ulong, what: &str| -> Result<Request> {
        let mut request = Request::of(&name).context(|| "its name")?;
        request
            .call(&socket, command)
            .context(|| format!("asking for its {what}"))?;
        Ok(request)
    };
    device.index = ask(libc::SIOCGIFINDEX, "index")?.number();
    device.mtu = ask(libc::SIOCGIFMTU, "MTU")?.number();
    device.queue = ask(libc::SIOCGIFTXQLEN, "queue length")?.number();
    device.interface = ask(libc::SIOCGIFFLAGS, "flags")?.flags();
    if device.flags & crate::sys::IFF_TAP != 0 {
        device.address = ask(libc::SIOCGIFHWADDR, "address")?.data[..8].to_vec();
    }
    device.settings = rtnetlink::read(device.index).context(|| "asking for its addresses and routes")?;
    Ok(())
}

/// Gives a new device what belongs to the interface.
pub(crate) fn write(device: &DeviceState) -> Result<()> {
    let socket = socket()?;
    let tell = |command: libc::c_ulong, what: &str, change: &dyn Fn(Request) -> Request| -> Result<Request> {
        let mut request = change(Request::of(&device.name).context(|| "its name")?);
        request
            .call(&socket, command)
            .context(|| format!("setting its {what}"))?;
        Ok(request)
    };
    if device.address.len() == 8 {
        tell(libc::SIOCSIFHWADDR, "address", &|mut request| {
            request.data[..8].copy_from_slice(&device.address);
            request
        })?;
    }
    tell(libc::SIOCSIFMTU, "MTU", &|request| {
        request.with_number(device.mtu)
    })?;
    tell(libc::SIOCSIFTXQLEN, "queue length", &|request| {
        request.with_number(device.queue)
    })?;
    let now = tell(libc::SIOCGIFFLAGS, "flags", &|request| request)?.flags();
    let flags = now & !SETTABLE | device.interface & SETTABLE;
    tell(libc::SIOCSIFFLAGS, "flags", &|request| request.with_flags(flags))?;
    let index = tell(libc::SIOCGIFINDEX, "index", &|request| request)?.number();
    for setting in &device.settings {
        match rtnetlink::set(setting, device.index, index) {
            // The kernel has made it by itself: a link-local address, the route to a subnet.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => {
                return Err(errno).context(|| {
                    if device.interface & IFF_UP == 0 {
                        "setting an address"
                    } else {
                        "setting an address or route"
                    }
                });
            }
        }
    }
    Ok(())
}
