//! `cargo xtask vm`: the tests under the kernel of the distribution, in a virtual machine.
//!
//! The machine sees the root of this one, read-only, under an overlay; what is written there goes with it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::error::{At, Error};
use crate::program::target_folder;
use crate::{packages, sh};

mod kernel;
mod tests;

use kernel::Kernel;

/// How much longer the tests wait in a machine whose processor is a program.
const SLOW: u32 = 10;
const MEMORY: &str = "8G";

#[derive(Args)]
pub(crate) struct Options {
    /// Run only the tests whose names contain one of these.
    filters: Vec<String>,
    /// Run only the tests of these files (as `cargo test --test`).
    #[arg(long = "test", value_name = "FILE")]
    files: Vec<String>,
    /// The Debian package of the kernel, instead of the distribution's newest one.
    #[arg(long, value_name = "PACKAGE")]
    kernel: Option<String>,
    /// End the machine after so many minutes.
    #[arg(long, value_name = "N", default_value_t = 240)]
    minutes: u64,
    /// Use the processor's own virtualisation.
    #[arg(long)]
    kvm: bool,
    /// Exchange image sets with this program, one with the command line of CRIU.
    #[arg(long, value_name = "PROGRAM")]
    peer: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    println!("1. What the machine needs");
    packages::ensure(&packages::FOR_TESTS)?;
    packages::ensure(&[packages::QEMU, packages::KMOD, packages::BUSYBOX, packages::CPIO])?;
    let folder = target_folder().join("vm");
    fs::create_dir_all(&folder).at("create", &folder)?;
    // It goes into the machine, which has another working directory.
    let folder = folder.canonicalize().at("find", &folder)?;
    let kernel = Kernel::get(&folder, options.kernel.as_deref())?;
    println!("2. The program, the plugins and the tests");
    sh::shown(sh::cargo().args(["build", "--release", "--workspace", "--all-targets"]))?;
    // Tests that exchange sets are ignored by a run without a peer.
    let ignored = options.peer.iter().map(|_| "--ignored".to_owned());
    let arguments: Vec<String> = options.filters.iter().cloned().chain(ignored).collect();
    let chosen = tests::chosen(&options.files, &arguments)?;
    println!("3. The tests, under {}", kernel.release);
    let shared = folder.join("run");
    prepare(&shared, options, &chosen, &arguments)?;
    let initramfs = kernel.initramfs(&folder)?;
    let console = folder.join("console");
    let mut machine = machine(options.kvm, &kernel, &initramfs, &shared, &console);
    let limit = Duration::from_secs(options.minutes.saturating_mul(60));
    let named = format!("the console's output is in {}", console.display());
    let Some(status) = run_for(&mut machine, limit)? else {
        return Err(Error::Wrong(format!(
            "the machine was at work for {} minutes (--minutes), and was ended; {named}",
            options.minutes
        )));
    };
    let Ok(failed) = fs::read_to_string(shared.join("failed")) else {
        return Err(Error::Wrong(format!(
            "the machine ended early ({status}); {named}"
        )));
    };
    if failed.trim() != "0" {
        return Err(Error::Wrong(format!(
            "tests of {} files failed; all that they said is in {}, and {named}",
            failed.trim(),
            shared.display()
        )));
    }
    println!("All tests passed.");
    Ok(())
}

/// The folder that the machine can write: what it has to do, and later what came of it.
fn prepare(
    shared: &Path,
    options: &Options,
    chosen: &[tests::Binary],
    arguments: &[String],
) -> Result<(), Error> {
    if shared.exists() {
        fs::remove_dir_all(shared).at("remove", shared)?;
    }
    fs::create_dir(shared).at("create", shared)?;
    let mut list = String::new();
    for binary in chosen {
        let words = [&binary.folder, &binary.program].map(|p| p.display().to_string());
        let line: Vec<&str> = words.iter().chain(arguments).map(String::as_str).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(list, "{}", line.join(" "));
    }
    let mut environment = String::new();
    if !options.kvm {
        let _ = writeln!(environment, "export CRIU_TEST_SLOW={SLOW}");
    }
    if let Some(peer) = &options.peer {
        let _ = writeln!(environment, "export CRIU_TEST_PEER='{}'", peer.display());
    }
    let files = [
        ("list", list.as_str()),
        ("environment", &environment),
        ("inside.sh", include_str!("inside.sh")),
    ];
    for (name, text) in files {
        let file = shared.join(name);
        fs::write(&file, text).at("write", file)?;
    }
    Ok(())
}

/// The command that is the machine.
fn machine(kvm: bool, kernel: &Kernel, initramfs: &Path, shared: &Path, console: &Path) -> Command {
    let processor: &[&str] = if kvm {
        &["-accel", "kvm", "-cpu", "host"]
    } else {
        &["-accel", "tcg,thread=multi", "-cpu", "max"]
    };
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-machine", "q35", "-m", MEMORY, "-smp", "2"])
        .args(processor)
        .args(["-display", "none", "-nic", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 panic=-1 syscall.x32=y"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio", "-monitor", "none"]);
    for (name, path, more) in [
        ("root", Path::new("/"), ",readonly=on,multidevs=remap"),
        ("run", shared, ""),
    ] {
        let path = path.display();
        command
            .arg("-fsdev")
            .arg(format!("local,id={name},path={path},security_model=none{more}"))
            .arg("-device")
            .arg(format!("virtio-9p-pci,fsdev={name},mount_tag={name}"));
    }
    command
}

/// Runs it to its end; `None` when the time was over and it was killed.
fn run_for(machine: &mut Command, limit: Duration) -> Result<Option<ExitStatus>, Error> {
    let waiting = |cause| Error::System("wait for the virtual machine".into(), cause);
    let mut child = machine
        .stdin(Stdio::null())
        .spawn()
        .map_err(|cause| Error::Start {
            program: machine.get_program().to_string_lossy().into_owned(),
            cause,
        })?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(waiting)? {
            return Ok(Some(status));
        }
        if Instant::now() > end {
            child.kill().map_err(waiting)?;
            child.wait().map_err(waiting)?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
