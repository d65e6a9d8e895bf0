//! Pages files and pagemaps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::fs;
use std::path::Path;

use criu_images::magic::{PAGEMAP, PAGES, SHMEM_PAGEMAP};
use criu_images::{Error, ImageDir, PagemapReader, PagemapWriter, PagesWriter, Source, flags, page_size};
use criu_proto::images::{PagemapEntry, PagemapHead};
use proptest::prelude::*;
use tempfile::TempDir;

fn new() -> (TempDir, ImageDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = ImageDir::open(folder.path()).unwrap();
    (folder, dir)
}

/// Directories on different file systems, so that both ways of writing are tried.
fn folders() -> Vec<TempDir> {
    let mut folders = vec![tempfile::tempdir().unwrap()];
    folders.extend(tempfile::tempdir_in("/dev/shm").ok());
    folders
}

#[test]
fn windows_become_the_file_in_the_order_they_were_taken() {
    for folder in folders() {
        let dir = ImageDir::open(folder.path()).unwrap();
        // An estimate that is too small, exact, and too large.
        for estimate in [0, page_size() * 2, 3 << 20, 64 << 20] {
            let pages = PagesWriter::create(&dir, 3, estimate).unwrap();
            let mut expected = Vec::new();
            std::thread::scope(|scope| {
                for index in 0..40u8 {
                    let length = page_size() * u64::from(index % 7 + 1) * if index == 20 { 1000 } else { 1 };
                    let mut window = pages.take(length).unwrap();
                    assert_eq!(window.offset(), expected.len() as u64);
                    expected.extend(std::iter::repeat_n(index + 1, length as usize));
                    scope.spawn(move || {
                        window.fill(index + 1);
                        window.commit().unwrap();
                    });
                }
            });
            assert_eq!(pages.len(), expected.len() as u64);
            pages.finish().unwrap();
            let found = fs::read(folder.path().join("pages-3.img")).unwrap();
            assert!(
                found == expected,
                "{} (estimate {estimate})",
                folder.path().display()
            );
        }
    }
}

#[test]
fn room_is_made_ahead_and_given_back() {
    for folder in folders() {
        let dir = ImageDir::open(folder.path()).unwrap();
        let pages = PagesWriter::create(&dir, 1, 8 << 20).unwrap();
        let path = folder.path().join("pages-1.img");
        if pages.is_mapped() {
            assert!(std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap()) >= (8 << 20) / 512);
        }
        let window = pages.take(page_size()).unwrap();
        window.commit().unwrap();
        pages.finish().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), page_size());
    }
}

#[test]
fn unfilled_windows_and_odd_lengths_are_refused() {
    let (_folder, dir) = new();
    let pages = PagesWriter::create(&dir, 1, 0).unwrap();
    for length in [0, 1, page_size() + 1, u64::MAX, u64::MAX - page_size() + 1] {
        assert!(pages.take(length).is_err(), "{length}");
    }
    assert!(pages.reserve(u64::MAX).is_err());
    drop(pages.take(page_size()).unwrap());
    let error = pages.finish().unwrap_err();
    assert!(
        matches!(error, Error::Unfilled { missing, .. } if missing == page_size()),
        "{error}"
    );
}

/// Runs `test` in a fresh file system of the given type. Needs to mount, so it is done only where the
/// tests run as root; the mount namespace is the thread's own, so that the mount cannot outlive it.
fn in_mount(kind: &'static str, options: &'static str, test: fn(&Path)) {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: nothing tested");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let thread = std::thread::spawn(move || {
        let none = None::<&str>;
        if let Err(e) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS) {
            eprintln!("no mount namespace ({e}): nothing tested");
            return;
        }
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("none"), &path, Some(kind), MsFlags::empty(), Some(options)).unwrap();
        test(&path);
        umount2(&path, MntFlags::MNT_DETACH).unwrap();
    });
    thread.join().unwrap();
}

