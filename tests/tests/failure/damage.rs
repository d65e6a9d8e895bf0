//! Image sets that contradict themselves, entry by entry: each is refused, in time, and nothing is left.
//!
//! An entry is decoded, changed, and written again, so that the framing is whole and only what it says is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criu_proto::images::*;
use criu_proto::prost::Message;
use criu_tests::reaper::{self, Pid};
use criu_tests::{Criu, Lab, processes_of};

use super::images::{end_all, images, listing};

/// A set, and what was wrongly accepted.
struct Damage {
    lab: Lab,
    pid: Pid,
    accepted: Vec<String>,
}

/// A file's header and its entries. Both magic numbers come first (8 bytes), but for the inventory, which has one.
struct Framed {
    header: Vec<u8>,
    entries: Vec<Vec<u8>>,
}

impl Framed {
    fn read(path: &Path) -> Framed {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        let inventory = path.ends_with("inventory.img");
        let (header, mut rest) = bytes.split_at(if inventory { 4 } else { 8 });
        let mut entries = Vec::new();
        while let Some((length, more)) = rest.split_first_chunk::<4>() {
            let (entry, next) = more.split_at(u32::from_le_bytes(*length) as usize);
            entries.push(entry.to_vec());
            rest = next;
        }
        Framed {
            header: header.to_vec(),
            entries,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        for entry in &self.entries {
            bytes.extend(u32::try_from(entry.len()).expect("a short entry").to_le_bytes());
            bytes.extend(entry);
        }
        bytes
    }
}

impl Damage {
    fn of(guest: &str) -> Damage {
        let lab = Lab::new();
        let (pid, _) = images(&lab, guest, &[]);
        Damage {
            lab,
            pid,
            accepted: Vec::new(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.lab.path().join("images").join(name)
    }

    /// The images whose names begin like this.
    fn files(&self, prefix: &str) -> Vec<String> {
        let all = fs::read_dir(self.lab.path().join("images")).expect("read the images");
        let mut names: Vec<String> = all
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix) && name.ends_with(".img"))
            .collect();
        names.sort();
        assert!(!names.is_empty(), "there is no {prefix}*.img");
        names
    }

    /// Changes one entry of a file; restores; puts the file back.
    fn entry<M: Message + Default>(
        &mut self,
        file: &str,
        index: usize,
        what: &str,
        change: impl FnOnce(&mut M),
    ) {
        self.entries(file, what, |entries| {
            let entry = &mut entries[index];
            let mut message = M::decode(&**entry).expect("decode an entry");
            change(&mut message);
            let changed = message.encode_to_vec();
            assert_ne!(*entry, changed, "{what}: nothing was changed");
            *entry = changed;
        });
    }

    fn entries(&mut self, file: &str, what: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let path = self.file(file);
        let mut framed = Framed::read(&path);
        let whole = framed.bytes();
        change(&mut framed.entries);
        fs::write(&path, framed.bytes()).expect("write an image");
        self.refused(&format!("{file}: {what}"));
        fs::write(&path, whole).expect("write an image");
    }

    fn refused(&mut self, what: &str) {
        let before = listing(self.lab.path());
        let outcome = Criu::restore(&self.lab, "images")
            .limit(Duration::from_secs(10))
            .run();
        match outcome.end {
            Some(reaper::End::Exit(0)) => {
                end_all(&self.lab);
                self.accepted.push(what.to_owned());
            }
            Some(reaper::End::Exit(_)) => {
                assert!(
                    outcome.output.contains("Error"),
                    "{what}: no error is printed\n{outcome}"
                );
                println!("{what}\n    {}", outcome.output.trim());
            }
            other => panic!("{what}: the restore ended by {other:?}\n{outcome}"),
        }
        assert_eq!(
            processes_of(self.lab.path()),
            Vec::<Pid>::new(),
            "{what}: processes are left"
        );
        assert_eq!(listing(self.lab.path()), before, "{what}: files are left");
    }

