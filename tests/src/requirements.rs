//! What a guest needs of the machine, given for the time of its run and taken back afterwards.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::reaper::{self, End};

/// Something a guest needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Huge pages of 2 MiB, allowed to be made on demand.
    HugePages,
    /// Pseudo-terminals that nobody else opens: a devpts of its own, in a mount namespace of the test's
    /// thread, which all processes that it starts are born into. Otherwise a test that runs at the same time
    /// could take a number in the time between a dump and its restore.
    Terminals,
    /// A mount namespace of the test's thread, which all processes that it starts are born into: mounts that a
    /// guest makes are seen by nobody else, and go with it.
    Mounts,
    /// A network namespace of the test's thread, which all processes that it starts are born into, with a loopback
    /// device and sockets of ICMP echo for all: nobody else gets the packets.
    Network,
    /// No other test that makes System V objects at the same time: the kernel hands out their ids again, and one
    /// could be taken between a dump and its restore.
    SystemV,
    /// No other test that uses the consoles of the machine at the same time: each is there once.
    Consoles,
    /// A kernel that runs programs of the x32 ABI.
    X32,
    /// AppArmor, with the profiles [`PROFILES`].
    AppArmor,
}

/// One enforces, and lets nobody send signals; the other only tells.
const PROFILES: &str = "
profile criu-test-one flags=(attach_disconnected) {
  file,
  ptrace,
  deny /**/forbidden rwk,
}
profile criu-test-two flags=(attach_disconnected, complain) {
  file,
}
";

const OVERCOMMIT: &str = "/proc/sys/vm/nr_overcommit_hugepages";

/// How many hold the huge pages, and the value to put back.
static HOLDERS: Mutex<(usize, String)> = Mutex::new((0, String::new()));

/// How many hold the profiles.
static PROFILE_HOLDERS: Mutex<usize> = Mutex::new(0);

const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";

/// Held by the test that may make System V objects.
static SYSTEM_V: Mutex<()> = Mutex::new(());

/// Held by the test that may use consoles.
static CONSOLES: Mutex<()> = Mutex::new(());

/// A need that is met until this is dropped.
#[derive(Debug)]
pub struct Met(
    Need,
    #[expect(dead_code, reason = "held")] Option<MutexGuard<'static, ()>>,
);

impl Need {
    /// Why the machine cannot give it, if so: the test is left out then.
    pub fn lacking(self) -> Option<&'static str> {
        /// `getpid` of x32 programs.
        const X32_GETPID: libc::c_long = 0x4000_0000 | libc::SYS_getpid;
        match self {
            // SAFETY: the call has no arguments and changes nothing.
            Need::X32 if unsafe { libc::syscall(X32_GETPID) } < 0 => {
                Some("this kernel runs no x32 programs (CONFIG_X86_X32_ABI, syscall.x32=y)")
            }
            Need::AppArmor if !fs::read(APPARMOR).is_ok_and(|text| text.starts_with(b"Y")) => {
                Some("AppArmor is not active (apparmor=1 security=apparmor)")
            }
            Need::AppArmor if !Path::new("/sys/kernel/security/apparmor").exists() => {
                Some("securityfs is not mounted at /sys/kernel/security: no profile can be loaded")
            }
            Need::AppArmor if parser().is_none() => Some("no apparmor_parser: no profile can be loaded"),
            _ => None,
        }
    }

    /// Gives it, until what is returned is dropped.
    pub fn meet(self) -> Met {
        let mut guard = None;
        match self {
            Need::X32 => {}
            Need::AppArmor => share(&PROFILE_HOLDERS, || profiles("--replace")),
            Need::HugePages => allow_huge_pages(),
            Need::Terminals => own_terminals(),
            Need::Mounts => own_mounts().expect("a mount namespace of its own"),
            Need::Network => own_network().expect("a network namespace of its own"),
            Need::Consoles => guard = Some(CONSOLES.lock().unwrap_or_else(PoisonError::into_inner)),
            Need::SystemV => guard = Some(SYSTEM_V.lock().unwrap_or_else(PoisonError::into_inner)),
        }
        Met(self, guard)
    }
}

fn own_mounts() -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let nothing = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)
}

fn own_network() -> io::Result<()> {
    use nix::sched::{CloneFlags, unshare};
    unshare(CloneFlags::CLONE_NEWNET)?;
    loopback_up()?;
    // Of the namespace of the thread that writes it.
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
}

/// Switches the loopback device on (`SIOCSIFFLAGS`, netdevice(7)).
fn loopback_up() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data; zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request reads a whole ifreq.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn own_terminals() {
    use nix::mount::{MsFlags, mount};
    let made = own_mounts().and_then(|()| {
        let options = Some("newinstance,ptmxmode=0666,mode=620,gid=5");
        mount(
            Some("devpts"),
            "/dev/pts",
            Some("devpts"),
            MsFlags::empty(),
            options,
        )
    });
    made.unwrap_or_else(|error| panic!("a devpts of its own: {error}"));
}

fn allow_huge_pages() {
    let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    if holders.0 == 0 {
        holders.1 = fs::read_to_string(OVERCOMMIT).unwrap_or_default();
        // Where it cannot be raised the guest says that it found no huge page.
        if let Err(error) = fs::write(OVERCOMMIT, "64") {
            eprintln!("write {OVERCOMMIT}: {error}");
        }
    }
    holders.0 += 1;
}

/// Does what the first holder needs.
fn share(holders: &Mutex<usize>, first: impl FnOnce()) {
    let mut holders = holders.lock().unwrap_or_else(PoisonError::into_inner);
    if *holders == 0 {
        first();
    }
    *holders += 1;
}

/// Undoes it with the last.
fn give_up(holders: &Mutex<usize>, last: impl FnOnce()) {
    let mut holders = holders.lock().unwrap_or_else(PoisonError::into_inner);
    *holders -= 1;
    if *holders == 0 {
        last();
    }
}

/// The program that loads profiles, if it is there.
fn parser() -> Option<&'static str> {
    let places = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];
    places.into_iter().find(|place| Path::new(place).exists())
}

/// Loads the profiles, or removes them.
fn profiles(how: &str) {
    let mut text = NamedTempFile::new().expect("a file for the profiles");
    text.write_all(PROFILES.as_bytes()).expect("write the profiles");
    let mut command = Command::new(parser().expect("apparmor_parser"));
    command.args([how, "--skip-cache", "--quiet"]).arg(text.path());
    let pid = reaper::spawn(&mut command).expect("start apparmor_parser");
    let end = reaper::wait(pid, Duration::from_secs(30));
    assert_eq!(end, Some(End::Exit(0)), "apparmor_parser {how}");
}

impl Drop for Met {
    fn drop(&mut self) {
        if self.0 == Need::AppArmor {
            give_up(&PROFILE_HOLDERS, || profiles("--remove"));
        }
        if self.0 != Need::HugePages {
            // The namespace goes with its last process.
            return;
        }
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        holders.0 -= 1;
        if holders.0 == 0
            && let Err(error) = fs::write(OVERCOMMIT, &holders.1)
        {
            eprintln!("put {OVERCOMMIT} back: {error}");
        }
    }
}
