//! What both kinds have in common, and what needs a file system.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use criu_plugin_api::image::ImageWriter;
use criu_plugin_api::message::{FileRecord, Slot};
use criu_proto::images::{
    FileEntry, GhostFileEntry, InotifyFileEntry, IrmapCacheEntry, RemapFilePathEntry, RemapType,
};
use criu_proto::magic::{self, ImageKind};
use nix::sys::stat::fstat;
use prost::Message;
use tempfile::TempDir;

use crate::fdinfo::Inode;
use crate::irmap::Irmap;
use crate::mounts::Mounts;
use crate::testing::{Run, dump, lines, me, tree};
use crate::{fdinfo, sys};

fn watch(group: &OwnedFd, path: &Path, mask: u32) -> i32 {
    sys::inotify_add_watch(group, &sys::open_path(path).unwrap(), mask).unwrap()
}

fn entry(record: &FileRecord) -> InotifyFileEntry {
    FileEntry::decode(record.entry.as_slice()).unwrap().ify.unwrap()
}

fn record(entry: InotifyFileEntry) -> FileRecord {
    FileRecord {
        id: entry.id,
        fd_type: 8,
        entry: FileEntry {
            r#type: 8,
            id: entry.id,
            ify: Some(entry),
            ..FileEntry::default()
        }
        .encode_to_vec(),
    }
}

/// A group with a watch on a file and one on a directory, and their folder.
fn example() -> (TempDir, OwnedFd) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let group = sys::inotify_init().unwrap();
    watch(&group, &folder.path().join("file"), libc::IN_MODIFY);
    sys::set_next_wd(&group, 77).unwrap();
    watch(&group, folder.path(), libc::IN_CREATE | libc::IN_ONESHOT);
    (folder, group)
}

#[test]
fn watches_come_back_with_their_numbers_and_paths() {
    let (folder, group) = example();
    let run = Run::new();
    let records = dump(&run.inotify, &tree(), &[&group]).unwrap();
    let saved = entry(&records[0]);
    let numbers: Vec<_> = saved.wd.iter().map(|wd| (wd.id, wd.wd, wd.mask)).collect();
    assert_eq!(
        numbers,
        [
            (0, 77, libc::IN_CREATE | libc::IN_ONESHOT),
            (0, 1, libc::IN_MODIFY)
        ]
    );
    let path = saved.wd[0].f_handle.path.as_deref().map(sys::path_of);
    assert_eq!(path, Some(folder.path()));
    let restored = run.restore(&run.inotify, &tree(), &records).unwrap();
    assert_eq!(lines(&restored[0]), lines(&group));
    assert_eq!(sys::queued(&restored[0]).unwrap(), 0);
}

#[test]
fn another_inode_is_found_by_its_path_and_a_missing_one_is_named() {
    let (folder, group) = example();
    let run = Run::new();
    let records = dump(&run.inotify, &tree(), &[&group]).unwrap();
    let old = folder.path().join("file");
    std::fs::remove_file(&old).unwrap();
    let error = run.restore(&run.inotify, &tree(), &records).unwrap_err();
    assert!(error.message.contains(old.to_str().unwrap()), "{error}");
    std::fs::write(&old, "new").unwrap();
    let run = Run::new();
    let restored = run.restore(&run.inotify, &tree(), &records).unwrap();
    let now = std::fs::metadata(&old).unwrap();
    let of_file = &fdinfo::watches(&lines(&restored[0]).join("\n")).unwrap()[1];
    assert_eq!(
        (of_file.wd, of_file.inode.ino),
        (1, std::os::unix::fs::MetadataExt::ino(&now))
    );
}

#[test]
fn a_file_that_has_gone_is_told_of() {
    let (_folder, group) = example();
    let run = Run::new();
    let records = dump(&run.inotify, &tree(), &[&group]).unwrap();
    let mut saved = entry(&records[0]);
    let wd = &mut saved.wd[1];
    wd.f_handle.path = None;
    // The handle of nothing.
    wd.f_handle.handle[0] = u64::MAX;
    wd.mask |= libc::IN_DELETE_SELF;
    let restored = run.restore(&run.inotify, &tree(), &[record(saved)]).unwrap();
    let mut events = [0u8; 64];
    let read = nix::unistd::read(&restored[0], &mut events).unwrap();
    let word = |at: usize| u32::from_ne_bytes(events[at..at + 4].try_into().unwrap());
    assert_eq!(read, 32);
    assert_eq!((word(0), word(4)), (1, libc::IN_DELETE_SELF));
    assert_eq!((word(16), word(20)), (1, libc::IN_IGNORED));
    assert_eq!(lines(&restored[0]).len(), 1);
}

