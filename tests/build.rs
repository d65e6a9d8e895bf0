//! Compiles the guests: `guests/FAMILY/NAME.c` becomes `$OUT_DIR/guests/FAMILY/NAME`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;
use std::{env, fs, io, thread};

fn main() {
    println!("cargo::rerun-if-changed=guests");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("guests");
    let sources = sources(Path::new("guests")).expect("the guests' folder is readable");
    let header = headers(Path::new("guests"))
        .expect("the guests' folder is readable")
        .iter()
        .filter_map(|header| modified(header))
        .max();
    let work = Mutex::new(sources.into_iter());
    let failures = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, |n| n.get());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(source) = work.lock().expect("no worker panics").next() else {
                        return;
                    };
                    if let Err(message) = compile(&source, &out, header) {
                        failures.lock().expect("no worker panics").push(message);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no worker panics");
    assert!(
        failures.is_empty(),
        "guests that do not compile:\n{}",
        failures.join("\n")
    );
}

/// All `guests/NAME.h`.
fn headers(root: &Path) -> io::Result<Vec<PathBuf>> {
    let files = fs::read_dir(root)?.map(|entry| Ok(entry?.path()));
    let files: Vec<PathBuf> = files.collect::<io::Result<_>>()?;
    let is_header = |path: &PathBuf| path.extension().is_some_and(|e| e == "h");
    Ok(files.into_iter().filter(is_header).collect())
}

/// All `guests/FAMILY/NAME.c`.
fn sources(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for family in fs::read_dir(root)? {
        let family = family?.path();
        if family.is_dir() {
            for file in fs::read_dir(family)? {
                let file = file?.path();
                if file.extension().is_some_and(|e| e == "c") {
                    found.push(file);
                }
            }
        }
    }
    Ok(found)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

/// Compiles one guest unless its program is newer than its source and the header.
fn compile(source: &Path, out: &Path, header: Option<SystemTime>) -> Result<(), String> {
    let relative = source.strip_prefix("guests").map_err(|e| e.to_string())?;
    let program = out.join(relative).with_extension("");
    let built = modified(&program);
    if built.is_some() && built > modified(source) && built > header {
        return Ok(());
    }
    if let Some(folder) = program.parent() {
        fs::create_dir_all(folder).map_err(|e| format!("create {}: {e}", folder.display()))?;
    }
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let special: &[&str] = if relative.starts_with("ia32") {
        &["-m32", "-msse2"]
    } else if relative.starts_with("x32") {
        &["-mx32"]
    } else {
        &["-pthread"]
    };
    // Few machines have a C library for such programs.
    let bare: &[&str] = if relative.starts_with("ia32") || relative.starts_with("x32") {
        &[
            "-nostdlib",
            "-static",
            "-ffreestanding",
            "-fno-pic",
            "-no-pie",
            "-fno-stack-protector",
        ]
    } else {
        &[]
    };
    let result = Command::new(&compiler)
        .args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wno-unused-function"])
        .args(special)
        .args(bare)
        .arg("-o")
        .arg(&program)
        .arg(source)
        .output()
        .map_err(|e| format!("run the C compiler {compiler}: {e}; install gcc, or name another in CC"))?;
    if !result.status.success() {
        return Err(format!(
            "{}:\n{}",
            source.display(),
            String::from_utf8_lossy(&result.stderr)
        ));
    }
    Ok(())
}