    /// All were refused; and the set itself is good.
    fn done(self) {
        assert_eq!(self.accepted, Vec::<String>::new(), "sets that were restored");
        Criu::restore(&self.lab, "images").run().expect_ok();
        end_all(&self.lab);
    }
}

#[test]
fn contradictions_inventory() {
    let mut set = Damage::of("core/sleeper");
    set.entry("inventory.img", 0, "another version", |e: &mut InventoryEntry| {
        e.img_version = 99;
    });
    set.entry(
        "inventory.img",
        0,
        "a plugin nobody has",
        |e: &mut InventoryEntry| {
            e.plugins_entry
                .get_or_insert_default()
                .plugins
                .push("nobody".into());
        },
    );
    set.entries("inventory.img", "twice", |all| all.push(all[0].clone()));
    set.entries("inventory.img", "empty", Vec::clear);
    set.done();
}

#[test]
fn contradictions_tree() {
    let mut set = Damage::of("core/tree");
    let root = set.pid.unsigned_abs();
    let pstree = |index| {
        move |set: &mut Damage, what: &str, change: fn(&mut PstreeEntry, u32)| {
            let root = set.pid.unsigned_abs();
            set.entry("pstree.img", index, what, |e| change(e, root));
        }
    };
    let (first, second) = (pstree(0), pstree(1));
    first(&mut set, "pid 0", |e, _| e.pid = 0);
    first(&mut set, "a pid of 32 bits", |e, _| e.pid = u32::MAX);
    first(&mut set, "no thread", |e, _| e.threads.clear());
    second(&mut set, "a parent that is not there", |e, _| e.ppid = 4_000_000);
    second(&mut set, "its own parent", |e, _| e.ppid = e.pid);
    second(&mut set, "the pid of the root", |e, root| e.pid = root);
    second(&mut set, "a thread of the root", |e, root| e.threads.push(root));
    second(&mut set, "the same thread twice", |e, _| e.threads.push(e.pid));
    second(&mut set, "no thread of its own pid", |e, _| {
        e.threads = vec![4_000_001];
    });
    second(&mut set, "a negative session", |e, _| e.sid = u32::MAX);
    set.entries("pstree.img", "empty", Vec::clear);
    set.entries("pstree.img", "twice", |all| all.push(all[0].clone()));
    set.entries("pstree.img", "the root last", |all| all.rotate_left(1));
    set.entry("pstree.img", 1, "a circle", |e: &mut PstreeEntry| {
        assert_eq!(e.ppid, root);
        e.ppid = e.pid;
    });
    set.done();
}

#[test]
fn contradictions_core() {
    let mut set = Damage::of("core/threads");
    let leader = format!("core-{}.img", set.pid);
    let all = set.files("core-");
    let thread = all
        .iter()
        .find(|name| **name != leader)
        .cloned()
        .expect("a thread");
    for file in [&leader, &thread] {
        set.entry(file, 0, "no registers", |e: &mut CoreEntry| e.thread_info = None);
        set.entry(file, 0, "another machine", |e: &mut CoreEntry| e.mtype = 2);
        set.entry(file, 0, "no thread", |e: &mut CoreEntry| e.thread_core = None);
        set.entry(file, 0, "a register short", |e: &mut CoreEntry| {
            let info = e.thread_info.as_mut().expect("registers");
            info.fpregs.st_space.pop();
        });
        set.entry(file, 0, "a filter that is not there", |e: &mut CoreEntry| {
            let thread = e.thread_core.as_mut().expect("a thread");
            thread.seccomp_mode = Some(2);
            thread.seccomp_filter = Some(7);
        });
        set.entries(file, "empty", Vec::clear);
    }
    let task = |set: &mut Damage, what: &str, change: fn(&mut TaskCoreEntry)| {
        set.entry(&leader, 0, what, |e: &mut CoreEntry| {
            change(e.tc.as_mut().expect("a task"));
        });
    };
    set.entry(&leader, 0, "no task", |e: &mut CoreEntry| e.tc = None);
    task(&mut set, "no such state", |tc| tc.task_state = 99);
    task(&mut set, "too many limits", |tc| {
        let limits = &mut tc.rlimits.as_mut().expect("limits").rlimits;
        limits.extend(limits.clone());
    });
    task(&mut set, "too many signal actions", |tc| {
        tc.sigactions.extend(tc.sigactions.clone());
    });
    task(&mut set, "an impossible oom_score_adj", |tc| {
        tc.oom_score_adj = Some(20_000);
    });
    set.done();
}

#[test]
fn contradictions_memory() {
    let mut set = Damage::of("core/sleeper");
    let (mm, pagemap) = (format!("mm-{}.img", set.pid), format!("pagemap-{}.img", set.pid));
    let of_vma = |set: &mut Damage, what: &str, change: fn(&mut VmaEntry, VmaEntry)| {
        set.entry(&mm, 0, what, |e: &mut MmEntry| {
            let first = e.vmas[0];
            change(&mut e.vmas[1], first);
        });
    };
    of_vma(&mut set, "ends before it begins", |vma, _| {
        vma.end = vma.start - 4096;
    });
    of_vma(&mut set, "is empty", |vma, _| vma.end = vma.start);
    of_vma(&mut set, "begins inside a page", |vma, _| vma.start += 1);
    of_vma(&mut set, "ends inside a page", |vma, _| vma.end -= 1);
    of_vma(&mut set, "lies over another", |vma, first| {
        vma.start = first.start;
    });
    of_vma(&mut set, "lies beyond the address space", |vma, _| {
        vma.start |= 1 << 62;
        vma.end |= 1 << 62;
    });
    of_vma(&mut set, "is of a file that is not there", |vma, _| {
        vma.shmid = 4_000_000;
    });
    of_vma(&mut set, "is of nothing", |vma, _| vma.status = 1);
    of_vma(&mut set, "of an offset inside a page", |vma, _| vma.pgoff += 1);
    set.entry(&mm, 0, "a program that is not there", |e: &mut MmEntry| {
        e.exe_file_id = 4_000_000;
    });
    set.entry(&mm, 0, "no mapping", |e: &mut MmEntry| e.vmas.clear());
    set.entries(&mm, "empty", Vec::clear);
    let page = |set: &mut Damage, what: &str, change: fn(&mut PagemapEntry)| {
        set.entry(&pagemap, 1, what, |e: &mut PagemapEntry| change(e));
    };
    page(&mut set, "begins inside a page", |e| e.vaddr += 8);
    page(&mut set, "lies outside all mappings", |e| e.vaddr = 0x1000);
    page(&mut set, "has more pages than there are", |e| {
        e.compat_nr_pages = u32::MAX;
        e.nr_pages = e.nr_pages.map(|_| u64::MAX);
    });
    page(&mut set, "has too many pages", |e| {
        e.compat_nr_pages += 1;
        e.nr_pages = e.nr_pages.map(|n| n + 1);
    });
    page(&mut set, "is in a parent that is not there", |e| {
        e.flags = Some(1);
    });
    set.entries(&pagemap, "the same pages twice", |all| all.push(all[1].clone()));
    set.entries(&pagemap, "without its last entry", |all| drop(all.pop()));
    set.entries(&pagemap, "empty", Vec::clear);
    set.entry(&pagemap, 0, "pages that are not there", |e: &mut PagemapHead| {
        e.pages_id += 7;
    });
    set.done();
}

#[test]
fn contradictions_files() {
    let mut set = Damage::of("files/offsets");
    let (fs_img, ids) = (format!("fs-{}.img", set.pid), format!("ids-{}.img", set.pid));
    let fdinfo = set.files("fdinfo-").remove(0);
    let entry = |set: &mut Damage, what: &str, change: fn(&mut FdinfoEntry)| {
        set.entry(&fdinfo, 0, what, |e: &mut FdinfoEntry| change(e));
    };
    entry(&mut set, "a file that is not there", |e| e.id = 4_000_000);
    entry(&mut set, "a number beyond all limits", |e| e.fd = 1 << 30);
    entry(&mut set, "a negative number", |e| e.fd = u32::MAX);
    entry(&mut set, "another type than the file's", |e| {
        e.r#type = FdTypes::Pipe as i32;
    });
    entry(&mut set, "no such flag", |e| e.flags = 1 << 7);
    set.entries(&fdinfo, "the same number twice", |all| all.push(all[0].clone()));
    set.entry(&fs_img, 0, "a folder that is not there", |e: &mut FsEntry| {
        e.cwd_id = 4_000_000;
    });
    set.entry(&fs_img, 0, "a root that is not there", |e: &mut FsEntry| {
        e.root_id = 4_000_000;
    });
    set.entries(&fs_img, "empty", Vec::clear);
    set.entry(
        &ids,
        0,
        "a table that is not there",
        |e: &mut TaskKobjIdsEntry| e.files_id = 4_000_000,
    );
    set.entries(&ids, "empty", Vec::clear);
    set.entries("files.img", "an entry twice", |all| all.push(all[0].clone()));
    set.entries("files.img", "without an entry", |all| drop(all.remove(0)));
    set.entries("files.img", "empty", Vec::clear);
    let count = Framed::read(&set.file("files.img")).entries.len();
    for index in 0..count {
        let file = |set: &mut Damage, what: &str, change: fn(&mut FileEntry)| {
            set.entry("files.img", index, what, |e: &mut FileEntry| change(e));
        };
        file(&mut set, "without what it is about", |e| e.reg = None);
        file(&mut set, "of another type", |e| {
            e.r#type = FdTypes::Eventfd as i32;
        });
        file(&mut set, "with two ids", |e| e.id += 1000);
        file(&mut set, "without a name", |e| {
            // Sets of mount namespaces leave out the first slash: an empty name is the root there.
            let reg = e.reg.as_mut().expect("a file");
            reg.name = if reg.name == b"/" {
                b"/root/nobody".to_vec()
            } else {
                Vec::new()
            };
        });
        file(&mut set, "with a name that is no path", |e| {
            e.reg.as_mut().expect("a file").name = "data".into();
        });
    }
    set.done();
}