#[test]
fn a_full_disk_is_an_error_and_no_signal() {
    in_mount("tmpfs", "size=1m", |path| {
        let dir = ImageDir::open(path).unwrap();
        let pages = PagesWriter::create(&dir, 1, 512 << 10).unwrap();
        assert!(pages.is_mapped());
        // More than there is room for is refused at once, and takes none of it.
        let error = pages.reserve(1 << 46).unwrap_err();
        assert!(
            matches!(error, Error::NoSpace { size, .. } if size == 1 << 46),
            "{error}"
        );
        assert!(error.to_string().contains("pages-1.img"), "{error}");
        assert_eq!(fs::metadata(path.join("pages-1.img")).unwrap().len(), 512 << 10);
        let mut taken = 0;
        let error = loop {
            match pages.take(64 << 10) {
                Ok(mut window) => {
                    window.fill(1);
                    window.commit().unwrap();
                    taken += 64 << 10;
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert!(taken >= 512 << 10, "{taken}");
        pages.finish().unwrap();
        assert_eq!(fs::metadata(path.join("pages-1.img")).unwrap().len(), taken);
    });
}

#[test]
fn a_file_system_that_is_not_known_to_keep_room_is_written_from_buffers() {
    in_mount("ramfs", "", |path| {
        let dir = ImageDir::open(path).unwrap();
        let pages = PagesWriter::create(&dir, 1, 1 << 20).unwrap();
        assert!(!pages.is_mapped());
        let mut windows: Vec<_> = (0..3).map(|_| pages.take(2 * page_size()).unwrap()).collect();
        while let Some(mut window) = windows.pop() {
            window.fill(windows.len() as u8 + 1);
            window.commit().unwrap();
        }
        pages.finish().unwrap();
        let expected: Vec<u8> = (1..=3).flat_map(|b| vec![b; 2 * page_size() as usize]).collect();
        assert!(fs::read(path.join("pages-1.img")).unwrap() == expected);
    });
}

const BASE: u64 = 0x7f00_0000_0000;

/// Writes a set of runs: (page number from BASE, pages, flags, byte that fills them).
fn write_set(dir: &ImageDir, runs: &[(u64, u64, u32, u8)]) {
    let pages = PagesWriter::create(dir, 1, 0).unwrap();
    let mut pagemap = PagemapWriter::create(dir, &PAGEMAP, 42, 1).unwrap();
    for (page, count, run_flags, byte) in runs {
        pagemap
            .run(BASE + page * page_size(), *count, *run_flags)
            .unwrap();
        if run_flags & flags::PRESENT != 0 {
            let mut window = pages.take(count * page_size()).unwrap();
            window.fill(*byte);
            window.commit().unwrap();
        }
    }
    assert_eq!(pagemap.present_pages() * page_size(), pages.len());
    pagemap.finish().unwrap();
    pages.finish().unwrap();
}

/// The first byte of each page, by number from BASE; None for one that is not in a file.
fn contents(pagemap: &PagemapReader) -> Vec<(u64, Option<u8>)> {
    let mut out = Vec::new();
    for run in pagemap.runs() {
        for page in 0..run.nr_pages {
            let number = (run.vaddr - BASE) / page_size() + page;
            assert_eq!(pagemap.find(BASE + number * page_size()), Some(run));
            let byte = match run.source {
                Source::Remote => None,
                Source::File(mut extent) => {
                    extent.offset += page * page_size();
                    let mut buffer = vec![0; page_size() as usize];
                    pagemap.read(extent, &mut buffer).unwrap();
                    assert!(buffer.iter().all(|b| *b == buffer[0]));
                    Some(buffer[0])
                }
            };
            out.push((number, byte));
        }
    }
    out
}

#[test]
fn neighbours_with_equal_flags_are_joined() {
    let (_folder, dir) = new();
    let lazy = flags::PRESENT | flags::LAZY;
    write_set(
        &dir,
        &[
            (0, 1, 4, 1),
            (1, 2, 4, 2),
            (3, 1, lazy, 3),
            (5, 1, lazy, 4),
            (6, 1, lazy, 5),
            (9, 2, 2, 0),
        ],
    );
    let entries = {
        let mut image = dir.open_image(&PAGEMAP, 42).unwrap();
        assert_eq!(image.entry::<PagemapHead>().unwrap().pages_id, 1);
        image
            .entries::<PagemapEntry>()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
    };
    let found: Vec<_> = entries
        .iter()
        .map(|e| (e.vaddr, e.compat_nr_pages, e.in_parent, e.flags, e.nr_pages))
        .collect();
    let at = |page: u64| BASE + page * page_size();
    assert_eq!(
        found,
        [
            (at(0), 0, None, Some(4), Some(3)),
            (at(3), 0, None, Some(6), Some(1)),
            (at(5), 0, None, Some(6), Some(2)),
            (at(9), 0, None, Some(2), Some(2)),
        ]
    );
    let pagemap = PagemapReader::open(&dir, &PAGEMAP, 42).unwrap();
    let expected = [
        (0, Some(1)),
        (1, Some(2)),
        (2, Some(2)),
        (3, Some(3)),
        (5, Some(4)),
        (6, Some(5)),
        (9, None),
        (10, None),
    ];
    assert_eq!(contents(&pagemap), expected);
    assert_eq!(pagemap.find(at(4)), None);
    assert_eq!(pagemap.find(0), None);
}

#[test]
fn runs_that_do_not_ascend_are_not_written() {
    let (_folder, dir) = new();
    let mut pagemap = PagemapWriter::create(&dir, &SHMEM_PAGEMAP, 1, 1).unwrap();
    pagemap.run(page_size(), 2, 4).unwrap();
    for (vaddr, pages) in [
        (0, 1),
        (2 * page_size(), 1),
        (4 * page_size(), 0),
        (4 * page_size() + 1, 1),
        (1 << 62, 1 << 62),
    ] {
        assert!(
            matches!(pagemap.run(vaddr, pages, 4), Err(Error::Run { .. })),
            "{vaddr:#x} {pages}"
        );
    }
}

#[test]
fn pages_in_parents_are_found() {
    let (folder, _) = new();
    let sets = ["0", "1", "2"].map(|name| {
        fs::create_dir(folder.path().join(name)).unwrap();
        ImageDir::open(folder.path().join(name)).unwrap()
    });
    write_set(&sets[0], &[(0, 4, 4, 10), (4, 4, 6, 11)]);
    sets[1].set_parent(Path::new("../0")).unwrap();
    write_set(&sets[1], &[(0, 2, 1, 0), (2, 1, 4, 20), (3, 5, 1, 0)]);
    sets[2].set_parent(Path::new("../1")).unwrap();
    write_set(&sets[2], &[(1, 6, 1, 0), (7, 1, 4, 30)]);
    let pagemap = PagemapReader::open(&sets[2], &PAGEMAP, 42).unwrap();
    let expected = [
        (1, Some(10)),
        (2, Some(20)),
        (3, Some(10)),
        (4, Some(11)),
        (5, Some(11)),
        (6, Some(11)),
        (7, Some(30)),
    ];
    assert_eq!(contents(&pagemap), expected);

    // A page that the parent does not have.
    write_set(&sets[0], &[(0, 4, 4, 10)]);
    let error = PagemapReader::open(&sets[2], &PAGEMAP, 42).unwrap_err();
    assert!(
        matches!(error, Error::NotInParent { vaddr, .. } if vaddr == BASE + 4 * page_size()),
        "{error}"
    );
    // No parent.
    fs::remove_file(folder.path().join("1/parent")).unwrap();
    let error = PagemapReader::open(&sets[2], &PAGEMAP, 42).unwrap_err();
    assert!(matches!(error, Error::NotInParent { .. }), "{error}");
    // A loop.
    sets[1].set_parent(Path::new("../2")).unwrap();
    write_set(&sets[2], &[(0, 8, 1, 0)]);
    let error = PagemapReader::open(&sets[2], &PAGEMAP, 42).unwrap_err();
    assert!(matches!(error, Error::ParentChain { .. }), "{error}");
}

#[test]
fn a_pages_file_of_the_wrong_size_is_refused_with_both_names() {
    let (folder, dir) = new();
    write_set(&dir, &[(0, 4, 4, 1)]);
    let pages = fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join(PAGES.file_name(1)))
        .unwrap();
    for size in [0, 4 * page_size() - 1, 4 * page_size() + 1] {
        pages.set_len(size).unwrap();
        let error = PagemapReader::open(&dir, &PAGEMAP, 42).unwrap_err();
        assert!(
            matches!(error, Error::PagesSize { found, .. } if found == size),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("pages-1.img") && text.contains("pagemap-42.img"),
            "{text}"
        );
    }
    dir.remove("pages-1.img").unwrap();
    let error = PagemapReader::open(&dir, &PAGEMAP, 42).unwrap_err();
    assert!(error.to_string().contains("pages-1.img"), "{error}");
    // Not needed where no page is in it.
    write_set(&dir, &[(0, 4, 2, 1)]);
    dir.remove("pages-1.img").unwrap();
    assert!(
        PagemapReader::open(&dir, &PAGEMAP, 42)
            .unwrap()
            .pages(0)
            .is_none()
    );
}

fn entry(
    vaddr: u64,
    compat: u32,
    in_parent: Option<bool>,
    flags: Option<u32>,
    nr_pages: Option<u64>,
) -> PagemapEntry {
    PagemapEntry {
        vaddr,
        compat_nr_pages: compat,
        in_parent,
        flags,
        nr_pages,
    }
}

fn write_entries(dir: &ImageDir, pages: u64, entries: &[PagemapEntry]) {
    let mut image = dir.create(&PAGEMAP, 42).unwrap();
    image.entry(&PagemapHead { pages_id: 1 }).unwrap();
    entries.iter().for_each(|entry| image.entry(entry).unwrap());
    image.finish().unwrap();
    dir.create_raw("pages-1.img")
        .unwrap()
        .set_len(pages * page_size())
        .unwrap();
}

#[test]
fn older_layouts_are_read() {
    let (folder, dir) = new();
    fs::create_dir(folder.path().join("p")).unwrap();
    let parent = ImageDir::open(folder.path().join("p")).unwrap();
    write_set(&parent, &[(2, 2, 4, 9)]);
    dir.set_parent(Path::new("p")).unwrap();
    let entries = [
        entry(BASE, 2, None, None, None),
        entry(BASE + 2 * page_size(), 1, Some(true), None, None),
        entry(BASE + 4 * page_size(), 1, Some(false), None, None),
    ];
    write_entries(&dir, 3, &entries);
    let pagemap = PagemapReader::open(&dir, &PAGEMAP, 42).unwrap();
    assert_eq!(
        contents(&pagemap),
        [(0, Some(0)), (1, Some(0)), (2, Some(9)), (4, Some(0))]
    );
}

#[test]
fn damaged_pagemaps_are_refused() {
    let (_folder, dir) = new();
    let good = entry(BASE, 0, None, Some(4), Some(2));
    for bad in [
        entry(BASE + 1, 0, None, Some(4), Some(1)),
        entry(BASE + page_size(), 0, None, Some(4), Some(1)),
        entry(0, 0, None, Some(4), Some(1)),
        entry(BASE + 2 * page_size(), 0, None, Some(4), Some(0)),
        entry(BASE + 2 * page_size(), 0, None, Some(4), None),
        entry(BASE + 2 * page_size(), 0, None, Some(4), Some(u64::MAX)),
        entry(BASE + 2 * page_size(), 0, None, Some(4), Some(1 << 52)),
        entry(BASE + 2 * page_size(), 0, None, Some(0), Some(1)),
        entry(BASE + 2 * page_size(), 0, None, Some(5), Some(1)),
    ] {
        write_entries(&dir, 3, &[good, bad]);
        let error = PagemapReader::open(&dir, &PAGEMAP, 42).unwrap_err();
        assert!(matches!(error, Error::Pagemap { run: 1, .. }), "{bad:?}: {error}");
    }
    write_entries(&dir, 2, &[good]);
    PagemapReader::open(&dir, &PAGEMAP, 42).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_pagemaps_never_panic(
        entries in prop::collection::vec((any::<u64>(), any::<u32>(), any::<Option<bool>>(), 0u32..9, any::<Option<u64>>()), 0..6),
        aligned in any::<bool>(),
    ) {
        let (_folder, dir) = new();
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(vaddr, compat, parent, flags, pages)| {
                let vaddr = if aligned { vaddr & !(page_size() - 1) } else { vaddr };
                entry(vaddr, compat, parent, Some(flags), pages)
            })
            .collect();
        write_entries(&dir, 1, &entries);
        let _ = PagemapReader::open(&dir, &PAGEMAP, 42);
    }
}
