//! Resources that are known and that no shipped plugin saves, in words.
//!
//! This list decides nothing: it is only asked when nobody has claimed a file, to say what it is. A plugin
//! of a third party that claims one of these is asked before.

use crate::table::FileQuery;

/// What a file is, for a user who knows it by the call that made it, and what would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsupported {
    /// What it is, with an article.
    pub what: &'static str,
    /// What the user can do.
    pub remedy: &'static str,
}

const CLOSE: &str =
    "close it before the dump, or use a plugin that claims it; `criu plugin list` shows what is found";
const VIRTUAL_MACHINE: &str =
    "let the virtual machine's own program save its state (virsh save, snapshots of QEMU)";

/// Beginnings of links in `/proc/PID/fd`, the longer first where one begins another.
const LINKS: &[(&[u8], &str, &str)] = &[
    (b"anon_inode:[fanotify]", "a group of fanotify_init(2)", CLOSE),
    (
        b"anon_inode:[fscontext]",
        "a file system in the making (fsopen(2), fspick(2))",
        CLOSE,
    ),
    (b"anon_inode:[io_uring]", "a ring of io_uring_setup(2)", CLOSE),
    (
        b"anon_inode:[iommufd]",
        "an I/O address space (iommufd)",
        VIRTUAL_MACHINE,
    ),
    (
        b"anon_inode:[landlock-ruleset]",
        "a set of Landlock rules (landlock_create_ruleset(2))",
        CLOSE,
    ),
    (
        b"anon_inode:[perf_event]",
        "a performance event (perf_event_open(2))",
        CLOSE,
    ),
    (b"anon_inode:[userfaultfd]", "a userfaultfd(2)", CLOSE),
    (
        b"anon_inode:[vfio",
        "a device handed to user space (VFIO)",
        VIRTUAL_MACHINE,
    ),
    (b"anon_inode:bpf-prog", "a BPF program", CLOSE),
    (
        b"anon_inode:bpf-link",
        "an attached BPF program (a BPF link)",
        CLOSE,
    ),
    (
        b"anon_inode:bpf_link",
        "an attached BPF program (a BPF link)",
        CLOSE,
    ),
    (b"anon_inode:bpf_iter", "an iterator of BPF", CLOSE),
    (b"anon_inode:bpf", "an object of bpf(2)", CLOSE),
    (b"anon_inode:btf", "type information of BPF (BTF)", CLOSE),
    (b"anon_inode:inotify", "an instance of inotify_init(2)", CLOSE),
    (
        b"anon_inode:kvm-vcpu",
        "a processor of a virtual machine (KVM)",
        VIRTUAL_MACHINE,
    ),
    (b"anon_inode:kvm", "a virtual machine (KVM)", VIRTUAL_MACHINE),
    (
        b"anon_inode:seccomp notify",
        "a listener of seccomp(2) (SECCOMP_FILTER_FLAG_NEW_LISTENER)",
        CLOSE,
    ),
    (
        b"anon_inode:sync_file",
        "a fence of a graphics driver (sync_file)",
        CLOSE,
    ),
    (
        b"anon_inode:syncobj_file",
        "a synchronisation object of a graphics driver",
        CLOSE,
    ),
    (b"anon_inode:tpm", "a file of a TPM", CLOSE),
    (b"anon_inode:gpio", "lines of a GPIO controller", CLOSE),
    (b"anon_inode:i915", "a file of a graphics driver", CLOSE),
    (b"/dmabuf:", "a buffer shared by devices (DMA-BUF)", CLOSE),
    (
        b"/secretmem",
        "secret memory (memfd_secret(2)), which nobody but its process may read",
        CLOSE,
    ),
    (b"cgroup:[", "a cgroup namespace", CLOSE),
    (b"ipc:[", "an ipc namespace", CLOSE),
    (b"mnt:[", "a mount namespace", CLOSE),
    (b"net:[", "a network namespace", CLOSE),
    (b"pid:[", "a pid namespace", CLOSE),
    (b"time:[", "a time namespace", CLOSE),
    (b"user:[", "a user namespace", CLOSE),
    (b"uts:[", "a uts namespace", CLOSE),
];