#[test]
fn a_deleted_file_is_watched_where_it_came_back() {
    let (folder, group) = example();
    let (old, new) = (folder.path().join("file"), folder.path().join("new"));
    let held = std::fs::File::open(&old).unwrap();
    std::fs::remove_file(&old).unwrap();
    let run = Run::new();
    let records = dump(&run.inotify, &tree(), &[&group]).unwrap();
    let wd = entry(&records[0]).wd[1].clone();
    assert_eq!(wd.f_handle.path, None);
    drop(held);
    std::fs::write(&new, "x").unwrap();
    let mut mock = tree();
    mock.paths.insert(9, new.clone());
    put(
        &mock,
        &magic::REMAP_FPATH,
        &RemapFilePathEntry {
            orig_id: 9,
            remap_id: 5,
            remap_type: Some(RemapType::Ghost as i32),
        },
        0,
    );
    let ghost = GhostFileEntry {
        dev: Some(wd.s_dev),
        ino: Some(wd.i_ino),
        ..GhostFileEntry::default()
    };
    put(&mock, &magic::GHOST_FILE, &ghost, 5);
    let restored = run.restore(&run.inotify, &mock, &records).unwrap();
    let watches = fdinfo::watches(&lines(&restored[0]).join("\n")).unwrap();
    let now = std::fs::metadata(&new).unwrap();
    assert_eq!(watches[1].inode.ino, std::os::unix::fs::MetadataExt::ino(&now));
}

fn put(mock: &criu_plugin_api::testing::MockHost, kind: &ImageKind, entry: &impl Message, id: u64) {
    let name = kind.file_name(id);
    let mut writer = ImageWriter::new(Vec::new(), name.clone(), kind).unwrap();
    writer.entry(entry).unwrap();
    mock.put_image(&name, &writer.finish().unwrap()).unwrap();
}

#[test]
fn what_only_a_descriptor_leads_to_is_saved_by_it() {
    let memory = criu_plugin_api::testing::memory_file("watched").unwrap();
    let group = sys::inotify_init().unwrap();
    sys::inotify_add_watch(
        &group,
        &sys::open_link(&sys::magic_link(&memory)).unwrap(),
        libc::IN_ATTRIB,
    )
    .unwrap();
    let run = Run::new();
    let mut mock = tree();
    let error = dump(&run.inotify, &mock, &[&group]).unwrap_err();
    assert!(error.message.contains("watch 1: no path is known"), "{error}");
    mock.descriptors.get_mut(&me()).unwrap().push(Slot {
        fd: memory.as_fd().as_raw_fd(),
        file_id: 7,
        ..Slot::default()
    });
    let records = dump(&run.inotify, &mock, &[&group]).unwrap();
    assert_eq!(mock.images(), ["fsnotify-targets.img"]);
    let restored = run.restore(&run.inotify, &mock, &records).unwrap();
    assert_eq!(lines(&restored[0]), lines(&group));
}

#[test]
fn damaged_entries_are_refused() {
    let (_folder, group) = example();
    let run = Run::new();
    let records = dump(&run.inotify, &tree(), &[&group]).unwrap();
    let good = entry(&records[0]);
    let damage: [fn(&mut InotifyFileEntry); 4] = [
        |e| e.wd[0].wd = 0,
        |e| e.wd[0].wd = u32::MAX,
        |e| e.wd[0].wd = e.wd[1].wd,
        |e| e.wd[0].f_handle.bytes = 129,
    ];
    for change in damage {
        let mut bad = good.clone();
        change(&mut bad);
        let error = Run::new()
            .restore(&run.inotify, &tree(), &[record(bad)])
            .unwrap_err();
        assert!(error.message.contains("damaged"), "{error}");
    }
    let mut same = good.clone();
    same.wd[0].f_handle = same.wd[1].f_handle.clone();
    same.wd[0].i_ino = same.wd[1].i_ino;
    let again = Run::new();
    let error = again
        .restore(&again.inotify, &tree(), &[record(same)])
        .unwrap_err();
    assert!(error.message.contains("leads to the same file"), "{error}");
}

