//! What a machine has to have, for sets that say they need it: refused by name, before anything is made.

use std::fs;

use criu_images::{ImageDir, magic};
use criu_proto::images::{CoreEntry, MmEntry, UserX86CetEntry};
use criu_tests::{Lab, Need};

use super::support::{criu, dump, end, lives, sleeper};

/// `vma_entry.status` of a shadow stack.
const SHADOW_STACK: u32 = 1 << 15;

#[test]
fn x32() {
    if Need::X32.lacking().is_none() {
        println!("skipped: this kernel runs x32 programs");
        return;
    }
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    // One entry: `pid` and `x32`.
    let mut entry = vec![0x08];
    let mut rest = pid.unsigned_abs();
    while rest > 0x7f {
        entry.push((rest & 0x7f | 0x80) as u8);
        rest >>= 7;
    }
    entry.extend([rest as u8, 0x68, 1]);
    let words = [0x5456_4319u32, 0x5441_534b, entry.len() as u32];
    let mut image: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    image.extend(entry);
    let path = lab.path().join("im/task-extra.img");
    fs::write(&path, image).expect("write task-extra.img");
    criu(&lab, "restore -D im -d").refused(&[&pid.to_string(), "x32 ABI", "syscall.x32=y"]);
    assert!(!lives(pid));
    fs::remove_file(&path).expect("remove task-extra.img");
    criu(&lab, "restore -D im -d").ok();
    end(pid);
    lab.assert_clean(&[pid]);
}

#[test]
fn shadow_stacks() {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if cpuinfo.split_ascii_whitespace().any(|word| word == "user_shstk") {
        println!("skipped: this machine has user shadow stacks");
        return;
    }
    let lab = Lab::new();
    let pid = sleeper(&lab);
    dump(&lab, pid, "");
    let set = ImageDir::open(lab.path().join("im")).expect("open the set");
    let id = pid.unsigned_abs().into();
    let mut core: CoreEntry = set.read_one(&magic::CORE, id).expect("read the core");
    let mut mm: MmEntry = set.read_one(&magic::MM, id).expect("read the memory");
    let xsave = core
        .thread_info
        .as_mut()
        .and_then(|info| info.fpregs.xsave.as_mut());
    let cet = &mut xsave.expect("an extended state").cet;
    // A pointer that is nowhere.
    *cet = Some(UserX86CetEntry { cet: 1, ssp: 0x1000 });
    set.write_one(&magic::CORE, id, &core).expect("write the core");
    criu(&lab, "restore -D im -d").refused(&["shadow stack pointer 0x1000", "in no shadow stack"]);
    // Not the page of vsyscall, which is everyone's.
    let mut own = mm.vmas.iter_mut().filter(|vma| vma.status & 1 << 2 == 0);
    let stack = own.next_back().expect("a mapping");
    stack.status |= SHADOW_STACK;
    let xsave = core
        .thread_info
        .as_mut()
        .and_then(|info| info.fpregs.xsave.as_mut());
    xsave.expect("an extended state").cet = Some(UserX86CetEntry {
        cet: 1,
        ssp: stack.end,
    });
    set.write_one(&magic::CORE, id, &core).expect("write the core");
    set.write_one(&magic::MM, id, &mm).expect("write the memory");
    criu(&lab, "restore -D im -d").refused(&[&pid.to_string(), "user shadow stack", "user_shstk"]);
    assert!(!lives(pid));
    lab.assert_clean(&[pid]);
}
