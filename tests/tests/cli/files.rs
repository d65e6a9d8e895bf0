//! Options about files: what of them may have changed, what is carried along.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use criu_tests::Lab;

use super::support::{criu, dump, end, lives, no_tracer, restore, shell};

/// A process with a file of 8 KiB open, not mapped.
fn with_file(lab: &Lab) -> (i32, std::path::PathBuf) {
    let path = lab.path().join("data");
    fs::write(&path, vec![b'x'; 8192]).expect("write a file");
    let pid = shell(lab, "exec 5<data; exec sleep 1004", &[]);
    (pid, path)
}

#[test]
fn a_file_of_another_size_is_refused() {
    let lab = Lab::new();
    let (pid, path) = with_file(&lab);
    for method in ["", "--file-validation filesize", "--file-validation buildid"] {
        dump(&lab, pid, method);
        fs::write(&path, vec![b'x'; 8193]).expect("change the file");
        criu(&lab, &format!("restore -D im -d {method}")).refused(&["data", "size", "8192", "8193"]);
        assert!(!lives(pid));
        fs::write(&path, vec![b'x'; 8192]).expect("change it back");
        restore(&lab, method);
    }
    end(pid);
    lab.assert_clean(&[pid]);
}

/// Another program of the same size under the same name: only its build id tells.
#[test]
fn a_program_with_another_build_id_is_refused() {
    let lab = Lab::new();
    let path = lab.path().join("program");
    let original = fs::read("/bin/sleep").expect("read a program");
    let at = build_id(&original).expect("sleep has a build id");
    let write = |bytes: &[u8]| {
        // A new file: a program that runs cannot be written to.
        let fresh = lab.path().join("fresh");
        fs::write(&fresh, bytes).expect("write a program");
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::rename(&fresh, &path).expect("rename");
    };
    let mut other = original.clone();
    other[at] ^= 0xff;
    write(&original);
    let pid = shell(&lab, "exec ./program 1005", &[]);
    dump(&lab, pid, "");
    write(&other);
    criu(&lab, "restore -D im -d").refused(&["program", "build"]);
    assert!(!lives(pid));
    write(&original);
    restore(&lab, "");
    dump(&lab, pid, "--file-validation filesize");
    write(&other);
    restore(&lab, "--file-validation filesize");
    end(pid);
    lab.assert_clean(&[pid]);
}

/// Where the bytes of the build id lie: behind the note's header and its name `GNU`.
fn build_id(elf: &[u8]) -> Option<usize> {
    let header = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
    elf.windows(header.len())
        .position(|window| window == header)
        .map(|at| at + header.len())
}

#[test]
fn skip_file_rwx_check() {
    let lab = Lab::new();
    let (pid, path) = with_file(&lab);
    dump(&lab, pid, "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("chmod");
    criu(&lab, "restore -D im -d").refused(&["data", "--skip-file-rwx-check"]);
    assert!(!lives(pid));
    restore(&lab, "--skip-file-rwx-check");
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn ghost_limit() {
    let lab = Lab::new();
    fs::write(lab.path().join("big"), vec![b'x'; 3 << 20]).expect("write a file");
    let pid = shell(&lab, "exec 5<big; rm big; exec sleep 1006", &[]);
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["big", "--ghost-limit"]);
    no_tracer(pid);
    criu(&lab, &format!("dump -D im -t {pid} --ghost-limit 3145727")).refused(&["--ghost-limit"]);
    dump(&lab, pid, "--ghost-limit 3M");
    restore(&lab, "");
    assert_eq!(
        fs::metadata(format!("/proc/{pid}/fd/5")).expect("stat").len(),
        3 << 20
    );
    end(pid);
    lab.assert_clean(&[pid]);
}

/// Only the data of a file with holes counts, and they come back as holes.
#[test]
fn ghost_fiemap() {
    let lab = Lab::new();
    let file = fs::File::create(lab.path().join("sparse")).expect("make a file");
    file.set_len(64 << 20).expect("make a hole");
    std::os::unix::fs::FileExt::write_all_at(&file, &[b'x'; 8192], 32 << 20).expect("write");
    file.sync_all().expect("give it its place on the disk");
    let before = file.metadata().expect("stat").blocks();
    let pid = shell(&lab, "exec 5<sparse; rm sparse; exec sleep 1016", &[]);
    drop(file);
    for option in ["--ghost-fiemap", "--no-ghost-fiemap"] {
        dump(&lab, pid, option);
        restore(&lab, option);
        let ghost = fs::File::open(format!("/proc/{pid}/fd/5")).expect("open");
        let meta = ghost.metadata().expect("stat");
        assert_eq!((meta.len(), meta.nlink()), (64 << 20, 0), "{option}");
        assert!(
            meta.blocks() <= before + 16,
            "{option}: {} blocks, {before} before",
            meta.blocks()
        );
        let mut data = [0; 8194];
        std::os::unix::fs::FileExt::read_exact_at(&ghost, &mut data, (32 << 20) - 1).expect("read");
        assert!(data[0] == 0 && data[8193] == 0 && data[1..8193].iter().all(|b| *b == b'x'));
    }
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn link_remap_and_file_locks_are_asked_for_by_name() {
    let lab = Lab::new();
    fs::write(lab.path().join("one"), "x").expect("write a file");
    fs::hard_link(lab.path().join("one"), lab.path().join("two")).expect("link");
    let pid = shell(&lab, "exec 5<one; rm one; exec sleep 1007", &[]);
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&["one", "--link-remap"]);
    no_tracer(pid);
    end(pid);
    fs::write(lab.path().join("locked"), "x").expect("write a file");
    let pid = shell(&lab, "exec 5<locked; flock 5; exec sleep 1008", &[]);
    criu(&lab, &format!("dump -D im -t {pid}")).refused(&[&format!("pid {pid}, fd 5"), "--file-locks"]);
    no_tracer(pid);
    dump(&lab, pid, "-l");
    restore(&lab, "-l");
    let file = fs::File::open(lab.path().join("locked")).expect("open");
    assert!(file.try_lock().is_err(), "the lock is not held");
    end(pid);
    lab.assert_clean(&[pid]);
}