fn inode_of(path: &Path) -> Inode {
    let stat = fstat(sys::open_path(path).unwrap()).unwrap();
    Inode {
        s_dev: sys::kernel_dev(stat.st_dev),
        ino: stat.st_ino,
        handle: fdinfo::handle_entry(0, &[]),
    }
}

#[test]
fn paths_are_searched_for_where_the_user_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
    let path = folder.path().join("a/b/c");
    std::fs::write(&path, "").unwrap();
    let mut mock = tree();
    let place = folder.path().to_str().unwrap().to_owned();
    mock.settings.insert("irmap-scan-path".to_owned(), vec![place]);
    let mut irmap = Irmap::new(&criu_plugin_api::Host::new(&mock, "inotify")).unwrap();
    let mounts = Mounts::read().unwrap();
    assert_eq!(irmap.find(&mounts, &inode_of(&path)), Some(path));
}

#[test]
fn remembered_paths_are_used_if_they_are_still_right() {
    let images = tempfile::tempdir().unwrap();
    let (right, wrong) = (images.path().join("right"), images.path().join("wrong"));
    std::fs::write(&right, "").unwrap();
    let kind = &magic::IRMAP_CACHE;
    let mut writer = ImageWriter::new(Vec::new(), "irmap-cache", kind).unwrap();
    let inode = inode_of(&right);
    for (ino, path) in [(inode.ino, &right), (2, &wrong)] {
        let path = crate::irmap::bytes_of(path);
        writer
            .entry(&IrmapCacheEntry {
                dev: inode.s_dev,
                inode: ino,
                path,
            })
            .unwrap();
    }
    std::fs::write(images.path().join("irmap-cache"), writer.finish().unwrap()).unwrap();
    let mut mock = tree();
    let place = images.path().to_str().unwrap().to_owned();
    mock.settings.insert("images-dir".to_owned(), vec![place]);
    let mut irmap = Irmap::new(&criu_plugin_api::Host::new(&mock, "inotify")).unwrap();
    let mounts = Mounts::read().unwrap();
    assert_eq!(irmap.find(&mounts, &inode), Some(right));
}

#[test]
fn a_fanotify_group_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let group = sys::fanotify_init(0x2 | 0x10, 0x8000).unwrap();
    let target = sys::open_path(&path).unwrap();
    sys::fanotify_mark(&group, 0x1, 0x2, &target).unwrap();
    sys::fanotify_mark(&group, 0x1 | 0x20 | 0x40, 0x20, &target).unwrap();
    let shm = sys::open_path(Path::new("/dev/shm")).unwrap();
    // FAN_OPEN_EXEC, which nobody does there.
    sys::fanotify_mark(&group, 0x1 | 0x10, 0x1000, &shm).unwrap();
    sys::fanotify_mark(&group, 0x1 | 0x100, 0x1000, &shm).unwrap();
    let run = Run::new();
    let mock = tree();
    let records = dump(&run.fanotify, &mock, &[&group]).unwrap();
    assert_eq!(mock.images(), ["fanotify-filesystem.img"]);
    let saved = FileEntry::decode(records[0].entry.as_slice())
        .unwrap()
        .ffy
        .unwrap();
    assert_eq!(
        (saved.faflags, saved.evflags, saved.mark.len()),
        (0x12, 0x8000, 2)
    );
    assert_eq!(
        saved.mark[0].me.as_ref().unwrap().path.as_deref(),
        Some(b"/dev/shm".as_slice())
    );
    assert_eq!(
        (
            saved.mark[1].mask,
            saved.mark[1].ignored_mask,
            saved.mark[1].mflags
        ),
        (2, 0x20, 0x40)
    );
    let restored = run.restore(&run.fanotify, &mock, &records).unwrap();
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(lines(&restored[0])), sorted(lines(&group)));
}