/// Character devices: major, first and last minor; see `Documentation/admin-guide/devices.txt`.
const DEVICES: &[(u32, u32, u32, &str, &str)] = &[
    (1, 1, 2, "the memory of the machine (/dev/mem)", CLOSE),
    (1, 4, 4, "the ports of the machine (/dev/port)", CLOSE),
    (1, 11, 11, "the log of the kernel (/dev/kmsg)", CLOSE),
    (7, 0, u32::MAX, "the contents of a console (/dev/vcs)", CLOSE),
    (10, 130, 130, "a watchdog, which would fire", CLOSE),
    (10, 135, 135, "the real-time clock (/dev/rtc)", CLOSE),
    (10, 183, 183, "a hardware random number generator", CLOSE),
    (
        10,
        196,
        196,
        "the container of devices handed to user space (VFIO)",
        VIRTUAL_MACHINE,
    ),
    (
        10,
        203,
        203,
        "a character device of user space (/dev/cuse)",
        CLOSE,
    ),
    (10, 223, 223, "an input device of user space (/dev/uinput)", CLOSE),
    (10, 228, 228, "a high precision timer (/dev/hpet)", CLOSE),
    (
        10,
        229,
        229,
        "the connection of a file system of user space (/dev/fuse)",
        CLOSE,
    ),
    (
        10,
        232,
        232,
        "the virtual machine monitor (/dev/kvm)",
        VIRTUAL_MACHINE,
    ),
    (
        10,
        235,
        235,
        "the control of automatic mounts (/dev/autofs)",
        CLOSE,
    ),
    (10, 236, 236, "the control of the device mapper", CLOSE),
    (10, 237, 237, "the control of loop devices", CLOSE),
    (
        10,
        238,
        239,
        "a virtual device of the host (vhost)",
        VIRTUAL_MACHINE,
    ),
    (
        10,
        241,
        241,
        "a virtual socket device of the host (vhost-vsock)",
        VIRTUAL_MACHINE,
    ),
    (13, 0, u32::MAX, "an input device", CLOSE),
    (81, 0, u32::MAX, "a video device", CLOSE),
    (89, 0, u32::MAX, "an I2C bus", CLOSE),
    (108, 0, 0, "a point-to-point connection (/dev/ppp)", CLOSE),
    (116, 0, u32::MAX, "a sound device", CLOSE),
    (189, 0, u32::MAX, "a USB device", CLOSE),
    (195, 0, u32::MAX, "a graphics device (NVIDIA)", CLOSE),
    (
        202,
        0,
        u32::MAX,
        "the model-specific registers of a processor",
        CLOSE,
    ),
    (226, 0, u32::MAX, "a graphics device (DRM)", CLOSE),
];

/// Families of sockets, see socket(2).
const SOCKETS: &[(u32, &str)] = &[
    (9, "an X.25 socket"),
    (15, "a socket of IPsec's keys (AF_KEY)"),
    (16, "a netlink socket of this protocol"),
    (17, "a packet socket"),
    (21, "an RDS socket"),
    (24, "a PPP socket (AF_PPPOX)"),
    (26, "an LLC socket"),
    (29, "a CAN socket"),
    (30, "a TIPC socket"),
    (31, "a Bluetooth socket"),
    (33, "an RxRPC socket"),
    (38, "a socket of the kernel's cryptography (AF_ALG)"),
    (39, "an NFC socket"),
    (40, "a socket between virtual machine and host (AF_VSOCK)"),
    (41, "a KCM socket"),
    (42, "a Qualcomm IPC router socket"),
    (43, "an SMC socket"),
    (44, "an XDP socket"),
    (45, "an MCTP socket"),
];

/// What a file is that nobody has claimed.
pub fn unsupported(file: &FileQuery<'_>) -> Option<Unsupported> {
    let link = LINKS.iter().find(|(prefix, ..)| file.link.starts_with(prefix));
    if let Some(&(_, what, remedy)) = link {
        return Some(Unsupported { what, remedy });
    }
    match file.mode & libc::S_IFMT {
        libc::S_IFCHR => {
            let (major, minor) = (libc::major(file.rdev), libc::minor(file.rdev));
            let device = DEVICES
                .iter()
                .find(|&&(of, first, last, ..)| of == major && (first..=last).contains(&minor));
            device.map(|&(.., what, remedy)| Unsupported { what, remedy })
        }
        libc::S_IFBLK => Some(Unsupported {
            what: "a block device",
            remedy: CLOSE,
        }),
        libc::S_IFSOCK => {
            let [family, ..] = (file.socket)()?;
            let socket = SOCKETS.iter().find(|(of, _)| *of == family);
            socket.map(|&(_, what)| Unsupported { what, remedy: CLOSE })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use criu_plugin_api::Purpose;

    fn what(link: &[u8], mode: u32, rdev: u64, family: u32) -> Option<&'static str> {
        let query = FileQuery {
            link,
            mode,
            rdev,
            socket: &|| Some([family, 1, 0]),
            fs_magic: &|| None,
            purpose: Purpose::Descriptor,
        };
        unsupported(&query).map(|unsupported| unsupported.what)
    }

    #[test]
    fn files_are_known_by_link_device_and_family() {
        assert_eq!(
            what(b"anon_inode:[perf_event]", 0o600, 0, 0),
            Some("a performance event (perf_event_open(2))")
        );
        assert_eq!(
            what(b"anon_inode:kvm-vcpu:0", 0o600, 0, 0),
            Some("a processor of a virtual machine (KVM)")
        );
        assert_eq!(
            what(b"net:[4026531840]", libc::S_IFREG, 0, 0),
            Some("a network namespace")
        );
        let rtc = libc::makedev(10, 223);
        assert_eq!(
            what(b"/dev/uinput", libc::S_IFCHR, rtc, 0),
            Some("an input device of user space (/dev/uinput)")
        );
        assert_eq!(
            what(b"socket:[1]", libc::S_IFSOCK, 0, 38),
            Some("a socket of the kernel's cryptography (AF_ALG)")
        );
        assert_eq!(what(b"anon_inode:[unheard-of]", 0o600, 0, 0), None);
        assert_eq!(what(b"/dev/x", libc::S_IFCHR, libc::makedev(240, 1), 0), None);
    }

    #[test]
    fn a_longer_beginning_stands_before_a_shorter() {
        for (at, (prefix, ..)) in LINKS.iter().enumerate() {
            let hidden = LINKS[..at].iter().find(|(before, ..)| prefix.starts_with(before));
            assert!(
                hidden.is_none(),
                "{:?} is never found",
                String::from_utf8_lossy(prefix)
            );
        }
    }
}
