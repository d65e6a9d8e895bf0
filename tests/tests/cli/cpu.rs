//! `--cpu-cap`, with the commands that compare processors and with dump and restore.

use std::fs;

use criu_proto::images::CpuinfoEntry;
use criu_tests::Lab;
use prost::Message;

use super::support::{criu, dump, end, lives, restore, sleeper};

/// Makes `im/cpuinfo.img` that of a processor with one more instruction set than this one.
fn richer(lab: &Lab) {
    let path = lab.path().join("im/cpuinfo.img");
    let bytes = fs::read(&path).expect("read the image");
    let mut entry = CpuinfoEntry::decode(&bytes[12..]).expect("decode the image");
    for word in &mut entry.x86_entry[0].capability {
        *word = u32::MAX;
    }
    let body = entry.encode_to_vec();
    let length = u32::try_from(body.len()).expect("a short image");
    let image = [&bytes[..8], &length.to_le_bytes(), &body].concat();
    fs::write(&path, image).expect("write the image");
}

#[test]
fn dump_and_restore() {
    let lab = Lab::new();
    let pid = sleeper(&lab);
    let image = lab.path().join("im/cpuinfo.img");
    dump(&lab, pid, "");
    assert!(!image.exists(), "the image is there only where it is asked for");
    // Floating point state is compared in any case, the rest cannot be without the image.
    restore(&lab, "--cpu-cap=fpu");
    end(pid);
    criu(&lab, "restore -D im -d --cpu-cap=cpu").refused(&["cpuinfo.img", "--cpu-cap"]);
    restore(&lab, "");
    dump(&lab, pid, "--cpu-cap");
    assert!(image.exists());
    restore(&lab, "--cpu-cap");
    end(pid);
    richer(&lab);
    for cap in ["--cpu-cap", "--cpu-cap=ins", "--cpu-cap=all,^fpu"] {
        criu(&lab, &format!("restore -D im -d {cap}")).refused(&["processor lacks", "--cpu-cap"]);
        assert!(!lives(pid));
    }
    restore(&lab, "--cpu-cap=none");
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn cpuinfo_dump_and_check() {
    let lab = Lab::new();
    super::support::folder(&lab, "im");
    criu(&lab, "cpuinfo check -D im").refused(&["cpuinfo.img", "cpuinfo dump"]);
    criu(&lab, "cpuinfo dump -D im").ok();
    criu(&lab, "cpuinfo check -D im --cpu-cap=all").ok();
    richer(&lab);
    criu(&lab, "cpuinfo check -D im --cpu-cap=ins").refused(&["instructions of", "missing"]);
    criu(&lab, "cpuinfo check -D im --cpu-cap=none").ok();
    lab.assert_clean(&[]);
}
