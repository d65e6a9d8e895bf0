//! A set whose vdso is not this kernel's.

use std::fs;
use std::time::Duration;

use criu_tests::{Criu, Lab, Verdict, reaper};

/// The bytes of this kernel's vdso.
fn own_vdso() -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string("/proc/self/maps").expect("read the maps");
    let line = maps
        .lines()
        .find(|line| line.ends_with("[vdso]"))
        .expect("a vdso");
    let (start, end) = line
        .split_once(' ')
        .and_then(|(range, _)| range.split_once('-'))
        .expect("a range");
    let number = |text| u64::from_str_radix(text, 16).expect("an address");
    let (start, end) = (number(start), number(end));
    let mut bytes = vec![0; (end - start) as usize];
    let memory = fs::File::open("/proc/self/mem").expect("open the memory");
    memory.read_exact_at(&mut bytes, start).expect("read the vdso");
    bytes
}

/// Changes a byte of the vdso in a set that no program looks at: the compiler's name or the like.
fn alter(lab: &Lab, images: &str, vdso: &[u8]) {
    let path = lab.path().join(images).join("pages-1.img");
    let mut pages = fs::read(&path).expect("read the pages");
    let at = pages
        .chunks(4096)
        .position(|page| page == &vdso[..4096])
        .expect("the vdso is in the set")
        * 4096;
    let note = vdso.windows(4).position(|w| w == b"GNU\0").expect("a note");
    pages[at + note + 4] ^= 0xff;
    // The image is a file of its own from now on, as it would be on another machine.
    fs::remove_file(&path).expect("remove the pages");
    fs::write(&path, pages).expect("write the pages");
}

#[test]
fn vdso_of_another_kernel() {
    let vdso = own_vdso();
    let mut lab = Lab::new();
    let pid = lab.start_guest("cli/vdso_other");
    assert!(lab.wait_ready(pid).is_none());
    // The second time the process has both the old one and this kernel's.
    for images in ["images-1", "images-2"] {
        Criu::dump(&lab, images, pid).run().expect_ok();
        assert!(reaper::wait(pid, Duration::from_secs(10)).is_some());
        alter(&lab, images, &vdso);
        Criu::restore(&lab, images).run().expect_ok();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("read the maps");
        assert_eq!(maps.matches("[vdso]").count(), 1, "{maps}");
    }
    lab.go();
    assert_eq!(lab.conclude(pid), Verdict::Pass);
    lab.assert_clean(&[pid]);
}
