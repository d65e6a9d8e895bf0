//! The processes that are measured: one resource, many of it. `ready` appears in the working directory when all
//! is set up.

use std::fs::File;
use std::io;
use std::ptr;
use std::sync::{Arc, Barrier};
use std::thread;

use clap::{Args, ValueEnum};

use crate::bench::resources;
use crate::error::{At, Error};

#[derive(Args)]
pub(crate) struct Options {
    kind: Kind,
    /// Bytes for memory, else how many.
    amount: usize,
    /// Memory: in how many processes.
    #[arg(default_value_t = 1)]
    processes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Memory,
    Processes,
    Threads,
    Mappings,
    Descriptors,
    Pipes,
    Eventfds,
    Epolls,
    Timerfds,
    UnixPairs,
    TcpListeners,
    TcpPairs,
    UdpSockets,
    Ptys,
    Memfds,
    Files,
    Ghosts,
    Watches,
    Locks,
    Netlinks,
    Signalfds,
    Rings,
    Userfaultfds,
    BpfMaps,
    Segments,
    Fifos,
    Pidfds,
    RawSockets,
    PacketSockets,
    AioRings,
    Marks,
}

impl Kind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What a dump and a restore of it must be allowed.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Kind::TcpPairs => &["--tcp-established"],
            Kind::Locks => &["--file-locks"],
            _ => &[],
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    match options.kind {
        Kind::Memory => {
            for _ in 1..options.processes {
                if fork()? == 0 {
                    memory(options.amount / options.processes)?;
                    File::create(format!("ready-{}", std::process::id())).at("create", "ready-PID")?;
                    sleep_for_ever();
                }
            }
            memory(options.amount / options.processes)?;
            while siblings_ready()? + 1 < options.processes {
                thread::yield_now();
            }
        }
        Kind::Processes => {
            for _ in 1..options.amount {
                if fork()? == 0 {
                    sleep_for_ever();
                }
            }
        }
        Kind::Threads => threads(options.amount)?,
        Kind::Mappings => mappings(options.amount)?,
        Kind::Descriptors => descriptors(options.amount)?,
        kind => resources::make(kind, options.amount)?,
    }
    File::create("ready").at("create", "ready")?;
    sleep_for_ever()
}

/// Ours alone: the guest is single-threaded wherever it forks.
fn fork() -> Result<i32, Error> {
    // SAFETY: the process has one thread, so the child may go on with any code.
    match unsafe { libc::fork() } {
        -1 => Err(Error::System("fork".into(), io::Error::last_os_error())),
        pid => Ok(pid),
    }
}

fn sleep_for_ever() -> ! {
    loop {
        // SAFETY: pause touches no memory.
        unsafe { libc::pause() };
    }
}

fn siblings_ready() -> Result<usize, Error> {
    let names = std::fs::read_dir(".").at("read", ".")?;
    Ok(names
        .filter_map(Result::ok)
        .filter(|e| e.file_name().to_string_lossy().starts_with("ready-"))
        .count())
}

fn map(length: usize, protection: i32) -> Result<*mut u8, Error> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(Error::System(
            format!("map {length} bytes"),
            io::Error::last_os_error(),
        ));
    }
    Ok(at.cast())
}

/// Pages of 4 KiB, none of them zero.
fn memory(bytes: usize) -> Result<(), Error> {
    let at = map(bytes, libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: the mapping is ours, writable and `bytes` long.
    let slice = unsafe {
        libc::madvise(at.cast(), bytes, libc::MADV_NOHUGEPAGE);
        std::slice::from_raw_parts_mut(at, bytes)
    };
    for (number, page) in slice.chunks_mut(4096).enumerate() {
        page.fill(u8::try_from(number % 251 + 1).unwrap_or(1));
    }
    Ok(())
}

fn threads(amount: usize) -> Result<(), Error> {
    let barrier = Arc::new(Barrier::new(amount));
    for _ in 1..amount {
        let barrier = Arc::clone(&barrier);
        thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || {
                barrier.wait();
                sleep_for_ever();
            })
            .map_err(|e| Error::System("start a thread".into(), e))?;
    }
    barrier.wait();
    Ok(())
}

/// Neighbours differ in protection, so that the kernel cannot merge them.
fn mappings(amount: usize) -> Result<(), Error> {
    let at = map(amount * 4096, libc::PROT_READ | libc::PROT_WRITE)?;
    for number in (0..amount).step_by(2) {
        // SAFETY: the page lies inside of the mapping just made, and nobody refers to it.
        let rc = unsafe { libc::mprotect(at.add(number * 4096).cast(), 4096, libc::PROT_READ) };
        if rc != 0 {
            let cause = io::Error::last_os_error();
            return Err(Error::System(
                format!("split mapping {number} (vm.max_map_count?)"),
                cause,
            ));
        }
    }
    Ok(())
}

fn descriptors(amount: usize) -> Result<(), Error> {
    let limit = libc::rlimit {
        rlim_cur: amount as u64 + 64,
        rlim_max: amount as u64 + 64,
    };
    // SAFETY: the structure is live for the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        // Not allowed to raise it: as many as there may be.
        eprintln!("raise the limit of open files: {}", io::Error::last_os_error());
    }
    let failed = |what: &str| Error::System(what.to_owned(), io::Error::last_os_error());
    let mut number = 0;
    while number < amount {
        // In turn both ends of a pipe, an eventfd, a file.
        let mut ends = [0; 2];
        // SAFETY: the array holds two descriptors.
        if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
            return Err(failed("make a pipe"));
        }
        // SAFETY: eventfd takes plain numbers.
        if unsafe { libc::eventfd(1, 0) } < 0 {
            return Err(failed("make an eventfd"));
        }
        let name = format!("file-{}", number % 400);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name)
            .at("open", &name)?;
        std::mem::forget(file);
        number += 4;
    }
    Ok(())
}
